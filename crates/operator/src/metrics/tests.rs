//! What the metrics say, and that everything that names one names one there is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cb_core::api::{
    CertificateStatus, Condition, ConditionStatus, Host, ServiceStatus, Tenant, TenantStatus,
};
use cb_core::drift::DriftStatus;
use cb_core::operation::Phase as OperationPhase;
use cb_core::record::Phase;
use cb_core::rollout::Rollout;
use cb_host::{Tally, Tests};
use serde_json::Value;

use super::*;
use crate::state::State;

/// A store of records that may have no room.
#[derive(Default)]
struct Disk {
    full: AtomicBool,
}

#[async_trait]
impl RecordStore for Arc<Disk> {
    async fn save(&self, _: &Record) -> Result<(), SaveError> {
        match self.full.load(Ordering::Relaxed) {
            true => Err(SaveError("no space".into())),
            false => Ok(()),
        }
    }
    async fn remove(&self, _: &TenantName) -> Result<(), SaveError> {
        Ok(())
    }
    async fn save_application(&self, _: &ApplicationRecord) -> Result<(), SaveError> {
        Ok(())
    }
    async fn remove_application(&self, _: &ObjectName) -> Result<(), SaveError> {
        Ok(())
    }
}

fn record(name: &str) -> Record {
    let tenant: Tenant = serde_yaml::from_str(&format!(
        "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: {name}}}, \
         spec: {{application: cbapp, version: v1}}}}"
    ))
    .unwrap();
    let mut record = Record::new(tenant, format!("{name}.yaml"));
    record.ports.slot = Some(0);
    record
        .ports
        .by_service
        .insert("api".parse().unwrap(), 32301);
    record
}

fn status(conditions: &[(&str, ConditionStatus)], states: &[&str]) -> TenantStatus {
    let condition = |(kind, status): &(&str, ConditionStatus)| Condition {
        kind: (*kind).to_owned(),
        status: *status,
        observed_generation: 1,
        last_transition_time: "2026-02-03T04:05:06Z".into(),
        reason: "Because".into(),
        message: "a secret message".into(),
    };
    let service = |state: &&str| ServiceStatus {
        name: "api".into(),
        unit: "a-api.service".into(),
        active_state: (*state).to_owned(),
        sub_state: "any".into(),
        invocation_id: None,
        healthy: None,
        sandbox_exceptions: Vec::new(),
    };
    TenantStatus {
        conditions: conditions.iter().map(condition).collect(),
        services: states.iter().map(service).collect(),
        ..TenantStatus::default()
    }
}

fn drift() -> DriftStatus {
    DriftStatus {
        kind: DriftKind::UnitMode.as_str().into(),
        what: "/a/secret/path".into(),
        detail: "differs".into(),
        since: String::new(),
        by: None,
    }
}

fn rollout() -> Rollout {
    let spec = cb_core::rollout::Spec {
        selector: None,
        tenants: Vec::new(),
        target_version: "v2".parse().unwrap(),
        wave: Default::default(),
        pause_seconds: 0,
        max_failures: 0,
        backup_db: true,
        run_migrations: true,
    };
    let tenants = ["a", "b"].map(|name| name.parse().unwrap());
    Rollout::new(
        "1".into(),
        spec,
        tenants.into(),
        jiff::Timestamp::UNIX_EPOCH,
    )
}

fn host() -> Host {
    let text = "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: web1}}";
    serde_yaml::from_str(text).unwrap()
}

