//! Looks at what tenants have on disk, apart from their passes.
//!
//! ```text
//! timer, free space, passes ──▶ look ──▶ record.disk (the level) ──▶ pass
//!                                └─▶ bytes ──▶ metrics
//! ```
//!
//! Each tenant has its turn once in a period, spread over it; who has no limit,
//! more seldom; who comes near its limit, or everybody while the disk is low,
//! more often. A look that took
//! long is not repeated soon, so that counting never is what a host does most.
//! What a use means is `cb_core::disk`'s, and what follows from it the plan's.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::api::{Host, Kind};
use cb_core::disk::{self, DiskRecord, DiskUse, Level};
use cb_core::event::{Event, Reason};
use cb_core::layout::unit_name;
use cb_core::plan::Action;
use cb_core::record::{Phase, Record};
use cb_core::status::ProblemReason;
use cb_core::types::TenantName;
use cb_host::DiskQuery;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::recorder::Recorder;
use crate::state::State;

/// How often free space is looked at, and a tenant near its limit at most.
const TICK: Duration = Duration::from_secs(5);
/// How often it is looked which tenants there are. One with a new limit says so
/// itself.
const ROLL: Duration = Duration::from_secs(60);
/// A tenant without a limit is looked at once in so many periods: nothing but a
/// metric comes of it.
const UNLIMITED: u32 = 10;
/// How many tenants are looked at at once: one that takes long, by having a
/// great many files, keeps no other waiting.
const PARALLELISM: usize = 4;
/// A look may take this share of the time until the next one of its tenant.
const SHARE: u32 = 20;

/// Looks at the disk, and what was seen there.
pub struct Disks<H> {
    host: Arc<H>,
    spec: Arc<Host>,
    state: Arc<State>,
    recorder: Recorder,
    uses: Mutex<BTreeMap<TenantName, DiskUse>>,
    asked: mpsc::UnboundedSender<TenantName>,
}

/// When a tenant is looked at again.
#[derive(Debug, Clone, Copy)]
struct Due {
    /// At the soonest.
    soonest: Instant,
    /// If nothing is the matter.
    usual: Instant,
}

/// What came of a look.
struct Looked {
    tenant: TenantName,
    took: Duration,
    /// It comes near its limit, or could not be looked at.
    soon: bool,
    /// The limit changed meanwhile.
    outdated: bool,
    /// When to look again if nothing is the matter.
    period: Duration,
}

impl<H: cb_host::Host> Disks<H> {
    /// With what [`Disks::run`] listens to.
    pub fn new(
        host: Arc<H>,
        spec: Arc<Host>,
        state: Arc<State>,
        recorder: Recorder,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<TenantName>) {
        let (asked, heard) = mpsc::unbounded_channel();
        let disks = Self {
            host,
            spec,
            state,
            recorder,
            uses: Mutex::default(),
            asked,
        };
        (Arc::new(disks), heard)
    }

    /// Has a tenant looked at soon if what is known of it is of another limit
    /// than it has now.
    pub fn note(&self, record: &Record) {
        if self.is_outdated(record) {
            // The receiver is gone only when the operator stops.
            let _ = self.asked.send(record.name().clone());
        }
    }

    /// What each tenant had when it was last looked at, and what it may have.
    pub fn uses(&self) -> Vec<(TenantName, DiskUse, Option<u64>)> {
        let uses = self.lock().clone();
        let limit = |name: &TenantName| {
            let record = self.state.record(name)?;
            let limit = disk::limit_of(&record.tenant.spec, &self.spec);
            limit.map(|limit| limit.bytes())
        };
        let rows = uses.into_iter().map(|(name, found)| {
            let limit = limit(&name);
            (name, found, limit)
        });
        rows.collect()
    }

    /// Looks until the senders are gone. `changed` is told of tenants whose
    /// level is another than before.
    pub async fn run(
        &self,
        mut asked: mpsc::UnboundedReceiver<TenantName>,
        changed: impl Fn(TenantName),
    ) {
        let mut due: BTreeMap<TenantName, Due> = BTreeMap::new();
        let mut soon: BTreeSet<TenantName> = BTreeSet::new();
        let mut looking: BTreeSet<TenantName> = BTreeSet::new();
        let mut looks = FuturesUnordered::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut roll = tokio::time::interval(ROLL);
        roll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut low = false;
        loop {
            tokio::select! {
                _ = tick.tick() => low = self.is_low(low).await,
                _ = roll.tick() => self.take_turns(&mut due),
                heard = asked.recv() => match heard {
                    Some(name) => {
                        let now = Instant::now();
                        due.insert(name, Due { soonest: now, usual: now });
                    }
                    None => return,
                },
                Some(looked) = looks.next() => {
                    let looked: Looked = looked;
                    looking.remove(&looked.tenant);
                    if looked.soon {
                        soon.insert(looked.tenant.clone());
                    } else {
                        soon.remove(&looked.tenant);
                    }
                    due.insert(looked.tenant.clone(), self.after(&looked));
                }
            }
            let now = Instant::now();
            let is_due = |(name, due): &(&TenantName, &Due)| {
                let at = if low || soon.contains(*name) {
                    due.soonest
                } else {
                    due.usual
                };
                at <= now && !looking.contains(*name)
            };
            let free = PARALLELISM.saturating_sub(looking.len());
            let ready = due.iter().filter(is_due).take(free);
            let ready: Vec<TenantName> = ready.map(|(name, _)| name.clone()).collect();
            for name in ready {
                looking.insert(name.clone());
                looks.push(self.look(name, &changed));
            }
        }
    }

