//! Events and alerts.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::World;

fn event(name: &str, count: u64, minute: u32) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": name, "resourceVersion": "8"},
        "type": if count > 1 { "Warning" } else { "Normal" },
        "reason": if count > 1 { "NotReady" } else { "Ready" },
        "note": format!("note of {name}"),
        "regarding": {"kind": "Tenant", "name": "ky04"},
        "deprecatedCount": count,
        "deprecatedFirstTimestamp": "2026-03-04T11:00:00Z",
        "deprecatedLastTimestamp": format!("2026-03-04T11:{minute:02}:00Z"),
    })
}

fn list(events: &[Value]) -> (u16, String) {
    let list = json!({"metadata": {"resourceVersion": "7"}, "items": events});
    (200, list.to_string())
}

fn unavailable() -> (u16, String) {
    let status = json!({"kind": "Status", "reason": "ServiceUnavailable", "message": "stopping"});
    (503, status.to_string())
}

#[test]
fn events_are_listed_by_time_and_counted() {
    let world = World::new();
    let all = [event("b", 3, 58), event("a", 1, 5)];
    world.server.set(|state| {
        state
            .scripted
            .extend([list(&all), list(&all), list(&all), list(&[])]);
    });
    assert_snapshot!(world.run("events"), @r"
    $ cbctl events
    LAST SEEN          TYPE      REASON     OBJECT        MESSAGE
    55m                Normal    Ready      tenant/ky04   note of a
    2m (x3 over 60m)   Warning   NotReady   tenant/ky04   note of b
    --- exit 0
    ");
    assert_snapshot!(world.run("events --types Warning --for tn/ky04 --no-headers"), @r"
    $ cbctl events --types Warning --for tn/ky04 --no-headers
    2m (x3 over 60m)   Warning   NotReady   tenant/ky04   note of b
    --- exit 0
    ");
    assert_snapshot!(world.run("events -o yaml --types warning"), @r"
    $ cbctl events -o yaml --types warning
    apiVersion: v1
    items:
    - apiVersion: events.k8s.io/v1
      deprecatedCount: 3
      deprecatedFirstTimestamp: 2026-03-04T11:00:00Z
      deprecatedLastTimestamp: 2026-03-04T11:58:00Z
      kind: Event
      metadata:
        name: b
        resourceVersion: '8'
      note: note of b
      reason: NotReady
      regarding:
        kind: Tenant
        name: ky04
      type: Warning
    kind: List
    metadata:
      resourceVersion: ''
    --- exit 0
    ");
    assert_snapshot!(world.run("events"), @r"
    $ cbctl events
    --- stderr
    No events found
    --- exit 0
    ");
    assert_snapshot!(world.run("events --for tenants"), @r"
    $ cbctl events --for tenants
    --- stderr
    error: --for takes one object
    hint: write KIND/NAME
    --- exit 2
    ");
    let asked = world.server.asked();
    assert!(asked[1].contains("fieldSelector=regarding.kind%3DTenant%2Cregarding.name%3Dky04"));
}

/// Law 1: a watch that ends or comes too late is begun again, and shows nothing
/// twice.
#[test]
fn a_watch_goes_on_after_its_stream_ended() {
    let world = World::new();
    let line = |kind: &str, object: Value| format!("{}\n", json!({"type": kind, "object": object}));
    let gone = json!({"kind": "Status", "reason": "Expired", "code": 410});
    let first = line("ADDED", event("b", 1, 10)) + &line("MODIFIED", event("b", 2, 20));
    world.server.set(|state| {
        state.scripted.extend([
            list(&[event("a", 1, 5)]),
            (200, first),
            list(&[event("a", 1, 5), event("b", 2, 20), event("c", 1, 30)]),
            (200, line("ERROR", gone)),
            unavailable(),
        ]);
    });
    assert_snapshot!(world.run("events -w"), @r"
    $ cbctl events -w
    LAST SEEN               TYPE      REASON               OBJECT                 MESSAGE
    55m                     Normal    Ready                tenant/ky04            note of a
    50m                     Normal    Ready                tenant/ky04            note of b
    40m (x2 over 60m)       Warning   NotReady             tenant/ky04            note of b
    30m                     Normal    Ready                tenant/ky04            note of c
    --- stderr
    Error from server (ServiceUnavailable): stopping
    hint: try again in a moment
    --- exit 1
    ");
    let asked = world.server.asked();
    assert_eq!(
        asked[1],
        "GET /apis/events.k8s.io/v1/events?watch=true&resourceVersion=7"
    );
}

#[test]
fn alerts_are_shown_with_the_state_of_the_sinks() {
    let world = World::new();
    let overview = json!({
        "alerts": [{
            "tenant": "ky04", "reason": "CrashLoop", "revision": 3, "condition": "Stalled",
            "message": "ky04-api.service exits again and again", "since": "2026-03-04T11:50:00Z",
        }],
        "sinks": [
            {"name": "oncall", "kind": "alertmanager", "waiting": 0,
             "lastDelivered": "2026-03-04T11:59:30Z", "error": null},
            {"name": "chat", "kind": "slack", "waiting": 2, "lastDelivered": null,
             "error": "it answered 500 Internal Server Error"},
        ],
    });
    let none = json!({"alerts": [], "sinks": []});
    world.server.set(|state| {
        state
            .scripted
            .extend([(200, overview.to_string()), (200, none.to_string())]);
    });
    assert_snapshot!(world.run("alerts"), @r"
    $ cbctl alerts
    TENANT   REASON      SINCE   REVISION   MESSAGE
    ky04     CrashLoop   10m     3          ky04-api.service exits again and again

    SINK     KIND           WAITING   LAST DELIVERED   ERROR
    oncall   alertmanager   0         30s              <none>
    chat     slack          2         <none>           it answered 500 Internal Server Error
    --- exit 0
    ");
    assert_snapshot!(world.run("alerts"), @r"
    $ cbctl alerts
    --- stderr
    No alerts are firing
    --- exit 0
    ");
}

#[test]
fn a_test_says_which_sink_took_the_message() {
    let world = World::new();
    let tried = json!([{"sink": "oncall", "error": null}, {"sink": "chat", "error": "it answered 404 Not Found"}]);
    world.server.set(|state| {
        state
            .scripted
            .extend([(200, tried.to_string()), (200, "[]".into())]);
    });
    assert_snapshot!(world.run("alerts test"), @r"
    $ cbctl alerts test
    sink/oncall took the test message
    --- stderr
    error: sink/chat: it answered 404 Not Found
    --- exit 1
    ");
    assert_snapshot!(world.run("alerts test nobody"), @r"
    $ cbctl alerts test nobody
    --- stderr
    The Host has no sinks in spec.alerts.sinks
    --- exit 0
    ");
    assert_eq!(
        world.server.body("POST /operator/v1/alerts/test"),
        r#"{"sink":null}"#
    );
}
