//! Tenants that have as much on disk as they may.

use super::*;
use crate::disk::{DiskRecord, Enforcement, Level};
use crate::status::ProblemReason;

/// What a tenant has on disk stops its services and nothing else, and the start
/// that follows is asked for, also where drift is only detected.
#[test]
fn a_tenant_that_fills_the_disk_is_stopped_and_comes_back() {
    for policy in [DriftPolicy::Correct, DriftPolicy::Detect] {
        let mut world = World::converged();
        world.record.tenant.spec.drift_policy = Some(policy);
        world.record.disk = Some(full_disk());
        let plan = world.plan();
        let steps: Vec<String> = plan.steps.iter().map(|s| s.action.to_string()).collect();
        assert_eq!(
            steps,
            ["stop ky04-frontend.service", "stop ky04-api.service"]
        );
        assert!(plan.steps.iter().all(|step| step.cause == Cause::Change));
        let blocked: Vec<_> = plan.blocked.iter().map(|b| b.reason).collect();
        assert_eq!(blocked, [ProblemReason::DiskLimitReached]);
        assert_eq!((plan.hold, plan.drifts), (None, Vec::new()));
        // Stopped, there is nothing more to do.
        for unit in world.observed.units.values_mut() {
            unit.active_state = "inactive".into();
        }
        world.record.applied = Some(Record::APPLYING.into());
        assert_eq!(world.plan().steps, []);
        // A person wants it left alone.
        world.record.tenant.spec.suspend = true;
        assert_eq!(world.plan().hold, Some(crate::plan::Hold::Suspended));
        world.record.tenant.spec.suspend = false;
        world.record.disk = None;
        let plan = world.plan();
        assert_eq!((plan.steps.len(), plan.hold), (2, None));
        assert!(matches!(plan.steps[0].action, Action::Start { .. }));
    }
}

fn full_disk() -> DiskRecord {
    DiskRecord {
        limit: "1Gi".parse().unwrap(),
        enforcement: Enforcement::Watched,
        level: Level::Full,
    }
}
