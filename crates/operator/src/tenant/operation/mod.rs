//! Carries an operation through: an upgrade, backup or restore.
//!
//! [`Engine::operate`] begins what is due and does the work of one phase after
//! the other. What a phase has to do and which one comes next is decided by
//! `cb_core::operation`; the journal is the tenant's record, saved before the
//! work of each phase begins. Between two phases it can be left and gone on
//! with by a later pass, or by the operator's next run.

mod phases;
mod retention;
#[cfg(test)]
mod simulation;
mod slots;
#[cfg(test)]
mod tests;
mod verify;

use std::time::Duration;

use cb_core::api::{ApplicationSpec, Tenant};
use cb_core::desired::check;
use cb_core::operation::{Done, Failure, Kind, Next, Operation, Phase, due};
use cb_core::record::Record;
use cb_core::status::{Facet, Problem, ProblemReason};
use cb_core::types::TenantName;
use cb_host::Host;
use tokio_util::sync::CancellationToken;

use super::problem::{misfit, no_application, not_saved};
use super::{Engine, Findings, events};

pub use retention::in_use;
pub use slots::Slots;

/// How a call of [`Engine::operate`] ended.
#[derive(Debug)]
pub(super) enum Operated {
    /// Nothing is under way: the tenant is to be kept at what its record says.
    Idle,
    /// An operation is due and does not begin, for this reason; until then it
    /// is as with `Idle`.
    Waiting(Problem),
    /// An operation is under way, and a newer spec or the operator's end cut
    /// it short; the next pass goes on.
    Interrupted,
    /// An operation is under way and cannot go on just now.
    Blocked(Problem),
    /// An operation needs a person; nothing of the tenant is touched.
    Halted,
}

/// Why a phase was left without an end.
#[derive(Debug)]
enum Left {
    /// It failed: the operation goes back.
    Failed(Failure),
    /// It cannot go on just now.
    Blocked(Problem),
    /// It was cut short.
    Interrupted,
}

impl<H: Host> Engine<H> {
    /// Begins an operation that is due and carries it through.
    pub(super) async fn operate(&self, name: &TenantName, cancel: &CancellationToken) -> Operated {
        loop {
            let Some(record) = self.state.record(name) else {
                return Operated::Idle;
            };
            let halted = |operation: &Operation| operation.phase == Phase::Halted;
            let operation = record.operation.clone();
            let Some(operation) = operation.filter(|operation| !halted(operation)) else {
                match self.begin(&record).await {
                    None => continue,
                    // Until something mends it, nothing of it is touched.
                    Some(Operated::Idle | Operated::Waiting(_)) if record.operation.is_some() => {
                        return Operated::Halted;
                    }
                    Some(operated) => return operated,
                }
            };
            if operation.is_preparing() && is_outdated(&record, &operation) {
                let dropped = self.state.update(name, |r| _ = r.drop_preparing()).await;
                self.slots.release(name);
                if let Err(error) = dropped {
                    return Operated::Blocked(not_saved(error));
                }
                continue;
            }
            if cancel.is_cancelled() {
                return Operated::Interrupted;
            }
            if let Some(failure) = given_up(&record, &operation) {
                match self.go_on(name, &operation, Err(failure)).await {
                    Ok(()) => continue,
                    Err(problem) => return Operated::Blocked(problem),
                }
            }
            self.slots.take_back(name);
            if let Err(error) = self.state.save(name).await {
                return Operated::Blocked(not_saved(error));
            }
            self.tell(&record, &operation).await;
            let began = tokio::time::Instant::now();
            let came = match self.work(&record, &operation, cancel).await {
                Ok(done) => Ok(done),
                Err(Left::Failed(failure)) => Err(failure),
                Err(Left::Blocked(problem)) => return Operated::Blocked(problem),
                Err(Left::Interrupted) => return Operated::Interrupted,
            };
            self.metrics.phase_ended(operation.phase, began.elapsed());
            if let Err(problem) = self.go_on(name, &operation, came).await {
                return Operated::Blocked(problem);
            }
        }
    }

