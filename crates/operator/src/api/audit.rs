//! `GET /operator/v1/audit`: who changed what, for administrators.
//!
//! The query: `since` (a time), `user`, `kind` and `name` of an object, and
//! `limit`.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::IntoResponse as _;
use jiff::Timestamp;
use serde_json::json;

use super::request::Options;
use super::routes::{Answer, Shared};
use super::status::Failure;
use super::tokens;
use crate::access::Entry;

/// How many entries are given at most.
const MOST: u64 = 1000;

pub(super) async fn read(State(api): Shared, uri: Uri) -> Answer {
    let options = Options::of(&uri)?;
    let text = |key: &str| Ok::<_, Failure>(options.get(key)?.map(str::to_owned));
    let since: Option<Timestamp> = match options.get("since")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Failure::bad_request("`since` must be a time, for example 2026-03-04T12:00:00Z")
        })?),
    };
    let (user, kind, name) = (text("user")?, text("kind")?, text("name")?);
    let wanted = move |entry: &Entry| {
        let time = entry.time.parse::<Timestamp>().ok();
        since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && user.as_deref().is_none_or(|user| is_user(entry, user))
            && name
                .as_deref()
                .is_none_or(|name| is_about(entry, kind.as_deref(), name))
    };
    let most = options.number("limit")?.unwrap_or(MOST).clamp(1, MOST);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let read = tokens::of(&api)?.audit.read(most, wanted).await;
    let items = read.map_err(|error| {
        tracing::error!("the audit log cannot be read: {error}");
        Failure::internal("the audit log cannot be read; the operator's log says why")
    })?;
    Ok(Json(json!({ "items": items })).into_response())
}

/// `token:ann`, `user:ann`, or `ann` for both.
fn is_user(entry: &Entry, user: &str) -> bool {
    let plain = entry.user.split_once(':').map(|(_, name)| name);
    entry.user == user || plain == Some(user)
}

/// Whether the path leads to this object, also to what is done to it; or to its
/// kind, with this name in the answer.
fn is_about(entry: &Entry, plural: Option<&str>, name: &str) -> bool {
    let parts: Vec<&str> = entry.path.split('/').collect();
    let is_kind = |part: &str| plural.is_none_or(|plural| plural == part);
    let in_path = parts
        .windows(2)
        .any(|pair| is_kind(pair[0]) && pair[1] == name);
    let in_answer = entry.name.as_deref() == Some(name);
    in_path || (in_answer && parts.last().is_some_and(|part| is_kind(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, name: Option<&str>) -> Entry {
        Entry {
            time: "2026-03-04T12:00:00Z".into(),
            user: "token:ann".into(),
            from: "socket".into(),
            method: "POST".into(),
            path: path.into(),
            name: name.map(str::to_owned),
            code: 200,
            result: None,
        }
    }

    #[test]
    fn an_entry_is_about_the_object_that_was_changed() {
        let all = "/apis/campaignbrain.io/v1alpha1/tenants";
        let one = format!("{all}/ky04");
        let restart = "/operator/v1/tenants/ky04/restart";
        for (path, name, is) in [
            (one.as_str(), None, true),
            (restart, None, true),
            ("/api/tenants/ky04/upgrade", None, true),
            (all, Some("ky04"), true),
            (all, Some("oh09"), false),
            (all, None, false),
            ("/operator/v1/tokens/ky04", None, false),
            ("/operator/v1/tokens", Some("ky04"), false),
        ] {
            assert_eq!(
                is_about(&entry(path, name), Some("tenants"), "ky04"),
                is,
                "{path}"
            );
        }
        assert!(is_about(
            &entry("/operator/v1/tokens/ky04", None),
            None,
            "ky04"
        ));
    }

    #[test]
    fn a_user_is_named_with_or_without_its_sort() {
        let entry = entry("/", None);
        assert!(is_user(&entry, "ann") && is_user(&entry, "token:ann"));
        assert!(!is_user(&entry, "user:ann") && !is_user(&entry, "token"));
    }
}
