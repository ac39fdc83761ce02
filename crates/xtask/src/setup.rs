//! `cargo xtask setup`: makes a Debian machine able to build and test.
//!
//! Looks first and does only what is missing, so it costs nothing the second
//! time and every other command can call it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::duckdb;
use crate::workspace::{self, Workspace, as_root, has_program};

/// Programs and the Debian packages they are in.
const PROGRAMS: [(&str, &str); 7] = [
    ("cc", "gcc"),
    // libFuzzer is C++.
    ("c++", "g++"),
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
];

/// Checks licences, banned crates and sources.
const CARGO_DENY: &str = "0.18.9";

/// Does whatever is missing for building and for test hosts.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    if !Path::new("/etc/debian_version").exists() || env::consts::ARCH != "x86_64" {
        bail!(
            "building and testing is set up for Debian on x86_64; this machine is something else"
        );
    }
    install_packages(workspace)?;
    if duckdb::is_missing(workspace) {
        println!("fetching DuckDB's shared library");
        duckdb::fetch(workspace)?;
    }
    let program = env::current_exe().context("cannot find the own program")?;
    // Says nothing and takes no time if it is there.
    workspace::run(
        as_root(program)
            .arg("rootfs")
            .env("CB_CACHE_DIR", &workspace.cache),
    )
    .context("cannot build the root file system of the test hosts")
}

fn install_packages(workspace: &Workspace) -> Result<()> {
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !has_program(program))
        .map(|(_, package)| *package)
        .collect();
    if duckdb::is_missing(workspace) && !has_program("npm") {
        packages.push("npm");
    }
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    println!("installing {}", packages.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = as_root("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        workspace::run(command.args(arguments))
    };
    apt(&["update", "-q"])?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    apt(&[&install[..], &packages].concat())
}

/// The program cargo-deny, first installed into the cache if it is not there:
/// unoptimised, which takes two minutes instead of seven, and a check takes
/// seconds either way.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.cache.join("tools");
    let folder = tools.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin/cargo-deny");
    if program.exists() {
        return Ok(program);
    }
    println!("installing cargo-deny {CARGO_DENY}");
    let build = tools.join("build");
    let mut cargo = workspace.cargo(&["install", "--quiet", "--locked", "--debug"]);
    cargo
        .args(["cargo-deny", "--version", CARGO_DENY, "--root"])
        .arg(&folder)
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    workspace::run(&mut cargo)?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
    Ok(program)
}
