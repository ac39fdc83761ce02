//! The task that follows the repository.
//!
//! Level-based: each look judges the newest commit whole, whatever was seen
//! before, so a look that was lost is made up for by the next. Cut off at any
//! instruction it goes on from what is published: a commit that is in effect
//! and not noted is judged again, and is the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cb_core::api::{GitRepository, Kind};
use cb_core::event::{Event, Reason as Happened};
use cb_core::source::{Applied, Refused, SourceStatus, Tip, Unreachable, Verdict, judge};
use cb_core::status::ProblemReason;
use cb_core::types::{CommitId, TenantName};
use cb_host::files::chain;
use cb_host::source::{Ask, Change, Content, Fetched, Repository, SourceError, publish, published};
use tokio::sync::{Notify, mpsc, watch};

use super::kept::Kept;
use super::manifests;
use super::{Request, Source, SourceProblem};
use crate::controller::Reason;
use crate::daemon::Daemon;

/// What alerts say is not as it should be.
const SOURCE: &str = "SourceCurrent";
/// How many times the interval a look may be put off while the repository
/// cannot be reached.
const PATIENCE: u32 = 10;

/// What following begins with.
pub struct Start {
    /// The repository.
    pub repository: Repository,
    /// As the Host has it.
    pub git: GitRepository,
    /// The Host's folder of state.
    pub state: PathBuf,
}

/// Follows a repository.
pub struct Follower<H> {
    repository: Repository,
    git: GitRepository,
    state: PathBuf,
    kept: Kept,
    daemon: Arc<Daemon<H>>,
    status: watch::Sender<SourceStatus>,
    requests: mpsc::UnboundedReceiver<Request>,
    wake: Arc<Notify>,
    /// Looks in a row that failed.
    failures: u32,
}

