//! The plan that makes the host equal to a desired state.
//!
//! [`Planner`] goes through what a tenant is made of: what all else needs
//! (`base`), the site (`proxy`), environment, `credentials` and units
//! (`services`). `compare`
//! tells a managed file or folder from what was seen in its place.

mod adopt;
mod base;
mod compare;
pub(crate) mod credentials;
pub(super) mod proxy;
mod services;

use std::path::{Path, PathBuf};

use super::{Action, Aspect, Blocked, Cause, Hold, Plan, Step};
use crate::api::DriftPolicy;
use crate::api::Host;
use crate::desired::{Desired, DesiredService};
use crate::disk;
use crate::drift;
use crate::layout::{Layout, unit_name};
use crate::mark::Owner;
use crate::observed::{FOREIGN_UNIT_FOLDERS, Observed, PathState, UnitState};
use crate::record::{Ports, Record};
use crate::status::ProblemReason;

/// Compares the desired state of a tenant with what was seen. `ports` are the
/// ports that `desired` was made with.
#[must_use]
pub fn converge(
    desired: &Desired,
    ports: &Ports,
    observed: &Observed,
    record: &Record,
    host: &Host,
) -> Plan {
    // What an operation does was asked for; it is carried to its end.
    let under_way = record.operation.is_some();
    // Its services are stopped and started as it goes on.
    let disk = record.disk.as_ref().filter(|_| !under_way);
    let asked = under_way || record.applied.as_deref() != Some(desired.digest().as_str());
    let layout = Layout::new(&host.spec);
    let policy = record
        .tenant
        .spec
        .drift_policy
        .unwrap_or(host.spec.defaults.drift_policy);
    let mut planner = Planner {
        desired,
        observed,
        record,
        layout,
        owner: Owner::Tenant(desired.tenant.to_string()),
        cause: if asked { Cause::Change } else { Cause::Drift },
        policy,
        full: disk.and_then(disk::stopped),
        plan: Plan::default(),
    };
    if !asked {
        planner.plan.drifts = drift::find(desired, observed, record, layout);
    }
    planner.what_is_in_the_way();
    planner.base(ports);
    if !planner.plan.blocked.is_empty() {
        // Nothing is done under a user of somebody else, or without the data.
        planner.plan.steps.clear();
        return planner.plan;
    }
    // Before the services, which take longer: so that many new tenants ask for
    // their reload of nginx at about the same time and share it.
    planner.proxy();
    let stale_units = planner.leftover_units();
    if planner.services_are_ours() {
        planner.services(&stale_units);
    }
    let full = planner.full.is_some();
    let mut plan = planner.plan;
    if full && policy == DriftPolicy::Detect {
        // Drift is left as it is; what keeps the disk from filling is not.
        plan.steps.retain(|step| step.cause == Cause::Change);
    }
    let for_the_host = plan.steps.iter().any(|step| !step.action.is_record());
    plan.hold = if record.tenant.spec.suspend && !under_way {
        Some(Hold::Suspended)
    } else if !asked && !full && policy == DriftPolicy::Detect && for_the_host {
        Some(Hold::Detect)
    } else {
        None
    };
    plan
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    record: &'a Record,
    layout: Layout<'a>,
    owner: Owner,
    cause: Cause,
    policy: DriftPolicy,
    /// Why the services must not run, if the tenant fills the disk.
    full: Option<String>,
    plan: Plan,
}

impl Planner<'_> {
    fn step(&mut self, aspect: Aspect, action: Action, reason: impl Into<String>) {
        self.plan.steps.push(Step {
            aspect,
            action,
            reason: reason.into(),
            cause: self.cause,
        });
    }

    fn block(&mut self, aspect: Aspect, reason: ProblemReason, message: String) {
        self.plan.blocked.push(Blocked {
            aspect,
            reason,
            message,
        });
    }

    fn unit(&self, name: &str) -> Option<&UnitState> {
        self.observed.units.get(name)
    }

    /// The user id of another's process that has bound the service's port.
    fn port_holder(&self, service: &DesiredService) -> Option<u32> {
        let own = self.observed.user.map(|user| user.uid);
        let holders = self.observed.bound.get(&service.port)?;
        holders.iter().find(|uid| Some(**uid) != own).copied()
    }

    fn is_owned(&self, path: &PathBuf) -> bool {
        is_owned(self.observed, path, &self.owner)
    }
}

/// Whether a path is a file with this owner's mark.
pub(super) fn is_owned(observed: &Observed, path: &PathBuf, owner: &Owner) -> bool {
    matches!(observed.paths.get(path), Some(PathState::File { owner: Some(found), .. }) if found == owner)
}

/// The units of the record's services that run, or start at boot, though
/// somebody took their files away. One that has a file elsewhere is not ours.
pub(super) fn units_without_file<'a>(
    observed: &'a Observed,
    record: &'a Record,
    layout: Layout<'a>,
) -> impl Iterator<Item = String> + 'a {
    let services = record.services.keys().chain(record.ports.by_service.keys());
    let units = services.map(|service| unit_name(record.name(), service.as_str()));
    units.filter(move |unit| {
        let foreign = FOREIGN_UNIT_FOLDERS.map(|folder| Path::new(folder).join(unit));
        let has_file = [layout.unit_file(unit)]
            .iter()
            .chain(&foreign)
            .any(|path| observed.paths.contains_key(path));
        let runs = observed
            .units
            .get(unit)
            .is_some_and(|state| !matches!(state.active_state.as_str(), "inactive" | "failed"));
        !has_file && (runs || observed.enabled.contains(unit))
    })
}