    fn due(&self, record: &Record) -> Option<Operation> {
        let policy = &record.tenant.spec.database.backup;
        let policy = policy.or(&self.spec.spec.defaults.backup);
        let mut operation = due(record, &policy, jiff::Timestamp::now())?;
        let status = self.state.status(record.name());
        let services = status.as_deref().and_then(|s| s.condition("ServicesReady"));
        let broken = services.is_some_and(|c| c.status == cb_core::api::ConditionStatus::False);
        operation.was_healthy = !broken;
        Some(operation)
    }

    /// Begins the operation that is due; or says why none was begun.
    async fn begin(&self, record: &Record) -> Option<Operated> {
        let name = record.name();
        let Some(operation) = self.due(record) else {
            self.slots.release(name);
            return Some(Operated::Idle);
        };
        // What cannot be is the manifest's fault, told as such, and not an
        // attempt that failed.
        if let Err(problem) = self.fits(record, &operation) {
            self.slots.release(name);
            return Some(Operated::Waiting(problem));
        }
        if !self.slots.take(name) {
            let message = format!("the {operation} waits for those of other tenants");
            let problem = Problem::passing(Facet::Version, ProblemReason::Queued, message);
            return Some(Operated::Waiting(problem));
        }
        tracing::info!(tenant = %name, operation = operation.id, "{name}: {operation} begins");
        if let Some(event) = events::of_begin(name, &operation) {
            self.recorder.record(event);
        }
        let begun = self.state.update(name, |r| r.begin(operation)).await;
        begun.err().map(|error| Operated::Blocked(not_saved(error)))
    }

    fn fits(&self, record: &Record, operation: &Operation) -> Result<(), Problem> {
        let name = &operation.to.application;
        let application = self.state.application(name);
        let application = application.ok_or_else(|| no_application(name))?;
        let tenant = Tenant {
            spec: (*operation.to).clone(),
            ..record.tenant.clone()
        };
        check(&tenant, &application.application, &self.spec).map_err(misfit)
    }

    /// What the Application of the version says that an operation leads to, if
    /// this phase is the one that it ends well with.
    fn application_at_end(&self, operation: &Operation) -> Option<ApplicationSpec> {
        if operation.phase != Phase::Verifying {
            return None;
        }
        let known = self.state.application(&operation.to.application)?;
        Some(known.application.spec.without_versions())
    }

    /// Takes in what came of a phase.
    async fn go_on(
        &self,
        name: &TenantName,
        operation: &Operation,
        came: Result<Done, Failure>,
    ) -> Result<(), Problem> {
        let now = crate::now();
        let application = self.application_at_end(operation);
        let mut after = None;
        let update = |record: &mut Record| {
            let Some(operation) = record.operation.as_mut() else {
                return;
            };
            let before = operation.phase;
            let next = match came {
                Ok(done) => operation.succeed(done, &now),
                Err(failure) => operation.fail(failure, &now),
            };
            if before == Phase::Preparing && next == Next::Work {
                // What is applied from now on was asked for by the operation.
                record.applied = None;
            }
            let ended = operation.clone();
            record.end(next);
            if next == Next::Succeeded {
                debug_assert_eq!(before, Phase::Verifying, "it ends well with this phase");
                record.deployed_application = application.map(Box::new);
            }
            after = Some((next, ended));
        };
        let saved = self.state.update(name, update).await;
        if let Some((next, operation)) = after {
            self.told(name, next, &operation);
            if next != Next::Work && operation.backed_up {
                self.expire_backups(name).await;
                if let Some(offsite) = &self.offsite {
                    offsite.wake(name);
                }
            }
        }
        saved.map(drop).map_err(not_saved)
    }

    /// Says in the log how far an operation is.
    fn told(&self, name: &TenantName, next: Next, operation: &Operation) {
        let id = &operation.id;
        match next {
            Next::Work => {
                let phase = operation.phase;
                tracing::info!(tenant = %name, operation = id, phase = %phase, "{name}: {operation}: {phase}");
            }
            Next::Succeeded => {
                tracing::info!(tenant = %name, operation = id, "{name}: {operation} succeeded");
            }
            Next::Failed | Next::Halted => {
                let state = operation.state();
                let message = operation.message();
                tracing::warn!(tenant = %name, operation = id, state, "{name}: {operation}: {state}: {message}");
            }
        }
        for event in events::of_end(name, next, operation) {
            self.recorder.record(event);
        }
        if next != Next::Work {
            self.metrics.operation_ended(operation);
            self.slots.release(name);
        }
    }

