//! Events and alerts as clients see them.

use cb_core::api::Kind;
use cb_core::event::{Event, Reason};
use http_body_util::BodyExt as _;
use hyper::Method;
use serde_json::Value;

use super::{Server, request};

const EVENTS: &str = "/apis/events.k8s.io/v1/events";

fn record(server: &Server, tenant: &str, reason: Reason) {
    let event = Event::new(Kind::Tenant, tenant, reason, "words");
    server.fake.recorder.record(event);
}

fn reasons(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["reason"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_have_the_shape_of_kubernetes() {
    let server = Server::start().await;
    record(&server, "ky04", Reason::NotReady);
    record(&server, "ky04", Reason::NotReady);
    record(&server, "oh01", Reason::Ready);
    let list = server.get(EVENTS).await.json();
    assert_eq!(
        (list["kind"].as_str(), list["apiVersion"].as_str()),
        (Some("EventList"), Some("events.k8s.io/v1"))
    );
    assert_eq!(reasons(&list), ["NotReady", "Ready"]);
    let event = &list["items"][0];
    assert_eq!(event["regarding"]["kind"], "Tenant");
    assert_eq!(event["regarding"]["name"], "ky04");
    assert_eq!(
        (event["type"].as_str(), event["note"].as_str()),
        (Some("Warning"), Some("words"))
    );
    assert_eq!(
        (
            event["series"]["count"].as_u64(),
            event["deprecatedCount"].as_u64()
        ),
        (Some(2), Some(2))
    );
    assert_eq!(event["reportingInstance"], "web1");
    assert!(list["items"][1].get("series").is_none());

    for (selector, expected) in [
        ("regarding.name=ky04", vec!["NotReady"]),
        ("regarding.kind=Host", vec![]),
        ("type!=Warning,reason=Ready", vec!["Ready"]),
    ] {
        let selector = selector.replace('=', "%3D").replace('!', "%21");
        let list = server
            .get(&format!("{EVENTS}?fieldSelector={selector}"))
            .await
            .json();
        assert_eq!(reasons(&list), expected, "{selector}");
    }
    let answer = server
        .get(&format!("{EVENTS}?fieldSelector=spec.x%3D1"))
        .await;
    let message = answer.failure(400, "BadRequest");
    assert!(message.contains("regarding.name"), "{message}");
}

/// A watch from the revision of a list misses nothing and sees the count grow.
#[tokio::test]
async fn events_can_be_watched() {
    let server = Server::start().await;
    record(&server, "ky04", Reason::NotReady);
    let list = server.get(EVENTS).await.json();
    let revision = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    record(&server, "oh01", Reason::NotReady);
    let path = format!(
        "{EVENTS}?watch=true&resourceVersion={revision}&fieldSelector=regarding.name%3Dky04"
    );
    let mut body = server
        .open(request(Method::GET, &path, "", ""))
        .await
        .into_body();
    record(&server, "ky04", Reason::NotReady);
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let change: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(change["type"], "MODIFIED");
    assert_eq!(change["object"]["series"]["count"], 2);
    server.stop.cancel();
}

#[tokio::test]
async fn alerts_and_their_sinks_can_be_asked_for() {
    let server = Server::start().await;
    let overview = server.get("/operator/v1/alerts").await.json();
    assert_eq!(overview, serde_json::json!({"alerts": [], "sinks": []}));
    let test = |body: &'static str| {
        server.call(
            Method::POST,
            "/operator/v1/alerts/test",
            "application/json",
            body,
        )
    };
    assert_eq!(test("{\"sink\": null}").await.json(), serde_json::json!([]));
    let message = test("{\"sink\": \"oncall\"}")
        .await
        .failure(404, "NotFound");
    assert_eq!(
        message,
        "there is no alert sink `oncall`; the Host has none"
    );
    test("{\"sinks\": 1}").await.failure(400, "BadRequest");
}

/// As `kubectl describe` asks for the events of an object.
#[tokio::test]
async fn events_of_the_core_group_are_found_by_the_objects_uid() {
    let server = Server::start().await;
    record(&server, "ky04", Reason::NotReady);
    record(&server, "oh01", Reason::Ready);
    let path = "/apis/campaignbrain.io/v1alpha1/tenants/oh01";
    let object = server.get(path).await.json();
    let uid = object["metadata"]["uid"].as_str().unwrap();
    for (uid, expected) in [(uid, vec!["Ready"]), ("another", vec![])] {
        let selector = format!("involvedObject.uid%3D{uid},involvedObject.namespace%3D");
        let path = format!("/api/v1/events?fieldSelector={selector}");
        let list = server.get(&path).await.json();
        assert_eq!(reasons(&list), expected);
        if let Some(event) = list["items"].as_array().unwrap().first() {
            assert_eq!(event["involvedObject"]["name"], "oh01");
            assert_eq!(event["message"], "words");
            assert!(event.get("regarding").is_none() && event.get("note").is_none());
        }
    }
}
