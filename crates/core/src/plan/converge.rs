//! The plan that makes the host equal to a desired state.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Action, Aspect, BlockReason, Blocked, Cause, Hold, Plan, Step};
use crate::api::DriftPolicy;
use crate::api::Host;
use crate::desired::{Desired, DesiredService, Folder, FolderOwner, ManagedFile};
use crate::layout::{Layout, unit_name};
use crate::mark::Owner;
use crate::observed::{FOREIGN_UNIT_FOLDERS, Observed, PathState, UnitState};
use crate::record::{Ports, Record};

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
    let asked = record.applied.as_deref() != Some(desired.digest().as_str());
    let mut planner = Planner {
        desired,
        observed,
        record,
        layout: Layout::new(&host.spec),
        owner: Owner::Tenant(desired.tenant.to_string()),
        cause: if asked { Cause::Change } else { Cause::Drift },
        plan: Plan::default(),
    };
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
    let mut plan = planner.plan;
    let policy = record
        .tenant
        .spec
        .drift_policy
        .unwrap_or(host.spec.defaults.drift_policy);
    let for_the_host = plan.steps.iter().any(|step| !step.action.is_record());
    plan.hold = if record.tenant.spec.suspend {
        Some(Hold::Suspended)
    } else if !asked && policy == DriftPolicy::Detect && for_the_host {
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

    fn block(&mut self, aspect: Aspect, reason: BlockReason, message: String) {
        self.plan.blocked.push(Blocked {
            aspect,
            reason,
            message,
        });
    }

    fn base(&mut self, ports: &Ports) {
        if self.record.ports != *ports {
            self.step(
                Aspect::Base,
                Action::RecordPorts(ports.clone()),
                "the tenant has no such ports yet",
            );
        }
        self.user();
        for folder in &self.desired.folders {
            if self.is_lost(folder) {
                let message = format!(
                    "{} is gone, and the tenant had data in it: is a file system not mounted? Put it back, or make the folder by hand to start with an empty one",
                    folder.path.display()
                );
                self.block(Aspect::Base, BlockReason::DataMissing, message);
                continue;
            }
            if let Some(reason) = self.folder_differs(folder) {
                let action = Action::EnsureFolder {
                    folder: folder.clone(),
                    user: self.desired.user.clone(),
                };
                self.step(Aspect::Base, action, reason);
            }
        }
        if !self.observed.release {
            let action = Action::InstallRelease(self.desired.release.clone());
            self.step(Aspect::Base, action, "the release is not installed");
        }
    }

    fn user(&mut self) {
        let file = &self.desired.sysusers;
        let user = &self.desired.user;
        match self.differs(file) {
            // Before the first pass was complete, a user without a definition
            // of ours was made by somebody else (law 3).
            Difference::Differs(_)
                if self.observed.user.is_some()
                    && !self.observed.paths.contains_key(&file.path)
                    && self.record.applied.is_none()
                    && self.observed.owned_units.is_empty() =>
            {
                let message = format!(
                    "user {user} exists and was not made by the operator; rename it, or choose another tenant name"
                );
                self.block(Aspect::Base, BlockReason::Conflict, message);
            }
            Difference::Conflict(message) => {
                self.block(Aspect::Base, BlockReason::Conflict, message)
            }
            Difference::Differs(reason) => self.ensure_user(reason),
            Difference::None if self.observed.user.is_none() => {
                self.ensure_user("the user does not exist".into())
            }
            Difference::None => {}
        }
    }

    fn ensure_user(&mut self, reason: String) {
        let action = Action::EnsureUser {
            user: self.desired.user.clone(),
            file: self.desired.sysusers.clone(),
        };
        self.step(Aspect::Base, action, reason);
    }

    /// Law 5: a tenant that had a folder for its data must not be started on an
    /// empty one. Units are made after the folders, so they prove it too when
    /// the records are lost.
    fn is_lost(&self, folder: &Folder) -> bool {
        let had = self.record.applied.is_some() || !self.observed.owned_units.is_empty();
        had && folder.owner == FolderOwner::Tenant
            && !self.observed.paths.contains_key(&folder.path)
    }

    fn folder_differs(&self, folder: &Folder) -> Option<String> {
        let (mode, uid, gid) = match self.observed.paths.get(&folder.path) {
            None => return Some("the folder does not exist".into()),
            Some(PathState::Folder { mode, uid, gid }) => (*mode, *uid, *gid),
            // The action fails with what is there; nothing is overwritten.
            Some(PathState::File { .. }) => return Some("a file is in its place".into()),
            Some(PathState::Other(what)) => return Some(format!("{what} is in its place")),
        };
        let owner = match (folder.owner, self.observed.user) {
            (FolderOwner::Root, _) => (0, 0),
            (FolderOwner::Tenant, Some(user)) => (user.uid, user.gid),
            (FolderOwner::Tenant, None) => return Some("its owner does not exist yet".into()),
        };
        if (uid, gid) != owner {
            return Some(format!(
                "it belongs to {uid}:{gid} instead of {}:{}",
                owner.0, owner.1
            ));
        }
        (mode != folder.mode).then(|| format!("its mode is {mode:o} instead of {:o}", folder.mode))
    }

    /// Units of the tenant that no service wants any more.
    fn leftover_units(&self) -> Vec<String> {
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
    fn services_are_ours(&mut self) -> bool {
        let blocked = self.plan.blocked.len();
        if let Difference::Conflict(message) = self.differs(&self.desired.env) {
            self.block(Aspect::Services, BlockReason::Conflict, message);
        }
        for service in &self.desired.services {
            if let Difference::Conflict(message) = self.differs(&service.file) {
                self.block(Aspect::Services, BlockReason::Conflict, message);
                continue;
            }
            let foreign = FOREIGN_UNIT_FOLDERS.map(|folder| Path::new(folder).join(&service.unit));
            if let Some(path) = foreign
                .iter()
                .find(|path| self.observed.paths.contains_key(*path))
            {
                let message = format!(
                    "unit {} exists in {} and is not the operator's; remove it, or choose another tenant name",
                    service.unit,
                    path.display()
                );
                self.block(Aspect::Services, BlockReason::Conflict, message);
            }
        }
        self.plan.blocked.len() == blocked
    }

    fn services(&mut self, leftover: &[String]) {
        let desired = self.desired;
        let mut reload = false;
        self.mark_stale();
        if let Difference::Differs(reason) = self.differs(&desired.env) {
            self.step(
                Aspect::Services,
                Action::WriteFile(desired.env.clone()),
                reason,
            );
        }
        for service in &desired.services {
            if let Difference::Differs(reason) = self.differs(&service.file) {
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
        self.run();
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

    fn unit(&self, name: &str) -> Option<&UnitState> {
        self.observed.units.get(name)
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
                        self.block(Aspect::Services, BlockReason::CrashLoop, message);
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
                Some("it runs with an older unit or environment".into())
            }
            // Planned above to be recorded as stale.
            Some(_) if self.files_differ(service) && self.restarted_since(service) => {
                Some("it was restarted while its files were changed".into())
            }
            Some(started) if self.observed.i360 && !started.i360 => {
                Some("the i360 database was not there when it was started".into())
            }
            Some(_) => None,
            None if self.files_differ(service) && (state.is_active() || state.is_starting()) => {
                Some("it is not known what it runs with".into())
            }
            None => None,
        }
    }

    fn files_differ(&self, service: &DesiredService) -> bool {
        matches!(self.differs(&service.file), Difference::Differs(_))
            || matches!(self.differs(&self.desired.env), Difference::Differs(_))
    }

    fn adopt(&mut self, service: &DesiredService, state: &UnitState) {
        if state.is_active() && !self.record.services.contains_key(&service.name) {
            let action = Action::RecordStarted {
                service: service.name.clone(),
                unit: service.unit.clone(),
                revision: service.revision.clone(),
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
        self.block(Aspect::Services, BlockReason::PortTaken, message);
        true
    }

    /// The user id of another's process that has bound the service's port.
    fn port_holder(&self, service: &DesiredService) -> Option<u32> {
        let own = self.observed.user.map(|user| user.uid);
        let holders = self.observed.bound.get(&service.port)?;
        holders.iter().find(|uid| Some(**uid) != own).copied()
    }

    fn proxy(&mut self) {
        let desired = self.desired;
        let held = desired
            .services
            .iter()
            .find_map(|s| Some((s.port, self.port_holder(s)?)));
        let path = self.layout.site_file(&self.desired.tenant);
        match &desired.site {
            Some(file) => match self.differs(file) {
                Difference::None => {}
                // It would show another's pages under the tenant's domains.
                Difference::Differs(_) if let Some((port, uid)) = held => {
                    let message = format!(
                        "the site is not put live while port {port} is bound by a process of user id {uid}"
                    );
                    self.block(Aspect::Proxy, BlockReason::PortTaken, message);
                }
                Difference::Differs(reason) => {
                    self.step(Aspect::Proxy, Action::WriteSite(file.clone()), reason);
                }
                Difference::Conflict(message) => {
                    self.block(Aspect::Proxy, BlockReason::Conflict, message)
                }
            },
            None if self.is_owned(&path) => {
                self.step(
                    Aspect::Proxy,
                    Action::RemoveSite(path),
                    "the tenant has no domains",
                );
            }
            None => {}
        }
    }

    fn is_owned(&self, path: &PathBuf) -> bool {
        is_owned(self.observed, path, &self.owner)
    }

    /// How the file on the host differs from the desired one.
    fn differs(&self, file: &ManagedFile) -> Difference {
        let (digest, owner, mode, uid, gid) = match self.observed.paths.get(&file.path) {
            None => return Difference::Differs("the file does not exist".into()),
            Some(PathState::File {
                digest,
                owner,
                mode,
                uid,
                gid,
            }) => (digest, owner, *mode, *uid, *gid),
            Some(PathState::Folder { .. }) => return self.conflict(file, "a folder"),
            Some(PathState::Other(what)) => return self.conflict(file, what),
        };
        match owner {
            Some(owner) if *owner == self.owner => {}
            Some(owner) => return self.conflict(file, &format!("a file of {owner}")),
            None => return self.conflict(file, "a file without the operator's mark"),
        }
        if *digest != file.digest() {
            return Difference::Differs("its content differs".into());
        }
        if mode != file.mode {
            return Difference::Differs(format!("its mode is {mode:o} instead of {:o}", file.mode));
        }
        if (uid, gid) != (0, 0) {
            return Difference::Differs(format!("it belongs to {uid}:{gid} instead of root"));
        }
        Difference::None
    }

    fn conflict(&self, file: &ManagedFile, what: &str) -> Difference {
        Difference::Conflict(format!(
            "{} is {what}, not one that the operator wrote for this tenant; move it away, or choose another tenant name",
            file.path.display()
        ))
    }
}

enum Difference {
    None,
    Differs(String),
    Conflict(String),
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
