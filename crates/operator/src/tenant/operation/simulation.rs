//! Operations on a host in memory, with faults of every kind and the operator
//! cut off between any two effects, again and again (laws 5 and 6).
//!
//! Each run has a seed that it is made of. `CB_SIMULATION_SEED` runs one of
//! them again, `CB_SIMULATION_RUNS` says how many are run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cb_core::api::{DriftPolicy, TenantSpec};
use cb_core::database::{Job, JobFailure};
use cb_core::observed::Health;
use cb_core::operation::{Kind, Phase, Request, Wish};
use cb_core::record::Phase as Life;
use cb_core::status::ProblemReason;
use cb_core::types::ObjectName;
use cb_host::memory::{Content, Fault, JobFault};

use crate::tenant::Again;
use crate::tenant::tests::{Bench, application, name};

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
            host.fault_when(
                move |_, action| meets(action),
                Fault::fail(ProblemReason::Failed),
            );
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

/// What somebody does while the operator is down.
async fn meddle(bench: &Bench, dice: &mut Dice) -> &'static str {
    let spec = async |change: fn(&mut TenantSpec)| {
        bench
            .change(|record| {
                let mut tenant = record.tenant.clone();
                change(&mut tenant.spec);
                // Who was removed stays so.
                if record.phase == Life::Active {
                    record.accept(&tenant, "ky04.yaml");
                }
            })
            .await;
    };
    match dice.roll(16) {
        0 | 1 => {
            spec(|spec| spec.suspend = true).await;
            "suspended"
        }
        2 => {
            spec(|spec| spec.suspend = false).await;
            "not suspended"
        }
        3 => {
            spec(|spec| spec.drift_policy = Some(DriftPolicy::Detect)).await;
            "drift is left"
        }
        4 => {
            let motto = |spec: &mut TenantSpec| {
                let name = "MOTTO".parse().unwrap();
                spec.env.insert(name, "two".parse().unwrap());
            };
            spec(motto).await;
            "another environment"
        }
        5 => {
            // It may not be there yet, or not any more.
            let _ = bench.engine.host.start_unit("ky04-api.service");
            "the api is started"
        }
        6 if dice.roll(3) == 0 => {
            bench.change(|record| record.phase = Life::Retaining).await;
            "removed"
        }
        _ => "",
    }
}

/// Lives of an operator that is cut off again and again, with what somebody
/// does in between, and then one to the end.
async fn lives(mut bench: Bench, dice: &mut Dice, story: &mut String) -> Bench {
    for _ in 0..dice.roll(LIVES as u64) {
        bench.engine.host.cut_after(dice.roll(40));
        live(&bench).await;
        bench = match dice.roll(4) {
            0 => bench.rebooted(),
            _ => bench.restarted(),
        };
        for word in [", ", meddle(&bench, dice).await] {
            story.push_str(word);
        }
    }
    bench
        .change(|record| record.tenant.spec.suspend = false)
        .await;
    live(&bench).await;
    bench
}

/// Whether these rows are in the database, or whole in something that was
/// kept of it.
fn are_kept(bench: &Bench, rows: &[String]) -> bool {
    let kept = bench.engine.host.archived(&name());
    let mut files: Vec<PathBuf> = kept.into_keys().collect();
    files.push(FILE.into());
    let contents = files
        .iter()
        .filter_map(|file| bench.engine.host.read_database(file));
    contents
        .into_iter()
        .any(|content| rows.iter().all(|row| content.rows.contains(row)))
}

/// The services run, start at boot, and nothing is left to do.
async fn assert_settled(bench: &Bench, version: &str, story: &str) {
    let host = &bench.engine.host;
    assert!(bench.runs(version), "{story}: another version runs");
    let record = bench.engine.state.record(&name()).unwrap();
    let deployed = record.deployed.as_ref().unwrap();
    assert_eq!(deployed.version.as_str(), version, "{story}: the record");
    for unit in ["ky04-api.service", "ky04-frontend.service"] {
        assert!(host.is_enabled(unit), "{story}: it would not start at boot");
    }
    host.clear_log();
    live(bench).await;
    assert_eq!(host.log(), [], "{story}: there is something left to do");
}

