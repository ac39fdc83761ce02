//! `ports`: the ports of all tenants in order.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::World;

fn tenant(name: &str, ports: &Value) -> Value {
    json!({
        "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
        "metadata": {"name": name, "generation": 1},
        "spec": {"application": "cbapp", "version": "v0.1.0"},
        "status": {"observedGeneration": 1, "ports": ports},
    })
}

#[test]
fn every_port_has_its_tenant_service_and_slot() {
    let world = World::new();
    let said = [world.run("ports")];
    world.server.has(
        "hosts",
        json!({
            "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Host", "metadata": {"name": "web1"},
            "spec": {"ports": {"base": 32300, "stride": 10, "slots": 1000}},
        }),
    );
    let two = json!({"api": 32311, "frontend": 32310});
    world.server.has("tenants", tenant("ky04", &two));
    let fixed = json!({"api": 8081, "frontend": 32300});
    world.server.has("tenants", tenant("oh09", &fixed));
    world.server.has("tenants", tenant("pending", &json!({})));
    let more = [
        "ports",
        "ports --no-headers",
        "ports -o json",
        "ports -o name",
    ];
    let more = more.map(|line| world.run(line));
    assert_snapshot!([said.as_slice(), &more].concat().join("\n"));
    world.run("ports -l ring=canary");
    let asked = world.server.asked();
    assert_eq!(
        asked.last().unwrap(),
        "GET tenants?labelSelector=ring%3Dcanary"
    );
}
