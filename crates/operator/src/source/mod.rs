//! The repository of manifests that a Host follows.
//!
//! ```text
//! timer, webhook, sync ──────▶ Follower: fetch ─▶ judge ─▶ publish ─▶ the folder's next reading
//! cbctl source accept ──────▶    │                 └────▶ refused: status, event
//! cbctl apply, delete … ────▶    └─ push
//! ```
//!
//! One task does everything, one thing at a time; [`Source`] asks it. What
//! takes effect is decided in `cb_core::source`, and reaches tenants by the way
//! of every other manifest: a commit that is published is what the folder of
//! manifests is.

mod follow;
mod kept;
mod manifests;

use std::sync::Arc;

use cb_core::api::GitRepository;
use cb_core::source::SourceStatus;
use cb_core::types::CommitId;
use cb_host::source::Change;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use follow::{Follower, Start};

/// Why what was asked for was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceProblem {
    /// There is nothing to accept, or something else.
    #[error("{0}")]
    NotAcceptable(String),
    /// Somebody changed the same file meanwhile.
    #[error("{0}")]
    Changed(String),
    /// The repository cannot be read or written now.
    #[error("{0}")]
    Unavailable(String),
}

/// Talks to the task that follows the repository; clones talk to the same one.
#[derive(Debug, Clone)]
pub struct Source {
    git: GitRepository,
    status: watch::Receiver<SourceStatus>,
    requests: mpsc::UnboundedSender<Request>,
    /// There may be something new; many wishes are one look.
    wake: Arc<Notify>,
}

#[derive(Debug)]
enum Request {
    Sync(oneshot::Sender<SourceStatus>),
    Accept(
        CommitId,
        oneshot::Sender<Result<SourceStatus, SourceProblem>>,
    ),
    Change(
        Box<Change>,
        oneshot::Sender<Result<SourceStatus, SourceProblem>>,
    ),
}

impl Source {
    /// What is followed.
    #[must_use]
    pub fn git(&self) -> &GitRepository {
        &self.git
    }

    /// How far it is followed.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        self.status.borrow().clone()
    }

    /// Has the repository looked at soon, without waiting for that.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Looks for a new commit now, and gives what came of it.
    ///
    /// # Errors
    /// The operator is stopping.
    pub async fn sync(&self) -> Result<SourceStatus, SourceProblem> {
        self.ask(Request::Sync).await
    }

    /// Has the newest commit take effect although it lost history or removes
    /// many tenants.
    ///
    /// # Errors
    /// It is not the newest one, or cannot be accepted.
    pub async fn accept(&self, commit: CommitId) -> Result<SourceStatus, SourceProblem> {
        self.ask(|reply| Request::Accept(commit, reply)).await?
    }

    /// Commits a change, pushes it, and takes it over. What came of that is in
    /// the status.
    ///
    /// # Errors
    /// Nothing was pushed.
    pub async fn change(&self, change: Change) -> Result<SourceStatus, SourceProblem> {
        self.ask(|reply| Request::Change(Box::new(change), reply))
            .await?
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, SourceProblem> {
        let stopping = || SourceProblem::Unavailable("the operator is stopping".to_owned());
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(request(reply));
        sent.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}
