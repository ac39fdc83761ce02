//! `/api/tenants/{id}/version`, `…/upgrade`, `…/operation` and `…/retry`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cb_core::api::Kind;
use cb_core::record::Record;
use cb_core::types::{TenantName, shown};
use serde_json::{Value, json};

use super::changes::{Peer, log};
use super::fields::Fields;
use super::operations::{
    Asked, Upgrade, newest, newest_upgrade, operation_json, request_json, upgrade_json,
};
use super::problem::{Problem, ProblemKind, Refused};
use super::routes::{Api, Shared};

pub(super) type Reply = Result<Response, Refused>;
pub(super) type One = Result<Path<String>, PathRejection>;

/// The tenant of a path, if it is shown.
pub(super) fn known(api: &Api, path: One) -> Result<(TenantName, Record), Problem> {
    let missing = |name: &str| {
        let detail = format!("tenants \"{}\" not found", shown(name));
        Problem::new(ProblemKind::NotFound, detail)
    };
    let Ok(Path(text)) = path else {
        return Err(missing(""));
    };
    let name: TenantName = text.parse().map_err(|_| missing(&text))?;
    let state = api.backend.state();
    let shown = state.tenants().get(&name).is_some();
    let record = state.record(&name).filter(|_| shown);
    record
        .map(|record| (name, record))
        .ok_or_else(|| missing(&text))
}

/// Asks for it to its end, logs who did, and answers where to follow it: 202,
/// or 200 if nothing is to be done.
pub(super) async fn ask(
    api: &Api,
    peer: Peer,
    tenant: &TenantName,
    what: &str,
    work: impl Future<Output = Result<Asked, Problem>> + Send + 'static,
) -> Reply {
    let asked = api.carry_out(work).await?;
    log(peer, Kind::Tenant, tenant.as_str(), what, false);
    Ok(follow(tenant, &asked))
}

fn follow(tenant: &TenantName, asked: &Asked) -> Response {
    let base = format!("/api/tenants/{tenant}");
    let follow = format!("{base}/operation");
    let watch = format!(
        "/apis/campaignbrain.io/v1alpha1/tenants?watch=true&fieldSelector=metadata.name%3D{tenant}"
    );
    let links = json!({"operation": follow, "version": format!("{base}/version"), "watch": watch});
    let operation = match asked {
        Asked::Begun(id) => id.as_str(),
        Asked::Pending => "pending",
        Asked::NotNeeded(message) => {
            let body = json!({"operation": null, "message": message, "links": links});
            return Json(body).into_response();
        }
    };
    let body = json!({"operation": operation, "message": null, "links": links});
    let location = [(header::LOCATION, follow)];
    (StatusCode::ACCEPTED, location, Json(body)).into_response()
}

/// Runs, desired, schema, available, last upgrade.
pub(super) async fn version(State(api): Shared, path: One) -> Reply {
    let (name, record) = known(&api, path)?;
    let state = api.backend.state();
    let status = state.status(&name);
    let application = state.application(&record.tenant.spec.application);
    let available: Vec<Value> = application
        .iter()
        .flat_map(|known| &known.application.spec.versions)
        .map(|version| json!(version.name))
        .collect();
    let seen = status.as_deref();
    let body = json!({
        "running": seen.and_then(|status| status.version.clone()),
        "desired": record.tenant.spec.version,
        "schema": seen.and_then(|status| status.schema_version).or(record.schema_version),
        "available": available,
        "last_upgrade": newest_upgrade(&record).as_ref().map(upgrade_json),
    });
    Ok(Json(body).into_response())
}

/// The operation that is under way or was the last, and what waits.
pub(super) async fn operation(State(api): Shared, path: One) -> Reply {
    let (_, record) = known(&api, path)?;
    let body = json!({
        "operation": newest(&record).as_ref().map(operation_json),
        "requested": record.request.as_ref().map(request_json),
    });
    Ok(Json(body).into_response())
}

/// Another version.
pub(super) async fn upgrade(
    State(api): Shared,
    path: One,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Reply {
    let (name, _) = known(&api, path)?;
    let fields = [
        "target_version",
        "backup_db",
        "run_migrations",
        "restore_backup",
    ];
    let fields = Fields::of(request, &fields).await?;
    let wish = Upgrade {
        target: fields.needed("target_version", "{\"target_version\": \"v0.3.0\"}")?,
        backup: fields.flag("backup_db", true)?,
        migrate: fields.flag("run_migrations", true)?,
        restore: fields.text("restore_backup")?,
    };
    let what = format!("upgrade to {}", wish.target);
    let (backend, tenant) = (Arc::clone(&api.backend), name.clone());
    let work = async move { backend.upgrade(&tenant, wish).await };
    ask(&api, peer, &name, &what, work).await
}

/// Once more.
pub(super) async fn retry(
    State(api): Shared,
    path: One,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Reply {
    let (name, _) = known(&api, path)?;
    Fields::of(request, &[]).await?;
    let (backend, tenant) = (Arc::clone(&api.backend), name.clone());
    let work = async move { backend.retry(&tenant).await };
    ask(&api, peer, &name, "retry", work).await
}
