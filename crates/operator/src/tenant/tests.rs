//! The pass on a host in memory: what it reports, what it records first, and
//! how it goes on after faults.

mod disk;

use std::sync::Mutex;

use async_trait::async_trait;
use cb_core::api::TenantStatus;
use cb_core::observed::Health;
use cb_core::types::ObjectName;
use cb_host::memory::{Fault, MemoryHost};
use proptest::prelude::*;

use super::*;
use crate::state::{ApplicationRecord, RecordStore, SaveError};

/// Records in memory: what is here is on disk.
#[derive(Default)]
pub(super) struct Records {
    saved: Mutex<std::collections::BTreeMap<TenantName, Record>>,
    applications: Mutex<Vec<ApplicationRecord>>,
    full: std::sync::atomic::AtomicBool,
    /// The host whose operator writes them: one that is cut off saves nothing.
    host: Mutex<Option<Arc<MemoryHost>>>,
}

#[async_trait]
impl RecordStore for Records {
    async fn save(&self, record: &Record) -> Result<(), SaveError> {
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(SaveError("no space left".into()));
        }
        let host = self.host.lock().unwrap().clone();
        if let Some(host) = host {
            let saved = host.effect(&format!("save record {}", record.name()));
            saved.map_err(|error| SaveError(error.to_string()))?;
        }
        self.saved
            .lock()
            .unwrap()
            .insert(record.name().clone(), record.clone());
        Ok(())
    }
    async fn remove(&self, tenant: &TenantName) -> Result<(), SaveError> {
        self.saved.lock().unwrap().remove(tenant);
        Ok(())
    }
    async fn save_application(&self, record: &ApplicationRecord) -> Result<(), SaveError> {
        *self.applications.lock().unwrap() = vec![record.clone()];
        Ok(())
    }
    async fn remove_application(&self, _: &ObjectName) -> Result<(), SaveError> {
        Ok(())
    }
}

struct NoSink;

#[async_trait]
impl StatusSink for NoSink {
    async fn write(&self, _: &Record, _: &TenantStatus) -> bool {
        true
    }
    async fn remove(&self, _: &TenantName, _: &str) {}
}

pub(super) struct Bench {
    pub(super) engine: Engine<MemoryHost>,
    records: Arc<Records>,
}

pub(super) fn name() -> TenantName {
    "ky04".parse().unwrap()
}

pub(super) fn application() -> ApplicationRecord {
    let application = serde_yaml::from_str(
        "{apiVersion: campaignbrain.io/v1alpha1, kind: Application, metadata: {name: cbapp}, \
         spec: {versions: [{name: v1, folder: {path: /srv/v1}}, {name: v2, folder: {path: /srv/v2}}], \
         services: [{name: api, command: bin/api, portOffset: 1, healthCheck: {path: /health}}, \
         {name: frontend, command: bin/frontend, portOffset: 0, healthCheck: {path: /health}}], \
         routes: [{path: /, service: frontend}], database: {migrations: {folder: migrations}}}}",
    );
    let application = application.unwrap();
    ApplicationRecord {
        application,
        file: "cbapp.yaml".into(),
        generation: 1,
        created: None,
        provenance: cb_core::patch::Provenance::default(),
    }
}

fn record() -> Record {
    let tenant = serde_yaml::from_str(
        "{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {name: ky04}, \
         spec: {application: cbapp, version: v1, domains: [ky04.example.org]}}",
    );
    Record::new(tenant.unwrap(), "ky04.yaml".into())
}

impl Bench {
    pub(super) fn new() -> Self {
        let spec: Host = serde_yaml::from_str(
            "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: one}}",
        )
        .unwrap();
        let records = Arc::new(Records::default());
        records.saved.lock().unwrap().insert(name(), record());
        *records.applications.lock().unwrap() = vec![application()];
        Self::start(Arc::new(MemoryHost::new(&spec)), spec, records)
    }

    /// An operator that starts with what is on disk.
    fn start(host: Arc<MemoryHost>, spec: Host, records: Arc<Records>) -> Self {
        *records.host.lock().unwrap() = Some(Arc::clone(&host));
        let saved: Vec<Record> = records.saved.lock().unwrap().values().cloned().collect();
        let state = Arc::new(State::new(
            Arc::clone(&records) as _,
            saved,
            records.applications.lock().unwrap().clone(),
        ));
        let ledger = state.with_records(|all| Ledger::new(all, Default::default()));
        let drifts = state.with_records(|all| Drifts::of(all.values()));
        let spec = Arc::new(spec);
        let recorder = crate::recorder::Recorder::new("one", Vec::new());
        let disks = crate::disk::Disks::new(
            Arc::clone(&host),
            Arc::clone(&spec),
            Arc::clone(&state),
            recorder.clone(),
        );
        let engine = Engine {
            disks: disks.0,
            host,
            spec,
            state,
            ledger: Arc::new(ledger),
            sink: Arc::new(NoSink),
            readiness: Readiness::default(),
            rounds: Rounds::default(),
            drifts,
            metrics: crate::metrics::Metrics::new(),
            recorder,
            slots: Slots::new(2).0,
            rollouts: crate::rollouts::Rollouts::new(
                crate::rollouts::RolloutFolder::new("/nonexistent".into()),
                Vec::new(),
            ),
            offsite: None,
            acme: None,
            named_files: NamedFiles::default(),
            recovered: Default::default(),
        };
        Self { engine, records }
    }

