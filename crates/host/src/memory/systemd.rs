//! The units of a host in memory, as systemd runs them.
//!
//! A unit's text is taken over by a reload, not when its file is written; a
//! service runs the text and environment of the moment it was started. A
//! service that exits is started again, and after [`START_LIMIT`] starts in a
//! row it has failed and must be reset before it can be started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cb_core::observed::{UnitState, User};

use super::disk::Disk;

/// How often a service that exits at once is started in a row, see
/// `StartLimitBurst=` in systemd.unit(5).
pub const START_LIMIT: u32 = 5;

/// What a service was started with and runs with until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The unit's text.
    pub unit_text: String,
    /// The content of its environment file, if it has one.
    pub env: Option<String>,
    /// The content of the files that it was given as credentials.
    pub credentials: BTreeMap<PathBuf, String>,
    /// The id of this run.
    pub invocation_id: String,
    /// The user id of its process.
    pub uid: u32,
    /// The port it has bound.
    pub port: Option<u16>,
    /// Whether the database that its unit binds read-only was there.
    pub i360: bool,
}

/// What a unit is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Activity {
    #[default]
    Inactive,
    Active,
    /// It has exited and systemd will start it again.
    Waiting,
    Failed,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// The text that systemd has read.
    pub(super) loaded: Option<String>,
    pub(super) activity: Activity,
    pub(super) run: Option<Run>,
    invocation_id: Option<String>,
    /// Starts in a row that came to nothing.
    attempts: u32,
}

impl Unit {
    pub(super) fn state(&self) -> UnitState {
        let (active, sub) = match self.activity {
            Activity::Inactive => ("inactive", "dead"),
            Activity::Active => ("active", "running"),
            Activity::Waiting => ("activating", "auto-restart"),
            Activity::Failed => ("failed", "failed"),
        };
        let load = if self.loaded.is_some() {
            "loaded"
        } else {
            "not-found"
        };
        let runs = self.activity != Activity::Inactive;
        UnitState {
            active_state: active.to_owned(),
            sub_state: sub.to_owned(),
            load_state: load.to_owned(),
            invocation_id: self.invocation_id.clone().filter(|_| runs),
            exit: None,
        }
    }
}

/// What a service finds around it when it is started.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) disk: &'a Disk,
    pub(super) users: &'a BTreeMap<String, User>,
    /// Sockets that are not those of units.
    pub(super) sockets: &'a BTreeMap<u16, BTreeSet<u32>>,
    /// Whether a service with this run exits at once.
    pub(super) crashes: &'a dyn Fn(&Run) -> bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Systemd {
    pub(super) units: BTreeMap<String, Unit>,
    invocations: u64,
}

