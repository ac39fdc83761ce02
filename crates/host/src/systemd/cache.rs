//! The state of all services, as the bus told it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use cb_core::observed::{Exit, UnitState};
use data_encoding::HEXLOWER;
use zbus::{OwnedObjectPath, Variant};

/// One row of `ListUnits`: name, description, load state, active state, sub
/// state, following, path, job id, job type, job path.
pub(super) type Row = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

const UNIT_PREFIX: &str = "/org/freedesktop/systemd1/unit/";
const SUFFIX: &str = ".service";

/// How many ends are remembered: those of short-lived units of others too.
const MAX_EXITS: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct Cache {
    units: BTreeMap<String, UnitState>,
    /// How runs ended. A unit that is stopped is soon taken away by systemd,
    /// and no listing tells how it ended: so this outlives the unit.
    exits: HashMap<String, Exit>,
    /// The units that somebody asked for a job on since they ran.
    asked: HashSet<String>,
    /// Whether systemd reads its unit files again and so takes every unit away
    /// for a moment.
    reloading: bool,
}

impl Cache {
    pub(super) fn get(&self, name: &str) -> Option<UnitState> {
        self.units.get(name).cloned()
    }

    /// Takes in a complete listing. Returns the services that differ from what
    /// was known.
    pub(super) fn replace(&mut self, rows: Vec<Row>) -> Vec<String> {
        self.reloading = false;
        let before = std::mem::take(&mut self.units);
        self.merge(rows);
        let (old, new) = (&before, &self.units);
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        let other = new
            .iter()
            .filter(|(name, state)| old.get(*name) != Some(state));
        gone.chain(other.map(|(name, _)| name)).cloned().collect()
    }

    /// Takes in the listing of some units.
    pub(super) fn merge(&mut self, rows: Vec<Row>) {
        for (name, _, load_state, active_state, sub_state, ..) in rows {
            if name.ends_with(SUFFIX) {
                let invocation_id = invocation_of(&name);
                let exit = self.exits.get(&name).cloned();
                let state = UnitState {
                    active_state,
                    sub_state,
                    load_state,
                    invocation_id,
                    exit,
                };
                self.units.insert(name, state);
            }
        }
    }

    /// systemd tells of the end of a run before it tells of the new state.
    fn note_exit(&mut self, name: &str, changed: &HashMap<&str, Variant<'_>>) {
        let Some(Variant::Str(result)) = changed.get("Result") else {
            return;
        };
        let number = |property: &str| match changed.get(property) {
            Some(Variant::I32(number)) => *number,
            _ => 0,
        };
        if self.exits.len() >= MAX_EXITS {
            self.exits.clear();
        }
        let exit = Exit {
            result: result.as_str().to_owned(),
            code: number("ExecMainCode"),
            status: number("ExecMainStatus"),
            asked: self.asked.contains(name),
        };
        if exit.code == 0 && exit.result == "success" {
            // A run that goes on.
            self.exits.remove(name);
        } else {
            self.exits.insert(name.to_owned(), exit);
        }
    }

    /// Somebody asked for a job on a unit.
    pub(super) fn job_asked(&mut self, name: &str) {
        if self.units.get(name).is_some_and(UnitState::is_active) {
            self.asked.insert(name.to_owned());
        }
    }

    /// How the last run of a unit ended that systemd has taken away.
    pub(super) fn exit(&self, name: &str) -> Option<&Exit> {
        self.exits.get(name)
    }

    /// Until the complete listing that follows a daemon-reload, a unit that is
    /// taken away is taken for one that comes back.
    pub(super) fn begin_reload(&mut self) {
        self.reloading = true;
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        !self.reloading && self.units.remove(name).is_some()
    }

    /// Takes in changed properties. Returns whether anything is new.
    pub(super) fn change(&mut self, name: &str, changed: &HashMap<&str, Variant<'_>>) -> bool {
        let text = |property: &str| match changed.get(property) {
            Some(Variant::Str(text)) => Some(text.as_str().to_owned()),
            _ => None,
        };
        self.note_exit(name, changed);
        let active = text("ActiveState");
        let invocation = changed.get("InvocationID").and_then(hex);
        if active.is_none() && invocation.is_none() && !changed.contains_key("SubState") {
            return false;
        }
        let before = self.units.get(name);
        let mut state = before.cloned().unwrap_or_else(|| UnitState {
            load_state: "loaded".to_owned(),
            ..UnitState::default()
        });
        if let Some(active) = active {
            state.active_state = active;
        }
        if state.is_active() && !before.is_some_and(UnitState::is_active) {
            self.asked.remove(name);
        }
        if let Some(sub) = text("SubState") {
            state.sub_state = sub;
        }
        if let Some(load) = text("LoadState") {
            state.load_state = load;
        }
        if let Some(invocation) = invocation {
            state.invocation_id = Some(invocation).filter(|id| !id.is_empty());
        }
        state.exit = self.exits.get(name).cloned();
        if before == Some(&state) {
            return false;
        }
        self.units.insert(name.to_owned(), state);
        true
    }
}

