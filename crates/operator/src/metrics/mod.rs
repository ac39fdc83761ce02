//! What the operator counts, in Prometheus' words.
//!
//! ```text
//! passes, requests, events ──▶ counters, histograms ─┐
//! state, controller, host  ──▶ looked at when asked ─┴─▶ Metrics::text ─▶ /metrics
//! ```
//!
//! To add a metric:
//! - of something that *happens*, such as the end of an upgrade: a field of
//!   [`Metrics`], its line in [`Metrics::new`], and a method named after what
//!   happens;
//! - of something that *is*, such as the age of a backup: a function that looks
//!   when somebody asks, given to [`Metrics::at_scrape`]; see [`collect`]. It
//!   cannot be out of step with what it is about;
//! - and in both cases a row in `docs/operations.md`, which a test asks for.
//!
//! Labels have values from closed lists, or the names of tenants and of their
//! units: never messages, paths or what a client sends. So a host with N tenants
//! of S services has at most some hundred series and N × (6 + S) more.

pub mod collect;
mod process;
mod sheet;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cb_core::drift::DriftKind;
use cb_core::operation::{Kind, Operation, Phase};
use cb_core::plan::Action;
use cb_core::record::Record;
use cb_core::types::{ObjectName, TenantName};
use cb_host::HostEvent;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use crate::state::{ApplicationRecord, RecordStore, SaveError};
use crate::tenant::Again;
pub use sheet::Sheet;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    passes: Family<ByResult, Counter>,
    pass_seconds: Histogram,
    host_events: Family<BySource, Counter>,
    records: Family<ByResult, Counter>,
    status_files: Family<ByResult, Counter>,
    api_requests: Family<ByRequest, Counter>,
    operations: Family<ByOperation, Counter>,
    phase_seconds: Family<ByPhase, Histogram, fn() -> Histogram>,
    drift_corrected: Family<ByKind, Counter>,
    actions: Family<ByAction, Counter>,
    backup_copies: Family<ByResult, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySource {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRequest {
    method: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    kind: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAction {
    action: &'static str,
}

const OK: ByResult = ByResult { result: "ok" };
const FAILED: ByResult = ByResult { result: "failed" };

impl Metrics {
    /// Metrics that count from zero, with those of this process.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        // Half a millisecond for a pass that finds nothing to do, to half a
        // minute for one that waits for services.
        let pass_seconds = Histogram::new(exponential_buckets(0.0005, 4.0, 9));
        register(
            &mut registry,
            "cb_reconcile_duration_seconds",
            "How long passes over tenants took",
            &pass_seconds,
        );
        // A tenth of a second for a stop, to half an hour for a migration.
        let phase_seconds = Family::new_with_constructor(phase_histogram as fn() -> Histogram);
        register(
            &mut registry,
            "cb_operation_phase_duration_seconds",
            "How long phases of upgrades, backups and restores took, whatever came of them",
            &phase_seconds,
        );
        let metrics = Self {
            operations: family(
                &mut registry,
                "cb_operations",
                "Upgrades, backups and restores that ended, or need a person to go on",
                operations(),
            ),
            phase_seconds,
            drift_corrected: family(
                &mut registry,
                "cb_drift_corrected",
                "Differences that nobody asked for and that were put right",
                [],
            ),
            actions: family(
                &mut registry,
                "cb_actions",
                "What was done on the host for tenants, by the kind of action",
                [],
            ),
            backup_copies: family(
                &mut registry,
                "cb_backup_copies_made",
                "Copies of backups that were to be made off the host",
                [OK, FAILED],
            ),
            passes: family(
                &mut registry,
                "cb_reconcile_passes",
                "Passes over tenants that ended, by what follows",
                ["done", "again", "backoff", "gone"].map(|result| ByResult { result }),
            ),
            pass_seconds,
            host_events: family(
                &mut registry,
                "cb_host_events",
                "Events of the host that were seen, by what they are about",
                ["unit", "path", "everything"].map(|source| BySource { source }),
            ),
            records: family(
                &mut registry,
                "cb_records_saved",
                "Writes of records of tenants and Applications",
                [OK, FAILED],
            ),
            status_files: family(
                &mut registry,
                "cb_status_writes",
                "Writes and removals of status files",
                [OK, FAILED],
            ),
            api_requests: family(
                &mut registry,
                "cb_api_requests",
                "Requests to the API that were answered",
                [],
            ),
            registry: Mutex::new(registry),
        };
        metrics.at_scrape(collect::build);
        metrics.at_scrape(process::process);
        Arc::new(metrics)
    }

    /// Has `look` write its metrics each time that somebody asks. It runs on
    /// every scrape, so it must be quick: look at memory, not at the disk.
    pub fn at_scrape(&self, look: impl Fn(&mut Sheet<'_>) -> fmt::Result + Send + Sync + 'static) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(sheet::AtScrape(look)));
    }

    /// All metrics as they are now, in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if let Err(error) = prometheus_text::encode(&mut text, &registry) {
            // Memory is always there to write to.
            tracing::error!("the metrics cannot be written: {error}");
        }
        text
    }

    /// A pass over a tenant ended.
    pub fn passed(&self, again: Again, took: Duration) {
        let result = match again {
            Again::OnChange => "done",
            Again::After(_) => "again",
            Again::Backoff => "backoff",
            Again::Gone => "gone",
        };
        self.passes.get_or_create(&ByResult { result }).inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    /// An event of the host came.
    pub fn host_event(&self, event: &HostEvent) {
        let source = match event {
            HostEvent::Unit(_) => "unit",
            HostEvent::Path(_) => "path",
            HostEvent::Everything => "everything",
        };
        self.host_events.get_or_create(&BySource { source }).inc();
    }

    /// A status file was to be written or removed.
    pub fn status_write(&self, worked: bool) {
        let result = if worked { OK } else { FAILED };
        self.status_files.get_or_create(&result).inc();
    }

    /// A request to the API was answered.
    pub fn api_request(&self, method: &str, code: u16) {
        // A client may send any word.
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let method = known.into_iter().find(|known| *known == method);
        let request = ByRequest {
            method: method.unwrap_or("other"),
            code,
        };
        self.api_requests.get_or_create(&request).inc();
    }

    /// An operation ended, or was halted.
    pub fn operation_ended(&self, operation: &Operation) {
        let kind = operation.kind.as_str();
        let state = operation.state();
        let labels = ByOperation { kind, state };
        self.operations.get_or_create(&labels).inc();
    }

    /// A phase of an operation ended.
    pub fn phase_ended(&self, phase: Phase, took: Duration) {
        let phase = phase.as_str();
        let seconds = self.phase_seconds.get_or_create(&ByPhase { phase });
        seconds.observe(took.as_secs_f64());
    }

    /// A copy of a backup was to be made off the host.
    pub fn backup_copied(&self, worked: bool) {
        let result = if worked { OK } else { FAILED };
        self.backup_copies.get_or_create(&result).inc();
    }

    /// Something was done on the host for a tenant.
    pub fn acted(&self, action: &Action) {
        let action = action.kind();
        self.actions.get_or_create(&ByAction { action }).inc();
    }

    /// A difference that nobody asked for was put right.
    pub fn drift_corrected(&self, kind: DriftKind) {
        let kind = kind.as_str();
        self.drift_corrected.get_or_create(&ByKind { kind }).inc();
    }

    /// Counts what goes through a store of records.
    #[must_use]
    pub fn counting_records<S: RecordStore>(self: &Arc<Self>, records: S) -> CountedRecords<S> {
        CountedRecords {
            inner: records,
            metrics: Arc::clone(self),
        }
    }
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: &M) {
    registry.register(name, help, metric.clone());
}

