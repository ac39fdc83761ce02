//! `cargo xtask generate`: writes what is derived from the Rust types and from
//! the definition of `cbctl`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run as run_command};

/// Writes the files, or with `check` only compares them.
pub(crate) fn run(workspace: &Workspace, check: bool) -> Result<()> {
    let folder = workspace.root.join("manifests");
    let mut stale = Vec::new();
    for (path, content) in cb_core::schema::files() {
        let target = folder.join(&path);
        if fs::read_to_string(&target).is_ok_and(|old| old == content) {
            continue;
        }
        stale.push(path);
        if !check {
            write(&target, &content)?;
        }
    }
    cbctl(workspace, check)?;
    if !check {
        println!("{} files written", stale.len());
    } else if !stale.is_empty() {
        bail!(
            "not as the Rust types would have them: {} (in manifests/); run `cargo xtask generate`",
            stale.join(", ")
        );
    }
    Ok(())
}

/// The reference and the man pages of `cbctl`, which a test of it writes from
/// its definition. With `check` that test is one among all.
fn cbctl(workspace: &Workspace, check: bool) -> Result<()> {
    if check {
        return Ok(());
    }
    let arguments = [
        "test",
        "--quiet",
        "--package",
        "cbctl",
        "--bin",
        "cbctl",
        "docs::",
    ];
    let mut command = workspace.cargo(&arguments);
    run_command(command.env("UPDATE_GENERATED", "1"))
}

fn write(target: &Path, content: &str) -> Result<()> {
    let context = || format!("cannot write {}", target.display());
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    fs::write(target, content).with_context(context)
}
