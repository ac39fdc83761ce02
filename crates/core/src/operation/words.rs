//! Operations in words: for status, events and logs.

use std::fmt;

use super::{Failure, Kind, Operation, Phase, PhaseRecord};
use crate::api::{OperationStatus, PhaseStatus};

impl Kind {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Upgrade => "Upgrade",
            Kind::Backup => "Backup",
            Kind::Restore => "Restore",
        }
    }
}

impl Phase {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Preparing => "Preparing",
            Phase::Stopping => "Stopping",
            Phase::Checkpointing => "Checkpointing",
            Phase::BackingUp => "BackingUp",
            Phase::Migrating => "Migrating",
            Phase::Restoring => "Restoring",
            Phase::Switching => "Switching",
            Phase::Verifying => "Verifying",
            Phase::RollingBack => "RollingBack",
            Phase::Reverting => "Reverting",
            Phase::Confirming => "Confirming",
            Phase::Halted => "Halted",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What it is, for example `upgrade from v1 to v2`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.from) {
            (Kind::Upgrade, Some(from)) => {
                write!(f, "upgrade from {} to {}", from.version, self.to.version)
            }
            (Kind::Upgrade, None) => write!(f, "upgrade to {}", self.to.version),
            (Kind::Backup, _) => f.write_str("backup"),
            (Kind::Restore, _) => f.write_str("restore"),
        }
    }
}

impl Operation {
    /// The failure that a person has to know: where it is halted, or else why
    /// it went back.
    #[must_use]
    pub fn told_failure(&self) -> Option<&Failure> {
        let halted = self.halted.as_ref().map(|halt| &halt.failure);
        halted.or(self.failure.as_ref())
    }

    /// What became of it, for a status: `Running`, `RollingBack`, `Succeeded`,
    /// `Failed` or `Halted`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        let ended = self.ended.is_some();
        match (&self.failure, ended) {
            _ if self.phase == Phase::Halted => "Halted",
            (None, false) => "Running",
            (Some(_), false) => "RollingBack",
            (None, true) => "Succeeded",
            (Some(_), true) => "Failed",
        }
    }

    /// What is shown of it.
    #[must_use]
    pub fn status(&self) -> OperationStatus {
        let failure = self.told_failure();
        OperationStatus {
            id: self.id.clone(),
            kind: self.kind.as_str().to_owned(),
            state: self.state().to_owned(),
            from_version: self.from.as_ref().map(|from| from.version.to_string()),
            to_version: self.to.version.to_string(),
            phases: self.phases.iter().map(PhaseRecord::status).collect(),
            started: self.started.clone(),
            ended: self.ended.clone(),
            backup: self
                .backup_id
                .as_ref()
                .filter(|_| self.backed_up)
                .map(ToString::to_string),
            reason: failure.map(|failure| failure.reason.clone()),
            message: failure.map(|_| self.message()),
            log: failure
                .map(|failure| failure.log.clone())
                .unwrap_or_default(),
        }
    }

    /// Why it failed, what was kept and what a person can do.
    #[must_use]
    pub fn message(&self) -> String {
        let why = |failure: &Failure| format!("{} failed: {}", failure.phase, failure.message);
        let mut out = self.failure.as_ref().map(why).unwrap_or_default();
        if let Some(halt) = &self.halted {
            if self.failure.as_ref() != Some(&halt.failure) {
                out.push_str("; then ");
                out.push_str(&why(&halt.failure));
            }
            out.push_str("; the tenant is left as it is, and nothing was deleted: what was moved or copied away is in the folder of its backups under the name ");
            out.push_str(&self.keep_as());
        }
        if let Some(backup) = self.backup_id.as_ref().filter(|_| self.backed_up) {
            out.push_str(&format!("; the database as it was is in backup {backup}"));
        }
        out
    }
}

impl PhaseRecord {
    fn status(&self) -> PhaseStatus {
        let result = self.ended.as_ref().map(|_| match self.failed {
            true => "Failed",
            false => "Done",
        });
        PhaseStatus {
            name: self.phase.to_string(),
            started: self.started.clone(),
            ended: self.ended.clone(),
            result: result.map(str::to_owned),
        }
    }
}