async fn run(seed: u64) -> &'static str {
    let mut dice = Dice(seed);
    let bench = bench(&mut dice).await;
    let mut story = format!("seed {seed}: {}", fault(&bench, &mut dice));
    if dice.roll(4) == 0 {
        // The new version has one more service.
        let mut more = application();
        let worker = "{name: worker, command: bin/worker, portOffset: 2}";
        let worker = serde_yaml::from_str(worker).unwrap();
        more.application.spec.services.push(worker);
        bench.engine.state.insert_application(more).await.unwrap();
        story.push_str(", a service more");
    }
    bench
        .change(|record| record.tenant.spec.version = "v2".parse().unwrap())
        .await;
    let bench = lives(bench, &mut dice, &mut story).await;

    let host = &bench.engine.host;
    let record = bench.engine.state.record(&name()).unwrap();
    assert!(host.violations().is_empty(), "{story}: violations");
    if let Some(operation) = &record.operation {
        assert_eq!(
            operation.phase,
            Phase::Halted,
            "{story}: no end: {operation:#?}"
        );
        assert!(are_kept(&bench, &rows()), "{story}: rows are lost");
        return "halted";
    }
    let content = host.read_database(FILE.as_ref());
    let content = content.unwrap_or_else(|| panic!("{story}: no database"));
    assert_eq!(content.rows, rows(), "{story}: rows");
    let deployed = record.deployed.as_ref().unwrap();
    let schema = match deployed.version.as_str() {
        "v1" => 1,
        _ => 3,
    };
    assert_eq!(content.schema_version, schema, "{story}: a mixture");
    if record.phase == Life::Retained {
        return "removed";
    }
    let version = match record.has_failed() {
        true => "v1",
        false => "v2",
    };
    assert_settled(&bench, version, &story).await;
    version
}

/// A backup or a restore by wish.
async fn run_wish(seed: u64) -> &'static str {
    let mut dice = Dice(seed);
    let bench = bench(&mut dice).await;
    let ask = async |wish: Wish| {
        let at = crate::now();
        let request = Some(Request { at, wish });
        bench.change(|record| record.request = request).await;
    };
    ask(Wish::Backup { scheduled: false }).await;
    live(&bench).await;
    let record = bench.engine.state.record(&name()).unwrap();
    let backup = record.history[0].backup.clone().unwrap();
    bench.engine.host.log_rows(FILE.as_ref(), &["newer"]);
    let mut all = rows();
    all.push("newer".into());
    let mut story = format!("seed {seed}: {}", fault(&bench, &mut dice));
    let restores = dice.roll(2) == 0;
    ask(match restores {
        true => Wish::Restore {
            backup: backup.parse().unwrap(),
        },
        false => Wish::Backup { scheduled: false },
    })
    .await;
    let bench = lives(bench, &mut dice, &mut story).await;

    let host = &bench.engine.host;
    let record = bench.engine.state.record(&name()).unwrap();
    assert!(host.violations().is_empty(), "{story}: violations");
    // What a restore replaces is kept too.
    assert!(are_kept(&bench, &all), "{story}: rows are lost");
    assert!(are_kept(&bench, &rows()), "{story}: rows are lost");
    if let Some(operation) = &record.operation {
        assert_eq!(
            operation.phase,
            Phase::Halted,
            "{story}: no end: {operation:#?}"
        );
        let damage = operation.halted.as_ref().unwrap().failure.reason.as_str();
        assert!(
            operation.kind == Kind::Restore || damage == "WalDoesNotReplay",
            "{story}: a backup needs a person"
        );
        return "halted";
    }
    let last = record.history.last().unwrap();
    let content = host.read_database(FILE.as_ref()).unwrap();
    let restored = last.kind == "Restore" && last.state == "Succeeded";
    let wanted = if restored { rows() } else { all };
    assert_eq!(content.rows, wanted, "{story}: rows");
    assert_eq!(content.schema_version, 1, "{story}: a mixture");
    if record.phase == Life::Retained {
        return "removed";
    }
    assert_settled(&bench, "v1", &story).await;
    if restores { "restored" } else { "backed up" }
}

/// The end is always the new version with all rows, or the old version with all
/// rows, or a halt with all rows kept; never a mixture.
#[test]
fn an_upgrade_ends_whole_whatever_fails_and_is_killed() {
    runs_of(200, run, &["v1", "v2", "halted", "removed"]);
}

/// A backup leaves the rows that there are, a restore those of the backup or,
/// if it fails, those that there were; and a backup needs no person.
#[test]
fn a_wish_ends_whole_whatever_fails_and_is_killed() {
    runs_of(
        300,
        run_wish,
        &["backed up", "restored", "halted", "removed"],
    );
}

fn runs_of<F: Future<Output = &'static str>>(runs: u64, run: fn(u64) -> F, ends: &[&str]) {
    let number = |variable: &str| std::env::var(variable).ok()?.parse::<u64>().ok();
    let runs = number("CB_SIMULATION_RUNS").unwrap_or(runs);
    let seeds = match number("CB_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    let mut came = std::collections::BTreeMap::new();
    for seed in seeds.clone() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        *came.entry(runtime.block_on(run(seed))).or_insert(0) += 1;
    }
    if seeds.end - seeds.start >= 100 {
        // It is of no use if most runs end the same way.
        for end in ends {
            assert!(came.get(end).is_some_and(|n| n * 100 > runs), "{came:?}");
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
