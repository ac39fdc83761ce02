//! Follows the tenants' statuses, the events of drift that was put right and
//! what is wrong with the host, and says what they mean for alerts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cb_core::alert::{
    Alert, HostProblems, Judgement, Judgements, Outbox, corrected, is_correction, of,
};
use cb_core::types::TenantName;
use cb_runtime::store::{Change, ChangeKind, Watch, WatchError};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::recorder::{Published, Recorder};
use crate::state::{PublishedTenant, State};

/// The longest sleep: after a clock that was set, things are over anew.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What alerts are derived from.
pub(super) struct Feed {
    pub(super) state: Arc<State>,
    pub(super) recorder: Recorder,
    pub(super) host: String,
    /// What is wrong, for showing.
    pub(super) firing: Arc<Mutex<Vec<Alert>>>,
}

/// What is known, and the changes to come.
struct View {
    tenants: BTreeMap<TenantName, Arc<PublishedTenant>>,
    changed_tenants: Watch<TenantName, PublishedTenant>,
    /// Events of drift that was put right, by their names in the API.
    corrections: BTreeMap<String, Arc<Published>>,
    changed_events: Watch<String, Published>,
    host: watch::Receiver<HostProblems>,
}

impl Feed {
    /// What all that is known means now.
    pub(super) fn judge_all(&self) -> Judgements {
        loop {
            // Changes can overtake a list only under very many of them.
            if let Ok(view) = self.view() {
                return view.judge(Timestamp::now()).0;
            }
        }
    }

    fn view(&self) -> Result<View, WatchError> {
        let tenants = self.state.tenants().list();
        let events = self.recorder.published().list();
        let changed_tenants = self.state.tenants().watch_from(tenants.revision)?;
        let changed_events = self.recorder.published().watch_from(events.revision)?;
        let corrections = events
            .items
            .into_iter()
            .map(|(name, item)| (name, item.value));
        let corrections = corrections.filter(|(_, event)| is_correction(&event.series));
        let tenants = tenants
            .items
            .into_iter()
            .map(|(name, item)| (name, item.value));
        Ok(View {
            tenants: tenants.collect(),
            changed_tenants,
            corrections: corrections.collect(),
            changed_events,
            host: self.state.host_problems(),
        })
    }

    /// Tells of every change, for as long as it is polled.
    pub(super) async fn run(self, sender: watch::Sender<Arc<Judgements>>) {
        // For showing: an alert that stands while it is tried again is one too.
        let mut shown = Outbox::new(&self.host, Timestamp::now());
        loop {
            let Ok(mut view) = self.view() else {
                continue;
            };
            loop {
                let now = Timestamp::now();
                let (judgements, over) = view.judge(now);
                shown.observe(&judgements, now);
                let alerts = shown.firing().cloned().collect();
                *self.firing.lock().unwrap_or_else(PoisonError::into_inner) = alerts;
                sender.send_if_modified(|known| {
                    let differs = **known != judgements;
                    if differs {
                        *known = Arc::new(judgements);
                    }
                    differs
                });
                let wait = over.map(|over| {
                    let wait = Duration::try_from(over.duration_since(now));
                    wait.unwrap_or_default().min(LONGEST_SLEEP)
                });
                // Too far behind: everything is looked at again.
                if view.follow(wait).await.is_err() {
                    break;
                }
            }
        }
    }
}

impl View {
    /// What it means, and when that changes by itself.
    fn judge(&self, now: Timestamp) -> (Judgements, Option<Timestamp>) {
        let mut judgements: Judgements = self
            .tenants
            .iter()
            .map(|(name, tenant)| {
                let judgement = of(name, tenant.tenant.status.as_ref(), now);
                (Some(name.clone()), judgement)
            })
            .collect();
        judgements.insert(None, self.host.borrow().judge());
        let mut first = None;
        for (name, events) in self.corrections_by_tenant() {
            let Some((tenant, judgement)) = self
                .tenants
                .get(&name)
                .zip(judgements.get_mut(&Some(name.clone())))
            else {
                continue;
            };
            let series = events.iter().map(|event| &event.series);
            let (alerts, over) = corrected(&name, tenant.generation, series, now);
            first = [first, over].into_iter().flatten().min();
            add(judgement, alerts);
        }
        (judgements, first)
    }

    fn corrections_by_tenant(&self) -> BTreeMap<TenantName, Vec<&Published>> {
        let mut all: BTreeMap<TenantName, Vec<&Published>> = BTreeMap::new();
        for event in self.corrections.values() {
            if let Ok(name) = event.series.event.regarding.name.parse() {
                all.entry(name).or_default().push(event);
            }
        }
        all
    }

    /// Takes in the next change, and all that have happened since; or returns
    /// after a time.
    async fn follow(&mut self, wait: Option<Duration>) -> Result<(), WatchError> {
        tokio::select! {
            change = self.changed_tenants.next() => {
                let change = change?;
                self.take_tenant(&change);
            }
            change = self.changed_events.next() => {
                let change = change?;
                self.take_event(&change);
            }
            // State outlives this task, so it is never gone.
            Ok(()) = self.host.changed() => {}
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
        while let Some(change) = self.changed_tenants.try_next()? {
            self.take_tenant(&change);
        }
        while let Some(change) = self.changed_events.try_next()? {
            self.take_event(&change);
        }
        Ok(())
    }

    fn take_tenant(&mut self, change: &Change<TenantName, PublishedTenant>) {
        match change.kind {
            ChangeKind::Deleted => drop(self.tenants.remove(&change.key)),
            ChangeKind::Added | ChangeKind::Modified => {
                let tenant = Arc::clone(&change.value);
                self.tenants.insert(change.key.clone(), tenant);
            }
        }
    }

    fn take_event(&mut self, change: &Change<String, Published>) {
        let gone = change.kind == ChangeKind::Deleted;
        if gone || !is_correction(&change.value.series) {
            self.corrections.remove(&change.key);
            return;
        }
        let event = Arc::clone(&change.value);
        self.corrections.insert(change.key.clone(), event);
    }
}

/// Adds alerts of reasons that are none yet: what differs again comes first.
fn add(judgement: &mut Judgement, alerts: Vec<Alert>) {
    for alert in alerts {
        if judgement
            .firing
            .iter()
            .all(|old| old.reason != alert.reason)
        {
            judgement.firing.push(alert);
        }
    }
}
