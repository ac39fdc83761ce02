//! Server-side apply: a `PATCH` that says what one manager wants, and creates
//! the object if there is none.
//!
//! Who has set what is found out in [`cb_core::patch`]; the write takes the way
//! of every other.

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use cb_core::api::{API_VERSION, Kind};
use cb_core::patch::{self as fields, Apply, Conflict, Managed};
use cb_core::types::{ObjectName, TenantName, shown};
use serde_json::{Value, json};

use super::backend::{PutMode, Refusal};
use super::changes::{Author, answered, check_name, put};
use super::request::{self, Options};
use super::routes::Api;
use super::status::Failure;
use super::{object, patch};

/// What is applied.
pub(super) struct Configuration {
    config: Value,
    manager: String,
    force: bool,
}

impl Configuration {
    /// Reads the body and the options of a request.
    pub(super) fn of(
        body: &[u8],
        uri: &Uri,
        author: &Author,
        (kind, name): (Kind, &str),
    ) -> Result<Self, Failure> {
        let manager = author.manager.clone().ok_or_else(|| {
            Failure::invalid_option("fieldManager: an apply must say who applies")
        })?;
        let config = request::yaml_object(body)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let says = (text(&config["apiVersion"]), text(&config["kind"]));
        if says != (API_VERSION.to_owned(), kind.as_str().to_owned()) {
            return Err(Failure::bad_request(format!(
                "an apply must hold an object with `apiVersion: {API_VERSION}` and `kind: {kind}`"
            )));
        }
        if config["metadata"]["name"] != name {
            return Err(Failure::bad_request(format!(
                "the path names `{}`, and metadata.name must be the same",
                shown(name)
            )));
        }
        if !config["metadata"]["managedFields"].is_null() {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        Ok(Self {
            config,
            manager,
            force: Options::of(uri)?.flag("force")?,
        })
    }
}

/// Applies it to the object as it is now; `None` if it was another one by the
/// time of the write.
pub(super) async fn once(
    api: &Api,
    (kind, name): (Kind, &str),
    wanted: &Configuration,
    author: &Author,
) -> Result<Option<Response>, Failure> {
    check_name(kind, name, None)?;
    let shown = api.object(kind, name);
    let mut config = wanted.config.clone();
    if let Some(shown) = &shown {
        patch::same_object(shown, &config, kind)?;
    }
    object::strip(&mut config);
    let last = shown.as_ref().map(object::last_applied);
    let mut based_on = shown;
    if let Some(object) = &mut based_on {
        object::strip(object);
    }
    let apply = Apply {
        manager: &wanted.manager,
        config: &config,
        force: wanted.force,
        now: &crate::now(),
    };
    let applied = managed(api, kind, name)
        .apply(kind, based_on.as_ref(), &apply)
        .map_err(|conflicts| conflicting(&conflicts))?;
    let submitted = request::written(kind, applied.object)?;
    let done = put(api, (kind, submitted), author, |put| {
        put.mode = match based_on {
            Some(_) => PutMode::Replace,
            None => PutMode::Create,
        };
        put.based_on = based_on;
        put.written.by = fields::Author::Applied(applied.managed);
        put.written.last_applied = last;
    });
    match done.await {
        Ok(result) => Ok(Some(answered(result))),
        Err(Refusal::Stale | Refusal::AlreadyExists) => Ok(None),
        Err(refusal) => Err(Failure::refused(refusal, kind, name)),
    }
}

fn managed(api: &Api, kind: Kind, name: &str) -> Managed {
    let state = api.backend.state();
    let provenance = match kind {
        Kind::Tenant => name
            .parse::<TenantName>()
            .ok()
            .and_then(|name| Some(state.record(&name)?.provenance)),
        Kind::Application => name
            .parse::<ObjectName>()
            .ok()
            .and_then(|name| Some(state.application(&name)?.provenance)),
        Kind::Host => None,
    };
    provenance.unwrap_or_default().managed_fields
}

/// What kubectl shows with what to do about it.
fn conflicting(conflicts: &[Conflict]) -> Failure {
    let mut text = match conflicts {
        [_] => "Apply failed with 1 conflict: ".to_owned(),
        several => format!("Apply failed with {} conflicts: ", several.len()),
    };
    let mut before = "";
    for conflict in conflicts {
        if conflict.manager != before {
            text.push_str(&format!("conflicts with {:?}:", conflict.manager));
            before = &conflict.manager;
        }
        text.push_str(&format!("\n- {}", conflict.field));
    }
    let causes = conflicts.iter().map(|conflict| {
        json!({
            "reason": "FieldManagerConflict",
            "message": format!("conflict with {:?}", conflict.manager),
            "field": conflict.field,
        })
    });
    Failure::new(StatusCode::CONFLICT, "Conflict", text).because(causes.collect())
}
