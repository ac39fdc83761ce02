//! All that there is on a host in memory, and the count of effects on it.
//!
//! Every change that the operator makes goes through [`World::effect`], one
//! per step that a machine does at once (a rename, a call to systemd). That is
//! where it is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cb_core::api::HostSpec;
use cb_core::disk::{DiskUse, Enforcement};
use cb_core::layout::{Layout, user_name};
use cb_core::mark::Owner;
use cb_core::observed::{FOREIGN_UNIT_FOLDERS, Health, Observed, Scope, User};
use cb_core::secret::{Opened, SecretSource};
use cb_core::status::ProblemReason;
use cb_core::types::{ObjectName, TenantName, Version};

use super::disk::{Disk, Node};
use super::nginx::Nginx;
use super::systemd::{Activity, Run, Surroundings, Systemd};
use crate::host::{ActionError, HostEvent};

type Crashes = Arc<dyn Fn(&Run) -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) struct World {
    pub(super) spec: HostSpec,
    pub(super) disk: Disk,
    pub(super) users: BTreeMap<String, User>,
    pub(super) systemd: Systemd,
    pub(super) nginx: Nginx,
    /// Sockets that are not those of units: user ids by port.
    pub(super) sockets: BTreeMap<u16, BTreeSet<u32>>,
    pub(super) secrets: BTreeMap<SecretSource, Result<Opened, String>>,
    pub(super) health: BTreeMap<String, Health>,
    pub(super) crashes: Crashes,
    /// The schema versions that the migrations of releases lead to.
    pub(super) schemas: BTreeMap<(ObjectName, Version), i64>,
    /// What tenants have on disk, of those that have something.
    pub(super) disk_uses: BTreeMap<TenantName, DiskUse>,
    pub(super) disk_free: u64,
    /// How many effects the operator has left to live.
    pub(super) budget: Option<u64>,
    /// The effects there were, in words.
    pub(super) effects: Vec<String>,
    /// What nobody may do to a tenant and was done.
    pub(super) violations: Vec<String>,
    pub(super) events: Vec<HostEvent>,
}

pub(super) fn died() -> ActionError {
    ActionError {
        reason: ProblemReason::Failed,
        message: "the operator was cut off".to_owned(),
        transient: false,
    }
}

pub(super) fn failed(reason: ProblemReason, message: impl Into<String>) -> ActionError {
    ActionError {
        reason,
        message: message.into(),
        transient: false,
    }
}

/// The pending markers of shared steps.
pub(super) const DAEMON_RELOAD: &str = "daemon-reload";
pub(super) const NGINX_RELOAD: &str = "nginx-reload";

impl World {
    pub(super) fn new(spec: HostSpec) -> Self {
        let mut world = Self {
            spec,
            disk: Disk::default(),
            users: BTreeMap::new(),
            systemd: Systemd::default(),
            nginx: Nginx::default(),
            sockets: BTreeMap::new(),
            secrets: BTreeMap::new(),
            health: BTreeMap::new(),
            crashes: Arc::new(|_| false),
            schemas: BTreeMap::new(),
            disk_uses: BTreeMap::new(),
            disk_free: u64::MAX,
            budget: None,
            effects: Vec::new(),
            violations: Vec::new(),
            events: Vec::new(),
        };
        let layout = Layout::new(&world.spec);
        let paths = &world.spec.paths;
        let mut folders = vec![
            layout.records(),
            layout.releases(),
            layout.tenants(),
            layout.backups(),
            world
                .marker(DAEMON_RELOAD)
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default(),
            Path::new(paths.units.as_str()).join("multi-user.target.wants"),
        ];
        let named = [&paths.env, &paths.sysusers, &world.spec.nginx.sites];
        folders.extend(named.map(|path| PathBuf::from(path.as_str())));
        folders.extend(FOREIGN_UNIT_FOLDERS.map(PathBuf::from));
        for folder in folders {
            world.disk.make_folders(&folder);
        }
        world
    }

    /// One step that the machine does at once, by the operator.
    pub(super) fn effect(&mut self, what: impl Into<String>) -> Result<(), ActionError> {
        if self.is_dead() {
            return Err(died());
        }
        if let Some(left) = &mut self.budget {
            *left -= 1;
        }
        self.effects.push(what.into());
        Ok(())
    }

    pub(super) fn is_dead(&self) -> bool {
        self.budget == Some(0)
    }

    /// The file that says that a shared step has to be done.
    pub(super) fn marker(&self, name: &str) -> PathBuf {
        Path::new(self.spec.paths.state.as_str())
            .join("pending")
            .join(name)
    }

    pub(super) fn sites(&self) -> BTreeMap<PathBuf, String> {
        Nginx::sites(&self.disk, Path::new(self.spec.nginx.sites.as_str()))
    }

    pub(super) fn daemon_reload(&mut self) {
        let folders = [self.spec.paths.units.as_str()]
            .into_iter()
            .chain(FOREIGN_UNIT_FOLDERS);
        let folders: Vec<PathBuf> = folders.map(PathBuf::from).collect();
        self.systemd.reload(&self.disk, &folders);
        self.events.push(HostEvent::Everything);
    }

