//! What keeps a pass from its end, as the tenant's status says it.

use cb_core::desired::DesireError;
use cb_core::plan::{Aspect, Plan};
use cb_core::status::{Facet, Problem, ProblemReason};
use cb_core::types::ObjectName;

/// What the plan waits for.
pub(super) fn blocked(plan: &Plan) -> Vec<Problem> {
    let problem = |blocked: &cb_core::plan::Blocked| {
        let facet = match blocked.reason {
            ProblemReason::PortTaken if blocked.aspect != Aspect::Proxy => Facet::Ports,
            ProblemReason::DiskLimitReached => Facet::Disk,
            _ => Facet::of_aspect(blocked.aspect),
        };
        Problem::new(facet, blocked.reason, blocked.message.clone())
    };
    plan.blocked.iter().map(problem).collect()
}

pub(super) fn unreachable(error: cb_host::HostError) -> Problem {
    Problem::passing(
        Facet::of_aspect(Aspect::Services),
        ProblemReason::HostUnreachable,
        error.to_string(),
    )
}

pub(super) fn no_application(application: &ObjectName) -> Problem {
    let message = format!(
        "spec.application: there is no Application `{application}` in the folder of manifests"
    );
    Problem::new(Facet::Manifest, ProblemReason::ApplicationNotFound, message)
}

pub(super) fn misfit(error: DesireError) -> Problem {
    let (facet, reason) = match error {
        DesireError::Secret { .. } | DesireError::Variables { .. } => {
            (Facet::Secrets, ProblemReason::SecretUnreadable)
        }
        _ => (Facet::Manifest, ProblemReason::DoesNotFit),
    };
    Problem::new(facet, reason, error.to_string())
}

pub(super) fn not_saved(error: crate::state::SaveError) -> Problem {
    Problem::new(
        Facet::Prepared,
        ProblemReason::RecordNotSaved,
        error.to_string(),
    )
}