    pub(super) fn restarted(self) -> Self {
        self.engine.host.restart();
        let spec = Host::clone(&self.engine.spec);
        Self::start(Arc::clone(&self.engine.host), spec, self.records)
    }

    /// The machine goes down and comes up again.
    pub(super) fn rebooted(self) -> Self {
        self.engine.host.reboot();
        let spec = Host::clone(&self.engine.spec);
        Self::start(Arc::clone(&self.engine.host), spec, self.records)
    }

    pub(super) async fn pass(&self) -> Again {
        self.engine.pass(&name(), &CancellationToken::new()).await
    }

    pub(super) async fn change(&self, change: impl FnOnce(&mut Record)) {
        self.engine.state.update(&name(), change).await.unwrap();
    }

    /// Saving a record fails, or works again.
    pub(super) fn set_full(&self, full: bool) {
        let ordering = std::sync::atomic::Ordering::Relaxed;
        self.records.full.store(full, ordering);
    }

    pub(super) fn condition(&self, kind: &str) -> String {
        let status = self.engine.state.status(&name()).unwrap();
        let found = status.condition(kind);
        found.map_or_else(String::new, |c| {
            format!("{} {}", c.status.as_str(), c.reason)
        })
    }

    /// The versions that the services run, by their environment.
    pub(super) fn runs(&self, version: &str) -> bool {
        ["ky04-api.service", "ky04-frontend.service"]
            .iter()
            .all(|unit| {
                let run = self.engine.host.running(unit);
                run.is_some_and(|run| {
                    run.unit_text
                        .contains(&format!("/releases/cbapp/{version}\n"))
                })
            })
    }
}

/// Law 1: the second pass does nothing.
#[tokio::test]
async fn a_new_tenant_is_ready_after_one_pass_and_then_left_alone() {
    let bench = Bench::new();
    assert_eq!(bench.pass().await, Again::OnChange);
    assert_eq!(bench.condition("Ready"), "True Ready");
    assert!(bench.runs("v1"));
    let status = bench.engine.state.status(&name()).unwrap();
    bench.engine.host.clear_log();
    bench.pass().await;
    assert_eq!(bench.engine.host.log(), []);
    assert_eq!(bench.engine.state.status(&name()).unwrap(), status);
}

/// Law 4: a site that is rejected keeps no service from running.
#[tokio::test]
async fn a_fault_of_one_aspect_is_reported_there_and_the_others_go_on() {
    let bench = Bench::new();
    bench.engine.host.nginx_rejects(|_| true);
    assert_eq!(bench.pass().await, Again::Backoff);
    assert!(bench.runs("v1"));
    assert_eq!(bench.condition("ProxyReady"), "False SiteRejected");
    assert_eq!(bench.condition("ServicesReady"), "True Running");
    assert!(bench.condition("Stalled").starts_with("True"));
    bench.engine.host.nginx_rejects(|_| false);
    bench.pass().await;
    assert_eq!(bench.condition("Ready"), "True Ready");
}

/// Law 5: what cannot be recorded is not done.
#[tokio::test]
async fn nothing_is_done_that_the_record_does_not_know_of() {
    let bench = Bench::new();
    bench
        .records
        .full
        .store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bench.pass().await, Again::Backoff);
    assert_eq!(bench.engine.host.log(), []);
    assert_eq!(bench.condition("Prepared"), "False RecordNotSaved");
    bench
        .records
        .full
        .store(false, std::sync::atomic::Ordering::Relaxed);
    bench.pass().await;
    assert_eq!(bench.condition("Ready"), "True Ready");
    let saved = bench.records.saved.lock().unwrap()[&name()].clone();
    assert_eq!(saved, bench.engine.state.record(&name()).unwrap());
}

#[tokio::test]
async fn a_newer_spec_ends_a_pass_between_two_steps() {
    let bench = Bench::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(bench.engine.pass(&name(), &cancel).await, Again::Backoff);
    assert_eq!(bench.engine.host.log(), []);
}