    /// Does something to systemd that may start services, and tells of it.
    pub(super) fn systemd<R>(
        &mut self,
        unit: &str,
        act: impl FnOnce(&mut Systemd, Surroundings<'_>) -> R,
    ) -> R {
        let crashes = Arc::clone(&self.crashes);
        let around = Surroundings {
            disk: &self.disk,
            users: &self.users,
            sockets: &self.sockets,
            crashes: &*crashes,
        };
        let result = act(&mut self.systemd, around);
        self.events.push(HostEvent::Unit(unit.to_owned()));
        result
    }

    pub(super) fn changed(&mut self, path: &Path) {
        self.events.push(HostEvent::Path(path.to_owned()));
    }

    pub(super) fn wants(&self, unit: &str) -> PathBuf {
        Path::new(self.spec.paths.units.as_str())
            .join("multi-user.target.wants")
            .join(unit)
    }

    /// What a new operator process does first: the shared steps that the one
    /// before it did not finish.
    pub(super) fn finish_pending(&mut self) {
        self.budget = None;
        let marker = self.marker(DAEMON_RELOAD);
        if self.disk.get(&marker).is_some() {
            self.daemon_reload();
            self.disk.remove(&marker);
        }
        let marker = self.marker(NGINX_RELOAD);
        if self.disk.get(&marker).is_some() {
            let sites = self.sites();
            if self.nginx.reload(sites) {
                self.disk.remove(&marker);
            }
        }
    }

    /// The machine goes down and comes up: what is enabled runs.
    pub(super) fn reboot(&mut self) {
        let names: Vec<String> = self.systemd.units.keys().cloned().collect();
        for name in names {
            self.systemd.reset(&name);
            self.systemd.end(&name, Activity::Inactive);
        }
        self.daemon_reload();
        self.nginx.running = true;
        let sites = self.sites();
        self.nginx.reload(sites);
        let mut units: Vec<String> = self.systemd.units.keys().cloned().collect();
        units.retain(|unit| self.disk.get(&self.wants(unit)).is_some());
        for unit in units {
            // A service that cannot start shows it in its state.
            let _ = self.systemd(&unit, |systemd, around| systemd.start(&unit, around));
        }
        self.systemd("", |systemd, around| systemd.settle(around));
    }

    pub(super) fn observe(&self, scope: &Scope) -> Observed {
        let layout = Layout::new(&self.spec);
        let owner = Some(Owner::Tenant(scope.tenant.to_string()));
        let units_folder = Path::new(self.spec.paths.units.as_str());
        let owned = self.disk.files_in(units_folder, ".service");
        let owned_units: BTreeSet<String> = owned
            .filter(|(_, text)| Owner::of(text.as_bytes()) == owner)
            .filter_map(|(path, _)| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        let names: BTreeSet<&String> = scope.units.iter().chain(&owned_units).collect();
        let mut paths = scope.paths.clone();
        paths.extend(owned_units.iter().map(|unit| layout.unit_file(unit)));
        let certificates = layout.certificates();
        let kept = self.disk.files_in(&certificates, ".pem");
        let kept = kept.filter(|(_, text)| Owner::of(text.as_bytes()) == owner);
        paths.extend(kept.map(|(path, _)| path.to_owned()));
        let seen = |path: PathBuf| {
            let state = self.disk.get(&path)?.state();
            Some((path, state))
        };
        let in_credentials = |path: &&PathBuf| path.parent() == Some(&scope.credentials);
        paths.extend(self.disk.0.keys().filter(in_credentials).cloned());
        let secret = |source: &SecretSource| {
            let missing = || Err("there is no such file".to_owned());
            let read = self.secrets.get(source).cloned();
            (source.clone(), read.unwrap_or_else(missing))
        };
        let unit = |name: &&String| Some(((*name).clone(), self.systemd.units.get(*name)?.state()));
        let enabled = names
            .iter()
            .filter(|unit| self.disk.get(&self.wants(unit)).is_some());
        Observed {
            user: self.users.get(&scope.user).copied(),
            paths: paths.into_iter().filter_map(seen).collect(),
            units: names.iter().filter_map(unit).collect(),
            enabled: enabled.map(|unit| (*unit).clone()).collect(),
            release: scope
                .release
                .as_ref()
                .is_some_and(|path| self.disk.is_folder(path)),
            secrets: scope.secrets.iter().map(secret).collect(),
            i360: scope
                .i360
                .as_ref()
                .is_some_and(|path| self.disk.get(path).is_some()),
            bound: self.bound().into(),
            reload_owed: self.disk.get(&self.marker(DAEMON_RELOAD)).is_some(),
            proxy_running: self.nginx.running,
            owned_units,
            ..Observed::default()
        }
    }

    pub(super) fn disk_use(&self, tenant: &TenantName) -> DiskUse {
        let nothing = DiskUse {
            bytes: 0,
            enforcement: Enforcement::Watched,
            counted: true,
        };
        self.disk_uses.get(tenant).copied().unwrap_or(nothing)
    }

    pub(super) fn bound(&self) -> BTreeMap<u16, BTreeSet<u32>> {
        let mut bound = self.sockets.clone();
        for (port, uid) in self.systemd.bound() {
            bound.entry(port).or_default().insert(uid);
        }
        bound
    }

    /// The units that run under the tenant's user.
    pub(super) fn running_as(&self, tenant: &TenantName) -> Vec<String> {
        let Some(user) = self.users.get(&user_name(tenant)) else {
            return Vec::new();
        };
        let units = self.systemd.units.iter();
        let run = units.filter(|(_, unit)| unit.run.as_ref().is_some_and(|r| r.uid == user.uid));
        run.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn put(&mut self, path: &Path, node: Node) -> Result<(), String> {
        self.disk.write(path, node)?;
        self.changed(path);
        Ok(())
    }
}
