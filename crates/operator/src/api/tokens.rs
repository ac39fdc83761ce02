//! Tokens: made, listed and revoked by administrators; and where the API is
//! over TCP.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use axum::routing::{delete, get};
use axum::{Json, Router};
use cb_core::access::{Role, Scope, Token};
use cb_core::types::{ObjectName, shown};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Written;
use super::audit;
use super::request;
use super::routes::{Answer, Api, Shared, no_such_path};
use super::status::Failure;
use crate::access::{Access, TokenError};

/// The largest body.
const MAX_BODY: usize = 64 << 10;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/operator/v1/tokens", get(list).post(create))
        .route("/operator/v1/tokens/{name}", delete(revoke))
        .route("/operator/v1/access", get(access))
        .route("/operator/v1/audit", get(audit::read))
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    name: String,
    role: Role,
    #[serde(default)]
    scope: Scope,
    /// For how long it is good; for ever without.
    #[serde(default)]
    expires_in_seconds: Option<u32>,
}

pub(super) fn of(api: &Api) -> Result<&Access, Failure> {
    api.backend.access().ok_or_else(|| {
        let message = "the operator is starting; ask again";
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    })
}

/// A token as it is shown: the digest of its secret is nobody's business.
fn shown_as(token: &Token) -> Value {
    json!({
        "name": token.name,
        "role": token.role,
        "scope": token.scope,
        "created": token.created,
        "expires": token.expires,
        "expired": token.has_expired(Timestamp::now()),
    })
}

async fn list(State(api): Shared) -> Answer {
    let tokens = of(&api)?.tokens.all();
    let tokens: Vec<Value> = tokens.iter().map(|token| shown_as(token)).collect();
    Ok(Json(json!({"tokens": tokens})).into_response())
}

async fn create(State(api): Shared, request: Request) -> Answer {
    let wanted: Wanted = request::shaped(request, MAX_BODY).await?;
    let name = wanted
        .name
        .parse::<ObjectName>()
        .map_err(|error| Failure::unprocessable(format!("name: {error}")))?;
    let scope = wanted.scope;
    scope
        .check()
        .map_err(|why| Failure::unprocessable(format!("scope: {why}")))?;
    let expires = wanted
        .expires_in_seconds
        .map(|seconds| Timestamp::now() + SignedDuration::from_secs(seconds.into()));
    let backend = Arc::clone(&api.backend);
    let shared = Arc::clone(&api);
    let done = shared.complete(async move {
        let access = backend.access()?;
        Some(
            access
                .tokens
                .create(name, (wanted.role, scope), expires)
                .await,
        )
    });
    let made = done.await?.transpose().map_err(failure)?;
    let Some((token, secret)) = made else {
        return Err(Failure::internal("there are no tokens"));
    };
    tracing::info!(
        "API: token {} created ({})",
        token.name,
        token.role.as_str()
    );
    let mut answer = shown_as(&token);
    answer["token"] = secret.into();
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    response
        .extensions_mut()
        .insert(Written(token.name.to_string()));
    Ok(response)
}

async fn revoke(State(api): Shared, path: Result<Path<String>, PathRejection>, uri: Uri) -> Answer {
    let Ok(Path(name)) = path else {
        return Err(no_such_path(uri.path()));
    };
    let missing = || {
        let message = format!("there is no token `{}`", shown(&name));
        Failure::new(StatusCode::NOT_FOUND, "NotFound", message)
    };
    let parsed = name.parse::<ObjectName>().map_err(|_| missing())?;
    let backend = Arc::clone(&api.backend);
    let done = api.complete(async move { Some(backend.access()?.tokens.revoke(&parsed).await) });
    done.await?.transpose().map_err(failure)?;
    tracing::info!("API: token {name} revoked");
    Ok(Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})).into_response())
}

async fn access(State(api): Shared) -> Answer {
    let answer = match &of(&api)?.remote {
        Some((address, authority)) => {
            json!({"server": format!("https://{address}"), "certificateAuthority": authority})
        }
        None => json!({"server": null}),
    };
    Ok(Json(answer).into_response())
}

fn failure(error: TokenError) -> Failure {
    let (code, reason) = match &error {
        TokenError::Exists(_) => (StatusCode::CONFLICT, "AlreadyExists"),
        TokenError::Unknown(_) => (StatusCode::NOT_FOUND, "NotFound"),
        TokenError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    };
    Failure::new(code, reason, error.to_string())
}
