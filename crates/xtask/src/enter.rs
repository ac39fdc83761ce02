//! `cargo xtask enter`: a shell in a throwaway host.

use std::env;

use anyhow::{Context, Result, bail};
use cb_testhost::{Options, TestHost};

use crate::artifacts::{self, Profile, RELEASES};
use crate::setup;
use crate::workspace::{Workspace, is_root};

/// Builds everything, boots, and gives a shell until it ends.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    if !is_root() {
        bail!("a host needs root: run `sudo -E cargo xtask enter`");
    }
    setup::run(workspace)?;
    let artifacts = artifacts::build(workspace, Profile::Dev, &RELEASES)?;
    let host = TestHost::boot(Options::new("enter").artifacts(&artifacts))?;
    println!("this is {}; it is gone when the shell ends", host.name());
    host.command("bash")
        .env("TERM", env::var_os("TERM").unwrap_or_default())
        .status()
        .context("cannot open a shell in the host")?;
    Ok(())
}
