//! `wait`: for a condition, or until objects are gone.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::World;

fn tenant(name: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
        "metadata": {"name": name, "generation": 1},
        "spec": {"application": "cbapp", "version": "v0.1.0"},
        "status": {"observedGeneration": 1, "conditions": [{
            "type": "Ready", "status": ready, "reason": "Starting", "message": "service api starts",
            "observedGeneration": 1, "lastTransitionTime": "2026-03-04T11:00:00Z",
        }]},
    })
}

#[test]
fn it_ends_when_the_tenant_has_the_condition_or_the_time_is_over() {
    let world = World::new();
    world.server.has("tenants", tenant("ky04", "False"));
    world.server.has("tenants", tenant("oh09", "True"));
    world.server.set(|state| state.looks = 4);
    let said = [
        "wait tenant/ky04 tn/oh09 --for=condition=Ready",
        "wait tenants --all --for=condition=Ready=False --timeout=0",
        "wait tenant oh09 nobody --for condition=Ready",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
}

#[test]
fn it_ends_when_the_objects_are_gone() {
    let world = World::new();
    let mut leaving = tenant("ky04", "True");
    leaving["metadata"]["deletionTimestamp"] = "2026-03-04T12:00:00Z".into();
    world.server.has("tenants", leaving);
    world.server.has("tenants", tenant("oh09", "True"));
    world.server.set(|state| state.looks = 3);
    let said = [
        "wait tenant/ky04 tenant/nobody app/gone --for=delete",
        "wait tenant/oh09 tenant/nobody --for=delete --timeout 0",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
}

#[test]
fn what_cannot_be_waited_for_is_refused() {
    let world = World::new();
    let said = [
        "wait tenants --for=delete",
        "wait tenant/ky04 --all --for=delete",
        "wait app/cbapp --for=condition=Ready",
        "wait tenants --all --for=condition=Ready",
        "wait tenant/ky04 --for=Ready",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
}
