//! `cargo xtask bench --drift N`: how soon drift is seen and put right among ten
//! tenants and among N, and what the operator takes while nothing happens.
//!
//! Measured from outside: seen is when the status file of a tenant with
//! `driftPolicy: Detect` tells of it, so with the writing; put right is when
//! the file is another one, or systemd has begun to start the unit again. The
//! things of one tenant are put right twice at most, since a third time would
//! be a fight.

use std::time::Duration;

use anyhow::{Context as _, Result};
use cb_testhost::TestHost;
use cb_testhost::cache::Artifacts;

use crate::artifacts::{self, Profile};
use crate::bench;
use crate::setup;
use crate::workspace::Workspace;

const TAMPER: &str = include_str!("bench_drift.pl");

/// How many tenants are tampered with for each measure, and how often each.
const TENANTS: usize = 5;
const ROUNDS: usize = 2;

/// How long nothing happens, after things have settled for as long: what has
/// started just now is looked at more often.
const QUIET: Duration = Duration::from_secs(60);

/// Runs the benchmark with ten tenants and with this many.
pub(crate) fn run(workspace: &Workspace, tenants: usize, profile: Profile) -> Result<()> {
    setup::run(workspace)?;
    let artifacts = artifacts::build_small(workspace, profile)?;
    let few = 2 * TENANTS;
    among(workspace, &artifacts, few, profile)?;
    if tenants > few {
        among(workspace, &artifacts, tenants, profile)?;
    }
    Ok(())
}

fn among(
    workspace: &Workspace,
    artifacts: &Artifacts,
    tenants: usize,
    profile: Profile,
) -> Result<()> {
    let host = bench::with_operator(workspace, artifacts, "bench-drift")?;
    let names: Vec<String> = bench::names(tenants).collect();
    for (n, name) in names.iter().enumerate() {
        // The first ones are only looked at.
        let more = if n < TENANTS {
            "  driftPolicy: Detect\n"
        } else {
            ""
        };
        let text = bench::manifest(name) + more;
        host.push(text.as_bytes(), &format!("/etc/cb/new/{name}.yaml"), 0o644)?;
    }
    host.sh("mv /etc/cb/new/*.yaml /etc/cb/manifests/")?;
    bench::wait_ready(&host, tenants)?;
    host.push(TAMPER.as_bytes(), "/root/tamper.pl", 0o755)?;

    let (detect, correct) = names.split_at(TENANTS);
    let correct = &correct[..TENANTS];
    println!(
        "\ndrift among {tenants} tenants, {profile:?} build, median (and worst) of {}",
        TENANTS * ROUNDS
    );
    for (what, measure, of) in [
        ("a changed unit file, until it is seen", "file-seen", detect),
        ("a killed service, until it is seen", "unit-seen", detect),
        (
            "a changed unit file, until it is put right",
            "file-repaired",
            correct,
        ),
        (
            "`systemctl stop`, until the service is started again",
            "unit-repaired",
            correct,
        ),
    ] {
        let mut times = Vec::new();
        for name in of {
            times.extend(tampered(&host, measure, name)?);
        }
        let worst = times.iter().max().copied().unwrap_or_default();
        let median = bench::median(times);
        println!("  {what:<58} {} ({})", millis(median), millis(worst));
    }

    bench::wait_ready(&host, tenants)?;
    std::thread::sleep(QUIET);
    let before = cpu(&host)?;
    std::thread::sleep(QUIET);
    let used = cpu(&host)?.saturating_sub(before);
    let share = 100.0 * used.as_secs_f64() / QUIET.as_secs_f64();
    println!(
        "  {:<58} {share:.3} % of a core",
        "the operator's CPU time over a quiet minute"
    );
    Ok(())
}

fn tampered(host: &TestHost, measure: &str, tenant: &str) -> Result<Vec<Duration>> {
    let times = host.sh(&format!("perl /root/tamper.pl {measure} {tenant} {ROUNDS}"));
    let times = times.with_context(|| host.journal("cb-operator"))?;
    let time = |line: &str| Ok(Duration::from_micros(line.trim().parse()?));
    times.lines().map(time).collect()
}

/// The time that all of the operator's threads have run for.
fn cpu(host: &TestHost) -> Result<Duration> {
    let text = host.sh("cat /proc/$(systemctl show -P MainPID cb-operator)/task/*/schedstat")?;
    let mut nanos = 0;
    for line in text.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        nanos += first
            .parse::<u64>()
            .context("schedstat is not understood")?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
