//! `PATCH`: a change that says only what is to be different.
//!
//! The patch is applied to the object as it is shown; what comes of it takes
//! the way of every other write. If the object changes in between, the patch
//! is applied anew, so that no change of another is lost.

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use cb_core::api::Kind;
use cb_core::patch::{Patch, PatchError};
use cb_core::types::shown;
use serde_json::Value;

use super::access::Caller;
use super::apply::{self, Configuration};
use super::backend::{PutMode, Refusal};
use super::changes::{Author, Peer, answered, put, writable};
use super::object;
use super::request::{self, MAX_BODY, Options};
use super::routes::{Answer, Api, Named, Shared, named};
use super::status::Failure;

/// How often a patch is applied anew to an object that changes all the time.
const TRIES: usize = 5;

/// The media types that are taken, for the header `Accept-Patch`.
const MEDIA: &str =
    "application/merge-patch+json, application/json-patch+json, application/apply-patch+yaml";

pub(super) async fn patch(
    State(api): Shared,
    path: Named,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let (kind, name) = named(path, request.uri())?;
    writable(kind, "GET, HEAD")?;
    let uri = request.uri().clone();
    let author = Author::of((peer, caller), &Options::of(&uri)?)?;
    let media = media(request.headers())?;
    let body = request::body(request.into_body(), MAX_BODY).await?;
    let of = (kind, name.as_str());
    let wanted = match media {
        Media::Merge => Wanted::Patch(read(Patch::merge, &body)?),
        Media::Json => Wanted::Patch(read(Patch::json, &body)?),
        Media::Apply => Wanted::Apply(Configuration::of(&body, &uri, &author, of)?),
    };
    for _ in 0..TRIES {
        let done = match &wanted {
            Wanted::Patch(patch) => once(&api, of, patch, &author).await?,
            Wanted::Apply(apply) => apply::once(&api, of, apply, &author).await?,
        };
        match done {
            Some(response) => return Ok(response),
            // It changed in between.
            None => tokio::task::yield_now().await,
        }
    }
    Err(Failure::refused(Refusal::Stale, kind, &name))
}

enum Wanted {
    Patch(Patch),
    Apply(Configuration),
}

/// Applies the patch to the object as it is now; `None` if it was another one
/// by the time of the write.
async fn once(
    api: &Api,
    (kind, name): (Kind, &str),
    patch: &Patch,
    author: &Author,
) -> Result<Option<Response>, Failure> {
    let missing = || Failure::not_found(kind, name);
    let shown = api.object(kind, name).ok_or_else(missing)?;
    let wanted = patch.apply(&shown).map_err(|error| match error {
        PatchError::Malformed(why) => Failure::bad_request(why),
        PatchError::Operation { .. } => Failure::unprocessable(error.to_string()),
    })?;
    same_object(&shown, &wanted, kind)?;
    let mut based_on = shown;
    object::strip(&mut based_on);
    let submitted = request::written(kind, wanted)?;
    let done = put(api, (kind, submitted), author, |put| {
        put.mode = PutMode::Replace;
        put.based_on = Some(based_on);
    });
    match done.await {
        Ok(result) => Ok(Some(answered(result))),
        Err(Refusal::Stale) => Ok(None),
        Err(refusal) => Err(Failure::refused(refusal, kind, name)),
    }
}

/// A patch may say which object it was made for, and must not make another of
/// it.
pub(super) fn same_object(before: &Value, after: &Value, kind: Kind) -> Result<(), Failure> {
    let name = before["metadata"]["name"].as_str().unwrap_or_default();
    let differs = |field: &str| before["metadata"][field] != after["metadata"][field];
    if differs("resourceVersion") && !after["metadata"]["resourceVersion"].is_null()
        || differs("uid") && !after["metadata"]["uid"].is_null()
    {
        return Err(Failure::refused(Refusal::Stale, kind, name));
    }
    let named = |object: &Value| {
        let field = |value: &Value| value.as_str().map(str::to_owned);
        (
            field(&object["apiVersion"]),
            field(&object["kind"]),
            field(&object["metadata"]["name"]),
        )
    };
    if named(before) != named(after) {
        return Err(Failure::bad_request(
            "apiVersion, kind and metadata.name must stay what they are",
        ));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Merge,
    Json,
    Apply,
}

fn media(headers: &HeaderMap) -> Result<Media, Failure> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
        .unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim();
    let refuse = |what: String| {
        let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let message = format!("{what}; a patch is one of {MEDIA}");
        Failure::new(code, "UnsupportedMediaType", message).with(("accept-patch", MEDIA))
    };
    match media {
        "application/merge-patch+json" => Ok(Media::Merge),
        "application/json-patch+json" => Ok(Media::Json),
        "application/apply-patch+yaml" => Ok(Media::Apply),
        "application/strategic-merge-patch+json" => Err(refuse(
            "strategic merge patches are for Kubernetes' own types, as everywhere".into(),
        )),
        _ => Err(refuse(format!(
            "the Content-Type `{}` is not supported",
            shown(&given)
        ))),
    }
}

fn read(patch: impl Fn(Value) -> Result<Patch, PatchError>, body: &[u8]) -> Result<Patch, Failure> {
    patch(request::json(body)?).map_err(|error| Failure::bad_request(error.to_string()))
}
