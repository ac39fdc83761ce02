//! The methods that change something: create, replace, delete, reconcile.
//!
//! A change runs to its end even if its client leaves ([`Api::finish`]), and
//! is logged with who asked. What a write holds is read in [`request`].

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use cb_core::api::Kind;
use cb_core::types::{ObjectName, TenantName, shown};
use cb_core::yaml::Position;
use serde_json::Value;
use tokio::net::unix::UCred;

use super::backend::{Cause, Outcome, Put, PutMode};
use super::request::{self, Format, MAX_BODY, Options};
use super::routes::{Answer, Api, Named, Shared, kind, named, no_such_path};
use super::status::{self, Failure};

/// Who asks, for the log.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peer(pub(super) Option<UCred>);

impl Peer {
    /// The user and the process, as far as they are known.
    pub(super) fn ids(self) -> (Option<u32>, Option<i32>) {
        self.0
            .map_or((None, None), |peer| (Some(peer.uid()), peer.pid()))
    }
}

/// The Host is a file of the machine.
fn writable(kind: Kind, allow: &'static str) -> Result<(), Failure> {
    if kind == Kind::Host {
        let message = "a Host is not changed over the API: edit its file on the machine (by default /etc/cb/host.yaml) and restart the operator";
        return Err(Failure::method(allow, message));
    }
    Ok(())
}

pub(super) async fn create(
    State(api): Shared,
    plural: Result<Path<String>, PathRejection>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    let uri = request.uri();
    let Ok(Path(plural)) = plural else {
        return Err(no_such_path(uri.path()));
    };
    let kind = kind(&plural, uri)?;
    writable(kind, "GET, HEAD")?;
    write(&api, peer, kind, None, request).await
}

pub(super) async fn replace(
    State(api): Shared,
    path: Named,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    let (kind, name) = named(path, request.uri())?;
    writable(kind, "GET, HEAD")?;
    write(&api, peer, kind, Some(name), request).await
}

/// Creates the object of the body, or replaces that of this name.
async fn write(
    api: &Api,
    peer: Peer,
    kind: Kind,
    name: Option<String>,
    request: Request,
) -> Answer {
    let dry_run = Options::of(request.uri())?.dry_run()?;
    let format = request::format(request.headers())?;
    let body = request::body(request.into_body(), MAX_BODY).await?;
    let submitted = request::object(kind, format, &body)?;
    let mode = if name.is_some() {
        PutMode::Replace
    } else {
        PutMode::Create
    };
    if let Some(name) = name.filter(|name| *name != submitted.name) {
        return Err(Failure::bad_request(format!(
            "the path names `{}` and the object `{}`",
            shown(&name),
            shown(&submitted.name)
        )));
    }
    let name = submitted.name;
    check_name(kind, &name, submitted.name_at)?;
    if let Some(seen) = submitted.seen.filter(|_| mode == PutMode::Replace) {
        unchanged_since(api, kind, &name, Some(&seen), None)?;
    }
    let put = Put {
        kind,
        name: name.clone(),
        text: submitted.text,
        mode,
        dry_run,
    };
    let backend = Arc::clone(&api.backend);
    let result = api
        .finish(async move { backend.put(put).await }, (kind, &name))
        .await?;
    let outcome = result.outcome.as_str();
    log(peer, kind, &name, outcome, dry_run);
    let code = match result.outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Configured | Outcome::Unchanged => StatusCode::OK,
    };
    Ok((code, [("x-cb-result", outcome)], Json(result.object)).into_response())
}

fn check_name(kind: Kind, name: &str, at: Option<Position>) -> Result<(), Failure> {
    let checked = match kind {
        Kind::Tenant => name.parse::<TenantName>().map(drop),
        Kind::Application | Kind::Host => name.parse::<ObjectName>().map(drop),
    };
    checked.map_err(|error| {
        // As a manifest's diagnostic, without a file.
        let place = at.map_or_else(String::new, |at| {
            format!("line {}, column {}: ", at.line, at.column)
        });
        let cause = Cause {
            field: "metadata.name".into(),
            message: format!("{place}metadata.name: {error}"),
        };
        Failure::invalid(kind, name, vec![cause])
    })
}

