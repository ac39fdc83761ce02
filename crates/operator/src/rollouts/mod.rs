//! Fleet upgrades: carries rollouts out and keeps them.
//!
//! ```text
//! API ─▶ Rollouts ── change ─▶ <state>/rollouts/rollout-3.yaml, then Store (API: list, watch)
//!            └─ wake ─▶ drive ─▶ Operations::upgrade, as a person would ask
//!                         ▲
//!                         └─ changes of the tenants
//! ```
//!
//! What comes next is decided by `cb_core::rollout`. Each change of a rollout
//! is on disk before anything is done because of it, so the operator's next
//! run goes on where this one was ended, at whatever instruction.

mod choose;
mod drive;
mod folder;

use std::collections::BTreeSet;
use std::sync::Arc;

use cb_core::api::Kind;
use cb_core::event::{Event, Reason};
use cb_core::rollout::{Refused, Rollout, Spec, State};
use cb_core::types::{BackupId, TenantName, Version};
use cb_runtime::store::Store;
use jiff::Timestamp;
use tokio::sync::{Mutex, Notify};

use crate::api::Backend;
use crate::state::SaveError;

pub use folder::RolloutFolder;

/// How many rollouts that are over are kept.
const KEPT: usize = 50;
/// How many changes a watcher may lag behind.
const HISTORY: usize = 1024;

/// The rollouts of this host.
pub struct Rollouts {
    folder: RolloutFolder,
    published: Store<u64, Rollout>,
    /// One change at a time.
    turn: Mutex<()>,
    wake: Notify,
}

/// Why nothing of a rollout was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// There is no such rollout.
    #[error("there is no rollout `{0}`; `cbctl rollout list` shows those that are kept")]
    NotFound(String),
    /// What is asked for makes no sense as it is.
    #[error("{0}")]
    Invalid(String),
    /// Another rollout, or what became of this one, is in the way.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be kept, so it is not begun.
    #[error("the rollout cannot be saved: {0}")]
    NotSaved(String),
}

impl From<SaveError> for RolloutError {
    fn from(error: SaveError) -> Self {
        RolloutError::NotSaved(error.0)
    }
}

impl From<Refused> for RolloutError {
    fn from(refused: Refused) -> Self {
        RolloutError::Conflict(refused.to_string())
    }
}

impl Rollouts {
    /// The rollouts that the folder held.
    #[must_use]
    pub fn new(folder: RolloutFolder, kept: Vec<Rollout>) -> Arc<Self> {
        // Revisions must grow over restarts.
        let first = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(1);
        let published = Store::starting_at(first, HISTORY);
        for rollout in kept {
            published.set(rollout.number(), rollout);
        }
        Arc::new(Self {
            folder,
            published,
            turn: Mutex::new(()),
            wake: Notify::new(),
        })
    }

    /// The rollouts as the API shows them, by number.
    #[must_use]
    pub fn published(&self) -> &Store<u64, Rollout> {
        &self.published
    }

