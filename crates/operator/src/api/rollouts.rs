//! `/operator/v1/rollouts…`: fleet upgrades.
//!
//! A list can be watched, `fieldSelector=id=rollout-3` means one.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use cb_core::rollout::{Rollout, Spec};
use cb_core::types::shown;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::changes::Peer;
use super::request::{self, Options};
use super::routes::{Answer, Api, Shared, no_such_path};
use super::selector::Selector;
use super::status::Failure;
use super::table::{Form, Sheet};
use crate::rollouts::RolloutError;

const PATH: &str = "/operator/v1/rollouts";
/// The largest body: the names of some thousand tenants.
const MAX_BODY: usize = 256 << 10;

/// The paths of rollouts.
pub(super) fn routes() -> Router<Arc<Api>> {
    let of = |rest: &str| format!("{PATH}/{{id}}{rest}");
    Router::new()
        .route(PATH, get(list).post(start))
        .route(&of(""), get(read))
        .route(&of("/pause"), post(pause))
        .route(&of("/resume"), post(resume))
        .route(&of("/undo"), post(undo))
}

/// A rollout as it is shown: as it is kept, with `phase`, one word for its
/// state and way.
fn shown_as(rollout: &Rollout, _revision: u64) -> Value {
    let mut object = json!(rollout);
    object["phase"] = rollout.word().into();
    object
}

fn failure(error: RolloutError) -> Failure {
    let (code, reason) = match &error {
        RolloutError::NotFound(_) => (StatusCode::NOT_FOUND, "NotFound"),
        RolloutError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
        RolloutError::Conflict(_) => (StatusCode::CONFLICT, "Conflict"),
        RolloutError::NotSaved(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    };
    Failure::new(code, reason, error.to_string())
}

async fn list(State(api): Shared, uri: Uri) -> Answer {
    let options = Options::of(&uri)?;
    let selector = Selector::parse_among(None, options.get("fieldSelector")?, &["id"]);
    let selector = selector.map_err(Failure::bad_request)?;
    let store = api.backend.rollouts().published();
    if options.flag("watch")? {
        let wanted = (selector, (Form::Object, Sheet::Rollouts));
        return api.watch_store(store, shown_as, &options, wanted);
    }
    let list = store.list();
    let items = list.items.values();
    let items = items.map(|item| shown_as(&item.value, item.revision));
    let items: Vec<Value> = items.filter(|object| selector.matches(object)).collect();
    let list = json!({
        "metadata": {"resourceVersion": list.revision.to_string()},
        "items": items,
    });
    Ok(Json(list).into_response())
}

type One = Result<Path<String>, PathRejection>;

fn id(path: One, uri: &Uri) -> Result<String, Failure> {
    match path {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(no_such_path(uri.path())),
    }
}

async fn read(State(api): Shared, path: One, uri: Uri) -> Answer {
    let id = id(path, &uri)?;
    let rollouts = api.backend.rollouts();
    let number = rollouts.find(&id).map_err(failure)?;
    let item = rollouts.published().get(&number);
    let item = item.ok_or_else(|| failure(RolloutError::NotFound(shown(&id))))?;
    Ok(Json(shown_as(&item.value, item.revision)).into_response())
}

/// What a person says.
enum Say {
    Start(Spec),
    Pause(String),
    Resume(String, bool),
    Undo(String),
}

async fn start(State(api): Shared, Extension(peer): Extension<Peer>, request: Request) -> Answer {
    let say = Say::Start(request::shaped(request, MAX_BODY).await?);
    let rollout = carry_out(&api, peer, say).await?;
    let location = [(header::LOCATION, format!("{PATH}/{}", rollout.id))];
    let body = Json(shown_as(&rollout, 0));
    Ok((StatusCode::CREATED, location, body).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resume {
    /// Whether what failed is asked again.
    #[serde(default)]
    retry_failed: bool,
}

async fn pause(api: Shared, path: One, peer: Extension<Peer>, request: Request) -> Answer {
    say(api, path, peer, request, |id, Nothing {}| Say::Pause(id)).await
}

async fn resume(api: Shared, path: One, peer: Extension<Peer>, request: Request) -> Answer {
    let resume = |id, body: Resume| Say::Resume(id, body.retry_failed);
    say(api, path, peer, request, resume).await
}

async fn undo(api: Shared, path: One, peer: Extension<Peer>, request: Request) -> Answer {
    say(api, path, peer, request, |id, Nothing {}| Say::Undo(id)).await
}

/// Does what a person says of one rollout and shows it.
async fn say<T: DeserializeOwned>(
    State(api): Shared,
    path: One,
    Extension(peer): Extension<Peer>,
    request: Request,
    what: impl FnOnce(String, T) -> Say,
) -> Answer {
    let id = id(path, request.uri())?;
    let body = request::shaped(request, MAX_BODY).await?;
    let rollout = carry_out(&api, peer, what(id, body)).await?;
    Ok(Json(shown_as(&rollout, 0)).into_response())
}

/// Does it to its end, whether or not the client waits for it, and logs who
/// said it.
async fn carry_out(api: &Api, peer: Peer, say: Say) -> Result<Rollout, Failure> {
    let backend = Arc::clone(&api.backend);
    let what = match say {
        Say::Start(_) => "started",
        Say::Pause(_) => "paused",
        Say::Resume(..) => "resumed",
        Say::Undo(_) => "undone",
    };
    let change = async move {
        let (backend, rollouts) = (&*backend, backend.rollouts());
        match say {
            Say::Start(spec) => rollouts.start(backend, spec).await,
            Say::Pause(id) => rollouts.pause(backend, &id).await,
            Say::Resume(id, retry) => rollouts.resume(backend, &id, retry).await,
            Say::Undo(id) => rollouts.undo(backend, &id).await,
        }
    };
    let rollout = api.complete(change).await?.map_err(failure)?;
    let (uid, pid) = peer.ids();
    tracing::info!(uid, pid, "API: {rollout} is {what}");
    Ok(rollout)
}