/// Metrics of an operator with four tenants: ready, stalled, suspended and one
/// that was not looked at yet and is being removed. Whoever adds metrics has
/// them shown here.
fn operator() -> Arc<Metrics> {
    let mut leaving = record("d");
    leaving.phase = Phase::Deleting;
    let mut backed_up = record("a");
    backed_up.tenant.spec.database.backup.every_hours = Some(24);
    backed_up.newest_backup = Some("2026-01-01T00:00:00Z".into());
    let records = [backed_up, record("b"), record("c"), leaving];
    let state = State::new(Arc::new(Arc::new(Disk::default())), records, []);
    let (yes, no) = (ConditionStatus::True, ConditionStatus::False);
    let set = |name: &str, status| state.set_status(&name.parse().unwrap(), status);
    let mut drifted = status(&[("Ready", yes), ("Drifted", no)], &["active"]);
    drifted.drift = vec![drift(), drift()];
    drifted.certificate = Some(CertificateStatus {
        not_before: "2026-01-01T00:00:00Z".into(),
        not_after: "2026-04-01T00:00:00Z".into(),
        names: vec!["a.example.org".into()],
    });
    set("a", drifted);
    set(
        "b",
        status(
            &[("Ready", no), ("Stalled", yes), ("ProxyReady", no)],
            &["failed", "maintenance"],
        ),
    );
    set("c", status(&[("Ready", ConditionStatus::Unknown)], &[]));
    let metrics = Metrics::new();
    metrics.api_request("GET", 200);
    metrics.phase_ended(OperationPhase::Migrating, Duration::from_secs(2));
    metrics.drift_corrected(DriftKind::ALL[0]);
    metrics.acted(&Action::ReloadUnits);
    metrics.at_scrape(move |sheet| {
        collect::ready(sheet, true)?;
        collect::tenants(sheet, &state, &host().spec)?;
        let copied = crate::offsite::Seen {
            failed: Some("a secret message".into()),
            copies: ["20251231t000000z-1", "20260101t000000z-2"]
                .map(|id| id.parse().unwrap())
                .into(),
            missing: 1,
        };
        let copied = [("b".parse().unwrap(), copied)];
        collect::copies(sheet, &copied.into())?;
        let unit = ["b", "b-api.service"].map(str::to_owned);
        collect::restarts(sheet, [(unit, 3)])?;
        let found = cb_core::disk::DiskUse {
            bytes: 5,
            enforcement: cb_core::disk::Enforcement::Watched,
            counted: true,
        };
        collect::disks(sheet, &[("b".parse().unwrap(), found, Some(7))])?;
        let pager = crate::alerts::SinkCounts {
            name: "pager".into(),
            delivered: 7,
            failed: 2,
            spooled: 1,
        };
        collect::host_drift(sheet, &[])?;
        collect::sinks(sheet, &[pager])?;
        collect::rollouts(sheet, &[rollout()])?;
        collect::queue(sheet, cb_runtime::controller::Stats::default())?;
        let counts = cb_host::Counts {
            nginx_reloads: Tally { ok: 2, failed: 1 },
            nginx_tests: Tests {
                accepted: 5,
                rejected: 4,
                failed: 0,
            },
            ..cb_host::Counts::default()
        };
        collect::host(sheet, counts)
    });
    metrics
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(
        text.lines().any(|found| found == line),
        "no {line} in\n{text}"
    );
}