    /// The number of the rollout of this identifier.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, id: &str) -> Result<u64, RolloutError> {
        let items = self.published.list().items;
        let found = items.into_iter().find(|(_, item)| item.value.id == id);
        found
            .map(|(number, _)| number)
            .ok_or_else(|| RolloutError::NotFound(cb_core::types::shown(id)))
    }

    fn get(&self, number: u64) -> Option<Arc<Rollout>> {
        self.published.get(&number).map(|item| item.value)
    }

    /// Starts a rollout.
    ///
    /// # Errors
    /// It is not started, and why.
    pub async fn start(&self, backend: &dyn Backend, spec: Spec) -> Result<Rollout, RolloutError> {
        let _turn = self.turn.lock().await;
        let tenants = choose::tenants(backend.state(), &spec)?;
        let items = self.published.list().items;
        let open = items.values().map(|item| &*item.value);
        choose::alone(open, &tenants)?;
        let number = items.keys().next_back().map_or(1, |last| last + 1);
        let rollout = Rollout::new(Rollout::id_of(number), spec, tenants, now());
        self.keep(&rollout).await?;
        let note = format!("{rollout} begins with {} tenants", rollout.tenants.len());
        tell(backend, Reason::RolloutStarted, note);
        self.expire().await;
        self.wake.notify_one();
        Ok(rollout)
    }

    /// Has a rollout ask no further tenant.
    ///
    /// # Errors
    /// It does not run.
    pub async fn pause(&self, backend: &dyn Backend, id: &str) -> Result<Rollout, RolloutError> {
        self.say(backend, id, Rollout::pause).await
    }

    /// Has a rollout go on at once, with `retry` also with what failed.
    ///
    /// # Errors
    /// There is nothing to go on with, or another rollout has its tenants now.
    pub async fn resume(
        &self,
        backend: &dyn Backend,
        id: &str,
        retry: bool,
    ) -> Result<Rollout, RolloutError> {
        let resume = |rollout: &mut Rollout| rollout.resume(retry, now());
        self.say(backend, id, resume).await
    }

    /// Has a rollout bring back the tenants that it upgraded.
    ///
    /// # Errors
    /// It upgraded none, or another rollout has its tenants now.
    pub async fn undo(&self, backend: &dyn Backend, id: &str) -> Result<Rollout, RolloutError> {
        self.say(backend, id, Rollout::undo).await
    }

    /// Does what a person says of a rollout.
    async fn say(
        &self,
        backend: &dyn Backend,
        id: &str,
        change: impl FnOnce(&mut Rollout) -> Result<(), Refused>,
    ) -> Result<Rollout, RolloutError> {
        let number = self.find(id)?;
        let changed = self.change(backend, number, |rollout| {
            let was_over = rollout.is_over();
            change(rollout)?;
            if was_over {
                let items = self.published.list().items;
                let others = items.iter().filter(|(other, _)| **other != number);
                let members = rollout.tenants.iter();
                let tenants: Vec<_> = members.map(|member| member.tenant.clone()).collect();
                choose::alone(others.map(|(_, item)| &*item.value), &tenants)?;
            }
            Ok::<_, RolloutError>(())
        });
        let changed = changed.await?;
        self.wake.notify_one();
        Ok(changed)
    }

    /// Changes a rollout: on disk first, then for all to see.
    async fn change<E: From<SaveError>>(
        &self,
        backend: &dyn Backend,
        number: u64,
        change: impl FnOnce(&mut Rollout) -> Result<(), E>,
    ) -> Result<Rollout, E> {
        let _turn = self.turn.lock().await;
        let Some(before) = self.get(number) else {
            return Err(SaveError("it is kept no more".into()).into());
        };
        let mut after = Rollout::clone(&before);
        change(&mut after)?;
        if after != *before {
            self.keep(&after).await?;
            if let Some((reason, note)) = turning_point(&before, &after) {
                tell(backend, reason, note);
            }
        }
        Ok(after)
    }

    async fn keep(&self, rollout: &Rollout) -> Result<(), SaveError> {
        self.folder.write(rollout).await?;
        self.published.set(rollout.number(), rollout.clone());
        Ok(())
    }

    /// The backups of a tenant that undoing a rollout would restore; `runs` is
    /// the version that the tenant has now.
    #[must_use]
    pub fn needed_backups(&self, tenant: &TenantName, runs: &Version) -> BTreeSet<BackupId> {
        let items = self.published.list().items;
        let needed = items
            .values()
            .filter_map(|item| item.value.needs_backup(tenant, runs));
        needed.cloned().collect()
    }

    /// Drops the oldest that are over, above the number that is kept.
    async fn expire(&self) {
        let items = self.published.list().items;
        let over = items.iter().rev().filter(|(_, item)| item.value.is_over());
        for (number, item) in over.skip(KEPT) {
            match self.folder.remove(&item.value.id).await {
                Ok(()) => drop(self.published.remove(number)),
                Err(error) => tracing::warn!("an old rollout is kept: {error}"),
            }
        }
    }
}

/// What a person is told of a change of a rollout.
fn turning_point(before: &Rollout, after: &Rollout) -> Option<(Reason, String)> {
    if (before.state, before.undo) == (after.state, after.undo) {
        return None;
    }
    let summary = after.summary();
    Some(match after.state {
        State::Running if after.undo && !before.undo => (
            Reason::RolloutStarted,
            format!("{after} is being undone; {summary}"),
        ),
        State::Running => (
            Reason::RolloutStarted,
            format!("{after} goes on; {summary}"),
        ),
        State::Paused => (
            Reason::RolloutPaused,
            format!("{after} is paused; {summary}"),
        ),
        State::Succeeded => (Reason::RolloutSucceeded, format!("{after}; {summary}")),
        State::Failed => (
            Reason::RolloutFailed,
            format!("{after} has stopped; {summary}"),
        ),
        State::Undone => (Reason::RolloutUndone, format!("{after}; {summary}")),
    })
}

fn tell(backend: &dyn Backend, reason: Reason, note: String) {
    tracing::info!("{reason}: {note}");
    let host = backend.host().metadata.name.as_str();
    let event = Event::new(Kind::Host, host, reason, note);
    backend.recorder().record(event);
}

/// The time to the millisecond: more is not worth its place in a file.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
