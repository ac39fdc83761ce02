//! Builds everything that runs on a host and lays it out for test hosts:
//! programs in one folder, the example application's releases in another.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cb_testhost::cache::{Artifacts, short_hash};
use serde_json::Value;

use crate::duckdb::{self, sha256};
use crate::workspace::{Workspace, capture, run};

/// The example application's versions: with 1, 2 and 3 migrations.
pub(crate) const RELEASES: [&str; 3] = ["v0.1.0", "v0.2.0", "v0.3.0"];

/// How to compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Fast to compile.
    Dev,
    /// Fast to run.
    Release,
}

/// Builds all programs and makes `versions` of the example application. Needs
/// what [`crate::setup::run`] sets up.
pub(crate) fn build(
    workspace: &Workspace,
    profile: Profile,
    versions: &[&str],
) -> Result<Artifacts> {
    let artifacts = Artifacts::of_this_checkout()?;
    let (programs, own): (Vec<PathBuf>, Vec<PathBuf>) =
        compile(workspace, profile, &["--workspace"])?
            .into_iter()
            .partition(|path| is_example(path));
    let library = duckdb::folder(workspace).join(duckdb::LIBRARY);
    fs::create_dir_all(&artifacts.bin)
        .with_context(|| format!("cannot create {}", artifacts.bin.display()))?;
    for file in own.iter().chain([&library]) {
        place(file, &artifacts.bin)?;
    }
    let folder = programs
        .first()
        .and_then(|program| program.parent())
        .context("cargo built no program of the example application")?;
    make_releases(workspace, folder, &artifacts.releases, versions)?;
    Ok(artifacts)
}

/// Builds the operator, `cbctl` and the small test application alone, in a
/// folder of their own. Needs no DuckDB.
pub(crate) fn build_small(workspace: &Workspace, profile: Profile) -> Result<Artifacts> {
    let mut artifacts = Artifacts::of_this_checkout()?;
    artifacts.bin.set_file_name("bench");
    let packages = ["-p", "cb-operator", "-p", "cbctl", "-p", "cb-e2e"];
    fs::create_dir_all(&artifacts.bin)
        .and_then(|()| fs::create_dir_all(&artifacts.releases))
        .with_context(|| format!("cannot create {}", artifacts.bin.display()))?;
    for file in compile(workspace, profile, &packages)? {
        place(&file, &artifacts.bin)?;
    }
    Ok(artifacts)
}

/// Compiles what is selected; the programs there are, except this one.
fn compile(workspace: &Workspace, profile: Profile, selected: &[&str]) -> Result<Vec<PathBuf>> {
    let mut cargo = workspace.cargo(&["build", "--bins", "--locked"]);
    cargo
        .args(selected)
        .arg("--message-format=json-render-diagnostics");
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let messages = capture(&mut cargo)?;
    let executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    Ok(executables
        .filter(|path| path.file_name().is_none_or(|name| name != "xtask"))
        .collect())
}

fn is_example(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("cbapp-"))
}

/// Puts a copy of `file` into `folder`, replacing an older one under the feet
/// of nobody: a host that runs it keeps what it has.
fn place(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().context("a program has a name")?;
    let part = folder.join(format!(".{}.part", name.to_string_lossy()));
    fs::copy(file, &part)
        .and_then(|_| fs::rename(&part, folder.join(name)))
        .with_context(|| format!("cannot copy {} to {}", file.display(), folder.display()))
}

/// Makes the releases that are missing or were made of other programs.
fn make_releases(
    workspace: &Workspace,
    programs: &Path,
    releases: &Path,
    versions: &[&str],
) -> Result<()> {
    let example = workspace.root.join("examples/cbapp");
    let script = example.join("make-release.sh");
    let library = duckdb::folder(workspace).join(duckdb::LIBRARY);
    let mut inputs = vec![
        programs.join("cbapp-api"),
        programs.join("cbapp-frontend"),
        library.clone(),
        script.clone(),
    ];
    for entry in fs::read_dir(example.join("migrations"))? {
        inputs.push(entry?.path());
    }
    inputs.sort();
    let hashes: Vec<String> = inputs
        .iter()
        .map(|path| sha256(path))
        .collect::<Result<_>>()?;
    let parts: Vec<&[u8]> = hashes.iter().map(|hash| hash.as_bytes()).collect();
    let key = short_hash(&parts);

    fs::create_dir_all(releases)
        .with_context(|| format!("cannot create {}", releases.display()))?;
    for version in versions {
        let folder = releases.join(version);
        let made_of = releases.join(format!(".{version}.key"));
        let current = folder.exists() && fs::read_to_string(&made_of).is_ok_and(|old| old == key);
        if current {
            continue;
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let mut command = std::process::Command::new(&script);
        run(command.arg(version).args([&folder, programs, &library]))?;
        fs::write(&made_of, &key).with_context(|| format!("cannot write {}", made_of.display()))?;
    }
    Ok(())
}
