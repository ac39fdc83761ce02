//! `/operator/v1/usage`: what the services of tenants use of the processor and
//! of memory and what tenants have on disk (without the processor with
//! `?cpu=false`, which answers at once), and `/operator/v1/tenants/NAME/restart`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::Uri;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use cb_core::api::Kind;
use serde_json::json;

use super::changes::{Peer, log, tenant_as_it_is, tenant_in};
use super::request::Options;
use super::routes::{Answer, Api, Shared};

/// The paths.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/operator/v1/usage", get(read))
        .route("/operator/v1/tenants/{name}/restart", post(restart))
}

async fn read(State(api): Shared, uri: Uri) -> Answer {
    let processor = Options::of(&uri)?.get("cpu")? != Some("false");
    let items = api.backend.usage(processor).await;
    Ok(Json(json!({ "items": items })).into_response())
}

async fn restart(
    State(api): Shared,
    path: Result<Path<String>, PathRejection>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Answer {
    let (kind, name) = (Kind::Tenant, tenant_in(path, &uri, &api)?);
    let (backend, target) = (Arc::clone(&api.backend), name.clone());
    api.finish(async move { backend.restart(&target).await }, (kind, &name))
        .await?;
    log(peer, kind, &name, "restarted", false);
    tenant_as_it_is(&name, &api)
}
