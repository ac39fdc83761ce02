//! Metrics of what is: looked at when somebody asks.

use std::collections::BTreeMap;
use std::fmt;

use cb_core::api::{ConditionStatus, HostSpec};
use cb_core::disk::DiskUse;
use cb_core::drift::{DriftKind, DriftStatus};
use cb_core::operation::{Kind, Phase};
use cb_core::rollout::Rollout;
use cb_core::types::TenantName;
use cb_host::Counts;
use cb_runtime::controller::Stats;
use cb_runtime::store::Versioned;

use super::Sheet;
use crate::alerts::SinkCounts;
use crate::offsite::Seen;
use crate::state::{PublishedTenant, State};

/// The conditions that are there, at zero, with no tenant in them, so that a
/// rule that asks for one has an answer.
const CONDITIONS: [&str; 4] = ["Ready", "Reconciling", "Stalled", "Drifted"];
const STATUSES: [ConditionStatus; 3] = [
    ConditionStatus::True,
    ConditionStatus::False,
    ConditionStatus::Unknown,
];
/// What a rollout is for a person.
const ROLLOUT_STATES: [&str; 6] = [
    "Running",
    "Undoing",
    "Paused",
    "Succeeded",
    "Failed",
    "Undone",
];
/// What a tenant in a rollout is for a person.
const MEMBER_PHASES: [&str; 10] = [
    "Pending",
    "Asking",
    "Asked",
    "Succeeded",
    "Failed",
    "Skipped",
    "Undoing",
    "Undone",
    "UndoFailed",
    "UndoSkipped",
];
/// systemd's states of a unit.
const UNIT_STATES: [&str; 6] = [
    "active",
    "inactive",
    "failed",
    "activating",
    "deactivating",
    "reloading",
];

/// Which build this is.
///
/// # Errors
/// None: it writes to memory.
pub(super) fn build(sheet: &mut Sheet<'_>) -> fmt::Result {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let help = "Always 1; the label says which version of the operator runs";
    sheet.gauges("cb_build_info", help, ["version"], [([version], 1.0)])
}

/// Whether the manifests are being kept, as `/readyz` says it.
///
/// # Errors
/// None: it writes to memory.
pub fn ready(sheet: &mut Sheet<'_>, ready: bool) -> fmt::Result {
    let help = "Whether the operator keeps its manifests";
    sheet.gauge("cb_ready", help, f64::from(u8::from(ready)))
}

/// Tenants, their units and their ports, by what their statuses and records
/// say.
///
/// # Errors
/// None: it writes to memory.
pub fn tenants(sheet: &mut Sheet<'_>, state: &State, host: &HostSpec) -> fmt::Result {
    let tenants = state.tenants().list().items;
    let known = CONDITIONS
        .iter()
        .flat_map(|kind| STATUSES.map(|status| ((*kind).to_owned(), status.as_str())));
    let mut conditions: BTreeMap<_, u64> = known.map(|condition| (condition, 0)).collect();
    let mut units: BTreeMap<&str, u64> = UNIT_STATES.map(|state| (state, 0)).into();
    let mut ready = Vec::new();
    let mut drift: BTreeMap<String, u64> = BTreeMap::new();
    let mut removing = 0_u64;
    for (name, tenant) in &tenants {
        let tenant = &tenant.value;
        removing += u64::from(tenant.deleting);
        let status = tenant.tenant.status.as_ref();
        for condition in status.iter().flat_map(|status| &status.conditions) {
            let key = (condition.kind.clone(), condition.status.as_str());
            *conditions.entry(key).or_default() += 1;
        }
        for service in status.iter().flat_map(|status| &status.services) {
            let state = UNIT_STATES.iter().find(|s| **s == service.active_state);
            *units.entry(state.unwrap_or(&"other")).or_default() += 1;
        }
        for drifted in status.iter().flat_map(|status| &status.drift) {
            *drift.entry(drifted.kind.clone()).or_default() += 1;
        }
        match status.and_then(|status| status.condition("Ready")) {
            Some(condition) if condition.status == ConditionStatus::Unknown => {}
            Some(condition) => {
                let is = condition.status == ConditionStatus::True;
                ready.push(([name.to_string()], f64::from(u8::from(is))));
            }
            None => {
                let key = ("Ready".to_owned(), ConditionStatus::Unknown.as_str());
                *conditions.entry(key).or_default() += 1;
            }
        }
    }
    sheet.gauges(
        "cb_tenants",
        "Tenants, by the conditions in their statuses; every tenant has one Ready",
        ["condition", "status"],
        conditions
            .into_iter()
            .map(|((kind, status), n)| ([kind, status.to_owned()], n as f64)),
    )?;
    sheet.gauges(
        "cb_tenant_ready",
        "Whether a tenant is ready; absent while that is unknown, as for a suspended one",
        ["tenant"],
        ready,
    )?;
    let help = "Tenants that are being removed";
    sheet.gauge("cb_tenants_removing", help, removing as f64)?;
    sheet.gauges(
        "cb_units",
        "Units of tenants, by systemd's state of them",
        ["state"],
        units
            .into_iter()
            .map(|(state, n)| ([state.to_owned()], n as f64)),
    )?;
    sheet.gauges(
        "cb_drift",
        "Differences that nobody asked for and that are there now, by their kind",
        ["kind"],
        drift.into_iter().map(|(kind, n)| ([kind], n as f64)),
    )?;
    certificates(sheet, &tenants)?;
    ports(sheet, state, host)?;
    operations(sheet, state)?;
    backups(sheet, state, host)
}

