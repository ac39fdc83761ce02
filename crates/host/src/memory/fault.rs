//! Faults on demand, the same each time.

use cb_core::plan::Action;
use cb_core::status::ProblemReason;
use cb_core::types::TenantName;

use crate::host::ActionError;

/// What happens to an action.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It fails before it has done anything.
    Fail(ActionError),
    /// It never returns and does nothing; the caller has to drop it.
    Hang,
    /// It does all it should and never returns; the caller has to drop it.
    HangAfter,
}

impl Fault {
    /// A failure with this reason that is not expected to pass by itself.
    #[must_use]
    pub fn fail(reason: ProblemReason) -> Self {
        let message = format!("a fault was asked for: {reason}");
        Fault::Fail(ActionError {
            reason,
            message,
            transient: false,
        })
    }
}

type Matches = Box<dyn FnMut(&TenantName, &Action) -> bool + Send>;

#[derive(Default)]
pub(super) struct Faults(Vec<(Matches, Fault)>);

impl Faults {
    pub(super) fn add(&mut self, matches: Matches, fault: Fault) {
        self.0.push((matches, fault));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first fault that this action meets. All are asked, so that each
    /// counts every action.
    pub(super) fn meet(&mut self, tenant: &TenantName, action: &Action) -> Option<Fault> {
        let mut met = None;
        for (matches, fault) in &mut self.0 {
            if matches(tenant, action) && met.is_none() {
                met = Some(fault.clone());
            }
        }
        met
    }
}