    /// Shows the phase that begins.
    async fn tell(&self, record: &Record, operation: &Operation) {
        let findings = Findings {
            problems: vec![under_way(operation)],
            ..Findings::default()
        };
        self.report(record, &findings, &std::collections::BTreeMap::new())
            .await;
    }
}

/// Whether the spec asks for something else now. What takes the place of a
/// halted operation is carried through: without it, the tenant would be started
/// on a database that nobody knows the state of.
fn is_outdated(record: &Record, operation: &Operation) -> bool {
    if operation.after_halt {
        return false;
    }
    let wanted = &record.tenant.spec;
    let other = match operation.kind {
        Kind::Upgrade => (*operation.to).clone().with_policies_of(wanted) != *wanted,
        Kind::Backup | Kind::Restore => record.is_upgrade_due(),
    };
    other || wanted.suspend || record.life_is_over()
}

/// Why an upgrade goes back, if the spec asks for the old version again before
/// the new one was started: afterwards there may be rows of it.
fn given_up(record: &Record, operation: &Operation) -> Option<Failure> {
    let started = [Phase::Preparing, Phase::Switching, Phase::Verifying];
    let forward = !operation.is_going_back() && !started.contains(&operation.phase);
    let may = forward && operation.kind == Kind::Upgrade && !operation.after_halt;
    let from = operation.from.as_deref().filter(|_| may)?;
    from.is_same_release(&record.tenant.spec).then(|| Failure {
        phase: operation.phase,
        reason: "GivenUp".to_owned(),
        message: format!("the manifest asks for {} again", from.version),
        log: Vec::new(),
    })
}

/// That an operation is under way, as a problem that passes.
pub(super) fn under_way(operation: &Operation) -> Problem {
    let reason = match (operation.is_going_back(), operation.kind) {
        (true, _) => ProblemReason::RollingBack,
        (false, Kind::Upgrade) => ProblemReason::Upgrading,
        (false, Kind::Backup) => ProblemReason::BackingUp,
        (false, Kind::Restore) => ProblemReason::Restoring,
    };
    let mut message = format!("{operation}: {}", operation.phase);
    if let Some(failure) = &operation.failure {
        message = format!(
            "{message}, because {} failed: {}",
            failure.phase, failure.message
        );
    }
    Problem::passing(Facet::Version, reason, message)
}

/// What keeps the tenant's version from being the one that is wanted, when no
/// operation is under way; or that one needs a person.
pub(super) fn version_problem(record: &Record) -> Option<Problem> {
    if let Some(operation) = &record.operation {
        let halt = operation.halted.as_ref()?;
        let reason = match halt.failure.reason.as_str() {
            "WalDoesNotReplay" => ProblemReason::WalDoesNotReplay,
            _ => ProblemReason::RollbackFailed,
        };
        let how = "put right what is in the way, then `cbctl upgrade retry` goes on, or `cbctl restore` begins with a backup";
        let message = format!("{operation}: {}; {how}", operation.message());
        return Some(Problem::new(Facet::Version, reason, message));
    }
    let failed = record.failed.as_ref().filter(|_| record.has_failed())?;
    let last = record
        .history
        .iter()
        .rfind(|status| status.kind == "Upgrade");
    let told = last.and_then(|status| status.message.clone());
    let why = told.unwrap_or_else(|| failed.failure.message.clone());
    let message = format!(
        "the upgrade to {} failed and the tenant is as it was before: {why}; it is tried again when the spec changes or by `cbctl upgrade retry {}`",
        failed.spec.version,
        record.name()
    );
    Some(Problem::new(
        Facet::Version,
        ProblemReason::UpgradeFailed,
        message,
    ))
}

/// How soon an operation that cannot go on is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(2);
