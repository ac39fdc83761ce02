//! `diff`: the operator's plans for a person, and the exit code.

use insta::assert_snapshot;
use serde_json::json;

use crate::world::{CBAPP, World, tenant};

#[test]
fn no_difference_says_nothing() {
    let world = World::new();
    world.server.set(|state| {
        state.plan = json!({"errors": [], "plans": [
            {"tenant": "ky04", "change": "none", "specDiff": "", "steps": [], "blocked": [], "hold": null}]});
    });
    assert_eq!(world.run("diff ky04"), "$ cbctl diff ky04\n--- exit 0\n");
    assert_eq!(
        world.server.body("POST /operator/v1/plan"),
        r#"{"manifests":[],"tenants":["ky04"]}"#
    );
}

/// Law 11: the values that the operator hides stay hidden, and those of an
/// Application are hidden here.
#[test]
fn differences_are_shown_with_steps_and_reasons() {
    let world = World::new();
    world.file("all.yaml", &format!("{CBAPP}---\n{}", tenant("ky04", "")));
    world.server.has("applications", json!({
        "metadata": {"name": "cbapp"},
        "spec": {
            "databaseFile": "tenant.duckdb",
            "versions": [{"name": "v0.0.9", "folder": {"path": "/srv/cbapp/v0.0.9"}}],
            "services": [{"name": "api", "command": "bin/cbapp-api", "portOffset": 1, "env": {"TOKEN": "old-value"}}],
        },
    }));
    world.server.set(|state| {
        state.plan = json!({"errors": [], "plans": [
            {"tenant": "ky04", "change": "update",
             "specDiff": "--- live\n+++ applied\n@@ -1,3 +1,3 @@\n spec:\n-  version: v0.0.9\n+  version: v0.1.0\n",
             "steps": [{"aspect": "Services", "action": "WriteUnit", "text": "write unit ky04-api.service",
                        "reason": "its content differs", "cause": "Change"},
                       {"aspect": "Services", "action": "Restart", "text": "restart ky04-api.service",
                        "reason": "its unit changed", "cause": "Change"}],
             "blocked": [{"aspect": "Proxy", "reason": "Conflict", "message": "cb-ky04.conf is not the operator's"}],
             "hold": null},
            {"tenant": "oh09", "change": "none", "specDiff": "", "steps": [
                {"text": "start oh09-api.service", "reason": "it is not running"}], "blocked": [], "hold": "Detect"},
            {"tenant": "tx28", "change": "none", "specDiff": "", "steps": [], "blocked": [], "hold": null}]});
    });
    let said = world.run("diff -f all.yaml");
    assert!(!said.contains("-value"), "{said}");
    assert_snapshot!(said);
}

/// As kubectl: 1 would say that there are differences.
#[test]
fn a_failure_is_not_a_difference() {
    let world = World::new();
    world.file("bad.yaml", &tenant("a", "domain: x"));
    world.file("good.yaml", &tenant("a", ""));
    let here = world.run("diff -f bad.yaml");
    assert!(world.server.asked().is_empty());
    world.server.set(|state| {
        state.plan = json!({"plans": [], "errors": [
            {"file": "good.yaml", "line": 6, "column": 16, "field": "spec.application",
             "message": "there is no Application `cbapp`", "hint": null}]});
    });
    let there = world.run("diff -f good.yaml");
    let usage = world.run("diff app/cbapp");
    world
        .server
        .set(|state| state.plan = json!({"plans": [], "errors": []}));
    let nobody = world.run("diff -f good.yaml bad.yaml");
    assert_snapshot!([here, there, usage, nobody].join("\n"));
}
