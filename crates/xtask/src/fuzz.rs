//! `cargo xtask fuzz`: the fuzz targets in `fuzz/`, with libFuzzer.
//!
//! They are built by the project's own toolchain: the coverage that libFuzzer
//! wants is a pass of the compiler, and without a sanitizer nothing unstable is
//! needed. There is no unsafe code for a sanitizer to find fault with.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run};

/// What every build for libFuzzer needs.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];

/// Build scripts and macros are not what is tested: with a target named, the
/// flags are not theirs.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// How many inputs a target gets in a test run, after those that are kept.
const SHORT: u64 = 2_000;

/// How long a run goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// So many inputs, the same ones each time.
    Runs(u64),
    /// So many seconds, with other inputs each time. Those that reach something
    /// new are added to the corpus.
    Seconds(u64),
}

/// Every target for a moment: all that is in the corpora, and the same new
/// inputs each time. What CI finds does not depend on luck.
pub(crate) fn short(workspace: &Workspace) -> Result<()> {
    all(workspace, None, Length::Runs(SHORT))
}

/// Builds the targets and runs `only` one of them, or all.
///
/// # Errors
/// A target found a fault. The input is in `fuzz/artifacts/`.
pub(crate) fn all(workspace: &Workspace, only: Option<&str>, length: Length) -> Result<()> {
    let folder = workspace.root.join("fuzz");
    let fmt = ["fmt", "--check"];
    run(workspace.cargo(&fmt).current_dir(&folder))?;
    let build = ["build", "--profile", "fuzz", "--locked", "--target", TRIPLE];
    run(workspace
        .cargo(&build)
        .current_dir(&folder)
        .env("RUSTFLAGS", COVERAGE.join(" ")))?;
    let names = names(workspace)?;
    if let Some(only) = only.filter(|only| !names.iter().any(|name| name == only)) {
        bail!(
            "there is no fuzz target `{only}`; there are {}",
            names.join(", ")
        );
    }
    for name in names
        .iter()
        .filter(|name| only.is_none_or(|only| *name == only))
    {
        target(workspace, name, length).with_context(|| {
            format!("fuzz target `{name}`; its input is in fuzz/artifacts/{name}")
        })?;
    }
    Ok(())
}

fn target(workspace: &Workspace, name: &str, length: Length) -> Result<()> {
    println!("{name}");
    let folder = workspace.root.join("fuzz");
    let corpus = folder.join("corpus").join(name);
    let artifacts = folder.join("artifacts").join(name);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let program = workspace.target.join(TRIPLE).join("fuzz").join(name);
    let mut command = std::process::Command::new(program);
    command
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([
            "-max_len=4096",
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-verbosity=0",
        ]);
    match length {
        Length::Runs(runs) => {
            let scratch = scratch(workspace, name)?;
            command
                .args([format!("-runs={runs}"), "-seed=1".to_owned()])
                .args([scratch, corpus]);
        }
        Length::Seconds(seconds) => {
            command
                .arg(format!("-max_total_time={seconds}"))
                .arg(corpus);
        }
    }
    run(&mut command)
}

/// A folder for what a run finds and nobody keeps.
fn scratch(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let scratch = workspace.target.join("fuzz-scratch").join(name);
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    Ok(scratch)
}

fn names(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let stem = path.file_stem().unwrap_or_default();
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
