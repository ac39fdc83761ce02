//! Events in the shape of `events.k8s.io/v1`, and the state of alerts.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use axum::{Json, Router};
use cb_core::api::{API_VERSION, Kind};
use cb_core::types::shown;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::access::Caller;
use super::object::uid;
use super::request::{self, Format, MAX_BODY, Options};
use super::routes::{Answer, Api, Shared};
use super::selector::{Selector, Within};
use super::status::Failure;
use super::table::{Form, Sheet};
use super::watch;
use crate::recorder::Published;

/// The API group of events and its version.
pub(super) const GROUP: &str = "events.k8s.io";
const VERSION: &str = "v1";
/// Who records events here.
const CONTROLLER: &str = "campaignbrain.io/cb-operator";

/// What events can be selected by.
const FIELDS: [&str; 5] = [
    "metadata.name",
    "regarding.kind",
    "regarding.name",
    "reason",
    "type",
];

/// What events of the core group can be selected by. There is no namespace.
const CORE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "involvedObject.apiVersion",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.uid",
    "reason",
    "type",
];

/// The paths of events and alerts.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route(&format!("/apis/{GROUP}"), get(|| async { Json(group()) }))
        .route(
            &format!("/apis/{GROUP}/{VERSION}"),
            get(|| async { Json(resources()) }),
        )
        .route(&format!("/apis/{GROUP}/{VERSION}/events"), get(list))
        .route(
            &format!("/apis/{GROUP}/{VERSION}/namespaces/default/events"),
            get(list),
        )
        .route("/api/v1", get(|| async { Json(core_resources()) }))
        .route("/api/v1/events", get(list_core))
        // `kubectl events` always names a namespace.
        .route("/api/v1/namespaces/default/events", get(list_core))
        .route("/operator/v1/alerts", get(alerts))
        .route("/operator/v1/alerts/test", post(test))
}

/// The group in Kubernetes' discovery.
pub(super) fn group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    })
}

fn resources() -> Value {
    resource_list(&format!("{GROUP}/{VERSION}"))
}

/// `/api/v1`, where kubectl looks for the events of what it describes.
fn core_resources() -> Value {
    resource_list("v1")
}

fn resource_list(version: &str) -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": [{
            "name": "events",
            "singularName": "event",
            "namespaced": false,
            "kind": "Event",
            "shortNames": ["ev"],
            "verbs": ["list", "watch"],
        }],
    })
}

async fn list(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let known = (event as watch::Render<Published>, FIELDS.as_slice());
    answer((&api, &caller), Sheet::Events, known, (&headers, &uri))
}

async fn list_core(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let known = (
        core_event as watch::Render<Published>,
        CORE_FIELDS.as_slice(),
    );
    answer((&api, &caller), Sheet::CoreEvents, known, (&headers, &uri))
}

