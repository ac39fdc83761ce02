//! Passes over tenants, run by the loop of `cb_runtime`.

use std::collections::BTreeSet;
use std::sync::Arc;

use cb_core::types::TenantName;
use cb_host::Host;
use cb_runtime::{Action, Context, Reconciler};
use tokio::sync::{broadcast, mpsc};

use crate::tenant::{Again, Engine};

/// Why a pass runs; for the log and for those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The manifest, the Application or the report on them changed.
    Manifest,
    /// Something on the host changed.
    Event,
    /// A service answers otherwise than before.
    Health,
    /// The periodic look at everything.
    Resync,
    /// Its turn for an operation has come.
    Turn,
    /// A person asked.
    Requested,
}

/// The reconciler of tenants.
pub struct Tenants<H> {
    /// Makes the passes.
    pub engine: Arc<Engine<H>>,
    /// Told of each pass that ended.
    pub ended: broadcast::Sender<Ended>,
    /// Told of tenants that are gone: what they had may be free for others.
    pub gone: mpsc::UnboundedSender<TenantName>,
}

/// A pass that ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The tenant.
    pub tenant: TenantName,
    /// Why the pass ran.
    pub reasons: BTreeSet<Reason>,
}

impl<H: Host + 'static> Reconciler for Tenants<H> {
    type Key = TenantName;
    type Reason = Reason;

    async fn reconcile(&self, key: TenantName, context: Context<Reason>) -> Action {
        let started = tokio::time::Instant::now();
        let again = self.engine.pass(&key, &context.cancel).await;
        self.engine.metrics.passed(again, started.elapsed());
        tracing::debug!(tenant = %key, reasons = ?context.reasons, took = ?started.elapsed(), ?again, "pass");
        // Nobody may be listening.
        let _ = self.ended.send(Ended {
            tenant: key.clone(),
            reasons: context.reasons,
        });
        match again {
            Again::OnChange => Action::Done,
            Again::After(delay) => Action::RequeueAfter(delay),
            Again::Backoff => Action::RetryWithBackoff,
            Again::Gone => {
                let _ = self.gone.send(key);
                Action::Done
            }
        }
    }
}