    /// Those that are new get a turn, at their own moment of the period; those
    /// that are gone lose it.
    fn take_turns(&self, due: &mut BTreeMap<TenantName, Due>) {
        let active = |(_, record): &(&TenantName, &Record)| record.phase == Phase::Active;
        let names: BTreeSet<TenantName> = self.state.with_records(|all| {
            let active = all.iter().filter(active);
            active.map(|(name, _)| name.clone()).collect()
        });
        due.retain(|name, _| names.contains(name));
        self.lock().retain(|name, _| names.contains(name));
        let now = Instant::now();
        for name in names {
            let moment = now + moment(&name, self.period());
            due.entry(name).or_insert(Due {
                soonest: moment,
                usual: moment,
            });
        }
    }

    fn after(&self, looked: &Looked) -> Due {
        let now = Instant::now();
        let rest = looked.took.saturating_mul(SHARE);
        let after = |pause: Duration| now + pause.max(rest);
        if looked.outdated && !looked.soon {
            return Due {
                soonest: now,
                usual: now,
            };
        }
        Due {
            soonest: after(TICK),
            usual: after(looked.period),
        }
    }

    async fn look(&self, tenant: TenantName, changed: &impl Fn(TenantName)) -> Looked {
        let started = Instant::now();
        let soon = self.look_at(&tenant, changed).await;
        let record = self.state.record(&tenant);
        let limit = |record: &Record| disk::limit_of(&record.tenant.spec, &self.spec).is_some();
        let limited = record.as_ref().is_some_and(limit);
        Looked {
            took: started.elapsed(),
            soon,
            outdated: record.is_some_and(|record| self.is_outdated(&record)),
            period: self.period() * if limited { 1 } else { UNLIMITED },
            tenant,
        }
    }

