//! `api-resources`: what discovery tells, as kubectl shows it.

use insta::assert_snapshot;
use serde_json::json;

use crate::world::World;

#[test]
fn the_kinds_are_those_of_the_operator() {
    let said = [
        "api-resources",
        "api-resources -o wide",
        "api-resources -o name",
    ]
    .map(|line| {
        let world = World::new();
        let group = |version: &str| json!({"preferredVersion": {"groupVersion": version}});
        let groups = json!({"kind": "APIGroupList",
            "groups": [group("campaignbrain.io/v1alpha1"), group("events.k8s.io/v1")]});
        let tenants = json!({"resources": [
            {"name": "tenants", "namespaced": false, "kind": "Tenant", "shortNames": ["tn"],
             "categories": ["cb"], "verbs": ["get", "list"]},
            {"name": "tenants/status", "namespaced": false, "kind": "Tenant", "verbs": ["get"]},
        ]});
        let events = json!({"resources": [
            {"name": "events", "namespaced": true, "kind": "Event", "verbs": ["list", "watch"]},
        ]});
        world.server.set(|state| {
            for answer in [groups, tenants, events] {
                state.scripted.push_back((200, answer.to_string()));
            }
        });
        let said = world.run(line);
        assert_eq!(
            world.server.asked(),
            [
                "GET /apis",
                "GET /apis/campaignbrain.io/v1alpha1",
                "GET /apis/events.k8s.io/v1"
            ]
        );
        said
    });
    assert_snapshot!(said.join("\n"));
}
