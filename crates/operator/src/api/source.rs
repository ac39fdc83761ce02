//! `/operator/v1/source`: where the manifests come from.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use cb_core::source::SourceStatus;
use cb_core::types::CommitId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::changes::Peer;
use super::request;
use super::routes::{Answer, Api, Shared};
use super::status::Failure;
use crate::source::{Source, SourceProblem};

const PATH: &str = "/operator/v1/source";
/// The largest body: a commit's id.
const MAX_BODY: usize = 4096;

/// The paths of the source.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route(PATH, get(read))
        .route(&format!("{PATH}/sync"), post(sync))
        .route(&format!("{PATH}/accept"), post(accept))
}

/// The status as it is shown: as it is kept, with `state`, one word for it, and
/// `hint`, what to do about the newest commit.
fn shown(status: &SourceStatus) -> Value {
    let mut git = json!(status);
    git["state"] = status.word().into();
    if let Some(refused) = &status.refused {
        git["hint"] = refused.hint().into();
    }
    json!({ "git": git })
}

fn failure(problem: &SourceProblem) -> Failure {
    let (code, reason) = match problem {
        SourceProblem::NotAcceptable(_) | SourceProblem::Changed(_) => {
            (StatusCode::CONFLICT, "Conflict")
        }
        SourceProblem::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
    };
    Failure::new(code, reason, problem.to_string())
}

async fn read(State(api): Shared) -> Answer {
    let folder = || json!({"folder": api.backend.host().spec.paths.manifests});
    let source = api.backend.source().map(|source| shown(&source.status()));
    Ok(Json(source.unwrap_or_else(folder)).into_response())
}

fn followed(api: &Api) -> Result<Source, Failure> {
    api.backend.source().cloned().ok_or_else(|| {
        let folder = &api.backend.host().spec.paths.manifests;
        let message = format!(
            "this host follows no repository: its manifests are the files in {folder} (spec.source of the Host)"
        );
        Failure::new(StatusCode::CONFLICT, "Conflict", message)
    })
}

async fn sync(State(api): Shared, Extension(peer): Extension<Peer>) -> Answer {
    let source = followed(&api)?;
    carry_out(&api, peer, "is asked for a new commit", async move {
        source.sync().await
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    commit: CommitId,
}

async fn accept(State(api): Shared, Extension(peer): Extension<Peer>, request: Request) -> Answer {
    let source = followed(&api)?;
    let Accept { commit } = request::shaped(request, MAX_BODY).await?;
    let what = format!("has commit {commit} accepted");
    carry_out(
        &api,
        peer,
        &what,
        async move { source.accept(commit).await },
    )
    .await
}

/// Does it to its end, whether or not the client waits for it, and logs who
/// said it.
async fn carry_out(
    api: &Api,
    peer: Peer,
    what: &str,
    work: impl Future<Output = Result<SourceStatus, SourceProblem>> + Send + 'static,
) -> Answer {
    let (uid, pid) = peer.ids();
    tracing::info!(uid, pid, "API: the repository of manifests {what}");
    let done = api.complete(work).await?;
    let status = done.map_err(|problem| failure(&problem))?;
    Ok(Json(shown(&status)).into_response())
}