/// A field selector with the object's name instead of its uid, by which kubectl
/// asks and which events do not keep.
fn by_name(api: &Api, selector: &str) -> String {
    let parts = selector.split(',').map(|part| {
        let Some(wanted) = part.strip_prefix("involvedObject.uid=") else {
            return part.to_owned();
        };
        let found = Kind::ALL.into_iter().find_map(|kind| {
            let objects = api.objects(kind);
            let found = objects.iter().find(|o| o["metadata"]["uid"] == wanted)?;
            Some((kind, found["metadata"]["name"].as_str()?.to_owned()))
        });
        match found {
            Some((kind, name)) => {
                format!("involvedObject.kind={kind},involvedObject.name={name}")
            }
            // No event has no name.
            None => "involvedObject.name=".to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

fn answer(
    (api, caller): (&Api, &Caller),
    sheet: Sheet,
    (render, fields): (watch::Render<Published>, &[&str]),
    (headers, uri): (&HeaderMap, &Uri),
) -> Answer {
    let options = Options::of(uri)?;
    let wanted = options.get("fieldSelector")?.map(|text| by_name(api, text));
    let selector = Selector::parse_among(options.get("labelSelector")?, wanted.as_deref(), fields)
        .map_err(Failure::bad_request)?;
    let tenants = || api.backend.state().tenants().clone();
    let limited = caller.limited();
    let selector = selector.within(limited.map(|token| Within::Events(token, tenants())));
    let form = Form::of(headers, &options)?;
    let store = api.backend.recorder().published();
    if options.flag("watch")? {
        return api.watch_store(store, render, &options, (selector, (form, sheet)));
    }
    let list = store.list();
    let items = list.items.values();
    let items = items.map(|item| render(&item.value, item.revision));
    let items: Vec<Value> = items.filter(|object| selector.matches(object)).collect();
    let (version, _) = sheet.identity();
    let list = json!({
        "apiVersion": version,
        "kind": "EventList",
        "metadata": {"resourceVersion": list.revision.to_string()},
        "items": items,
    });
    Ok(Json(form.list(sheet, list)).into_response())
}

/// An event in the older shape of the core group.
fn core_event(published: &Published, revision: u64) -> Value {
    let mut object = event(published, revision);
    let mut moved = Map::new();
    for (new, old) in [
        ("involvedObject", "regarding"),
        ("message", "note"),
        ("source", "deprecatedSource"),
        ("count", "deprecatedCount"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("reportingComponent", "reportingController"),
    ] {
        moved.insert(new.into(), object[old].take());
    }
    object["apiVersion"] = "v1".into();
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        object.extend(moved);
    }
    object
}

/// An event as the API shows it.
fn event(published: &Published, revision: u64) -> Value {
    let series = &published.series;
    let of = &series.event;
    let first = seconds(series.first_seen);
    let name = series.name();
    let mut object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Event",
        "metadata": {
            "name": name,
            "uid": uid(of.regarding.kind, &name, &first),
            "resourceVersion": revision.to_string(),
            "creationTimestamp": first,
        },
        "eventTime": micros(series.first_seen),
        "type": of.reason.kind().as_str(),
        "reason": of.reason.as_str(),
        "action": "Reconcile",
        "note": of.note,
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": of.regarding.kind.as_str(),
            "name": of.regarding.name,
        },
        "reportingController": CONTROLLER,
        "reportingInstance": &*published.host,
        "deprecatedSource": {"component": "cb-operator", "host": &*published.host},
        "deprecatedCount": series.count,
        "deprecatedFirstTimestamp": first,
        "deprecatedLastTimestamp": seconds(series.last_seen),
    });
    if series.count > 1 {
        object["series"] = json!({
            "count": series.count,
            "lastObservedTime": micros(series.last_seen),
        });
    }
    object
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

async fn alerts(State(api): Shared) -> Answer {
    Ok(Json(sinks(&api)?.overview()).into_response())
}

/// The body of a request to try sinks out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Try {
    /// The sink; all of them without.
    #[serde(default)]
    sink: Option<String>,
}

async fn test(State(api): Shared, request: Request) -> Answer {
    let shape = "the body must be {\"sink\": NAME}, or {\"sink\": null} for all";
    if request::format(request.headers())? == Format::Yaml {
        return Err(Failure::bad_request(shape));
    }
    let body = request::body(request.into_body(), MAX_BODY).await?;
    let wanted: Try =
        serde_json::from_value(request::json(&body)?).map_err(|_| Failure::bad_request(shape))?;
    let sinks = sinks(&api)?;
    match sinks.test(wanted.sink.as_deref()).await {
        Some(tried) => Ok(Json(tried).into_response()),
        None => {
            let known = sinks.overview().sinks;
            let known: Vec<String> = known.into_iter().map(|sink| sink.name).collect();
            let sink = shown(wanted.sink.as_deref().unwrap_or_default());
            let there = match known.as_slice() {
                [] => "the Host has none".to_owned(),
                known => format!("there are {}", known.join(", ")),
            };
            let message = format!("there is no alert sink `{sink}`; {there}");
            let failure = Failure::new(StatusCode::NOT_FOUND, "NotFound", message);
            Err(failure)
        }
    }
}

fn sinks(api: &Api) -> Result<&crate::alerts::Alerts, Failure> {
    api.backend.alerts().ok_or_else(|| {
        let message = "the operator is starting; no alerts are sent yet";
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    })
}
