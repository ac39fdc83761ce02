//! The end of a tenant whose manifest is gone.

use cb_core::api::TenantStatus;
use cb_core::observed::Scope;
use cb_core::plan::remove;
use cb_core::record::Record;
use cb_core::status::Problem;
use tokio_util::sync::CancellationToken;

use super::problem::unreachable;
use super::{Again, Engine, events};

impl<H: cb_host::Host> Engine<H> {
    /// One pass of a removal.
    pub(super) async fn removing(&self, record: Record, cancel: &CancellationToken) -> Again {
        let name = record.name().clone();
        let application = self.state.application(&record.tenant.spec.application);
        let scope = Scope::of(
            &record,
            application.as_ref().map(|known| &known.application),
            &self.spec,
        );
        let observed = match self.host.observe(&scope).await {
            Ok(observed) => observed,
            Err(error) => return self.cannot_look(&name, unreachable(error)).await,
        };
        let plan = remove(&observed, &record, &self.spec);
        let previous = self.state.status(&name);
        let status = |problems: &[Problem]| {
            TenantStatus::removing(&record, problems, previous.as_deref(), &crate::now())
        };
        if previous.as_deref().is_some_and(TenantStatus::is_ready) {
            // Stopping may take its time.
            self.state.set_status(&name, status(&[]));
        }
        let done = self.apply(&name, &plan, false, cancel).await;
        if done.problems.is_empty() && !done.cancelled {
            self.ledger.release(&name);
            if let Err(problem) = self.isolate(&name).await {
                tracing::warn!("{name}: {}", problem.message);
            }
            self.state.forget_status(&name);
            self.sink.remove(&name, &record.file).await;
            self.readiness.forget(&name);
            if let Some(acme) = &self.acme {
                acme.forget(&name).await;
            }
            self.drifts.forget(&name);
            self.recorder.record(events::of_removal(&record));
            return Again::Gone;
        }
        let status = status(&done.problems);
        self.announce(&name, previous.as_deref(), &status);
        self.sink.write(&record, &status).await;
        self.state.set_status(&name, status);
        Again::Backoff
    }
}