impl<H: cb_host::Host + 'static> Follower<H> {
    /// A follower, and what others talk to it with. Nothing is done until it
    /// runs.
    pub fn new(start: Start, daemon: Arc<Daemon<H>>) -> (Self, Source) {
        let Start {
            repository,
            git,
            state,
        } = start;
        let kept = Kept::new(&state);
        let (status, shown) = watch::channel(kept.load(&git));
        let (requests, asked) = mpsc::unbounded_channel();
        let wake = Arc::<Notify>::default();
        let source = Source {
            git: git.clone(),
            status: shown,
            requests,
            wake: Arc::clone(&wake),
        };
        let follower = Self {
            repository,
            git,
            state,
            kept,
            daemon,
            status,
            requests: asked,
            wake,
            failures: 0,
        };
        follower.show_problems(&follower.now());
        (follower, source)
    }

    /// Follows until it is dropped.
    pub async fn run(mut self) {
        loop {
            self.look().await;
            let next = tokio::time::Instant::now() + self.pause();
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(next) => break,
                    () = self.wake.notified() => break,
                    request = self.requests.recv() => match request {
                        Some(request) => self.answer(request).await,
                        // Nobody can ask any more: the operator is stopping.
                        None => return,
                    },
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        let interval = Duration::from_secs(self.git.interval_seconds.into());
        let times = 1_u32.checked_shl(self.failures).unwrap_or(PATIENCE);
        interval * times.min(PATIENCE)
    }

    /// Whoever asked may be gone: what was asked for is done all the same.
    async fn answer(&mut self, request: Request) {
        match request {
            Request::Sync(reply) => {
                self.look().await;
                let _ = reply.send(self.now());
            }
            Request::Accept(commit, reply) => {
                let _ = reply.send(self.accept(commit).await);
            }
            Request::Change(change, reply) => {
                let _ = reply.send(self.push(&change).await);
            }
        }
    }

    fn now(&self) -> SourceStatus {
        self.status.borrow().clone()
    }

    async fn accept(&mut self, commit: CommitId) -> Result<SourceStatus, SourceProblem> {
        // What is the newest commit may have changed.
        self.look().await;
        let mut status = self.now();
        let newest = status.refused.as_ref();
        let refused = newest.filter(|refused| refused.commit.id == commit);
        let no = |why: String| Err(SourceProblem::NotAcceptable(why));
        match (refused, newest) {
            (Some(refused), _) if refused.why.is_acceptable() => {}
            (Some(refused), _) => {
                return no(format!(
                    "{commit} cannot be accepted as it is ({}): {}",
                    refused.why.as_str(),
                    refused.messages.join("; ")
                ));
            }
            (None, Some(newest)) => {
                return no(format!(
                    "the commit that waits is {}, not {commit}",
                    newest.commit.id
                ));
            }
            (None, None) => return no("no commit waits for anybody".to_owned()),
        }
        status.accepted = Some(commit);
        let saved = self.kept.save(&status).await;
        saved.map_err(SourceProblem::Unavailable)?;
        self.status.send_replace(status);
        self.look().await;
        Ok(self.now())
    }

    async fn push(&mut self, change: &Change) -> Result<SourceStatus, SourceProblem> {
        let pushed = self.repository.push(change).await;
        let commit = pushed.map_err(|error| match error {
            SourceError::Changed { .. } => SourceProblem::Changed(chain(&error)),
            error => SourceProblem::Unavailable(chain(&error)),
        })?;
        tracing::info!(%commit, file = change.file, "{} is committed as {commit}", change.file);
        self.look().await;
        Ok(self.now())
    }

    /// Looks for the newest commit and has it take effect, or tells why not.
    async fn look(&mut self) {
        let before = self.now();
        let mut status = before.clone();
        let applied = before.applied.as_ref().map(|applied| &applied.commit.id);
        let in_effect = published(&self.state);
        // A commit that is refused may be good now: others went meanwhile.
        let settled = before.refused.is_none() && in_effect.as_ref() == applied;
        let ask = Ask {
            applied,
            skip: applied.filter(|_| settled),
        };
        match self.repository.fetch(ask).await {
            Ok(fetched) => {
                self.failures = 0;
                status.unreachable = None;
                self.take(fetched, &mut status).await;
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let message = chain(&error);
                let since = before
                    .unreachable
                    .as_ref()
                    .map(|before| before.since.clone());
                let since = since.unwrap_or_else(crate::now);
                status.unreachable = Some(Unreachable { message, since });
            }
        }
        self.note(&before, status).await;
    }

    /// Judges a commit and carries that out.
    async fn take(&self, fetched: Fetched, status: &mut SourceStatus) {
        let Some(Content { files, odd }) = fetched.content else {
            return;
        };
        let files = manifests::of_commit(files);
        let scan = manifests::scan(&files);
        let commit = fetched.commit;
        let tip = Tip {
            commit: &commit.id,
            history: fetched.history,
            unsigned: fetched.unsigned.as_deref(),
            odd: &odd,
            manifests: &scan,
        };
        let daemon = &self.daemon;
        let (known, host) = (daemon.catalog.known_now(), &daemon.engine.spec);
        match judge((&known, host), &self.git, tip, status, daemon.now_ms()) {
            Verdict::Apply { delete } => {
                let revision = Some(commit.id.to_string());
                let previous = daemon.catalog.set_revision(revision);
                let (state, id) = (self.state.clone(), commit.id.clone());
                let work = move || publish(&state, &id, &files).map_err(|error| chain(&error));
                let done = tokio::task::spawn_blocking(work).await;
                let done = done.unwrap_or_else(|error| Err(error.to_string()));
                if let Err(message) = done {
                    daemon.catalog.set_revision(previous);
                    let since = crate::now();
                    status.unreachable = Some(Unreachable { message, since });
                    return;
                }
                daemon.look_at_manifests().await;
                self.delete(&delete).await;
                status.refused = None;
                status.accepted = None;
                let same = |before: &Applied| before.commit == commit;
                if !status.applied.as_ref().is_some_and(same) {
                    let at = crate::now();
                    status.applied = Some(Applied { commit, at });
                }
            }
            Verdict::Refuse { why, messages } => {
                let before = status.refused.take();
                let same = |before: &Refused| before.commit.id == commit.id && before.why == why;
                let since = before.filter(same).map(|before| before.since);
                status.refused = Some(Refused {
                    commit,
                    why,
                    messages,
                    since: since.unwrap_or_else(crate::now),
                });
            }
        }
    }

    /// Has tenants removed that a person named by accepting a commit.
    async fn delete(&self, names: &[TenantName]) {
        for name in names {
            tracing::info!(tenant = %name, "{name}: its removal was accepted with the commit");
            if let Err(error) = self.daemon.catalog.delete(name).await {
                // The cap holds it, and it can be deleted by name.
                tracing::error!(tenant = %name, "{name}: {error:#}");
                continue;
            }
            self.daemon
                .controller
                .changed(name.clone(), Reason::Manifest);
        }
    }

    /// Keeps, shows and tells what changed; nothing if nothing did.
    async fn note(&self, before: &SourceStatus, status: SourceStatus) {
        if status == *before {
            return;
        }
        for event in self.events(before, &status) {
            match event.reason {
                Happened::SourceApplied => tracing::info!("{}", event.note),
                _ => tracing::warn!("{}", event.note),
            }
            self.daemon.engine.recorder.record(event);
        }
        self.show_problems(&status);
        if let Err(error) = self.kept.save(&status).await {
            tracing::error!("how far the repository is followed cannot be kept: {error}");
        }
        self.status.send_replace(status);
    }

    /// Has what keeps the newest commit from taking effect told as alerts.
    fn show_problems(&self, status: &SourceStatus) {
        let refused = status.refused.as_ref().map(|refused| {
            let (commit, hint) = (&refused.commit, refused.hint());
            let why = refused.messages.join("; ");
            let message = format!("commit {commit} does not take effect: {why}; {hint}");
            (refused.why.reason(), message)
        });
        let unreachable = status.unreachable.as_ref();
        let unreachable =
            unreachable.map(|why| (ProblemReason::SourceUnreachable, why.message.clone()));
        let state = &self.daemon.engine.state;
        state.set_host_problems(SOURCE, refused.into_iter().chain(unreachable));
    }

    fn events(&self, before: &SourceStatus, status: &SourceStatus) -> Vec<Event> {
        let host = self.daemon.engine.spec.metadata.name.as_str();
        let event = |reason, note: String| Event::new(Kind::Host, host, reason, note);
        let mut out = Vec::new();
        if let Some(applied) = status
            .applied
            .as_ref()
            .filter(|_| status.applied != before.applied)
        {
            let note = format!("commit {} takes effect", applied.commit);
            out.push(event(Happened::SourceApplied, note));
        }
        if let Some(refused) = status
            .refused
            .as_ref()
            .filter(|_| status.refused != before.refused)
        {
            let note = format!(
                "commit {} does not take effect: {}; {}",
                refused.commit,
                refused.messages.join("; "),
                refused.hint()
            );
            out.push(event(Happened::SourceRefused, note));
        }
        if let Some(now) = status.unreachable.as_ref() {
            let told = before.unreachable.as_ref();
            if told.is_none_or(|told| told.message != now.message) {
                out.push(event(Happened::SourceUnreachable, now.message.clone()));
            }
        }
        out
    }
}