    /// Whether the next look should be soon.
    async fn look_at(&self, name: &TenantName, changed: &impl Fn(TenantName)) -> bool {
        let record = self.state.record(name);
        let Some(record) = record.filter(|record| record.phase == Phase::Active) else {
            return false;
        };
        let limit = disk::limit_of(&record.tenant.spec, &self.spec).cloned();
        let query = DiskQuery {
            tenant: name.clone(),
            limit: limit.as_ref().map(|limit| limit.bytes()),
        };
        let found = match self.host.disk_use(&query).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(tenant = %name, "{name}: what it has on disk is not known: {error}");
                return true;
            }
        };
        self.lock().insert(name.clone(), found);
        let before = record.disk.as_ref();
        let now = limit.map(|limit| DiskRecord::of(&found, &limit, before));
        let soon = now.as_ref().is_some_and(|now| now.level != Level::Within);
        if now.as_ref() == before {
            return soon;
        }
        let stops = now.as_ref().is_some_and(|now| now.level.stops());
        let saved = self.state.update(name, |record| record.disk = now).await;
        if let Err(error) = saved {
            tracing::warn!(tenant = %name, "{name}: {error}");
            // No pass begins without a record, and the reason for that may be
            // this tenant.
            if stops && !record.tenant.spec.suspend {
                self.stop(&record).await;
            }
        }
        changed(name.clone());
        soon
    }

    /// Stops what a pass would stop. It is planned again once one can be made.
    async fn stop(&self, record: &Record) {
        let name = record.name();
        for service in record.ports.by_service.keys() {
            let stop = Action::Stop(unit_name(name, service.as_str()));
            match self.host.execute(name, &stop).await {
                Ok(_) => tracing::warn!(tenant = %name, "{name}: {stop}: it fills the disk"),
                Err(error) => tracing::warn!(tenant = %name, "{name}: {stop}: {error}"),
            }
        }
    }

    /// Whether the disk has less free space than it should, and tells of it
    /// when that begins and ends.
    async fn is_low(&self, before: bool) -> bool {
        let wanted = &self.spec.spec.disk.keep_free;
        let free = match self.host.disk_free().await {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!("the free space is not known: {error}");
                return before;
            }
        };
        // A quarter more, so that it does not begin and end all the time.
        let enough = wanted.bytes().saturating_add(wanted.bytes() / 4);
        let low = free < if before { enough } else { wanted.bytes() };
        if low != before {
            let path = &self.spec.spec.paths.state;
            let note = format!(
                "the file system of {path} has less than {wanted} free, or less than such a share of its inodes (disk.keepFree of the Host)"
            );
            let reason = ProblemReason::DiskLow;
            let problem = low.then(|| (reason, note.clone()));
            self.state.set_host_problems("Disk", problem);
            if low {
                let host = self.spec.metadata.name.as_str();
                let event = Event::new(Kind::Host, host, Reason::DiskLow, note);
                self.recorder.record(event);
            }
        }
        low
    }

    fn is_outdated(&self, record: &Record) -> bool {
        let limit = disk::limit_of(&record.tenant.spec, &self.spec);
        disk::is_outdated(record, limit)
    }

    fn period(&self) -> Duration {
        Duration::from_secs(self.spec.spec.disk.period_seconds.into())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantName, DiskUse>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tenant's moment in a period: the same each time, whatever others there
/// are.
fn moment(name: &TenantName, period: Duration) -> Duration {
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(hasher.finish() % millis.max(1))
}

#[cfg(test)]
mod tests {
    use cb_core::disk::Enforcement;
    use cb_host::memory::MemoryHost;

    use super::*;
    use crate::state::NoRecords;

    struct Bench {
        host: Arc<MemoryHost>,
        state: Arc<State>,
        disks: Arc<Disks<MemoryHost>>,
        changed: mpsc::UnboundedReceiver<TenantName>,
    }

    fn name(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    fn record(name: &str, limit: &str) -> Record {
        let tenant = serde_yaml::from_str(&format!(
            "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: {name}}}, \
             spec: {{application: cbapp, version: v1, resources: {{disk: {limit}}}}}}}"
        ));
        Record::new(tenant.unwrap(), format!("{name}.yaml"))
    }

    impl Bench {
        fn new(records: Vec<Record>) -> Self {
            let spec: Host = serde_yaml::from_str(
                "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: one}, \
                 spec: {disk: {periodSeconds: 3600, keepFree: 1Gi}}}",
            )
            .unwrap();
            let host = Arc::new(MemoryHost::new(&spec));
            let state = Arc::new(State::new(Arc::new(NoRecords), records, Vec::new()));
            let recorder = Recorder::new("one", Vec::new());
            let (disks, asked) = Disks::new(
                Arc::clone(&host),
                Arc::new(spec),
                Arc::clone(&state),
                recorder,
            );
            let (sender, changed) = mpsc::unbounded_channel();
            let of = Arc::clone(&disks);
            tokio::spawn(async move {
                of.run(asked, move |name| drop(sender.send(name))).await;
            });
            Self {
                host,
                state,
                disks,
                changed,
            }
        }

        fn has(&self, of: &str, bytes: u64) {
            let found = DiskUse {
                bytes,
                enforcement: Enforcement::Watched,
                counted: true,
            };
            self.host.set_disk_use(&name(of), found);
        }

        fn level(&self, of: &str) -> Option<Level> {
            Some(self.state.record(&name(of))?.disk?.level)
        }

        /// The next tenant whose level changed, and how long that took.
        async fn next(&mut self) -> (String, Duration) {
            let began = Instant::now();
            let name = self.changed.recv().await.unwrap();
            (name.to_string(), began.elapsed())
        }
    }

    /// Nobody waits for a whole period to hear of another limit.
    #[tokio::test(start_paused = true)]
    async fn a_new_limit_is_judged_at_once() {
        let mut bench = Bench::new(vec![record("a", "100")]);
        bench.has("a", 100);
        bench.disks.note(&bench.state.record(&name("a")).unwrap());
        let (of, took) = bench.next().await;
        assert_eq!((of.as_str(), bench.level("a")), ("a", Some(Level::Full)));
        assert!(took < TICK);
        let raise = |record: &mut Record| {
            record.tenant.spec.resources.disk = Some("1Ki".parse().unwrap());
        };
        bench.state.update(&name("a"), raise).await.unwrap();
        bench.disks.note(&bench.state.record(&name("a")).unwrap());
        let (_, took) = bench.next().await;
        assert_eq!(bench.level("a"), Some(Level::Within));
        assert!(took < TICK);
    }

    /// Who is well within its limit has its turn once in a period; who is not,
    /// soon, and a disk that gets low makes it everybody's.
    #[tokio::test(start_paused = true)]
    async fn who_comes_near_its_limit_is_looked_at_often() {
        let mut bench = Bench::new(vec![record("a", "100"), record("b", "100")]);
        bench.has("a", 85);
        let mut first = [bench.next().await.0, bench.next().await.0];
        first.sort();
        assert_eq!(first, ["a", "b"]);
        assert_eq!(bench.level("a"), Some(Level::NearlyFull));
        bench.has("a", 100);
        bench.has("b", 100);
        let (of, took) = bench.next().await;
        assert_eq!(of, "a");
        assert!(took <= 2 * TICK, "{took:?}");
        assert_eq!(bench.level("b"), Some(Level::Within));
        bench.host.set_disk_free(1 << 20);
        let (of, took) = bench.next().await;
        assert_eq!(of, "b");
        assert!(took <= 2 * TICK, "{took:?}");
        let reasons = |bench: &Bench| {
            let judged = bench.state.host_problems().borrow().judge();
            judged.firing.len()
        };
        assert_eq!(reasons(&bench), 1);
        bench.host.set_disk_free(2 << 30);
        bench.has("b", 0);
        bench.next().await;
        assert_eq!(reasons(&bench), 0);
        let uses = bench.disks.uses();
        assert_eq!((uses.len(), uses[0].2), (2, Some(100)));
    }
}