/// Refuses a change by someone who has seen another object than there is. A
/// change by another between this and the write is not noticed: the manifest
/// is a file that anyone may write at any time.
fn unchanged_since(
    api: &Api,
    kind: Kind,
    name: &str,
    revision: Option<&str>,
    uid: Option<&str>,
) -> Result<(), Failure> {
    let now = api
        .object(kind, name)
        .ok_or_else(|| Failure::not_found(kind, name))?;
    let differs = |field: &str, seen: Option<&str>| {
        seen.is_some_and(|seen| now["metadata"][field].as_str() != Some(seen))
    };
    if differs("resourceVersion", revision) || differs("uid", uid) {
        let message = format!(
            "{} `{name}` has changed since it was read; read it again and make the change anew",
            kind.singular()
        );
        return Err(Failure::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name));
    }
    Ok(())
}

pub(super) async fn remove(
    State(api): Shared,
    path: Named,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer {
    let (kind, name) = named(path, request.uri())?;
    writable(kind, "GET, HEAD")?;
    let mut dry_run = Options::of(request.uri())?.dry_run()?;
    let headers = request.headers().clone();
    let body = request::body(request.into_body(), MAX_BODY).await?;
    // An object that is not shown may still have a manifest that was refused.
    let uid = api
        .object(kind, &name)
        .and_then(|o| o["metadata"]["uid"].as_str().map(str::to_owned));
    if !body.is_empty() {
        dry_run |= delete_options(&api, kind, &name, &headers, &body)?;
    }
    let (backend, target) = (Arc::clone(&api.backend), name.clone());
    let done = async move { backend.delete(kind, &target, dry_run).await };
    api.finish(done, (kind, &name)).await?;
    log(peer, kind, &name, "deleted", dry_run);
    Ok(Json(status::deleted(kind, &name, &uid.unwrap_or_default())).into_response())
}

/// What kubectl says in the body of a DELETE. Returns whether it is a dry run.
fn delete_options(
    api: &Api,
    kind: Kind,
    name: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<bool, Failure> {
    if request::format(headers)? == Format::Yaml {
        return Err(Failure::bad_request(
            "the body of a DELETE must be JSON (DeleteOptions)",
        ));
    }
    let options = request::json(body)?;
    if options["kind"]
        .as_str()
        .is_some_and(|kind| kind != "DeleteOptions")
    {
        return Err(Failure::bad_request(
            "the body of a DELETE must be of kind DeleteOptions",
        ));
    }
    let preconditions = &options["preconditions"];
    let (revision, uid) = (
        preconditions["resourceVersion"].as_str(),
        preconditions["uid"].as_str(),
    );
    if revision.is_some() || uid.is_some() {
        unchanged_since(api, kind, name, revision, uid)?;
    }
    match &options["dryRun"] {
        Value::Null => Ok(false),
        Value::Array(values) => {
            let values: Vec<&str> = values
                .iter()
                .map(|v| v.as_str().unwrap_or_default())
                .collect();
            request::dry_run(&values)
        }
        _ => Err(Failure::bad_request("dryRun must be a list")),
    }
}

pub(super) async fn reconcile(
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
    log(peer, kind, &name, "reconcile", false);
    let (backend, target) = (Arc::clone(&api.backend), name.clone());
    api.finish(
        async move { backend.reconcile(&target).await },
        (kind, &name),
    )
    .await?;
    let object = api.object(kind, &name).ok_or_else(missing)?;
    Ok(Json(object).into_response())
}

/// Who changed what.
pub(super) fn log(peer: Peer, kind: Kind, name: &str, what: &str, dry_run: bool) {
    if dry_run {
        return;
    }
    let (uid, pid) = peer.ids();
    tracing::info!(kind = %kind, name = %shown(name), uid, pid, "API: {kind} {} {what}", shown(name));
}
