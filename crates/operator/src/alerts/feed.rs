//! Follows the tenants' statuses and says what they mean for alerts.

use std::sync::{Arc, Mutex, PoisonError};

use cb_core::alert::{Alert, Judgement, Judgements, Outbox, of};
use cb_core::types::TenantName;
use cb_runtime::store::{Change, ChangeKind, Watch, WatchError};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::state::{PublishedTenant, State};

/// Judges all tenants; gives the revision to go on from too.
pub(super) fn judge_all(state: &State) -> (u64, Judgements) {
    let list = state.tenants().list();
    let judged = list.items.into_iter().map(|(name, item)| {
        let judgement = judge(&name, &item.value);
        (name, judgement)
    });
    (list.revision, judged.collect())
}

fn judge(name: &TenantName, tenant: &PublishedTenant) -> Judgement {
    of(name, tenant.tenant.status.as_ref(), Timestamp::now())
}

/// Tells of every change, for as long as it is polled.
pub(super) async fn run(
    state: Arc<State>,
    host: String,
    sender: watch::Sender<Arc<Judgements>>,
    firing: Arc<Mutex<Vec<Alert>>>,
) {
    // For showing: an alert that stands while it is tried again is one too.
    let mut shown = Outbox::new(&host, Timestamp::now());
    loop {
        let (revision, mut judgements) = judge_all(&state);
        let Ok(mut watch) = state.tenants().watch_from(revision) else {
            continue;
        };
        loop {
            shown.observe(&judgements, Timestamp::now());
            let alerts = shown.firing().cloned().collect();
            *firing.lock().unwrap_or_else(PoisonError::into_inner) = alerts;
            sender.send_if_modified(|known| {
                let differs = **known != judgements;
                if differs {
                    *known = Arc::new(judgements.clone());
                }
                differs
            });
            // Too far behind: everything is looked at again.
            if follow(&mut watch, &mut judgements).await.is_err() {
                break;
            }
        }
    }
}

/// Takes in the next change, and all that have happened since.
async fn follow(
    watch: &mut Watch<TenantName, PublishedTenant>,
    judgements: &mut Judgements,
) -> Result<(), WatchError> {
    let mut next = Some(watch.next().await?);
    while let Some(change) = next {
        take(&change, judgements);
        next = watch.try_next()?;
    }
    Ok(())
}

fn take(change: &Change<TenantName, PublishedTenant>, judgements: &mut Judgements) {
    match change.kind {
        ChangeKind::Deleted => drop(judgements.remove(&change.key)),
        ChangeKind::Added | ChangeKind::Modified => {
            judgements.insert(change.key.clone(), judge(&change.key, &change.value));
        }
    }
}
