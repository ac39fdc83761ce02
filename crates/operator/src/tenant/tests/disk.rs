//! Tenants that have as much on disk as they may.

use cb_core::disk::{DiskRecord, Enforcement, Level};
use cb_core::plan::Action;

use super::*;

fn at(level: Level) -> Option<DiskRecord> {
    Some(DiskRecord {
        limit: "1Gi".parse().unwrap(),
        enforcement: Enforcement::Watched,
        level,
    })
}

fn running(bench: &Bench) -> usize {
    let units = ["ky04-api.service", "ky04-frontend.service"];
    let run = units
        .iter()
        .filter(|unit| bench.engine.host.running(unit).is_some());
    run.count()
}

/// Laws 5 and 8: it stays stopped over a restart of the operator, nothing is
/// done again and again meanwhile, and it comes back by itself.
#[tokio::test(start_paused = true)]
async fn a_tenant_at_its_limit_stops_until_there_is_room() {
    let bench = Bench::new();
    bench.pass().await;
    bench.change(|record| record.disk = at(Level::Within)).await;
    bench.pass().await;
    assert_eq!(bench.condition("DiskWithinLimit"), "True Within");
    assert_eq!(running(&bench), 2);

    bench.change(|record| record.disk = at(Level::Full)).await;
    // Not the back-off: what changes on the disk is told.
    assert!(matches!(bench.pass().await, Again::After(_)));
    assert_eq!(running(&bench), 0);
    assert_eq!(bench.condition("DiskWithinLimit"), "False DiskLimitReached");
    assert_eq!(bench.condition("Ready"), "False DiskLimitReached");
    assert_eq!(bench.condition("Stalled"), "True DiskLimitReached");
    let status = bench.engine.state.status(&name()).unwrap();
    assert_eq!(status.disk.as_ref().unwrap().limit.as_str(), "1Gi");

    let bench = bench.restarted();
    bench.engine.state.set_status(&name(), (*status).clone());
    bench.engine.host.clear_log();
    bench.pass().await;
    assert_eq!(bench.engine.host.log(), []);
    assert_eq!(bench.engine.state.status(&name()).unwrap(), status);
    // Whoever starts it has it stopped again.
    bench.engine.host.start_unit("ky04-api.service").unwrap();
    bench.pass().await;
    assert_eq!(running(&bench), 0);

    bench
        .change(|record| record.disk = at(Level::NearlyFull))
        .await;
    bench.pass().await;
    assert_eq!(running(&bench), 2);
    assert_eq!(bench.condition("DiskWithinLimit"), "True DiskNearlyFull");
    assert_eq!(bench.condition("Drifted"), "False InSync");
}

/// Law 4: its site, files and units stay as they are.
#[tokio::test(start_paused = true)]
async fn only_services_are_stopped() {
    let bench = Bench::new();
    bench.pass().await;
    bench
        .change(|record| record.disk = at(Level::Uncountable))
        .await;
    bench.engine.host.clear_log();
    bench.pass().await;
    let log = bench.engine.host.log();
    let stops = |action: &Action| matches!(action, Action::Stop(_));
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|logged| stops(&logged.action)), "{log:?}");
}
