//! `/operator/v1/usage`: what the services of tenants use of the processor and
//! of memory, and `/operator/v1/tenants/NAME/restart`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::Uri;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use cb_core::api::Kind;
use serde_json::json;

use super::changes::{Peer, log};
use super::routes::{Answer, Api, Shared, no_such_path};
use super::status::Failure;

/// The paths.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/operator/v1/usage", get(read))
        .route("/operator/v1/tenants/{name}/restart", post(restart))
}

async fn read(State(api): Shared) -> Answer {
    let items = api.backend.usage().await;
    Ok(Json(json!({ "items": items })).into_response())
}

async fn restart(
    State(api): Shared,
    path: Result<Path<String>, PathRejection>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Answer {
    let Ok(Path(name)) = path else {
        return Err(no_such_path(uri.path()));
    };
    let kind = Kind::Tenant;
    let missing = || Failure::not_found(kind, &name);
    api.object(kind, &name).ok_or_else(missing)?;
    let (backend, target) = (Arc::clone(&api.backend), name.clone());
    api.finish(async move { backend.restart(&target).await }, (kind, &name))
        .await?;
    log(peer, kind, &name, "restarted", false);
    let object = api.object(kind, &name).ok_or_else(missing)?;
    Ok(Json(object).into_response())
}
