//! Operations on a host in memory, with faults of every kind and the operator
//! cut off between any two effects, again and again (laws 5 and 6).
//!
//! Each run has a seed that it is made of. `CB_SIMULATION_SEED` runs one of
//! them again, `CB_SIMULATION_RUNS` says how many are run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cb_core::database::{Job, JobFailure};
use cb_core::observed::Health;
use cb_core::operation::{Kind, Phase, Request, Wish};
use cb_core::types::ObjectName;
use cb_host::memory::{Content, Fault, JobFault};

use crate::tenant::Again;
use crate::tenant::tests::{Bench, name};

pub(super) const FILE: &str = "/var/lib/cb/tenants/ky04/db/tenant.duckdb";
/// How many lives an operator may have that is cut off.
const LIVES: usize = 12;

/// Numbers from a seed (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

pub(super) fn rows() -> Vec<String> {
    (0..5).map(|n| format!("row {n}")).collect()
}

/// A tenant that runs v1 with a database of schema 1; v2 has schema 3.
pub(super) async fn bench(dice: &mut Dice) -> Bench {
    let bench = Bench::new();
    let host = &bench.engine.host;
    let application: ObjectName = "cbapp".parse().unwrap();
    for (version, schema) in [("v1", 1), ("v2", 3)] {
        host.set_schema(&application, &version.parse().unwrap(), schema);
    }
    bench.pass().await;
    assert_eq!(bench.condition("Ready"), "True Ready");
    let mut all = rows();
    let logged = match dice.roll(2) {
        0 => Vec::new(),
        _ => all.split_off(3),
    };
    let content = Content {
        schema_version: 1,
        rows: all,
    };
    host.put_database(FILE.as_ref(), &content);
    let logged: Vec<&str> = logged.iter().map(String::as_str).collect();
    if !logged.is_empty() {
        host.log_rows(FILE.as_ref(), &logged);
    }
    bench
}

/// Something that goes wrong, every time.
fn fault(bench: &Bench, dice: &mut Dice) -> String {
    let host = &bench.engine.host;
    let failures = [
        JobFailure::NoSpace,
        JobFailure::MigrationFailed,
        JobFailure::TimedOut,
        JobFailure::WalDoesNotReplay,
        JobFailure::NotADatabase,
        JobFailure::Differs,
        JobFailure::Failed,
    ];
    match dice.roll(5) {
        0 => "nothing".into(),
        1 | 2 => {
            let failure = failures[usize::try_from(dice.roll(7)).unwrap()];
            let kind = dice.roll(5);
            let meets = move |job: &Job| {
                matches!(
                    (kind, job),
                    (0, Job::Check { .. })
                        | (1, Job::Checkpoint)
                        | (2, Job::Backup(_))
                        | (3, Job::Migrate(_))
                        | (4, Job::Restore { .. })
                )
            };
            host.fault_job_when(move |_, job| meets(job), JobFault::Fail(failure));
            format!("job {kind} fails: {}", failure.as_str())
        }
        3 => {
            let unhealthy = Health {
                ok: false,
                error: Some("503".into()),
                ..Health::default()
            };
            host.set_health("ky04-api.service", Some(unhealthy));
            "the api is unhealthy".into()
        }
        _ => {
            let what = [
                "Stop",
                "WriteUnit",
                "WriteFile",
                "Start",
                "ReloadUnits",
                "Disable",
            ];
            let what = what[usize::try_from(dice.roll(6)).unwrap()];
            // It passes in the end: what never works cannot be recovered from.
            let mut left = 1 + dice.roll(3);
            let meets = move |action: &cb_core::plan::Action| {
                let met = action.kind() == what && left > 0;
                left -= u64::from(met);
                met
            };
            let mut meets = meets;
            host.fault_when(move |_, action| meets(action), Fault::fail("Failed"));
            format!("{what} fails a few times")
        }
    }
}

/// Passes until nothing is to be done soon, or the operator is cut off.
pub(super) async fn live(bench: &Bench) {
    for _ in 0..60 {
        let again = bench.pass().await;
        if bench.engine.host.is_cut_off() {
            return;
        }
        match again {
            Again::OnChange | Again::Gone => return,
            Again::After(wait) => tokio::time::advance(wait.min(Duration::from_secs(60))).await,
            Again::Backoff => tokio::time::advance(Duration::from_secs(5)).await,
        }
        let record = bench.engine.state.record(&name()).unwrap();
        let halted = |phase| phase == Phase::Halted;
        if record.operation.is_none_or(|o| halted(o.phase)) && matches!(again, Again::After(_)) {
            return;
        }
    }
}