fn phase_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.1, 4.0, 8))
}

fn operations() -> [ByOperation; 9] {
    let kinds = [Kind::Upgrade, Kind::Backup, Kind::Restore];
    let states = ["Succeeded", "Failed", "Halted"];
    std::array::from_fn(|n| ByOperation {
        kind: kinds[n / 3].as_str(),
        state: states[n % 3],
    })
}

/// A family of counters. Those with these labels are there from the start, at
/// zero: Prometheus sees no increase in what appears with a one.
fn family<const N: usize, L>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    known: [L; N],
) -> Family<L, Counter>
where
    L: Clone + Eq + std::hash::Hash + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
{
    let family = Family::default();
    for labels in known {
        drop(family.get_or_create(&labels));
    }
    register(registry, name, help, &family);
    family
}

/// A store of records whose writes are counted.
#[derive(Debug)]
pub struct CountedRecords<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> CountedRecords<S> {
    fn counted(&self, saved: Result<(), SaveError>) -> Result<(), SaveError> {
        let result = if saved.is_ok() { OK } else { FAILED };
        self.metrics.records.get_or_create(&result).inc();
        saved
    }
}

#[async_trait]
impl<S: RecordStore> RecordStore for CountedRecords<S> {
    async fn save(&self, record: &Record) -> Result<(), SaveError> {
        self.counted(self.inner.save(record).await)
    }

    async fn remove(&self, tenant: &TenantName) -> Result<(), SaveError> {
        self.inner.remove(tenant).await
    }

    async fn save_application(&self, record: &ApplicationRecord) -> Result<(), SaveError> {
        self.counted(self.inner.save_application(record).await)
    }

    async fn remove_application(&self, name: &ObjectName) -> Result<(), SaveError> {
        self.inner.remove_application(name).await
    }
}

#[cfg(test)]
mod tests;
