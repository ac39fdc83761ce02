//! The methods that change something: create, replace, delete, reconcile.
//!
//! A change runs to its end even if its client leaves ([`Api::finish`]), and
//! is logged with who asked. What a write holds is read in [`request`].

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use cb_core::api::Kind;
use cb_core::patch::{self as fields, Written};
use cb_core::types::{ObjectName, TenantName, shown};
use cb_core::yaml::Position;
use serde_json::Value;
use tokio::net::unix::UCred;

use super::access::{Caller, Written as Noted};
use super::backend::{Cause, Outcome, Put, PutMode, PutResult, Refusal};
use super::object;
use super::request::{self, Format, MAX_BODY, Options, Submitted};
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
pub(super) fn writable(kind: Kind, allow: &'static str) -> Result<(), Failure> {
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
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let uri = request.uri();
    let Ok(Path(plural)) = plural else {
        return Err(no_such_path(uri.path()));
    };
    let kind = kind(&plural, uri)?;
    writable(kind, "GET, HEAD")?;
    write(&api, (peer, caller), kind, None, request).await
}

pub(super) async fn replace(
    State(api): Shared,
    path: Named,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let (kind, name) = named(path, request.uri())?;
    writable(kind, "GET, HEAD")?;
    write(&api, (peer, caller), kind, Some(name), request).await
}

/// Creates the object of the body, or replaces that of this name.
async fn write(
    api: &Api,
    who: (Peer, Caller),
    kind: Kind,
    name: Option<String>,
    request: Request,
) -> Answer {
    let author = Author::of(who, &Options::of(request.uri())?)?;
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
    let name = submitted.name.clone();
    check_name(kind, &name, submitted.name_at)?;
    let mut based_on = None;
    if let Some(seen) = submitted.seen.as_deref() {
        if mode == PutMode::Create {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::bad_request(message));
        }
        let mut now = unchanged_since(api, kind, &name, Some(seen), None)?;
        object::strip(&mut now);
        based_on = Some(now);
    }
    let is_text = format == Format::Yaml;
    let done = put(api, (kind, submitted), &author, |put| {
        put.mode = mode;
        put.is_text = is_text;
        put.based_on = based_on;
    });
    let result = done
        .await
        .map_err(|refusal| Failure::refused(refusal, kind, &name))?;
    Ok(answered(result))
}

/// Who changes something, and whether for real.
#[derive(Debug, Clone)]
pub(super) struct Author {
    pub(super) peer: Peer,
    pub(super) caller: Caller,
    /// The name for the fields that it sets.
    pub(super) manager: Option<String>,
    pub(super) dry_run: bool,
}

/// The longest name of a field manager.
const MAX_MANAGER: usize = 128;

impl Author {
    pub(super) fn of((peer, caller): (Peer, Caller), options: &Options) -> Result<Self, Failure> {
        let manager = options.get("fieldManager")?;
        let fits = |name: &str| name.len() <= MAX_MANAGER && !name.chars().any(char::is_control);
        if manager.is_some_and(|name| !fits(name)) {
            return Err(Failure::invalid_option(format!(
                "fieldManager: it must be printable and at most {MAX_MANAGER} bytes long"
            )));
        }
        Ok(Self {
            peer,
            caller,
            manager: manager.map(str::to_owned),
            dry_run: options.dry_run()?,
        })
    }
}

/// Has an object written, and logs it.
pub(super) async fn put(
    api: &Api,
    (kind, submitted): (Kind, Submitted),
    author: &Author,
    more: impl FnOnce(&mut Put),
) -> Result<PutResult, Refusal> {
    let name = submitted.name;
    if kind == Kind::Tenant && !author.caller.may_write(&submitted.text) {
        let message = format!(
            "tenants \"{}\" is forbidden: what it would be is not within the token's scope",
            shown(&name)
        );
        return Err(Refusal::Forbidden(message));
    }
    let mut put = Put {
        kind,
        name: name.clone(),
        text: submitted.text,
        mode: PutMode::Replace,
        dry_run: author.dry_run,
        is_text: false,
        based_on: None,
        written: Written {
            by: match &author.manager {
                Some(name) => fields::Author::Manager(name.clone()),
                None => fields::Author::Manifest,
            },
            last_applied: submitted.last_applied,
        },
    };
    more(&mut put);
    let backend = Arc::clone(&api.backend);
    let result = api
        .to_its_end(async move { backend.put(put).await }, &name)
        .await?;
    log(
        author.peer,
        kind,
        &name,
        result.outcome.as_str(),
        author.dry_run,
    );
    Ok(result)
}

/// The answer to a write.
pub(super) fn answered(result: PutResult) -> Response {
    let code = match result.outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Configured | Outcome::Unchanged => StatusCode::OK,
    };
    let outcome = result.outcome.as_str();
    let name = result.object["metadata"]["name"].as_str();
    let written = Noted(name.unwrap_or_default().to_owned());
    let mut response = (code, [("x-cb-result", outcome)], Json(result.object)).into_response();
    response.extensions_mut().insert(written);
    response
}

pub(super) fn check_name(kind: Kind, name: &str, at: Option<Position>) -> Result<(), Failure> {
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

/// Refuses a change by someone who has seen another object than there is; gives
/// the object.
fn unchanged_since(
    api: &Api,
    kind: Kind,
    name: &str,
    revision: Option<&str>,
    uid: Option<&str>,
) -> Result<Value, Failure> {
    let now = api
        .object(kind, name)
        .ok_or_else(|| Failure::not_found(kind, name))?;
    let differs = |field: &str, seen: Option<&str>| {
        seen.is_some_and(|seen| now["metadata"][field].as_str() != Some(seen))
    };
    if differs("resourceVersion", revision) || differs("uid", uid) {
        return Err(Failure::refused(Refusal::Stale, kind, name));
    }
    Ok(now)
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
    let (kind, name) = (Kind::Tenant, tenant_in(path, &uri, &api)?);
    log(peer, kind, &name, "reconcile", false);
    let (backend, target) = (Arc::clone(&api.backend), name.clone());
    api.finish(
        async move { backend.reconcile(&target).await },
        (kind, &name),
    )
    .await?;
    tenant_as_it_is(&name, &api)
}

/// The tenant that a path names, which there must be.
pub(super) fn tenant_in(
    path: Result<Path<String>, PathRejection>,
    uri: &Uri,
    api: &Api,
) -> Result<String, Failure> {
    let Ok(Path(name)) = path else {
        return Err(no_such_path(uri.path()));
    };
    match api.object(Kind::Tenant, &name) {
        Some(_) => Ok(name),
        None => Err(Failure::not_found(Kind::Tenant, &name)),
    }
}

/// Answers with a tenant after something was done to it.
pub(super) fn tenant_as_it_is(name: &str, api: &Api) -> Answer {
    let object = api.object(Kind::Tenant, name);
    let object = object.ok_or_else(|| Failure::not_found(Kind::Tenant, name))?;
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