/// A service that fails again and again is started at a growing distance, and
/// at once with another manifest.
#[tokio::test(start_paused = true)]
async fn a_service_that_fails_again_and_again_is_not_started_all_the_time() {
    let bench = Bench::new();
    bench.pass().await;
    let starts = |bench: &Bench| {
        let log = bench.engine.host.log();
        log.iter()
            .filter(|logged| logged.action.kind() == "Start")
            .count()
    };
    bench.engine.host.clear_log();
    for _ in 0..20 {
        bench.engine.host.fail_unit("ky04-api.service");
        bench.pass().await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    // At 0 s, 10 s; the next would be at 30 s.
    assert_eq!(starts(&bench), 2);
    bench.engine.host.fail_unit("ky04-api.service");
    bench.pass().await;
    assert_eq!(bench.condition("ServicesReady"), "False CrashLoop");
    bench
        .change(|record| record.tenant.spec.version = "v2".parse().unwrap())
        .await;
    bench.pass().await;
    assert!(bench.runs("v2"));
    assert_eq!(bench.condition("Ready"), "True Ready");
}

/// Law 6: what changed together with the version, the Application's services
/// among it, goes back with it, and is not brought about until the version is.
#[tokio::test(start_paused = true)]
async fn an_application_that_changed_with_the_version_goes_back_with_it() {
    let bench = Bench::new();
    bench.pass().await;
    let mut changed = application();
    let mut worker = changed.application.spec.services[1].clone();
    worker.name = "worker".parse().unwrap();
    worker.port_offset = 2;
    changed.application.spec.services.push(worker);
    changed.generation = 2;
    bench
        .engine
        .state
        .insert_application(changed)
        .await
        .unwrap();
    bench
        .change(|record| record.tenant.spec.version = "v2".parse().unwrap())
        .await;
    // The new service is what does not work.
    let answer = |unit: &str, health| bench.engine.host.set_health(unit, health);
    let unhealthy = Health {
        error: Some("503".into()),
        ..Health::default()
    };
    answer("ky04-worker.service", Some(unhealthy));
    for _ in 0..3 {
        bench.pass().await;
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(bench.condition("VersionCurrent"), "False UpgradeFailed");
    assert!(bench.runs("v1"));
    let host = &bench.engine.host;
    assert!(host.running("ky04-worker.service").is_none());
    assert!(
        host.content("/etc/systemd/system/ky04-worker.service")
            .is_none()
    );
    let status = bench.engine.state.status(&name()).unwrap();
    assert_eq!(status.services.len(), 2);
    // Mended, a retry brings all of it.
    answer("ky04-worker.service", None);
    bench
        .change(|record| assert!(record.retry("2026-11-24T21:30:00Z")))
        .await;
    bench.pass().await;
    assert!(bench.runs("v2") && bench.engine.host.running("ky04-worker.service").is_some());
    assert_eq!(bench.condition("Ready"), "True Ready");
}

/// Law 8: a manifest that is refused shows, while the last good one runs.
#[tokio::test]
async fn a_refused_manifest_is_reported_and_what_ran_goes_on() {
    let bench = Bench::new();
    bench.pass().await;
    let why = "ky04.yaml:3:1: spec.version: wrong".to_owned();
    bench
        .engine
        .state
        .set_refused([(name(), vec![why.clone()])].into());
    bench.engine.host.clear_log();
    bench.pass().await;
    assert_eq!(bench.engine.host.log(), []);
    assert_eq!(bench.condition("ManifestAccepted"), "False Refused");
    assert_eq!(bench.condition("ServicesReady"), "True Running");
    let status = bench.engine.state.status(&name()).unwrap();
    assert_eq!(status.condition("Stalled").unwrap().message, why);
    assert_eq!(status.services.len(), 2);
}

#[tokio::test]
async fn an_action_that_fails_once_is_done_by_the_next_pass() {
    for nth in 1..=13 {
        let bench = Bench::new();
        bench
            .engine
            .host
            .fault_nth(nth, Fault::fail(ProblemReason::DiskFull));
        assert_eq!(bench.pass().await, Again::Backoff, "{nth}");
        assert!(bench.condition("Ready").starts_with("False"), "{nth}");
        bench.pass().await;
        assert_eq!(bench.condition("Ready"), "True Ready", "{nth}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Law 5: cut off at any effect of a creation and of a change of version,
    /// the operator that starts next brings it to the end.
    #[test]
    fn a_cut_at_any_effect_is_recovered_from(first in 0u64..40, second in 0u64..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            bench.engine.host.cut_after(first);
            bench.pass().await;
            let bench = bench.restarted();
            bench.pass().await;
            assert_eq!(bench.condition("Ready"), "True Ready");
            let ports = bench.engine.state.record(&name()).unwrap().ports;

            bench.change(|record| record.tenant.spec.version = "v2".parse().unwrap()).await;
            bench.engine.host.cut_after(second);
            bench.pass().await;
            let bench = bench.restarted();
            bench.pass().await;
            assert!(bench.runs("v2"));
            assert_eq!(bench.condition("Ready"), "True Ready");
            assert_eq!(bench.engine.state.record(&name()).unwrap().ports, ports);
            assert!(bench.engine.host.violations().is_empty());
            bench.engine.host.clear_log();
            bench.pass().await;
            assert!(bench.engine.host.log().is_empty());
        });
    }
}