fn certificates(
    sheet: &mut Sheet<'_>,
    tenants: &BTreeMap<TenantName, Versioned<PublishedTenant>>,
) -> fmt::Result {
    let end = |(name, tenant): (&TenantName, &Versioned<PublishedTenant>)| {
        let status = tenant.value.tenant.status.as_ref()?;
        let end: jiff::Timestamp = status.certificate.as_ref()?.not_after.parse().ok()?;
        Some(([name.to_string()], end.as_second() as f64))
    };
    sheet.gauges(
        "cb_certificate_not_after_timestamp_seconds",
        "Until when the certificate that a tenant's domains are served with is valid, in seconds since 1970",
        ["tenant"],
        tenants.iter().filter_map(end),
    )
}

fn operations(sheet: &mut Sheet<'_>, state: &State) -> fmt::Result {
    let kinds = [Kind::Upgrade, Kind::Backup, Kind::Restore];
    let mut under_way: BTreeMap<&str, u64> = kinds.map(|kind| (kind.as_str(), 0)).into();
    let mut halted = 0_u64;
    state.with_records(|records| {
        for record in records.values() {
            match &record.operation {
                Some(operation) if operation.phase == Phase::Halted => halted += 1,
                Some(operation) => *under_way.entry(operation.kind.as_str()).or_default() += 1,
                None => {}
            }
        }
    });
    let rows = under_way.into_iter();
    sheet.gauges(
        "cb_operations_under_way",
        "Upgrades, backups and restores that are under way",
        ["kind"],
        rows.map(|(kind, n)| ([kind.to_owned()], n as f64)),
    )?;
    let help = "Upgrades, backups and restores that need a person to go on";
    sheet.gauge("cb_operations_halted", help, halted as f64)
}

fn backups(sheet: &mut Sheet<'_>, state: &State, host: &HostSpec) -> fmt::Result {
    let (mut newest, mut periods) = (Vec::new(), Vec::new());
    state.with_records(|records| {
        for (name, record) in records {
            let made = record.newest_backup.as_ref();
            if let Some(made) = made.and_then(|at| at.parse::<jiff::Timestamp>().ok()) {
                newest.push(([name.to_string()], made.as_second() as f64));
            }
            let policy = &record.tenant.spec.database.backup;
            if let Some(hours) = policy.or(&host.defaults.backup).every_hours {
                periods.push(([name.to_string()], f64::from(hours) * 3600.0));
            }
        }
    });
    sheet.gauges(
        "cb_backup_newest_timestamp_seconds",
        "When a tenant's newest backup was made, in seconds since 1970",
        ["tenant"],
        newest,
    )?;
    sheet.gauges(
        "cb_backup_period_seconds",
        "How often a tenant is to be backed up, if its policy says so",
        ["tenant"],
        periods,
    )
}

