//! `cargo xtask`: everything there is to do with this checkout.
//!
//! One module per command; [`workspace`] knows folders and how to call cargo,
//! [`steps`] shows progress. What the programs themselves do does not belong
//! here.

#![allow(
    clippy::disallowed_methods,
    reason = "builds and caches can be made again"
)]

mod artifacts;
mod bench;
mod bench_drift;
mod bench_get;
mod bench_upgrade;
mod checks;
mod demo;
mod duckdb;
mod enter;
mod fuzz;
mod generate;
mod setup;
mod steps;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::artifacts::{Profile, RELEASES};
use crate::workspace::Workspace;

/// Everything there is to do with this checkout.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install and fetch what building and testing need, if it is missing.
    Setup,
    /// Build all programs and the example application's releases.
    Build {
        /// Build optimised programs.
        #[arg(long)]
        release: bool,
    },
    /// Run every check and test, those on real hosts too. CI runs this.
    Test {
        /// Run only the tests whose name contains this, and no other check.
        #[arg(long)]
        only: Option<String>,
    },
    /// Show the operator at work on a throwaway host. The machine's own systemd,
    /// nginx and /etc stay as they are.
    Demo {
        /// Keep the host until Ctrl-C, and say how to enter it.
        #[arg(long)]
        keep: bool,
    },
    /// Measure the operator against the same work done by hand.
    Bench {
        /// How many tenants.
        #[arg(long, default_value_t = 200)]
        tenants: usize,
        /// Instead: how long a tenant with a database of this many megabytes is
        /// down in an upgrade.
        #[arg(long, value_name = "MEGABYTES")]
        upgrade: Option<u64>,
        /// Instead: how soon drift is seen and put right among ten tenants and
        /// among this many, and what the operator takes while nothing happens.
        #[arg(
            long,
            value_name = "TENANTS",
            num_args = 0..=1,
            default_missing_value = "500",
            conflicts_with = "upgrade"
        )]
        drift: Option<usize>,
        /// Instead: how long `cbctl get tenants` takes over this many tenants
        /// that run nothing.
        #[arg(
            long,
            value_name = "TENANTS",
            num_args = 0..=1,
            default_missing_value = "1000",
            conflicts_with_all = ["upgrade", "drift"]
        )]
        get: Option<usize>,
        /// Measure an unoptimised build, which takes less time to make.
        #[arg(long)]
        dev: bool,
    },
    /// Write the JSON schemas, CRDs and references from the Rust types and from
    /// the definition of `cbctl`.
    Generate {
        /// Change nothing; fail if a file is not as it would be written.
        #[arg(long)]
        check: bool,
    },
    /// Look for known faults of dependencies; needs the network.
    Audit,
    /// Run the fuzz targets, and keep the inputs that reach something new.
    Fuzz {
        /// This one alone.
        target: Option<String>,
        /// How long each runs.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Boot a throwaway host with the programs in `/opt/cb/bin` and the
    /// releases in `/opt/cb/releases`, and open a shell in it.
    Enter,
    /// Build the root file system of the test hosts (`setup` calls this as root).
    #[command(hide = true)]
    Rootfs,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Setup => {
            setup::run(&workspace)?;
            setup::cargo_deny(&workspace).map(|_| ())
        }
        Command::Build { release } => {
            setup::run(&workspace)?;
            let profile = if release {
                Profile::Release
            } else {
                Profile::Dev
            };
            let artifacts = artifacts::build(&workspace, profile, &RELEASES)?;
            println!("programs: {}", artifacts.bin.display());
            println!("releases: {}", artifacts.releases.display());
            Ok(())
        }
        Command::Test { only: None } => test::everything(&workspace),
        Command::Test { only: Some(filter) } => test::only(&workspace, &filter),
        Command::Demo { keep } => demo::run(&workspace, keep),
        Command::Bench {
            tenants,
            upgrade,
            drift,
            get,
            dev,
        } => {
            let profile = if dev { Profile::Dev } else { Profile::Release };
            match (upgrade, drift, get) {
                (Some(megabytes), ..) => bench_upgrade::run(&workspace, megabytes, profile),
                (_, Some(tenants), _) => bench_drift::run(&workspace, tenants, profile),
                (.., Some(tenants)) => bench_get::run(&workspace, tenants, profile),
                (None, None, None) => bench::run(&workspace, tenants, profile),
            }
        }
        Command::Generate { check } => generate::run(&workspace, check),
        Command::Audit => checks::audit(&workspace),
        Command::Fuzz { target, seconds } => {
            setup::run(&workspace)?;
            fuzz::all(
                &workspace,
                target.as_deref(),
                fuzz::Length::Seconds(seconds),
            )
        }
        Command::Enter => enter::run(&workspace),
        Command::Rootfs => {
            cb_testhost::rootfs::ensure()?;
            Ok(())
        }
    }
}
