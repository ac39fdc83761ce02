//! Checks of the source that no compiler makes.

use std::process::Command;

use anyhow::{Result, bail};

use crate::setup;
use crate::workspace::{Workspace, capture, run};

/// The pure crate, and what would make it impure: anything that does I/O.
const PURE: &str = "cb-core";
const IMPURE: [&str; 20] = [
    "async-io",
    "axum",
    "cb-host",
    "cb-operator",
    "cb-runtime",
    "duckdb",
    "hyper",
    "inotify",
    "libduckdb-sys",
    "mio",
    "nix",
    "notify",
    "reqwest",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-util",
    "zbus",
    "zvariant",
];

/// cb-core plans and renders; it must not be able to do.
pub(crate) fn purity(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo(&["tree", "--locked", "--package", PURE]);
    cargo.args(["--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let tree = capture(&mut cargo)?;
    let found = impure(&tree);
    if !found.is_empty() {
        bail!(
            "{PURE} must do no I/O, but depends on {}; `cargo tree -p {PURE} -e normal -i {}` \
             shows by which way",
            found.join(", "),
            found[0]
        );
    }
    Ok(())
}

fn impure(tree: &str) -> Vec<&str> {
    let mut found: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| IMPURE.contains(name))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Licences, banned crates and where crates come from, by `deny.toml`.
pub(crate) fn dependencies(workspace: &Workspace) -> Result<()> {
    let check = ["check", "--hide-inclusion-graph"];
    run(cargo_deny(workspace)?
        .args(check)
        .args(["bans", "licenses", "sources"]))
}

/// Known faults of dependencies, by the database of RustSec. A machine that
/// cannot fetch it knows none of them: that is said, and is no fault of the
/// change under test; [`audit`] fails there.
pub(crate) fn advisories(workspace: &Workspace) -> Result<()> {
    let fetched = cargo_deny(workspace)?.args(["fetch", "db"]).output()?;
    if !fetched.status.success() {
        println!("    NOT CHECKED: RustSec's database cannot be fetched from this machine");
        return Ok(());
    }
    known_faults(workspace)
}

/// As [`advisories`], but without the database it fails.
pub(crate) fn audit(workspace: &Workspace) -> Result<()> {
    run(cargo_deny(workspace)?.args(["fetch", "db"]))?;
    known_faults(workspace)
}

fn known_faults(workspace: &Workspace) -> Result<()> {
    let check = ["check", "--hide-inclusion-graph", "--disable-fetch"];
    run(cargo_deny(workspace)?.args(check).arg("advisories"))
}

fn cargo_deny(workspace: &Workspace) -> Result<Command> {
    let mut command = Command::new(setup::cargo_deny(workspace)?);
    command
        .args(["--workspace", "--locked"])
        .current_dir(&workspace.root);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::impure;

    #[test]
    fn names_are_compared_whole() {
        let tree = "cb-core v0.1.0 (/x)\nserde v1.0.0\ntokio-macros v2.0.0\n";
        assert!(impure(tree).is_empty());
        let tree = format!("{tree}zbus v6.0.0\ntokio v1.0.0\ntokio v1.0.0 (*)\n");
        assert_eq!(impure(&tree), ["tokio", "zbus"]);
    }
}