/// Copies of backups off the host, as they were when they were last compared
/// with the backups.
///
/// # Errors
/// None: it writes to memory.
pub fn copies(sheet: &mut Sheet<'_>, seen: &BTreeMap<TenantName, Seen>) -> fmt::Result {
    let rows = |value: fn(&Seen) -> Option<f64>| {
        let rows = seen.iter().map(move |(name, seen)| (name, value(seen)));
        rows.filter_map(|(name, value)| Some(([name.to_string()], value?)))
    };
    sheet.gauges(
        "cb_backup_copies",
        "How many backups of a tenant have a copy off the host",
        ["tenant"],
        rows(|seen| Some(seen.copies.len() as f64)),
    )?;
    sheet.gauges(
        "cb_backup_copies_missing",
        "How many backups of a tenant have no copy off the host",
        ["tenant"],
        rows(|seen| Some(seen.missing as f64)),
    )?;
    sheet.gauges(
        "cb_backup_copy_newest_timestamp_seconds",
        "When the newest backup of a tenant that has a copy off the host was made, in seconds since 1970",
        ["tenant"],
        rows(|seen| seen.newest().map(|at| at.as_second() as f64)),
    )
}

fn ports(sheet: &mut Sheet<'_>, state: &State, host: &HostSpec) -> fmt::Result {
    let (ports, slots) = state.with_records(|records| {
        let ports = records.values().map(|record| &record.ports);
        let count = ports.clone().map(|ports| ports.by_service.len()).sum();
        (count, ports.filter(|ports| ports.slot.is_some()).count())
    });
    let (ports, slots): (usize, usize) = (ports, slots);
    sheet.gauge("cb_ports", "Ports that tenants have", ports as f64)?;
    let help = "Places in the port range that tenants have";
    sheet.gauge("cb_port_slots_used", help, slots as f64)?;
    let help = "Places in the port range";
    sheet.gauge("cb_port_slots", help, f64::from(host.ports.slots))
}

/// What tenants have on disk, and may have.
///
/// # Errors
/// None: it writes to memory.
pub fn disks(sheet: &mut Sheet<'_>, uses: &[(TenantName, DiskUse, Option<u64>)]) -> fmt::Result {
    let row = |name: &TenantName, bytes: u64| ([name.to_string()], bytes as f64);
    sheet.gauges(
        "cb_tenant_disk_bytes",
        "What a tenant had on disk when it was last looked at, in bytes",
        ["tenant"],
        uses.iter().map(|(name, found, _)| row(name, found.bytes)),
    )?;
    let limits = uses
        .iter()
        .filter_map(|(name, _, limit)| Some(row(name, (*limit)?)));
    sheet.gauges(
        "cb_tenant_disk_limit_bytes",
        "What a tenant may have on disk, in bytes",
        ["tenant"],
        limits,
    )
}

/// How often units ran anew, by tenant and unit.
///
/// # Errors
/// None: it writes to memory.
pub fn restarts(
    sheet: &mut Sheet<'_>,
    units: impl IntoIterator<Item = ([String; 2], u64)>,
) -> fmt::Result {
    sheet.counters(
        "cb_service_restarts",
        "Runs of a unit that followed another one, whoever started them; runs between two looks are one",
        ["tenant", "unit"],
        units.into_iter().map(|(unit, n)| (unit, n as f64)),
    )
}

/// What differs of the host itself and is left as it is.
///
/// # Errors
/// None: it writes to memory.
pub fn host_drift(sheet: &mut Sheet<'_>, found: &[DriftStatus]) -> fmt::Result {
    let row = |kind: &DriftKind| {
        let kind = kind.as_str();
        let there = found.iter().any(|drift| drift.kind == kind);
        ([kind.to_owned()], f64::from(u8::from(there)))
    };
    sheet.gauges(
        "cb_host_drift",
        "Whether the host itself differs from how it is kept and is left so, by kind",
        ["kind"],
        DriftKind::OF_HOST.iter().map(row),
    )
}

