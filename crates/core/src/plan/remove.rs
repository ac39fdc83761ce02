//! The plan that takes a tenant down.
//!
//! Only what carries the tenant's mark is touched. With `Retain` the database,
//! uploads, `.env` and user stay; with `Delete` the data is moved into the
//! backups folder before anything of it is removed. A failing step of one
//! aspect does not keep the others from being done, but the tenant is
//! forgotten only when all of them were.

use std::collections::BTreeSet;

use super::converge::proxy::certificates;
use super::converge::{is_owned, units_without_file};
use super::{Action, Aspect, Cause, Plan, Step};
use crate::api::Host;
use crate::layout::{Layout, user_name};
use crate::mark::Owner;
use crate::observed::Observed;
use crate::record::{Phase, Record};

/// What is left to do to take the tenant down in the way its record's phase
/// says. Empty once it is [`Phase::Retained`], or [`Phase::Active`].
#[must_use]
pub fn remove(observed: &Observed, record: &Record, host: &Host) -> Plan {
    let delete = match record.phase {
        Phase::Active | Phase::Retained => return Plan::default(),
        Phase::Retaining => false,
        Phase::Deleting => true,
    };
    let mut removal = Removal {
        observed,
        record,
        layout: Layout::new(&host.spec),
        owner: Owner::Tenant(record.name().to_string()),
        plan: Plan::default(),
    };
    removal.site();
    removal.units();
    if delete {
        removal.data();
    }
    let last = if delete {
        Action::RemoveRecord
    } else {
        Action::RecordRetained
    };
    removal.step(Aspect::Base, last, "everything else is done");
    removal.plan
}

struct Removal<'a> {
    observed: &'a Observed,
    record: &'a Record,
    layout: Layout<'a>,
    owner: Owner,
    plan: Plan,
}

impl Removal<'_> {
    fn step(&mut self, aspect: Aspect, action: Action, reason: &str) {
        let cause = Cause::Change;
        self.plan.steps.push(Step {
            aspect,
            action,
            reason: reason.to_owned(),
            cause,
        });
    }

    fn site(&mut self) {
        let site = self.layout.site_file(self.record.name());
        if is_owned(self.observed, &site, &self.owner) {
            self.step(
                Aspect::Proxy,
                Action::RemoveSite(site),
                "the tenant is removed",
            );
        }
        let kept = certificates(self.observed, &self.owner, self.layout);
        let kept: Vec<_> = kept.cloned().collect();
        for path in kept {
            let action = Action::RemoveFile(path);
            self.step(Aspect::Proxy, action, "the tenant is removed");
        }
    }

    fn units(&mut self) {
        let reason = "the tenant is removed";
        // A unit whose file somebody took away may still run.
        let owned = &self.observed.owned_units;
        let gone = units_without_file(self.observed, self.record, self.layout);
        let units: BTreeSet<String> = owned.iter().cloned().chain(gone).collect();
        for unit in units.iter().rev() {
            let state = self.observed.units.get(unit);
            if state
                .is_some_and(|state| !matches!(state.active_state.as_str(), "inactive" | "failed"))
            {
                self.step(Aspect::Services, Action::Stop(unit.clone()), reason);
            }
        }
        let enabled: Vec<String> = units
            .iter()
            .filter(|unit| self.observed.enabled.contains(*unit))
            .cloned()
            .collect();
        if !enabled.is_empty() {
            self.step(Aspect::Services, Action::Disable(enabled), reason);
        }
        for unit in owned {
            let file = self.layout.unit_file(unit);
            self.step(Aspect::Services, Action::RemoveUnit(file), reason);
        }
        if !owned.is_empty() {
            self.step(Aspect::Services, Action::ReloadUnits, "unit files changed");
        }
    }

    fn data(&mut self) {
        let reason = "deletionPolicy is Delete";
        let name = self.record.name().clone();
        let env_dir = self.layout.env_dir(&name);
        let data = self.layout.data(&name);
        let exists = |path| self.observed.paths.contains_key(path);
        if exists(&data) || exists(&env_dir) {
            self.step(Aspect::Data, Action::ArchiveData(name.clone()), reason);
        }
        let sysusers = self.layout.sysusers_file(&name);
        // The user goes before its definition: the definition is what tells
        // that it is ours. Where somebody took that away, a pass that was once
        // complete tells it.
        let defined = is_owned(self.observed, &sysusers, &self.owner);
        let known = self.record.applied.is_some() && !exists(&sysusers);
        if (defined || known) && self.observed.user.is_some() {
            self.step(Aspect::Data, Action::RemoveUser(user_name(&name)), reason);
        }
        if defined {
            self.step(Aspect::Data, Action::RemoveFile(sysusers), reason);
        }
    }
}