/// systemd keeps the invocation of every running unit in a link, so that the
/// journal need not ask it either.
fn invocation_of(unit: &str) -> Option<String> {
    let target = std::fs::read_link(invocation_link(unit)).ok()?;
    Some(target.to_str()?.to_owned())
}

/// systemd makes this link when a run of a unit begins; it leads to its
/// InvocationID.
pub(crate) fn invocation_link(unit: &str) -> PathBuf {
    Path::new("/run/systemd/units").join(format!("invocation:{unit}"))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(value: &Variant<'_>) -> Option<String> {
    let Variant::Array(bytes) = value else {
        return None;
    };
    let byte = |byte: &Variant<'_>| match byte {
        Variant::U8(byte) => Some(*byte),
        _ => None,
    };
    let bytes: Vec<u8> = bytes.iter().map(byte).collect::<Option<_>>()?;
    Some(HEXLOWER.encode(&bytes))
}

/// The service that an object path stands for: everything but letters and
/// digits is escaped as `_xx`.
pub(super) fn service_of(path: &str) -> Option<String> {
    let escaped = path.strip_prefix(UNIT_PREFIX)?;
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let code = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(code).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    name.ends_with(SUFFIX).then_some(name)
}

/// The object path of a unit.
pub(super) fn path_of(unit: &str) -> String {
    let mut path = UNIT_PREFIX.to_owned();
    for (place, byte) in unit.bytes().enumerate() {
        let plain = byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && place > 0);
        match plain {
            true => path.push(byte.into()),
            false => path.push_str(&format!("_{byte:02x}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_come_from_unit_names() {
        for unit in ["ky04-api.service", "04-api.service", "cb_job_x.service"] {
            assert_eq!(service_of(&path_of(unit)).as_deref(), Some(unit));
        }
        let path = path_of("04_a.service");
        assert_eq!(path, format!("{UNIT_PREFIX}_304_5fa_2eservice"));
    }

    #[test]
    fn unit_names_come_from_object_paths() {
        let name = |escaped: &str| service_of(&format!("{UNIT_PREFIX}{escaped}"));
        assert_eq!(
            name("ky04_2dapi_2eservice").as_deref(),
            Some("ky04-api.service")
        );
        assert_eq!(
            name("_304_2dapi_2eservice").as_deref(),
            Some("04-api.service")
        );
        assert_eq!(name("dbus_2esocket"), None);
        assert_eq!(name("broken_2"), None);
        assert_eq!(service_of("/org/freedesktop/systemd1"), None);
    }

    #[test]
    fn a_change_counts_only_if_something_is_new() {
        let mut cache = Cache::default();
        let id = Variant::new(vec![0xab_u8, 0x01]);
        let changed = HashMap::from([
            ("ActiveState", Variant::new("active")),
            ("SubState", Variant::new("running")),
            ("InvocationID", id),
        ]);
        assert!(cache.change("a.service", &changed));
        assert!(!cache.change("a.service", &changed));
        let state = cache.get("a.service").unwrap();
        assert_eq!(state.invocation_id.as_deref(), Some("ab01"));
        assert!(state.is_active());
        let memory = HashMap::from([("MainPID", Variant::new(7_u32))]);
        assert!(!cache.change("b.service", &memory));
        assert_eq!(cache.get("b.service"), None);
        assert!(cache.remove("a.service"));
        assert!(!cache.remove("a.service"));
    }

    /// A stop and a kill look the same but for the job.
    #[test]
    fn an_end_that_was_asked_for_is_known() {
        let mut cache = Cache::default();
        let active = |word: &'static str| HashMap::from([("ActiveState", Variant::new(word))]);
        let ended = HashMap::from([
            ("Result", Variant::new("success")),
            ("ExecMainCode", Variant::new(2_i32)),
            ("ExecMainStatus", Variant::new(15_i32)),
        ]);
        let mut run = |asked: bool| {
            cache.change("a.service", &active("active"));
            if asked {
                cache.job_asked("a.service");
            }
            assert!(!cache.change("a.service", &ended));
            assert!(cache.change("a.service", &active("inactive")));
            let exit = cache.get("a.service").unwrap().exit.unwrap();
            assert_eq!((exit.code, exit.status), (2, 15));
            exit.asked
        };
        assert!(run(true) && !run(false) && run(true));
        assert!(cache.remove("a.service"));
        assert!(cache.exit("a.service").is_some());
    }

    /// Law 8: systemd takes all units away and brings them back when it reads
    /// its files; a running service is never seen as stopped for that.
    #[test]
    fn a_unit_outlives_a_reload_and_is_gone_if_the_listing_lacks_it() {
        let mut cache = Cache::default();
        let changed = HashMap::from([("ActiveState", Variant::new("active"))]);
        assert!(cache.change("a.service", &changed));
        cache.begin_reload();
        assert!(!cache.remove("a.service"));
        assert!(cache.get("a.service").unwrap().is_active());
        assert_eq!(cache.replace(Vec::new()), ["a.service"]);
        assert!(cache.change("a.service", &changed));
        assert!(cache.remove("a.service"));
    }
}