/// What the alert sinks were sent, by the names that the Host gives them.
///
/// # Errors
/// None: it writes to memory.
pub fn sinks(sheet: &mut Sheet<'_>, sinks: &[SinkCounts]) -> fmt::Result {
    let rows = |value: fn(&SinkCounts) -> f64| {
        let rows = sinks.iter().map(|sink| ([sink.name.clone()], value(sink)));
        rows.collect::<Vec<_>>()
    };
    sheet.counters(
        "cb_alerts_sent",
        "Messages that an alert sink has taken",
        ["sink"],
        rows(|sink| sink.delivered as f64),
    )?;
    sheet.counters(
        "cb_alerts_failed",
        "Tries to send a message that an alert sink did not take; each is tried again",
        ["sink"],
        rows(|sink| sink.failed as f64),
    )?;
    sheet.gauges(
        "cb_alerts_spooled",
        "Messages that wait for an alert sink",
        ["sink"],
        rows(|sink| sink.spooled as f64),
    )
}

/// The rollouts that are kept, and the tenants of those that are not over.
///
/// # Errors
/// None: it writes to memory.
pub fn rollouts<'a>(
    sheet: &mut Sheet<'_>,
    rollouts: impl IntoIterator<Item = &'a Rollout>,
) -> fmt::Result {
    let mut states = ROLLOUT_STATES.map(|state| (state, 0_u64));
    let mut phases = MEMBER_PHASES.map(|phase| (phase, 0_u64));
    for rollout in rollouts {
        let state = rollout.word();
        for (word, count) in &mut states {
            *count += u64::from(*word == state);
        }
        let open = rollout.tenants.iter().filter(|_| !rollout.is_over());
        for member in open {
            let phase = member.word();
            for (word, count) in &mut phases {
                *count += u64::from(*word == phase);
            }
        }
    }
    let row = |(word, count): (&'static str, u64)| ([word.to_owned()], count as f64);
    sheet.gauges(
        "cb_rollouts",
        "Rollouts that are under way or kept in the list, by state",
        ["state"],
        states.map(row),
    )?;
    sheet.gauges(
        "cb_rollout_tenants",
        "Tenants of the rollouts that are not over, by how far they are",
        ["phase"],
        phases.map(row),
    )
}

/// The queue of passes.
///
/// # Errors
/// None: it writes to memory.
pub fn queue(sheet: &mut Sheet<'_>, stats: Stats) -> fmt::Result {
    let help = "Tenants that wait for a pass, now or at a later time";
    sheet.gauge("cb_reconcile_queue_depth", help, stats.queued as f64)?;
    let help = "Passes that run";
    sheet.gauge("cb_reconcile_running", help, stats.running as f64)?;
    let help = "Passes that followed a failed one of the same tenant";
    sheet.counter("cb_reconcile_retries", help, stats.retries as f64)?;
    let help = "Passes that a newer manifest cut short";
    sheet.counter("cb_reconcile_superseded", help, stats.superseded as f64)?;
    let help = "Passes that ended by an error in the operator";
    sheet.counter("cb_reconcile_panics", help, stats.panics as f64)
}

/// What was asked of systemd and nginx for all tenants together.
///
/// # Errors
/// None: it writes to memory.
pub fn host(sheet: &mut Sheet<'_>, counts: Counts) -> fmt::Result {
    let rows = |rows: &[(&str, u64)]| -> Vec<([String; 1], f64)> {
        rows.iter()
            .map(|(result, n)| ([(*result).to_owned()], *n as f64))
            .collect()
    };
    let reloads = |done: cb_host::Tally| rows(&[("ok", done.ok), ("failed", done.failed)]);
    sheet.counters(
        "cb_systemd_daemon_reloads",
        "Times that systemd was asked to read its unit files again",
        ["result"],
        reloads(counts.daemon_reloads),
    )?;
    sheet.counters(
        "cb_nginx_reloads",
        "Times that nginx was asked to load its configuration again",
        ["result"],
        reloads(counts.nginx_reloads),
    )?;
    let tests = counts.nginx_tests;
    sheet.counters(
        "cb_nginx_tests",
        "Tests of nginx's configuration, by nginx's answer; failed if it gave none",
        ["result"],
        rows(&[
            ("accepted", tests.accepted),
            ("rejected", tests.rejected),
            ("failed", tests.failed),
        ]),
    )
}
