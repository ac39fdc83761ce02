//! `cbapp-frontend`: one tenant's HTML page, made from its api's answers.
//!
//! Holds no state and does not need the api for its own health: a host runs
//! hundreds of these, so it stays small, with one thread and no database.

mod client;
mod page;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, io};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cbapp::fault::{self, Fault};
use cbapp::messages::Count;
use cbapp::release::Release;
use cbapp::serve::{Stop, describe, serve};
use cbapp::settings::FrontendSettings;
use serde_json::json;

use crate::client::{Client, ClientError};
use crate::page::Content;

/// The page has a style of its own and needs nothing else, least of all scripts.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

#[derive(Debug)]
struct Frontend {
    settings: FrontendSettings,
    version: String,
    fault: Option<Fault>,
}

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
    let settings = FrontendSettings::read(&lookup)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| io::Error::new(error.kind(), format!("no async runtime: {error}")))?
        .block_on(run(settings, release, fault))
}

async fn run(
    settings: FrontendSettings,
    release: Release,
    fault: Option<Fault>,
) -> Result<(), Box<dyn Error>> {
    let stop = Stop::install(fault)?;
    let port = settings.port;
    let ready = format!(
        "cbapp-frontend {} for tenant {}",
        release.version, settings.tenant.slug
    );
    let version = fault::reported_version(fault, release.version);
    let router = Router::new()
        .route("/", get(index))
        .route("/health", get(health))
        .with_state(Arc::new(Frontend {
            settings,
            version,
            fault,
        }));
    serve(router, port, stop, fault, &ready).await?;
    println!("stopped");
    Ok(())
}

async fn health(State(frontend): State<Arc<Frontend>>) -> Response {
    let version = &frontend.version;
    if frontend.fault == Some(Fault::Unhealthy) {
        let reason = "the test knob asks for it";
        let body = json!({ "status": "unavailable", "version": version, "reason": reason });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    }
    Json(json!({ "status": "ok", "version": version })).into_response()
}

async fn index(State(frontend): State<Arc<Frontend>>) -> Response {
    let Frontend {
        settings, version, ..
    } = &*frontend;
    let (status, page) = match ask(settings.api_port).await {
        Ok(content) => (
            StatusCode::OK,
            page::render(&settings.tenant, version, &content),
        ),
        Err(error) => {
            let reason = describe(&error);
            println!("error: {reason}");
            (
                StatusCode::BAD_GATEWAY,
                page::render_error(&settings.tenant, version, &reason),
            )
        }
    };
    (
        status,
        [(header::CONTENT_SECURITY_POLICY, POLICY)],
        Html(page),
    )
        .into_response()
}

async fn ask(port: u16) -> Result<Content, ClientError> {
    let mut api = Client::connect(port).await?;
    Ok(Content {
        count: api.get::<Count>("/api/contacts/count").await?.count,
        contacts: api.get("/api/contacts").await?,
        uploads: api.get("/api/uploads").await?,
    })
}
