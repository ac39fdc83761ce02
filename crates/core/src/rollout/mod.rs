//! Fleet upgrades: many tenants brought to one version, in waves.
//!
//! A [`Rollout`] is its own journal. What it does next is decided here, from
//! what came of what it asked; who asks, saves the journal before that and
//! looks at the tenants is the operator's.
//!
//! ```text
//!            ┌──── wave: ask, wait for each ────┐
//! Running ───┤                                  ├─▶ Succeeded
//!   ▲  │     └─ pause ◀── within the budget ◀───┤
//!   │  ▼                                        └─▶ Failed (stopped)
//! Paused                       undo ─▶ Running ───▶ Undone
//! ```
//!
//! A tenant is journaled as [`Phase::Asking`] before it is asked and as
//! [`Phase::Asked`] after it. [`look`] tells from a tenant's record what came
//! of it, so a journal that was left at any instruction goes on.

mod look;
mod machine;
mod wave;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::types::{BackupId, TenantName, Version};

pub use look::{Aim, Sight, last_operation, look};
pub use machine::{Came, Refused};
pub use wave::WaveSize;

/// Many tenants on their way to one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Its identifier: `rollout-` and a number that grows.
    pub id: String,
    /// What was asked for.
    pub spec: Spec,
    /// How far it is.
    pub state: State,
    /// Whether it brings the tenants back that it upgraded.
    #[serde(default)]
    pub undo: bool,
    /// What came of it, in words, once it has ended or was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many waves were begun.
    pub wave: u32,
    /// When the next wave begins, between two waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_wave: Option<Timestamp>,
    /// How many failures count no more, because a person had it go on.
    #[serde(default)]
    pub forgiven: usize,
    /// When it was started.
    pub started: Timestamp,
    /// When it ended or was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Its tenants, in the order that they are asked in.
    pub tenants: Vec<Member>,
}

/// What a rollout is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The label selector that the tenants were chosen by at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The tenants that were named at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<TenantName>,
    /// The version.
    pub target_version: Version,
    /// How many tenants are asked at the same time; a tenth by default.
    #[serde(default)]
    pub wave: WaveSize,
    /// Seconds between the end of a wave and the next one; 0 by default.
    #[serde(default)]
    pub pause_seconds: u32,
    /// How many tenants may fail before it stops; 0 by default.
    #[serde(default)]
    pub max_failures: u32,
    /// Whether each upgrade makes a backup; `true` by default.
    #[serde(default = "yes")]
    pub backup_db: bool,
    /// Whether each upgrade applies migrations; `true` by default.
    #[serde(default = "yes")]
    pub run_migrations: bool,
}

fn yes() -> bool {
    true
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It goes on by itself.
    Running,
    /// A person said that no further tenant is to be asked.
    Paused,
    /// Every tenant was asked, and no more failed than may.
    Succeeded,
    /// More failed than may: no further tenant is asked. Of one that is
    /// undone: not every tenant could be brought back.
    Failed,
    /// The tenants that it upgraded are as they were before.
    Undone,
}

/// A tenant of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The tenant.
    pub tenant: TenantName,
    /// The version that it had when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// The wave that it is asked in, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    /// Whether the rollout brought it to the version.
    #[serde(default)]
    pub upgraded: bool,
    /// The backup that its upgrade made; absent if it had no database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// How far its upgrade is.
    #[serde(flatten)]
    pub there: Progress,
    /// How far its way back is, once it is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Progress>,
}

/// How far a tenant is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is known.
    pub phase: Phase,
    /// The number of the tenant's last operation before it was asked: what
    /// ended later was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: u64,
    /// Whether it failed before and is tried again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retried: bool,
    /// Why it failed or is left out: a CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is known of a tenant in a rollout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It was not asked.
    #[default]
    Pending,
    /// It is being asked; whether it was, its record tells.
    Asking,
    /// It was asked, and is waited for.
    Asked,
    /// It is ready at the version.
    Succeeded,
    /// It is not, and has come to rest.
    Failed,
    /// It is left out: at the version already, suspended, or gone.
    Skipped,
}

/// One of the two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the version.
    There,
    /// Back to the version before.
    Back,
}

impl Phase {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Asking => "Asking",
            Phase::Asked => "Asked",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
            Phase::Skipped => "Skipped",
        }
    }

    /// Whether it is waited for.
    #[must_use]
    pub fn is_in_flight(self) -> bool {
        matches!(self, Phase::Asking | Phase::Asked)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Member {
    /// How far it is on a way; `None` if it was not sent on it.
    #[must_use]
    pub fn on(&self, way: Way) -> Option<&Progress> {
        match way {
            Way::There => Some(&self.there),
            Way::Back => self.back.as_ref(),
        }
    }

    /// What is known of it on a way.
    #[must_use]
    pub fn phase(&self, way: Way) -> Phase {
        self.on(way)
            .map_or(Phase::Pending, |progress| progress.phase)
    }

    /// What is known of it, for a person: a [`Phase`], or on the way back
    /// `Undoing`, `Undone`, `UndoFailed` or `UndoSkipped`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.back.as_ref().map(|back| back.phase) {
            None | Some(Phase::Pending) => self.there.phase.as_str(),
            Some(Phase::Asking | Phase::Asked) => "Undoing",
            Some(Phase::Succeeded) => "Undone",
            Some(Phase::Failed) => "UndoFailed",
            Some(Phase::Skipped) => "UndoSkipped",
        }
    }

    /// The newest of its two ways: what a person has to know of it.
    #[must_use]
    pub fn newest(&self) -> &Progress {
        match &self.back {
            Some(back) if back.phase != Phase::Pending => back,
            _ => &self.there,
        }
    }
}

impl Rollout {
    /// The state for a person: [`State`], or `Undoing`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Running if self.undo => "Undoing",
            State::Running => "Running",
            State::Paused => "Paused",
            State::Succeeded => "Succeeded",
            State::Failed => "Failed",
            State::Undone => "Undone",
        }
    }

    /// The identifier of the rollout of this number.
    #[must_use]
    pub fn id_of(number: u64) -> String {
        format!("rollout-{number}")
    }

    /// The number in the identifier.
    #[must_use]
    pub fn number(&self) -> u64 {
        let number = self.id.strip_prefix("rollout-");
        number.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether it has come to rest.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self.state, State::Running | State::Paused)
    }

    /// How many tenants are in this phase of the upgrade.
    #[must_use]
    pub fn count(&self, phase: Phase) -> usize {
        let members = self.tenants.iter();
        members.filter(|member| member.there.phase == phase).count()
    }

    /// How many tenants came to what, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let there = |phase| self.count(phase);
        let back = |phase| {
            let members = self
                .tenants
                .iter()
                .filter_map(|member| member.back.as_ref());
            members.filter(|back| back.phase == phase).count()
        };
        let flight = |count: &dyn Fn(Phase) -> usize| count(Phase::Asking) + count(Phase::Asked);
        let parts = [
            (there(Phase::Succeeded), "upgraded"),
            (there(Phase::Failed), "failed"),
            (there(Phase::Skipped), "skipped"),
            (flight(&there), "under way"),
            (there(Phase::Pending), "not asked"),
            (back(Phase::Succeeded), "brought back"),
            (back(Phase::Failed), "could not be brought back"),
            (back(Phase::Skipped), "left out of the way back"),
            (flight(&back), "on the way back"),
        ];
        let told: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!("of {} tenants: {}", self.tenants.len(), told.join(", "))
    }
}

/// What it is, for example `rollout-3 to v0.3.0`.
impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.id, self.spec.target_version)
    }
}

#[cfg(test)]
mod tests;
