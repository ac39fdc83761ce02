//! What there truly is on a host in memory, for assertions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cb_core::layout::Layout;
use cb_core::observed::{Health, UnitState, User};
use cb_core::types::TenantName;

use super::disk::Node;
use super::systemd::Run;
use super::world::World;
use super::{Logged, MemoryHost};
use crate::host::Probe;

/// Everything on a host that an action could change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Files, folders and links.
    pub files: BTreeMap<PathBuf, Node>,
    /// Users.
    pub users: BTreeMap<String, User>,
    /// What the services run with, by unit.
    pub running: BTreeMap<String, Run>,
    /// The texts that systemd has read, by unit.
    pub loaded: BTreeMap<String, String>,
    /// The states of the units that systemd knows.
    pub units: BTreeMap<String, UnitState>,
    /// The sites that nginx serves.
    pub served: BTreeMap<PathBuf, String>,
}

impl MemoryHost {
    /// What a unit runs with; `None` if it does not run.
    #[must_use]
    pub fn running(&self, unit: &str) -> Option<Run> {
        self.with(|world| world.systemd.units.get(unit)?.run.clone())
    }

    /// What systemd says about a unit; `None` if it does not know it.
    #[must_use]
    pub fn unit_state(&self, unit: &str) -> Option<UnitState> {
        self.with(|world| Some(world.systemd.units.get(unit)?.state()))
    }

    /// The text of a unit that systemd has read.
    #[must_use]
    pub fn loaded(&self, unit: &str) -> Option<String> {
        self.with(|world| world.systemd.units.get(unit)?.loaded.clone())
    }

    /// Whether a unit starts at boot.
    #[must_use]
    pub fn is_enabled(&self, unit: &str) -> bool {
        self.with(|world| world.disk.get(&world.wants(unit)).is_some())
    }

    /// What is at a path.
    #[must_use]
    pub fn node(&self, path: impl AsRef<Path>) -> Option<Node> {
        self.with(|world| world.disk.get(path.as_ref()).cloned())
    }

    /// The content of a file.
    #[must_use]
    pub fn content(&self, path: impl AsRef<Path>) -> Option<String> {
        self.with(|world| world.disk.content(path.as_ref()).map(str::to_owned))
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<User> {
        self.with(|world| world.users.get(name).copied())
    }

    /// The text of a site as nginx serves it, whatever its file says by now.
    #[must_use]
    pub fn served(&self, site: impl AsRef<Path>) -> Option<String> {
        self.with(|world| world.nginx.served.get(site.as_ref()).cloned())
    }

    /// The archived files of a tenant, by path.
    #[must_use]
    pub fn archived(&self, tenant: &TenantName) -> BTreeMap<PathBuf, String> {
        self.with(|world| {
            let folder = Layout::new(&world.spec).backups().join(tenant.as_str());
            let files = world
                .disk
                .0
                .iter()
                .filter(|(path, _)| path.starts_with(&folder));
            files
                .filter_map(|(p, node)| Some((p.clone(), node.content()?.to_owned())))
                .collect()
        })
    }

    /// Everything.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.with(|world| {
            let units = &world.systemd.units;
            Snapshot {
                files: world.disk.0.clone(),
                users: world.users.clone(),
                running: units
                    .iter()
                    .filter_map(|(n, u)| Some((n.clone(), u.run.clone()?)))
                    .collect(),
                loaded: units
                    .iter()
                    .filter_map(|(n, u)| Some((n.clone(), u.loaded.clone()?)))
                    .collect(),
                units: units.iter().map(|(n, u)| (n.clone(), u.state())).collect(),
                served: world.nginx.served.clone(),
            }
        })
    }

    /// The user ids by bound port.
    #[must_use]
    pub fn bound(&self) -> BTreeMap<u16, BTreeSet<u32>> {
        self.with(|world| world.bound())
    }

    /// The actions that were asked for, in order.
    #[must_use]
    pub fn log(&self) -> Vec<Logged> {
        self.lock().log.clone()
    }

    /// Forgets the log and the effects.
    pub fn clear_log(&self) {
        let mut inner = self.lock();
        inner.log.clear();
        inner.world.effects.clear();
    }

    /// The effects there were, in words.
    #[must_use]
    pub fn effects(&self) -> Vec<String> {
        self.with(|world| world.effects.clone())
    }

    /// What was done to a tenant that nobody may do, in words.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.with(|world| world.violations.clone())
    }
}

impl World {
    pub(super) fn probe(&self, probe: &Probe) -> Health {
        let unhealthy = |error: &str| Health {
            error: Some(error.to_owned()),
            ..Health::default()
        };
        let run = self
            .systemd
            .units
            .get(&probe.unit)
            .and_then(|unit| unit.run.as_ref());
        match run {
            None => unhealthy("connection refused"),
            Some(run) if run.invocation_id != probe.invocation_id => {
                unhealthy("another run of the unit answers")
            }
            Some(run) if run.port.is_some_and(|port| port != probe.port) => {
                unhealthy("connection refused")
            }
            Some(run) => self.health.get(&probe.unit).cloned().unwrap_or_else(|| {
                let lines = run.env.as_deref().unwrap_or_default().lines();
                let version = lines
                    .filter_map(|line| line.strip_prefix("CB_VERSION="))
                    .next_back();
                let version = version.map(str::to_owned);
                Health {
                    ok: true,
                    version,
                    ..Health::default()
                }
            }),
        }
    }
}
