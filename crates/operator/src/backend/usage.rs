//! What the services of tenants use, what tenants have on disk, and their
//! restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use cb_core::disk::limit_of;
use cb_core::record::{Phase, Record};
use cb_core::types::TenantName;
use cb_host::usage::{self, CGROUPS, Usage};

use crate::api::{Refusal, ServiceUsage, TenantUsage};
use crate::daemon::Daemon;

/// What a share of the processor is measured over.
const WINDOW: Duration = Duration::from_millis(500);

type Readings = BTreeMap<String, Usage>;

/// What every tenant's services use: two readings of all control groups, a
/// short time apart, or one without the processor.
pub(super) async fn all<H: cb_host::Host + 'static>(
    daemon: &Daemon<H>,
    processor: bool,
) -> Vec<TenantUsage> {
    let list = daemon.engine.state.tenants().list();
    let units: BTreeSet<String> = list
        .items
        .values()
        .filter_map(|item| item.value.tenant.status.as_ref())
        .flat_map(|status| status.services.iter().map(|service| service.unit.clone()))
        .collect();
    let started = Instant::now();
    let mut before = Readings::new();
    if processor {
        before = read(units.clone()).await;
        tokio::time::sleep(WINDOW).await;
    }
    let after = read(units).await;
    let elapsed = started.elapsed();
    let of = |name: &str, unit: &str| {
        let (before, after) = (before.get(unit), after.get(unit));
        ServiceUsage {
            name: name.to_owned(),
            unit: unit.to_owned(),
            cpu_millicores: millicores(before, after, elapsed),
            memory_bytes: after.and_then(|after| after.memory_bytes),
        }
    };
    let disks = daemon.engine.disks.uses();
    let disks: BTreeMap<_, _> = disks
        .iter()
        .map(|(name, found, _)| (name, found.bytes))
        .collect();
    let (state, spec) = (&daemon.engine.state, &daemon.engine.spec);
    let limit = |name: &TenantName| {
        let record = state.record(name)?;
        limit_of(&record.tenant.spec, spec).map(|limit| limit.bytes())
    };
    let shown = list.items.iter().map(|(tenant, item)| {
        let status = item.value.tenant.status.as_ref();
        let services = status.map_or(&[][..], |status| &status.services);
        TenantUsage {
            tenant: tenant.to_string(),
            services: services.iter().map(|s| of(&s.name, &s.unit)).collect(),
            disk_bytes: disks.get(tenant).copied(),
            disk_limit_bytes: limit(tenant),
        }
    });
    shown.collect()
}

async fn read(units: BTreeSet<String>) -> Readings {
    let work = move || usage::of_units(Path::new(CGROUPS), &units);
    // Nothing is known if it fails, and that is what is said then.
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// The share of one processor in thousandths, rounded up; none for a service
/// that was started between the two readings.
fn millicores(before: Option<&Usage>, after: Option<&Usage>, elapsed: Duration) -> Option<u64> {
    let used = after?.cpu_micros?.checked_sub(before?.cpu_micros?)?;
    let elapsed = u64::try_from(elapsed.as_micros()).ok()?.max(1);
    Some((used * 1000).div_ceil(elapsed))
}

impl<H: cb_host::Host + 'static> Daemon<H> {
    /// Has every service of a tenant started anew by its next pass. It is
    /// recorded first, so that it happens whatever is killed in between.
    pub(super) async fn record_restart(&self, tenant: &str) -> Result<(), Refusal> {
        let _turn = self.writing.lock().await;
        let name: TenantName = tenant.parse().map_err(|_| Refusal::NotFound)?;
        let record = self.engine.state.record(&name).ok_or(Refusal::NotFound)?;
        if let Some(why) = why_not(&record) {
            return Err(Refusal::Conflict(format!(
                "the services of tenant `{name}` are not restarted: {why}"
            )));
        }
        let stale = |record: &mut Record| {
            for started in record.services.values_mut() {
                Record::STALE.clone_into(&mut started.revision);
            }
            // Somebody asked for what follows: it is no drift.
            record.applied = Some(Record::APPLYING.to_owned());
        };
        let saved = self.engine.state.update(&name, stale).await;
        saved
            .map(drop)
            .map_err(|error| Refusal::Internal(error.to_string()))
    }
}

fn why_not(record: &Record) -> Option<&'static str> {
    if record.phase != Phase::Active {
        Some("it is being removed")
    } else if record.operation.is_some() {
        Some("an operation is under way; wait for its end, or see `cbctl describe`")
    } else if record.tenant.spec.suspend {
        Some("it is suspended; `cbctl resume` ends that")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_needs_two_readings_of_the_same_run() {
        let at = |cpu| Usage {
            cpu_micros: cpu,
            memory_bytes: None,
        };
        let half = Duration::from_millis(500);
        let share = |a, b| millicores(Some(&at(a)), Some(&at(b)), half);
        assert_eq!(share(Some(0), Some(250_000)), Some(500));
        assert_eq!(share(Some(7), Some(7)), Some(0));
        assert_eq!(share(Some(7), Some(8)), Some(1));
        // It was restarted in between, or is not accounted for.
        assert_eq!(share(Some(9), Some(8)), None);
        assert_eq!(share(None, Some(8)), None);
        assert_eq!(millicores(None, Some(&at(Some(1))), half), None);
    }
}
