//! `cargo xtask test`: every check and test, cheap ones first.
//!
//! A failed check does not hide the results of the others; only what cannot
//! run without an earlier step is left out, and counts as failed.

use anyhow::Result;

use crate::artifacts::{self, Profile, RELEASES};
use crate::steps::Steps;
use crate::workspace::{Workspace, run};
use crate::{checks, fuzz, generate, setup};

/// The package with the tests on real hosts.
const HOST_TESTS: &str = "cb-e2e";

/// Everything, with a summary at the end.
pub(crate) fn everything(workspace: &Workspace) -> Result<()> {
    let mut steps = Steps::new();
    let ready = steps.run("set up", || setup::run(workspace));
    steps.run("format", || {
        run(&mut workspace.cargo(&["fmt", "--all", "--check"]))
    });
    steps.run("cb-core does no I/O", || checks::purity(workspace));
    steps.run("generated files are fresh", || {
        generate::run(workspace, true)
    });
    steps.run("licences and sources of dependencies", || {
        checks::dependencies(workspace)
    });
    steps.run("advisories of dependencies", || {
        checks::advisories(workspace)
    });
    let mut compiled = |name: &str, step: fn(&Workspace) -> Result<()>| {
        if ready {
            return steps.run(name, || step(workspace));
        }
        steps.not_run(name);
        false
    };
    compiled("clippy", clippy);
    compiled("unit and integration tests", unit_tests);
    compiled("fuzz targets, in short", fuzz::short);
    let built = compiled("programs and releases", build);
    if built {
        steps.run("tests on real hosts", || host_tests(workspace, ""));
    } else {
        steps.not_run("tests on real hosts");
    }
    steps.finish()
}

/// The tests whose name contains `filter`, with what they need.
pub(crate) fn only(workspace: &Workspace, filter: &str) -> Result<()> {
    setup::run(workspace)?;
    let tests = ["test", "--workspace", "--locked", "--exclude", HOST_TESTS];
    run(workspace.cargo(&tests).arg(filter))?;
    build(workspace)?;
    host_tests(workspace, filter)
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
    run(cargo.args(["--", "-D", "warnings"]))
}

fn unit_tests(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo(&["test", "--workspace", "--locked"]);
    // The same cases each time: CI must not fail for what a change did not
    // touch. A plain `cargo test` looks at other cases each time.
    cargo.env("PROPTEST_RNG_SEED", "20260101");
    run(cargo.args(["--exclude", HOST_TESTS, "--no-fail-fast"]))
}

fn build(workspace: &Workspace) -> Result<()> {
    artifacts::build(workspace, Profile::Dev, &RELEASES).map(|_| ())
}

fn host_tests(workspace: &Workspace, filter: &str) -> Result<()> {
    let mut cargo = workspace.cargo(&["test", "--package", HOST_TESTS, "--locked"]);
    // They wait for their hosts more than they compute; slots limit the hosts.
    run(cargo.args(["--", "--test-threads=8", filter]))
}
