//! Executes a plan: step by step, deciding nothing.

use std::collections::BTreeSet;

use cb_core::plan::{Action, Aspect, Cause, Plan, Step};
use cb_core::record::{Phase, Ports, Record, Started};
use cb_core::status::{Facet, Problem, ProblemReason};
use cb_core::types::TenantName;
use cb_host::{ActionError, Host};
use tokio_util::sync::CancellationToken;

use super::{Engine, events};
use crate::state::SaveError;

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// What failed.
    pub problems: Vec<Problem>,
    /// A newer spec ended it early.
    pub cancelled: bool,
    /// What was done.
    pub done: Vec<(Cause, String)>,
}

impl<H: Host> Engine<H> {
    /// Executes the steps of a plan in order. A step that fails keeps back
    /// those that build on it, and no others.
    pub(super) async fn apply(
        &self,
        name: &TenantName,
        plan: &Plan,
        i360: bool,
        cancel: &CancellationToken,
    ) -> Applied {
        let mut applied = Applied::default();
        let mut failed: BTreeSet<Aspect> = BTreeSet::new();
        for step in plan.to_execute() {
            if cancel.is_cancelled() {
                applied.cancelled = true;
                break;
            }
            if step.aspect.is_blocked_by(&failed) {
                continue;
            }
            if let Err(error) = self.execute(name, &step.action, i360).await {
                tracing::warn!(
                    tenant = %name,
                    reason = error.reason.as_str(),
                    "{name}: failed to {}: {}",
                    step.action,
                    error.message
                );
                failed.insert(step.aspect);
                applied.problems.push(problem(step, error));
            } else {
                let drift = if step.cause == Cause::Drift {
                    "drift: "
                } else {
                    ""
                };
                tracing::info!(
                    tenant = %name,
                    action = step.action.kind(),
                    cause = ?step.cause,
                    "{name}: {drift}{} ({})",
                    step.action,
                    step.reason
                );
                applied.done.push((step.cause, step.action.to_string()));
            }
        }
        if let Some(event) = events::of_steps(name, &applied.done) {
            self.recorder.record(event);
        }
        applied
    }

    /// Has nobody else reach the tenant's ports. Returns whether the host
    /// enforces that at all.
    pub(super) async fn isolate(&self, name: &TenantName) -> Result<bool, Problem> {
        let record = self.state.record(name);
        let ports = record.map(|record| record.ports.by_service.into_values().collect());
        let isolated = self.host.isolate(name, &ports.unwrap_or_default()).await;
        isolated.map_err(|error| Problem {
            passing: error.transient,
            ..Problem::new(Facet::Network, error.reason, error.message)
        })
    }

    async fn execute(
        &self,
        name: &TenantName,
        action: &Action,
        i360: bool,
    ) -> Result<(), ActionError> {
        let recorded = match action {
            Action::RecordPorts(ports) => {
                self.state.update(name, |r| r.ports = ports.clone()).await
            }
            Action::RecordStale(services) => {
                let stale = |record: &mut Record| {
                    for service in services {
                        let started = record.services.entry(service.clone()).or_insert(Started {
                            revision: String::new(),
                            invocation_id: None,
                            i360,
                        });
                        Record::STALE.clone_into(&mut started.revision);
                    }
                };
                self.state.update(name, stale).await
            }
            Action::RecordStarted {
                service,
                unit: _,
                revision,
                invocation_id,
            } => {
                let started = Started {
                    revision: revision.clone(),
                    invocation_id: invocation_id.clone(),
                    i360,
                };
                self.state
                    .update(name, |r| drop(r.services.insert(service.clone(), started)))
                    .await
            }
            Action::RecordRetained => self.state.update(name, retained).await,
            Action::RemoveRecord => self.state.remove(name).await.map(|()| true),
            _ => {
                if matches!(action, Action::Start { .. }) {
                    // Before anything listens. What goes wrong is told at the
                    // end of the pass, and keeps nothing from running.
                    let _ = self.isolate(name).await;
                }
                let done = self.host.execute(name, action).await?;
                self.metrics.acted(action);
                let Action::Start {
                    service, revision, ..
                } = action
                else {
                    return Ok(());
                };
                let invocation_id = done.invocation_id;
                let started = Started {
                    revision: revision.clone(),
                    invocation_id,
                    i360,
                };
                self.state
                    .update(name, |r| drop(r.services.insert(service.clone(), started)))
                    .await
            }
        };
        recorded.map(drop).map_err(unsaved)
    }
}

fn retained(record: &mut Record) {
    record.phase = Phase::Retained;
    record.ports = Ports::default();
    record.services.clear();
    record.applied = None;
}

fn unsaved(error: SaveError) -> ActionError {
    ActionError {
        reason: ProblemReason::RecordNotSaved,
        message: error.to_string(),
        transient: false,
    }
}

fn problem(step: &Step, error: ActionError) -> Problem {
    let facet = Facet::of_aspect(step.aspect);
    let message = format!("cannot {}: {}", step.action, error.message);
    Problem {
        passing: error.transient,
        ..Problem::new(facet, error.reason, message)
    }
}
