//! Drift: how a tenant on the host differs from what was applied, although
//! nobody asked for it.
//!
//! `find` is part of planning and as pure: it names each difference that the
//! planner acts on, for people. What is done about it is in the plan's steps;
//! that a change of ours is never drift is the planner's word too
//! ([`crate::plan::Cause`]).

mod find;
mod kind;

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use find::find;
pub use find::schema;
pub use kind::{DriftKind, Remedy, reference};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// How it differs.
    pub kind: DriftKind,
    /// What: a path, a unit, a port or a user.
    pub what: String,
    /// The difference in words. Never the content of a file.
    pub detail: String,
    /// Who did it, if that is known for certain.
    pub by: Option<Actor>,
}

/// `UnitMode of /etc/…: its mode is 666 instead of 644 (by chmod, …)`.
impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, by) = (self.kind.as_str(), self.by.as_ref());
        in_words(f, [kind, &self.what, &self.detail], by)
    }
}

fn in_words(
    f: &mut fmt::Formatter<'_>,
    [kind, what, detail]: [&str; 3],
    by: Option<&Actor>,
) -> fmt::Result {
    write!(f, "{kind} of {what}: {detail}")?;
    match by {
        Some(by) => write!(f, " (by {by})"),
        None => Ok(()),
    }
}

/// A process that changed something, as far as it could be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// Its process id.
    pub pid: u32,
    /// The name of its command, for example `vim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The file of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// The user id that it ran with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The user id that its session was logged in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
}

/// In words: `vim, user 0, logged in as user 1000`. Without the process id, if
/// more is known: the same again has the same words.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command.as_ref().or(self.executable.as_ref()) {
            Some(command) => f.write_str(command)?,
            None => write!(f, "process {}", self.pid)?,
        }
        if let Some(uid) = self.uid {
            write!(f, ", user {uid}")?;
        }
        match self.login_uid {
            Some(login) => write!(f, ", logged in as user {login}"),
            None => Ok(()),
        }
    }
}

/// What of a tenant was put right of late, as its record has it: what is undone
/// again and again is not fought at full speed, over restarts too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fought {
    /// How it differed.
    pub kind: DriftKind,
    /// What did.
    pub what: String,
    /// How often it was put right since it was quiet.
    pub times: u32,
    /// How often that had to wait.
    #[serde(default)]
    pub pauses: u32,
    /// When it was put right last, oldest first.
    pub recent: Vec<Timestamp>,
}

/// A difference in a tenant's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// How it differs; `docs/drift.md` explains each kind.
    pub kind: String,
    /// What differs: a path, a unit, a port or a user.
    pub what: String,
    /// The difference in words.
    pub detail: String,
    /// Since when it is seen (RFC 3339, UTC).
    pub since: String,
    /// Who did it; absent if that is not known for certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

impl fmt::Display for DriftStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_words(f, [&self.kind, &self.what, &self.detail], self.by.as_ref())
    }
}

impl DriftStatus {
    /// The differences as a status has them. One that was there before keeps
    /// its time, and who did it.
    #[must_use]
    pub fn of(drifts: &[Drift], previous: &[DriftStatus], now: &str) -> Vec<DriftStatus> {
        let status = |drift: &Drift| {
            let kind = drift.kind.as_str();
            let before = previous
                .iter()
                .find(|before| before.kind == kind && before.what == drift.what);
            DriftStatus {
                kind: kind.to_owned(),
                what: drift.what.clone(),
                detail: drift.detail.clone(),
                since: before.map_or_else(|| now.to_owned(), |before| before.since.clone()),
                by: drift
                    .by
                    .clone()
                    .or_else(|| before.and_then(|before| before.by.clone())),
            }
        };
        drifts.iter().map(status).collect()
    }
}