async fn run(seed: u64) -> &'static str {
    let mut dice = Dice(seed);
    let mut bench = bench(&mut dice).await;
    let fault = fault(&bench, &mut dice);
    let story = |what: &str| format!("seed {seed}: {fault}; {what}");
    bench
        .change(|record| record.tenant.spec.version = "v2".parse().unwrap())
        .await;
    for _ in 0..dice.roll(LIVES as u64) {
        bench.engine.host.cut_after(dice.roll(40));
        live(&bench).await;
        bench = match dice.roll(4) {
            0 => bench.rebooted(),
            _ => bench.restarted(),
        };
    }
    live(&bench).await;

    let host = &bench.engine.host;
    let record = bench.engine.state.record(&name()).unwrap();
    assert!(host.violations().is_empty(), "{}", story("violations"));
    let content = host.read_database(FILE.as_ref());
    if let Some(operation) = &record.operation {
        assert_eq!(
            operation.phase,
            Phase::Halted,
            "{}: {operation:#?}",
            story("no end")
        );
        // Everything is kept: the rows are in the database, in a copy of it, or
        // in a backup.
        let kept = content.is_some_and(|content| content.rows == rows());
        let backup = operation.backup_id.as_ref().filter(|_| operation.backed_up);
        let backup = backup.and_then(|id| {
            let file = PathBuf::from("/var/lib/cb/backups/ky04").join(id.as_str());
            host.read_database(&file.join("database.duckdb"))
        });
        let saved = backup.is_some_and(|content| content.rows == rows());
        assert!(kept || saved, "{}", story("rows are lost"));
        return "halted";
    }
    let content = content.unwrap_or_else(|| panic!("{}", story("no database")));
    assert_eq!(content.rows, rows(), "{}", story("rows"));
    let (version, schema) = match record.has_failed() {
        true => ("v1", 1),
        false => ("v2", 3),
    };
    assert_eq!(content.schema_version, schema, "{}", story("a mixture"));
    assert!(bench.runs(version), "{}", story("another version runs"));
    let deployed = record.deployed.as_ref().unwrap();
    assert_eq!(
        deployed.version.as_str(),
        version,
        "{}",
        story("the record")
    );
    for unit in ["ky04-api.service", "ky04-frontend.service"] {
        assert!(
            host.is_enabled(unit),
            "{}",
            story("it would not start at boot")
        );
    }
    host.clear_log();
    live(&bench).await;
    assert_eq!(host.log(), [], "{}", story("there is something left to do"));
    version
}

/// The end is always the new version with all rows, or the old version with all
/// rows, or a halt with all rows kept; never a mixture.
#[test]
fn an_upgrade_ends_whole_whatever_fails_and_is_killed() {
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    let runs = number("CB_SIMULATION_RUNS").unwrap_or(400);
    let seeds = match number("CB_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    let mut ends = std::collections::BTreeMap::new();
    for seed in seeds.clone() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        *ends.entry(runtime.block_on(run(seed))).or_insert(0) += 1;
    }
    if seeds.end - seeds.start >= 200 {
        // It is of no use if most runs end the same way.
        for end in ["v1", "v2", "halted"] {
            assert!(ends.get(end).is_some_and(|n| n * 40 > runs), "{ends:?}");
        }
    }
}

/// A backup by wish: the same version with the same rows, and a copy.
#[tokio::test(start_paused = true)]
async fn a_backup_leaves_everything_as_it_is() {
    let bench = bench(&mut Dice(1)).await;
    let wish = Wish::Backup { scheduled: false };
    let at = crate::now();
    bench
        .change(|r| r.request = Some(Request { at, wish }))
        .await;
    live(&bench).await;
    let record = bench.engine.state.record(&name()).unwrap();
    let last = record.history.last().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.state.as_str()),
        ("Backup", "Succeeded")
    );
    assert!(record.request.is_none() && record.backed_up.is_some());
    assert_eq!(record.newest_backup, last.ended);
    let told = bench.engine.metrics.text();
    for line in [
        r#"cb_operations_total{kind="Backup",state="Succeeded"} 1"#,
        r#"cb_operation_phase_duration_seconds_count{phase="BackingUp"} 1"#,
    ] {
        assert!(told.contains(line), "no {line} in\n{told}");
    }
    let file = PathBuf::from("/var/lib/cb/backups/ky04").join(last.backup.as_ref().unwrap());
    let copy = bench
        .engine
        .host
        .read_database(&file.join("database.duckdb"));
    assert_eq!(copy.unwrap().rows, rows());
    assert!(bench.runs("v1"));
    assert_eq!(bench.condition("Ready"), "True Ready");
}

/// A restore: the rows of the backup, and those it replaced in another backup.
#[tokio::test(start_paused = true)]
async fn a_restore_keeps_what_it_replaces() {
    let bench = bench(&mut Dice(2)).await;
    let wish = |wish: Wish| Request {
        at: crate::now(),
        wish,
    };
    let backup = wish(Wish::Backup { scheduled: false });
    bench.change(|r| r.request = Some(backup)).await;
    live(&bench).await;
    let record = bench.engine.state.record(&name()).unwrap();
    let id = record.history.last().unwrap().backup.clone().unwrap();
    let newer = Content {
        schema_version: 1,
        rows: vec!["newer".into()],
    };
    bench.engine.host.put_database(FILE.as_ref(), &newer);
    let restore = wish(Wish::Restore {
        backup: id.parse().unwrap(),
    });
    bench.change(|r| r.request = Some(restore)).await;
    live(&bench).await;
    let record = bench.engine.state.record(&name()).unwrap();
    let last = record.history.last().unwrap();
    assert_eq!(last.kind, Kind::Restore.as_str());
    assert_eq!(last.state, "Succeeded", "{last:?}");
    let host = Arc::clone(&bench.engine.host);
    assert_eq!(host.read_database(FILE.as_ref()).unwrap().rows, rows());
    let file = PathBuf::from("/var/lib/cb/backups/ky04").join(last.backup.as_ref().unwrap());
    let replaced = host.read_database(&file.join("database.duckdb"));
    assert_eq!(replaced.unwrap(), newer);
}
