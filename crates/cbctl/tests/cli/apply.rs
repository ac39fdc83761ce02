//! `apply`: what is sent, in which order, and what is said.

use insta::assert_snapshot;
use serde_json::json;

use crate::world::{CBAPP, World, tenant};

fn error(file: &str) -> serde_json::Value {
    json!({"plans": [], "errors": [{
        "file": file, "line": 7, "column": 12, "field": "spec.version",
        "message": "Application `cbapp` has no version `v0.1.0`", "hint": "did you mean `v0.2.0`?",
    }]})
}

#[test]
fn objects_are_created_configured_or_left() {
    let world = World::new();
    world.file("ky04.yaml", &tenant("ky04", ""));
    let first = world.run("apply -f ky04.yaml");
    let again = world.run("apply -f ky04.yaml");
    world.file("ky04.yaml", &tenant("ky04", "suspend: true"));
    let client = world.run("apply -f ky04.yaml --dry-run=client");
    let server = world.run("apply -f ky04.yaml --dry-run=server");
    let changed = world.run("apply -f ky04.yaml");
    let name = world.run("apply -f ky04.yaml -o name");
    let yaml = world.run("apply -f ky04.yaml -o yaml");
    assert_snapshot!([first, again, client, server, changed, name, yaml].join("\n"));
}

/// Comments are a person's and reach the operator.
#[test]
fn a_document_is_sent_with_its_own_text_and_applications_first() {
    let world = World::new();
    let a = format!(
        "# about a\n{}",
        tenant("a", "domains: [a.example.org] # the old one")
    );
    world.file(
        "all.yaml",
        &format!("{a}---\n{}\n---\n{CBAPP}", tenant("b", "")),
    );
    assert_snapshot!(world.run("apply -f all.yaml"));
    assert_eq!(
        world.server.asked(),
        [
            "POST /operator/v1/plan",
            "PUT applications/cbapp",
            "PUT tenants/a",
            "PUT tenants/b"
        ]
    );
    assert_eq!(world.server.body("PUT tenants/a"), a);
    assert_eq!(world.server.body("PUT tenants/b"), tenant("b", ""));
    assert_eq!(world.server.body("PUT applications/cbapp"), CBAPP);
}

#[test]
fn folders_standard_input_and_selectors() {
    let world = World::new();
    let canary = "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\n\
                  metadata: {name: c1, labels: {ring: canary}}\nspec: {application: cbapp, version: v1}\n";
    world.file("all/a.yaml", &format!("{}---\n{canary}", tenant("a", "")));
    world.file("all/a.status.yaml", "not: read\n");
    world.file(
        "all/deep/b.json",
        &json!({
            "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant", "metadata": {"name": "b"},
            "spec": {"application": "cbapp", "version": "v1"},
        })
        .to_string(),
    );
    let said = [
        world.run("apply -f all"),
        world.run("apply -f all -R"),
        world.run("apply -f all -R --dry-run -l ring=canary"),
        world.run("apply -f all -l ring=stable"),
        world.run_with("apply -f -", &tenant("d", "")),
        world.run("apply -f nowhere.yaml"),
        world.run("apply"),
    ];
    assert_snapshot!(said.join("\n"));
}

/// Law 12: one bad file, and nothing is sent.
#[test]
fn bad_input_is_refused_whole() {
    let world = World::new();
    world.file("all/a.yaml", &tenant("a", ""));
    world.file(
        "all/b.yaml",
        &tenant("b", "domain: b.example.org\nsuspend: maybe"),
    );
    world.file("all/c.yaml", "kind: [\n");
    world.file(
        "twice.yaml",
        &format!("{}---\n{}", tenant("a", ""), tenant("a", "")),
    );
    world.file(
        "host.yaml",
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {name: web1}\n",
    );
    world.file(
        "shown.yaml",
        &format!("{}status: {{observedGeneration: 1}}\n", tenant("a", "")),
    );
    let said = [
        "apply -f all",
        "apply -f twice.yaml",
        "apply -f all/a.yaml -f host.yaml",
        "apply -f shown.yaml",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
    assert!(world.server.asked().is_empty());
}

/// Law 12: what only the operator can know is asked before anything is sent.
#[test]
fn the_operator_judges_all_before_anything_is_sent() {
    let world = World::new();
    world.file("a.yaml", &tenant("a", ""));
    world.file("b.yaml", &tenant("b", ""));
    world.server.set(|state| state.plan = error("b.yaml"));
    assert_snapshot!(world.run("apply -f a.yaml -f b.yaml"));
    assert_eq!(world.server.asked(), ["POST /operator/v1/plan"]);
    let request: serde_json::Value =
        serde_json::from_str(&world.server.body("POST /operator/v1/plan")).unwrap();
    assert_eq!(request["tenants"], json!([]));
    assert_eq!(
        request["manifests"][1],
        json!({"name": "b.yaml", "text": tenant("b", "")})
    );
}

#[test]
fn one_that_is_refused_does_not_stop_the_others() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.file(&format!("{name}.yaml"), &tenant(name, ""));
    }
    world.server.set(|state| {
        let conflict = json!({"kind": "Status", "reason": "Conflict", "code": 409,
            "message": "Tenant `b` is in all.yaml together with other objects; edit that file instead"});
        state.refuse.insert("b".into(), (409, conflict));
        let invalid = json!({"kind": "Status", "reason": "Invalid", "code": 422, "message": "m",
            "details": {"name": "c", "kind": "tenants", "causes": [
                {"field": "spec.version", "message": "c.yaml:7:12: spec.version: there is no v9"}]}});
        state.refuse.insert("c".into(), (422, invalid));
    });
    assert_snapshot!(world.run("apply -f a.yaml -f b.yaml -f c.yaml"));
}

/// A tenant may take over what another in the same call gives up.
#[test]
fn one_that_needs_another_is_sent_again_after_it() {
    let world = World::new();
    world.file("a.yaml", &tenant("a", ""));
    world.file("b.yaml", &tenant("b", ""));
    world
        .server
        .set(|state| state.needs.insert("a".into(), "b".into()));
    assert_snapshot!(world.run("apply -f a.yaml -f b.yaml"));
    let again = World::new();
    again.file("a.yaml", &tenant("a", ""));
    again
        .server
        .set(|state| state.needs.insert("a".into(), "never".into()));
    assert_snapshot!("needs_what_never_comes", again.run("apply -f a.yaml"));
}

#[test]
fn waiting_ends_when_the_tenant_is_ready_or_the_time_is_over() {
    let world = World::new();
    world.file("a.yaml", &tenant("a", ""));
    world.file("b.yaml", &tenant("b", "suspend: true"));
    world.file("cbapp.yaml", CBAPP);
    world.server.set(|state| state.looks = 2);
    let good = world.run("apply -f a.yaml -f b.yaml -f cbapp.yaml --wait");
    world.server.set(|state| state.looks = 1000);
    world.file("a.yaml", &tenant("a", "domains: [a.example.org]"));
    let late = world.run("apply -f a.yaml --wait=Ready --timeout 0");
    let dry = world.run("apply -f a.yaml --wait --dry-run=server");
    let wrong = world.run("apply -f a.yaml --wait=no-condition");
    assert_snapshot!([good, late, dry, wrong].join("\n"));
}
