//! `/api/tenants/{id}/backups…` and `…/restore`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use cb_core::api::Kind;
use cb_core::types::{BackupId, TenantName, shown};
use serde_json::{Value, json};

use super::changes::{Peer, log};
use super::fields::Fields;
use super::operations::{Restore, Verdict, backup_json, copy_json};
use super::problem::{Problem, ProblemKind};
use super::request::Options;
use super::routes::{Api, Shared};
use super::upgrade::{One, Reply, ask, known};

type Two = Result<Path<(String, String)>, PathRejection>;

/// The tenant and the identifier of the backup in a path.
fn both(api: &Api, path: Two) -> Result<(TenantName, BackupId), Problem> {
    let (name, text) = match path {
        Ok(Path(both)) => both,
        Err(_) => (String::new(), String::new()),
    };
    let (tenant, _) = known(api, Ok(Path(name)))?;
    let backup = text.parse().map_err(|_| no_backup(&tenant, &text))?;
    Ok((tenant, backup))
}

fn no_backup(tenant: &TenantName, backup: &str) -> Problem {
    let detail = format!("tenant `{tenant}` has no backup `{}`", shown(backup));
    Problem::new(ProblemKind::NoSuchBackup, detail)
}

/// The backups and copies of a tenant, newest first, and why copies are not
/// known.
async fn all(api: &Api, tenant: &TenantName) -> Result<(Vec<Value>, Option<String>), Problem> {
    let (backups, copies) = tokio::join!(api.backend.backups(tenant), api.backend.copies(tenant));
    let backups = backups?;
    let (copies, error) = match copies {
        Ok(copies) => (copies, None),
        Err(problem) => (None, Some(problem.detail)),
    };
    let has = |id: &BackupId| copies.as_ref().map(|all| all.iter().any(|c| c.id == *id));
    let mut rows: Vec<Value> = backups.iter().map(|b| backup_json(b, has(&b.id))).collect();
    let here = |id: &BackupId| backups.iter().any(|backup| backup.id == *id);
    let only_there = copies.iter().flatten().filter(|copy| !here(&copy.id));
    rows.extend(only_there.map(copy_json));
    // Times of the same form sort as texts.
    let age = |row: &Value| [&row["created"], &row["id"]].map(|v| v.as_str().map(str::to_owned));
    rows.sort_by_key(|row| std::cmp::Reverse(age(row)));
    Ok((rows, error))
}

/// All, newest first.
pub(super) async fn list(State(api): Shared, path: One) -> Reply {
    let (tenant, _) = known(&api, path)?;
    let (backups, error) = all(&api, &tenant).await?;
    Ok(Json(json!({"backups": backups, "offsiteError": error})).into_response())
}

/// One.
pub(super) async fn read(State(api): Shared, path: Two) -> Reply {
    let (tenant, id) = both(&api, path)?;
    let (backups, _) = all(&api, &tenant).await?;
    let found = backups.into_iter().find(|row| row["id"] == id.as_str());
    let found = found.ok_or_else(|| no_backup(&tenant, id.as_str()))?;
    Ok(Json(found).into_response())
}

/// Back from off the host.
pub(super) async fn fetch(
    State(api): Shared,
    path: Two,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Reply {
    let (name, id) = both(&api, path)?;
    Fields::of(request, &[]).await?;
    let (backend, tenant, backup) = (Arc::clone(&api.backend), name.clone(), id.clone());
    let done = api.carry_out(async move { backend.fetch_backup(&tenant, &backup).await });
    let fetched = done.await?;
    let what = format!("backup {id} fetched");
    log(peer, Kind::Tenant, name.as_str(), &what, false);
    Ok(Json(json!({"backup": id, "fetched": fetched})).into_response())
}

/// A new one.
pub(super) async fn create(
    State(api): Shared,
    path: One,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Reply {
    let (name, _) = known(&api, path)?;
    Fields::of(request, &[]).await?;
    let (backend, tenant) = (Arc::clone(&api.backend), name.clone());
    let work = async move { backend.back_up(&tenant).await };
    ask(&api, peer, &name, "backup", work).await
}

/// Away with one.
pub(super) async fn remove(
    State(api): Shared,
    path: Two,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Reply {
    let force = Options::of(&uri)?.flag("force")?;
    let (name, id) = both(&api, path)?;
    let (backend, tenant, backup) = (Arc::clone(&api.backend), name.clone(), id.clone());
    let done = api.carry_out(async move { backend.delete_backup(&tenant, &backup, force).await });
    done.await?;
    let what = format!("backup {id} deleted");
    log(peer, Kind::Tenant, name.as_str(), &what, false);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Is it good?
pub(super) async fn verify(State(api): Shared, path: Two, request: Request) -> Reply {
    let (tenant, id) = both(&api, path)?;
    Fields::of(request, &[]).await?;
    let (backend, backup) = (Arc::clone(&api.backend), id.clone());
    let done = api.carry_out(async move { backend.verify_backup(&tenant, &backup).await });
    let (good, reason, message) = match done.await? {
        Verdict::Good => (true, None, None),
        Verdict::Bad { reason, message } => (false, Some(reason), Some(message)),
    };
    let body = json!({"backup": id, "good": good, "reason": reason, "message": message});
    Ok(Json(body).into_response())
}

/// The database as in a backup.
pub(super) async fn restore(
    State(api): Shared,
    path: One,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Reply {
    let (name, _) = known(&api, path)?;
    let fields = Fields::of(request, &["backup", "version"]).await?;
    let wish = Restore {
        backup: fields.needed("backup", "{\"backup\": \"20260304t120000z-7\"}")?,
        version: fields.text("version")?,
    };
    let what = format!("restore of backup {}", wish.backup);
    let (backend, tenant) = (Arc::clone(&api.backend), name.clone());
    let work = async move { backend.restore(&tenant, wish).await };
    ask(&api, peer, &name, &what, work).await
}