impl Systemd {
    /// Reads the unit files again; the first folder that has a unit wins.
    pub(super) fn reload(&mut self, disk: &Disk, folders: &[PathBuf]) {
        for unit in self.units.values_mut() {
            unit.loaded = None;
        }
        for folder in folders.iter().rev() {
            for (path, text) in disk.files_in(folder, ".service") {
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                    continue;
                };
                self.units.entry(name.to_owned()).or_default().loaded = Some(text.to_owned());
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.units
            .retain(|_, unit| unit.loaded.is_some() || unit.activity != Activity::Inactive);
    }

    pub(super) fn bound(&self) -> impl Iterator<Item = (u16, u32)> {
        let runs = self.units.values().filter_map(|unit| unit.run.as_ref());
        runs.filter_map(|run| Some((run.port?, run.uid)))
    }

    /// Starts a unit. A service that can be executed has started, even if it
    /// exits right after.
    pub(super) fn start(&mut self, name: &str, around: Surroundings<'_>) -> Result<String, String> {
        let Some(unit) = self
            .units
            .get_mut(name)
            .filter(|unit| unit.loaded.is_some())
        else {
            return Err(format!("unit {name} not found"));
        };
        match (&unit.activity, &unit.run) {
            (Activity::Active, Some(run)) => return Ok(run.invocation_id.clone()),
            (Activity::Failed, _) => {
                return Err(format!(
                    "start of {name} repeated too quickly; it must be reset first"
                ));
            }
            _ => {}
        }
        self.launch(name, around)
    }

    /// Gives the services that have exited their next starts, until each runs
    /// or has failed.
    pub(super) fn settle(&mut self, around: Surroundings<'_>) {
        for _ in 0..START_LIMIT {
            let waiting = self
                .units
                .iter()
                .filter(|(_, unit)| unit.activity == Activity::Waiting);
            let waiting: Vec<String> = waiting.map(|(name, _)| name.clone()).collect();
            for name in waiting {
                if self
                    .units
                    .get(&name)
                    .is_some_and(|unit| unit.loaded.is_none())
                {
                    self.end(&name, Activity::Failed);
                } else {
                    // What keeps it from running shows in its state.
                    let _ = self.launch(&name, around);
                }
            }
        }
    }

    fn launch(&mut self, name: &str, around: Surroundings<'_>) -> Result<String, String> {
        self.invocations += 1;
        let invocation_id = format!("{:032x}", self.invocations);
        let bound: BTreeSet<u16> = self.bound().map(|(port, _)| port).collect();
        let Some(unit) = self.units.get_mut(name) else {
            return Err(format!("unit {name} not found"));
        };
        let text = unit.loaded.clone().unwrap_or_default();
        unit.invocation_id = Some(invocation_id.clone());
        let run = execute(name, &text, &invocation_id, around);
        if let Ok(run) = &run {
            let taken = run
                .port
                .is_some_and(|port| bound.contains(&port) || around.sockets.contains_key(&port));
            if !taken && !(around.crashes)(run) {
                unit.run = Some(run.clone());
                unit.activity = Activity::Active;
                unit.attempts = 0;
                return Ok(invocation_id);
            }
        }
        unit.run = None;
        unit.attempts += 1;
        let failed = unit.attempts >= START_LIMIT;
        unit.activity = if failed {
            Activity::Failed
        } else {
            Activity::Waiting
        };
        run.map(|_| invocation_id)
    }

    pub(super) fn stop(&mut self, name: &str) {
        // A failed unit stays failed.
        if self
            .units
            .get(name)
            .is_some_and(|unit| unit.activity != Activity::Failed)
        {
            self.end(name, Activity::Inactive);
        }
    }

    /// Clears a failed state and the count of starts.
    pub(super) fn reset(&mut self, name: &str) {
        if let Some(unit) = self.units.get_mut(name) {
            unit.attempts = 0;
            if unit.activity == Activity::Failed {
                self.end(name, Activity::Inactive);
            }
        }
    }

    /// The process ends by itself.
    pub(super) fn end(&mut self, name: &str, activity: Activity) {
        if let Some(unit) = self.units.get_mut(name) {
            unit.run = None;
            unit.activity = activity;
            self.forget();
        }
    }
}

/// What a service runs with, if it can be executed at all.
fn execute(
    name: &str,
    text: &str,
    invocation_id: &str,
    around: Surroundings<'_>,
) -> Result<Run, String> {
    let setting = |key: &str| {
        text.lines()
            .rev()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    let uid = match setting("User") {
        None => 0,
        Some(user) => match around.users.get(user) {
            Some(user) => user.uid,
            None => return Err(format!("{name}: there is no user {user} (217/USER)")),
        },
    };
    if let Some(folder) = setting("WorkingDirectory")
        && !around.disk.is_folder(Path::new(folder))
    {
        return Err(format!("{name}: there is no folder {folder} (200/CHDIR)"));
    }
    let env = match setting("EnvironmentFile") {
        None => None,
        Some(file) => match around.disk.content(Path::new(file)) {
            Some(content) => Some(content.to_owned()),
            None => return Err(format!("{name}: cannot load environment file {file}")),
        },
    };
    let loads = |line: &str| {
        let (setting, value) = line.split_once('=')?;
        let load = matches!(setting, "LoadCredential" | "LoadCredentialEncrypted");
        value
            .split_once(':')
            .filter(|_| load)
            .map(|(_, path)| path.to_owned())
    };
    let mut credentials = BTreeMap::new();
    for path in text.lines().filter_map(loads) {
        match around.disk.content(Path::new(&path)) {
            Some(content) => drop(credentials.insert(PathBuf::from(path), content.to_owned())),
            None => return Err(format!("{name}: cannot load {path} (243/CREDENTIALS)")),
        }
    }
    let shared = setting("BindReadOnlyPaths").map(|path| Path::new(path.trim_start_matches('-')));
    Ok(Run {
        unit_text: text.to_owned(),
        env,
        credentials,
        invocation_id: invocation_id.to_owned(),
        uid,
        port: text
            .lines()
            .find_map(|l| l.strip_prefix("Environment=PORT=")?.parse().ok()),
        i360: shared.is_some_and(|path| around.disk.get(path).is_some()),
    })
}
