//! `get` in another order and as objects change.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::World;

fn tenant(name: &str, version: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
        "metadata": {"name": name, "generation": 1, "resourceVersion": version,
                     "creationTimestamp": "2026-02-01T00:00:00Z"},
        "spec": {"application": "cbapp", "version": version},
        "status": {"observedGeneration": 1, "version": version, "conditions": [{
            "type": "Ready", "status": ready, "reason": "Seen", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-03-04T11:00:00Z",
        }]},
    })
}

fn list(revision: &str, items: &[Value]) -> String {
    json!({"metadata": {"resourceVersion": revision}, "items": items}).to_string()
}

fn changes(changes: &[(&str, Value)]) -> String {
    let line = |(kind, object): &(&str, Value)| json!({"type": kind, "object": object});
    changes.iter().map(|of| format!("{}\n", line(of))).collect()
}

#[test]
fn objects_are_sorted_by_a_field() {
    let world = World::new();
    for (name, version) in [("ky04", "v10"), ("oh09", "v2"), ("pa01", "v9")] {
        world.server.has("tenants", tenant(name, version, "True"));
    }
    let said = [
        "get tenants --sort-by .spec.version",
        "get tenants --sort-by {.metadata.name} -o name",
        "get tenants --sort-by .spec.ring",
        "get tenants --sort-by .a..b",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
}

/// Law 1: what changed while nobody watched is shown after it, and what did not
/// is not shown again.
#[test]
fn changes_are_shown_as_they_happen() {
    let run = |line: &str| {
        let world = World::new();
        let (a, b) = (tenant("ky04", "v1", "True"), tenant("oh09", "v1", "False"));
        let mut renumbered = a.clone();
        renumbered["metadata"]["resourceVersion"] = "99".into();
        let moved = tenant("oh09", "v2", "True");
        let gone = json!({"kind": "Status", "code": 410, "reason": "Expired"});
        let down = json!({"kind": "Status", "code": 503, "reason": "ServiceUnavailable",
                          "message": "it stops"});
        world.server.set(|state| {
            for (code, text) in [
                (200, list("7", &[a.clone(), b])),
                (
                    200,
                    changes(&[
                        ("MODIFIED", tenant("oh09", "v1", "True")),
                        ("ADDED", tenant("pa01-with-a-long-name", "v1", "False")),
                        ("DELETED", tenant("pa01-with-a-long-name", "v1", "False")),
                        ("ERROR", gone.clone()),
                    ]),
                ),
                (200, list("3", &[renumbered, moved])),
                (410, gone.to_string()),
                (503, down.to_string()),
            ] {
                state.scripted.push_back((code, text));
            }
        });
        let said = world.run(line);
        (said, world.server.asked())
    };
    let (said, asked) = run("get tenants -w -l ring=canary");
    assert_eq!(
        asked,
        [
            "GET tenants?labelSelector=ring%3Dcanary",
            "GET tenants?watch=true&resourceVersion=7&labelSelector=ring%3Dcanary",
            "GET tenants?labelSelector=ring%3Dcanary",
            "GET tenants?watch=true&resourceVersion=3&labelSelector=ring%3Dcanary",
            "GET tenants?labelSelector=ring%3Dcanary",
        ]
    );
    let names = run("get tenants --watch -o name").0;
    assert_snapshot!([said, names].join("\n"));
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let world = World::new();
    let said = [
        "get tenants,app -w",
        "get tenants ky04 oh09 -w",
        "get tenant nobody -w",
        "get tenant nobody -w -l ring=canary",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
}