#[test]
fn tenants_are_counted_by_what_their_statuses_say() {
    let text = operator().text();
    for line in [
        r#"cb_tenants{condition="Ready",status="True"} 1.0"#,
        r#"cb_tenants{condition="Ready",status="False"} 1.0"#,
        r#"cb_tenants{condition="Ready",status="Unknown"} 2.0"#,
        r#"cb_tenants{condition="Stalled",status="True"} 1.0"#,
        r#"cb_tenants{condition="Drifted",status="True"} 0.0"#,
        r#"cb_tenants{condition="ProxyReady",status="False"} 1.0"#,
        r#"cb_tenant_ready{tenant="a"} 1.0"#,
        r#"cb_tenant_ready{tenant="b"} 0.0"#,
        "cb_tenants_removing 1.0",
        r#"cb_units{state="active"} 1.0"#,
        r#"cb_units{state="other"} 1.0"#,
        r#"cb_service_restarts_total{tenant="b",unit="b-api.service"} 3.0"#,
        r#"cb_nginx_reloads_total{result="failed"} 1.0"#,
        r#"cb_nginx_tests_total{result="rejected"} 4.0"#,
        "cb_ports 4.0",
        r#"cb_drift{kind="UnitMode"} 2.0"#,
        r#"cb_alerts_sent_total{sink="pager"} 7.0"#,
        r#"cb_certificate_not_after_timestamp_seconds{tenant="a"} 1775001600.0"#,
        r#"cb_alerts_failed_total{sink="pager"} 2.0"#,
        r#"cb_alerts_spooled{sink="pager"} 1.0"#,
        r#"cb_rollouts{state="Running"} 1.0"#,
        r#"cb_rollouts{state="Failed"} 0.0"#,
        r#"cb_rollout_tenants{phase="Pending"} 2.0"#,
        r#"cb_operations_under_way{kind="Backup"} 0.0"#,
        r#"cb_operations_total{kind="Upgrade",state="Failed"} 0"#,
        r#"cb_operation_phase_duration_seconds_bucket{phase="Migrating",le="6.4"} 1"#,
        r#"cb_backup_newest_timestamp_seconds{tenant="a"} 1767225600.0"#,
        r#"cb_backup_period_seconds{tenant="a"} 86400.0"#,
        r#"cb_backup_copies{tenant="b"} 2.0"#,
        r#"cb_backup_copies_missing{tenant="b"} 1.0"#,
        r#"cb_backup_copy_newest_timestamp_seconds{tenant="b"} 1767225600.0"#,
        r#"cb_backup_copies_made_total{result="failed"} 0"#,
        "cb_port_slots_used 4.0",
        // Rates begin at zero.
        r#"cb_reconcile_passes_total{result="backoff"} 0"#,
    ] {
        assert_line(&text, line);
    }
    assert!(!text.contains(r#"tenant="c""#), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn a_client_cannot_make_series() {
    let metrics = Metrics::new();
    for method in ["BREW", "get", "GET\"", "PROPFIND"] {
        metrics.api_request(method, 405);
    }
    let text = metrics.text();
    assert_line(
        &text,
        r#"cb_api_requests_total{method="other",code="405"} 4"#,
    );
}

#[test]
fn passes_and_events_are_counted() {
    let metrics = Metrics::new();
    metrics.passed(Again::OnChange, Duration::from_millis(1));
    metrics.passed(Again::Backoff, Duration::from_secs(3600));
    metrics.host_event(&HostEvent::Path("/etc/passwd".into()));
    metrics.status_write(false);
    let text = metrics.text();
    assert_line(&text, r#"cb_reconcile_passes_total{result="done"} 1"#);
    assert_line(
        &text,
        r#"cb_reconcile_duration_seconds_bucket{le="0.002"} 1"#,
    );
    assert_line(&text, "cb_reconcile_duration_seconds_count 2");
    assert_line(&text, r#"cb_host_events_total{source="path"} 1"#);
    assert_line(&text, r#"cb_status_writes_total{result="failed"} 1"#);
    assert!(!text.contains("passwd"), "{text}");
}

#[tokio::test]
async fn records_are_counted_whether_or_not_they_are_saved() {
    let (metrics, disk) = (Metrics::new(), Arc::new(Disk::default()));
    let records = metrics.counting_records(Arc::clone(&disk));
    records.save(&record("a")).await.unwrap();
    disk.full.store(true, Ordering::Relaxed);
    records.save(&record("a")).await.unwrap_err();
    let text = metrics.text();
    assert_line(&text, r#"cb_records_saved_total{result="ok"} 1"#);
    assert_line(&text, r#"cb_records_saved_total{result="failed"} 1"#);
}

#[test]
fn this_process_is_measured() {
    let text = Metrics::new().text();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(value("process_open_fds ") >= 3.0);
    assert!(value("process_max_fds ") >= value("process_open_fds "));
    // This test runs after the machine booted, and not in the future.
    let now = jiff::Timestamp::now().as_second() as f64;
    let started = value("process_start_time_seconds ");
    assert!(started > now - 86400.0 && started < now + 2.0, "{started}");
}

fn in_checkout(path: &str) -> PathBuf {
    // Where this was compiled says nothing: checkouts share a target folder.
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&package).join("../..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(in_checkout(path)).unwrap()
}

/// The names of metrics, without what histograms add to theirs.
fn metrics_there_are() -> BTreeSet<String> {
    let text = operator().text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The names of metrics in a text.
fn metrics_named(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !word(c));
    let ours = words.filter(|word| word.starts_with("cb_") || word.starts_with("process_"));
    let base = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let base = ends.iter().find_map(|end| word.strip_suffix(end));
        base.unwrap_or(word).to_owned()
    };
    ours.map(base).collect()
}

/// The texts under a key, wherever it is.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => texts(value, key, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

#[test]
fn the_example_rules_name_metrics_that_there_are() {
    let rules: Value = serde_yaml::from_str(&read("manifests/prometheus/rules.yaml")).unwrap();
    let mut expressions = Vec::new();
    texts(&rules, "expr", &mut expressions);
    assert!(expressions.len() > 10, "{expressions:?}");
    let there_are = metrics_there_are();
    for expression in expressions {
        let named = metrics_named(expression);
        assert!(named.is_subset(&there_are), "{expression}");
        assert!(
            !named.is_empty() || expression.starts_with("up{"),
            "{expression}"
        );
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let text = read("manifests/grafana/dashboard.json");
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    texts(&dashboard, "definition", &mut expressions);
    let shown: BTreeSet<String> = expressions.iter().flat_map(|e| metrics_named(e)).collect();
    let there_are = metrics_there_are();
    let unknown: Vec<_> = shown.difference(&there_are).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let ours = there_are.iter().filter(|name| name.starts_with("cb_"));
    let missing: Vec<_> = ours.filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_metric_is_in_the_documentation() {
    let text = read("docs/operations.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let names = rows.filter_map(|row| row.split('|').nth(1));
    let documented: BTreeSet<String> = names.flat_map(metrics_named).collect();
    assert_eq!(documented, metrics_there_are());
}
