//! The environment and the units, and which of them are stopped and started.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::compare::Difference;
use super::{Planner, units_without_file};
use crate::api::DriftPolicy;
use crate::desired::DesiredService;
use crate::observed::{FOREIGN_UNIT_FOLDERS, UnitState};
use crate::plan::{Action, Aspect, Cause, Step};
use crate::status::ProblemReason;

impl Planner<'_> {
    /// Units of the tenant that no service wants any more.
    pub(super) fn leftover_units(&self) -> Vec<String> {
        let wanted: BTreeSet<&str> = self
            .desired
            .services
            .iter()
            .map(|s| s.unit.as_str())
            .collect();
        let owned = self.observed.owned_units.iter().cloned();
        let mut units: BTreeSet<String> = owned.collect();
        units.extend(units_without_file(self.observed, self.record, self.layout));
        units
            .into_iter()
            .filter(|unit| !wanted.contains(unit.as_str()))
            .collect()
    }

    /// Whether nothing that is not ours is in the way of the units and the
    /// environment. If something is, none of the services is touched.
    pub(super) fn services_are_ours(&mut self) -> bool {
        let blocked = self.plan.blocked.len();
        if let Difference::Conflict(message) = self.differs(&self.desired.env) {
            self.block(Aspect::Services, ProblemReason::Conflict, message);
        }
        self.credentials_are_ours();
        for service in &self.desired.services {
            if let Difference::Conflict(message) = self.differs(&service.file) {
                self.block(Aspect::Services, ProblemReason::Conflict, message);
                continue;
            }
            let foreign = FOREIGN_UNIT_FOLDERS.map(|folder| Path::new(folder).join(&service.unit));
            let masks = self.observed.masks(&service.unit);
            if let Some(path) = foreign
                .iter()
                .find(|path| self.observed.paths.contains_key(*path) && !masks.contains(path))
            {
                let message = format!(
                    "unit {} exists in {} and is not the operator's; remove it, or choose another tenant name",
                    service.unit,
                    path.display()
                );
                self.block(Aspect::Services, ProblemReason::Conflict, message);
            }
        }
        self.plan.blocked.len() == blocked
    }

    pub(super) fn services(&mut self, leftover: &[String]) {
        let desired = self.desired;
        let mut reload = false;
        self.record_what_runs();
        self.mark_stale();
        if let Difference::Differs(reason) = self.differs(&desired.env) {
            self.make_room(Aspect::Services, &desired.env);
            self.step(
                Aspect::Services,
                Action::WriteFile(desired.env.clone()),
                reason,
            );
        }
        self.credentials();
        for service in &desired.services {
            reload |= self.set_overrides_aside(service);
            if let Difference::Differs(reason) = self.differs(&service.file) {
                self.make_room(Aspect::Services, &service.file);
                self.step(
                    Aspect::Services,
                    Action::WriteUnit(service.file.clone()),
                    reason,
                );
                reload = true;
            }
        }
        for unit in leftover {
            reload |= self.take_down(unit);
        }
        if reload {
            self.step(Aspect::Services, Action::ReloadUnits, "unit files changed");
        }
        let disabled: Vec<String> = desired
            .services
            .iter()
            .map(|service| service.unit.clone())
            .filter(|unit| !self.observed.enabled.contains(unit))
            .collect();
        if !disabled.is_empty() {
            self.step(
                Aspect::Services,
                Action::Enable(disabled),
                "the units do not start at boot",
            );
        }
        match self.full.clone() {
            Some(message) => self.stop_for_the_disk(message),
            None => self.run(),
        }
        self.old_credentials();
    }

    /// Stops what runs, last service first. That is asked for, by the limit:
    /// so the start that follows it one day is no drift either.
    fn stop_for_the_disk(&mut self, message: String) {
        for service in self.desired.services.iter().rev() {
            let state = self.unit(&service.unit);
            if state.is_some_and(|state| state.is_active() || state.is_starting()) {
                self.plan.steps.push(Step {
                    aspect: Aspect::Services,
                    action: Action::Stop(service.unit.clone()),
                    reason: "the tenant has reached its limit on disk".to_owned(),
                    cause: Cause::Change,
                });
            }
        }
        self.block(Aspect::Services, ProblemReason::DiskLimitReached, message);
    }

    /// Takes away what makes the unit another than the one that was written.
    /// Returns whether there is something.
    fn set_overrides_aside(&mut self, service: &DesiredService) -> bool {
        let overrides = self.overrides(service);
        for path in &overrides {
            let action = Action::SetAside(path.clone());
            // One drop-in may be for all units of the tenant.
            if self.plan.steps.iter().all(|step| step.action != action) {
                let reason = format!("it overrides {}", service.unit);
                self.step(Aspect::Services, action, reason);
            }
        }
        !overrides.is_empty()
    }

    /// With `Detect` they stay, also when a change is applied.
    pub(super) fn overrides(&self, service: &DesiredService) -> Vec<PathBuf> {
        if self.cause == Cause::Change && self.policy == DriftPolicy::Detect {
            return Vec::new();
        }
        let masks = self.observed.masks(&service.unit);
        let drop_ins = self.observed.drop_ins.get(&service.unit);
        masks
            .into_iter()
            .chain(drop_ins.into_iter().flatten().cloned())
            .collect()
    }

    /// A running service whose unit or environment file differs may have been
    /// started with the difference: somebody restarted it since, or nobody
    /// knows what it was started with. That is known from the difference
    /// alone, which the next steps remove: so it is recorded first.
    fn mark_stale(&mut self) {
        let stale: Vec<_> = self
            .desired
            .services
            .iter()
            .filter(|service| {
                self.files_differ(service)
                    && !self.runs_as_desired(service)
                    && match self.record.services.get(&service.name) {
                        Some(started) => {
                            started.revision == service.revision && self.restarted_since(service)
                        }
                        None => self
                            .unit(&service.unit)
                            .is_some_and(|unit| unit.is_active() || unit.is_starting()),
                    }
            })
            .map(|service| service.name.clone())
            .collect();
        if !stale.is_empty() {
            let known = stale
                .iter()
                .all(|name| self.record.services.contains_key(name));
            let reason = if known {
                "they were restarted by somebody and their files had been changed"
            } else {
                "it is not known what they run with"
            };
            self.step(Aspect::Services, Action::RecordStale(stale), reason);
        }
    }

    fn restarted_since(&self, service: &DesiredService) -> bool {
        let recorded = self
            .record
            .services
            .get(&service.name)
            .and_then(|s| s.invocation_id.as_ref());
        let seen = self
            .unit(&service.unit)
            .and_then(|unit| unit.invocation_id.as_ref());
        seen.is_some() && recorded != seen
    }

    /// Takes a unit down. Returns whether its file is to be removed.
    fn take_down(&mut self, unit: &str) -> bool {
        let reason = "the application has no such service any more";
        if self
            .unit(unit)
            .is_some_and(|state| state.active_state != "inactive")
        {
            self.step(Aspect::Services, Action::Stop(unit.to_owned()), reason);
        }
        if self.observed.enabled.contains(unit) {
            self.step(
                Aspect::Services,
                Action::Disable(vec![unit.to_owned()]),
                reason,
            );
        }
        let has_file = self.observed.owned_units.contains(unit);
        if has_file {
            let file = self.layout.unit_file(unit);
            self.step(Aspect::Services, Action::RemoveUnit(file), reason);
        }
        has_file
    }

    /// Stops what has to be restarted, last service first, then starts what
    /// should run, first service first.
    fn run(&mut self) {
        let desired = self.desired;
        let mut stopped: Vec<&str> = Vec::new();
        let mut to_start: Vec<(&DesiredService, String, bool)> = Vec::new();
        for service in &desired.services {
            let state = self.unit(&service.unit).cloned().unwrap_or_default();
            let running = state.is_active() || state.is_starting();
            match self.why_restart(service, &state) {
                Some(reason) if running => {
                    stopped.push(&service.unit);
                    to_start.push((service, reason, false));
                }
                // systemd tries again and again; say why it will not work.
                _ if state.is_starting() => {
                    self.port_is_taken(service);
                }
                _ if running => self.adopt(service, &state),
                // A start would cancel the stop that is under way, and tell the
                // person who asked for it that it failed. Its end is an event.
                _ if state.is_stopping() => {}
                _ if state.is_failed() => match self.observed.backing_off.get(&service.unit) {
                    Some(when) => {
                        let message = format!(
                            "{} has failed again and again; {when}; see `journalctl -u {}`",
                            service.unit, service.unit
                        );
                        self.block(Aspect::Services, ProblemReason::CrashLoop, message);
                    }
                    None => to_start.push((service, "it has failed".to_owned(), true)),
                },
                _ => to_start.push((service, "it does not run".to_owned(), false)),
            }
        }
        to_start.retain(|(service, ..)| !self.port_is_taken(service));
        let reloads = |step: &Step| step.action == Action::ReloadUnits;
        if self.observed.reload_owed && !to_start.is_empty() && !self.plan.steps.iter().any(reloads)
        {
            // A unit must not be started as it was before.
            let reason = "systemd has not read all unit files yet";
            self.step(Aspect::Services, Action::ReloadUnits, reason);
        }
        for unit in stopped.into_iter().rev() {
            let Some((_, reason, _)) = to_start.iter().find(|(s, ..)| s.unit == unit) else {
                continue;
            };
            let reason = reason.clone();
            self.step(Aspect::Services, Action::Stop(unit.to_owned()), reason);
        }
        for (service, reason, reset) in to_start {
            let action = Action::Start {
                unit: service.unit.clone(),
                service: service.name.clone(),
                revision: service.revision.clone(),
                reset,
            };
            self.step(Aspect::Services, action, reason);
        }
    }

    /// Why a running service has to be restarted.
    fn why_restart(&self, service: &DesiredService, state: &UnitState) -> Option<String> {
        match self.record.services.get(&service.name) {
            Some(started) if started.revision != service.revision => {
                Some("it runs with an older unit, environment or credential".into())
            }
            // Planned above to be recorded as stale.
            Some(_)
                if self.files_differ(service)
                    && self.restarted_since(service)
                    && !self.runs_as_desired(service) =>
            {
                Some("it was restarted while its files were changed".into())
            }
            Some(_)
                if self.observed.outlived.contains(&service.unit)
                    && self.restarted_since(service) =>
            {
                Some("it was restarted before its release was put right".into())
            }
            Some(started) if self.observed.i360 && !started.i360 => {
                Some("the i360 database was not there when it was started".into())
            }
            Some(_) => None,
            None if self.runs_as_desired(service) => None,
            None if self.files_differ(service) && (state.is_active() || state.is_starting()) => {
                Some("it is not known what it runs with".into())
            }
            None => None,
        }
    }

    fn files_differ(&self, service: &DesiredService) -> bool {
        !self.overrides(service).is_empty()
            || matches!(self.differs(&service.file), Difference::Differs(_))
            || matches!(self.differs(&self.desired.env), Difference::Differs(_))
            || self.credentials_differ()
            || !self.observed.release_changes.is_empty()
    }

    fn adopt(&mut self, service: &DesiredService, state: &UnitState) {
        let known = self.record.services.contains_key(&service.name);
        if state.is_active() && !known && !self.runs_as_desired(service) {
            let action = Action::RecordStarted {
                service: service.name.clone(),
                unit: service.unit.clone(),
                revision: service.revision.clone(),
                invocation_id: state.invocation_id.clone(),
            };
            self.step(
                Aspect::Services,
                action,
                "it runs and its files are as they should be",
            );
        }
    }

    /// A port that another user's process holds keeps the service from
    /// starting; it is not even tried.
    fn port_is_taken(&mut self, service: &DesiredService) -> bool {
        let Some(uid) = self.port_holder(service) else {
            return false;
        };
        let message = format!(
            "port {} of service {} is bound by a process of user id {uid}; stop that process (`ss -ltnp 'sport = :{}'` shows it)",
            service.port, service.name, service.port
        );
        self.block(Aspect::Services, ProblemReason::PortTaken, message);
        true
    }
}
