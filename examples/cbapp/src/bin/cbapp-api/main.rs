//! `cbapp-api`: the service that owns one tenant's database and uploads.
//!
//! Environment → release → open the database → serve → SIGTERM → checkpoint,
//! close, exit 0. A database that cannot be used does not end the process:
//! `GET /health` then says 503 and why.

#![allow(
    clippy::disallowed_methods,
    reason = "an example stores uploads without the operator's crates"
)]

mod database;
mod migrations;
mod routes;
mod uploads;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, io};

use cbapp::fault::{self, Fault};
use cbapp::release::Release;
use cbapp::serve::{Stop, describe, serve};
use cbapp::settings::ApiSettings;

use crate::database::Database;
use crate::routes::{Api, router};
use crate::uploads::Uploads;

/// One for the database, whose calls queue anyway, and one for uploads.
const BLOCKING_THREADS: usize = 2;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {}", describe(&*error));
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Box<dyn Error>> {
    let lookup = |name: &str| env::var(name).ok();
    let release = Release::of_this_program()?;
    let fault = Fault::find(lookup(fault::VARIABLE).as_deref(), &release.folder)?;
    if fault == Some(Fault::ExitAtOnce) {
        return Err("exiting at once, as the test knob asks".into());
    }
    let settings = ApiSettings::read(&lookup)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| io::Error::new(error.kind(), format!("no async runtime: {error}")))?
        .block_on(run(settings, release, fault))
}

async fn run(
    settings: ApiSettings,
    release: Release,
    fault: Option<Fault>,
) -> Result<(), Box<dyn Error>> {
    let stop = Stop::install(fault)?;
    let ready = format!(
        "cbapp-api {} for tenant {}",
        release.version, settings.tenant.slug
    );
    let api = Arc::new(Api {
        database: Database::new(settings.database, release.migrations()),
        uploads: Uploads::new(settings.uploads),
        version: fault::reported_version(fault, release.version),
        tenant: settings.tenant,
        ollama_url: settings.ollama_url,
        i360: settings.i360,
        fault,
    });
    let opening = Arc::clone(&api);
    match tokio::task::spawn_blocking(move || opening.database.schema_version()).await? {
        Ok(version) => println!("the database has schema version {version}"),
        Err(error) => println!("error: {}", describe(&error)),
    }

    let served = serve(router(Arc::clone(&api)), settings.port, stop, fault, &ready).await;
    // Also when serving failed: the file must be whole and free afterwards.
    tokio::task::spawn_blocking(move || api.database.close()).await??;
    served?;
    println!("stopped, the database is closed");
    Ok(())
}
