//! From one phase to the next.

use super::{Done, Failure, Found, Halt, Kind, Operation, Phase, PhaseRecord, Wish};
use crate::api::TenantSpec;
use crate::backup::BackupCause;

/// What a phase has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work<'a> {
    /// Install the release of `to` and judge whether the operation can work.
    Prepare,
    /// Stop the tenant's services.
    Stop,
    /// Write the database's log into it and read the schema version.
    Checkpoint,
    /// Make the backup.
    BackUp(BackupCause),
    /// Migrate to the version of `to`.
    Migrate,
    /// Put the backup that the operation restores in the database's place.
    Restore,
    /// Put the database back as it was before the operation.
    PutBack,
    /// Make environment, units and site as this spec says and start the
    /// services.
    Converge(&'a TenantSpec),
    /// Require health and the version of this spec in the answer.
    Verify {
        /// The spec.
        spec: &'a TenantSpec,
        /// Whether for the settling time.
        settle: bool,
    },
    /// Nothing: a person decides.
    Wait,
}

/// How an operation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// With the work of its phase.
    Work,
    /// It has ended as was wanted.
    Succeeded,
    /// It has ended as it began.
    Failed,
    /// It needs a person.
    Halted,
}

impl Operation {
    /// What the phase that is under way has to do.
    #[must_use]
    pub fn work(&self) -> Work<'_> {
        match self.phase {
            Phase::Preparing => Work::Prepare,
            Phase::Stopping | Phase::RollingBack => Work::Stop,
            Phase::Checkpointing => Work::Checkpoint,
            Phase::BackingUp => Work::BackUp(self.cause()),
            Phase::Migrating => Work::Migrate,
            Phase::Restoring if self.failure.is_some() => Work::PutBack,
            Phase::Restoring => Work::Restore,
            Phase::Switching => Work::Converge(&self.to),
            Phase::Verifying => Work::Verify {
                spec: &self.to,
                settle: self.kind != Kind::Backup,
            },
            Phase::Reverting => self.from.as_deref().map_or(Work::Wait, Work::Converge),
            Phase::Confirming => match self.from.as_deref() {
                Some(spec) => Work::Verify {
                    spec,
                    settle: false,
                },
                None => Work::Wait,
            },
            Phase::Halted => Work::Wait,
        }
    }

    /// Why its backup is made.
    #[must_use]
    pub fn cause(&self) -> BackupCause {
        match (self.kind, self.scheduled) {
            (Kind::Upgrade, _) => BackupCause::Upgrade,
            (Kind::Restore, _) => BackupCause::Restore,
            (Kind::Backup, true) => BackupCause::Schedule,
            (Kind::Backup, false) => BackupCause::Request,
        }
    }

    /// Whether the tenant still runs as before: the operation can be dropped.
    #[must_use]
    pub fn is_preparing(&self) -> bool {
        self.phase == Phase::Preparing
    }

    /// Whether it goes back.
    #[must_use]
    pub fn is_going_back(&self) -> bool {
        self.failure.is_some()
    }

    /// The phase did its work.
    pub fn succeed(&mut self, done: Done, now: &str) -> Next {
        if let Some(found) = done.database {
            self.database = Some(found);
        }
        self.backed_up |= self.phase == Phase::BackingUp;
        let next = match self.is_going_back() {
            true => self.backward(),
            false => self.forward(),
        };
        self.end_phase(false, now);
        match (next, &self.failure) {
            (Some(Phase::Reverting), Some(failure)) if self.after_halt => {
                let failure = failure.clone();
                self.halt(Phase::Preparing, failure, now)
            }
            (Some(phase), _) => {
                self.enter(phase, now);
                Next::Work
            }
            (None, _) => {
                self.ended = Some(now.to_owned());
                match self.is_going_back() {
                    true => Next::Failed,
                    false => Next::Succeeded,
                }
            }
        }
    }

    /// The phase failed.
    pub fn fail(&mut self, failure: Failure, now: &str) -> Next {
        let phase = self.phase;
        let locked = failure.reason == Failure::LOCKED;
        if phase == Phase::Checkpointing && self.restore.is_some() && !locked {
            // That is what the restore is to mend: a damaged database can fail
            // in any way.
            let database = Some(Found {
                exists: true,
                schema_version: None,
            });
            return self.succeed(Done { database }, now);
        }
        self.end_phase(true, now);
        if self.may_end_in(phase) {
            self.failure.get_or_insert(failure);
            self.ended = Some(now.to_owned());
            return Next::Failed;
        }
        if self.is_going_back() {
            return self.halt(phase, failure, now);
        }
        let back = match phase {
            Phase::Preparing if !self.after_halt => {
                self.failure = Some(failure);
                self.ended = Some(now.to_owned());
                return Next::Failed;
            }
            // Nothing was changed but that the services are stopped. A log
            // that does not replay would not replay for the application
            // either: it must not be started on it.
            Phase::Checkpointing if failure.reason == "WalDoesNotReplay" => {
                self.failure = Some(failure.clone());
                return self.halt(Phase::Reverting, failure, now);
            }
            Phase::Preparing | Phase::Stopping | Phase::Checkpointing | Phase::BackingUp => {
                Phase::Reverting
            }
            // The services do not run, unless somebody has started them.
            Phase::Migrating | Phase::Restoring if !locked => self.undo(),
            _ => Phase::RollingBack,
        };
        self.failure = Some(failure.clone());
        match (back, &self.from) {
            (Phase::Reverting, _) if self.after_halt => self.halt(Phase::Preparing, failure, now),
            // There is nothing to go back to.
            (Phase::Reverting, None) => {
                self.ended = Some(now.to_owned());
                Next::Failed
            }
            (back, _) => {
                self.enter(back, now);
                Next::Work
            }
        }
    }

    /// What has to be asked for to have it begin anew.
    #[must_use]
    pub fn wish(&self) -> Wish {
        match (self.kind, self.restore.clone()) {
            (Kind::Restore, Some(backup)) => Wish::Restore { backup },
            (Kind::Upgrade, restore) => Wish::Upgrade {
                version: self.to.version.clone(),
                backup: self.backup,
                migrate: self.migrate,
                restore,
            },
            (Kind::Backup | Kind::Restore, _) => Wish::Backup {
                scheduled: self.scheduled,
            },
        }
    }

    /// Whether it is halted and a retry begins it anew.
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        let halt = self.halted.as_ref();
        halt.is_some_and(|halt| halt.resume == Phase::Preparing)
    }

    /// Begins once more where it cannot go on; `false` if it is not halted.
    pub fn resume(&mut self, now: &str) -> bool {
        let Some(halt) = self.halted.take() else {
            return false;
        };
        self.ended = None;
        self.enter(halt.resume, now);
        true
    }

    /// The phase after one that succeeded; `None` at the end.
    fn forward(&self) -> Option<Phase> {
        let exists = self.database.is_some_and(|found| found.exists);
        let order = [
            (Phase::Preparing, true),
            (Phase::Stopping, true),
            (Phase::Checkpointing, true),
            (Phase::BackingUp, self.backup && exists),
            (Phase::Restoring, self.restore.is_some()),
            (
                Phase::Migrating,
                self.migrate && self.restore.is_none() && exists,
            ),
            (Phase::Switching, true),
            // A backup makes nobody healthy.
            (
                Phase::Verifying,
                self.kind != Kind::Backup || self.was_healthy,
            ),
        ];
        let at = order.iter().position(|(phase, _)| *phase == self.phase)?;
        let mut rest = order[at + 1..].iter();
        rest.find(|(_, wanted)| *wanted).map(|(phase, _)| *phase)
    }

    fn backward(&self) -> Option<Phase> {
        match self.phase {
            Phase::RollingBack => Some(self.undo()).filter(|phase| self.has(*phase)),
            Phase::Restoring => Some(Phase::Reverting).filter(|phase| self.has(*phase)),
            Phase::Reverting => Some(Phase::Confirming).filter(|_| self.was_healthy),
            _ => None,
        }
    }

    /// Whether the operation ends if this phase fails. A backup changes nothing
    /// that it could go back on, and a tenant that did not work before cannot
    /// be held to it: the passes after this see to the services.
    fn may_end_in(&self, phase: Phase) -> bool {
        match phase {
            Phase::Switching | Phase::Verifying => self.kind == Kind::Backup,
            Phase::Reverting | Phase::Confirming => self.kind == Kind::Backup || !self.was_healthy,
            _ => false,
        }
    }

    /// Whether a phase of the way back has something to do.
    fn has(&self, phase: Phase) -> bool {
        phase == Phase::Restoring || self.from.is_some()
    }

    /// Where the way back begins when no service of the new version runs.
    /// Without a backup nothing was migrated, so the database is as it was.
    fn undo(&self) -> Phase {
        let had_none = self.database.is_some_and(|found| !found.exists);
        match self.backed_up || had_none {
            true => Phase::Restoring,
            false => Phase::Reverting,
        }
    }

    fn halt(&mut self, resume: Phase, failure: Failure, now: &str) -> Next {
        // What it would go back to is no state that a tenant can be left in.
        let resume = if self.after_halt {
            Phase::Preparing
        } else {
            resume
        };
        self.halted = Some(Halt { resume, failure });
        self.enter(Phase::Halted, now);
        Next::Halted
    }

    fn enter(&mut self, phase: Phase, now: &str) {
        self.phase = phase;
        if phase != Phase::Halted {
            self.phases.push(PhaseRecord {
                phase,
                started: now.to_owned(),
                ended: None,
                failed: false,
            });
        }
    }

    fn end_phase(&mut self, failed: bool, now: &str) {
        if let Some(last) = self.phases.last_mut() {
            last.ended = Some(now.to_owned());
            last.failed = failed;
        }
    }

    /// What was found of the database before anything was changed.
    #[must_use]
    pub fn found(&self) -> Found {
        self.database.unwrap_or(Found {
            exists: false,
            schema_version: None,
        })
    }
}
