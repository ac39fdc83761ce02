//! Looking: `get`, `describe`, `version`, and what is said when nobody answers.

use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::{World, run_at};

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": 2, "lastTransitionTime": "2026-03-04T11:56:57Z",
    })
}

/// A server with two tenants, an Application and a Host.
fn world() -> World {
    let world = World::new();
    world.server.has(
        "tenants",
        json!({
            "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
            "metadata": {
                "name": "ky04", "uid": "f2a4", "generation": 2, "resourceVersion": "7",
                "creationTimestamp": "2026-03-01T08:00:00Z",
                "labels": {"ring": "canary", "state": "ky"},
                "annotations": {"campaignbrain.io/manifest": "ky/ky04.yaml", "note": "call first"},
            },
            "spec": {
                "displayName": "Kentucky 4th", "application": "cbapp", "version": "v0.1.0",
                "domains": ["ky04.example.org", "www.ky04.example.org"],
                "env": {"SMTP_HOST": "mail.example.org"},
                "secretRefs": [{"name": "API_KEY", "file": "/etc/cb/secrets/ky04"}],
                "resources": {"memory": "512Mi"},
            },
            "status": {
                "observedGeneration": 2, "version": "v0.1.0", "schemaVersion": 3,
                "release": "/var/lib/cb/releases/cbapp/v0.1.0",
                "ports": {"api": 32301, "frontend": 32300},
                "urls": ["http://ky04.example.org/"],
                "services": [{
                    "name": "api", "unit": "ky04-api.service", "activeState": "active",
                    "subState": "running", "healthy": true, "invocationId": "0123456789abcdef",
                }, {
                    "name": "frontend", "unit": "ky04-frontend.service", "activeState": "activating",
                    "subState": "auto-restart",
                }],
                "conditions": [
                    condition("Ready", "True", "Ready", "2 of 2 services are ready"),
                    condition("Drifted", "False", "InSync", "the host is as it was applied"),
                ],
            },
        }),
    );
    world.server.has(
        "tenants",
        json!({
            "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
            "metadata": {"name": "oh09", "generation": 1, "creationTimestamp": "2026-03-04T11:59:18Z"},
            "spec": {"application": "cbapp", "version": "v0.1.0"},
            "status": {"observedGeneration": 0, "version": "v1\u{1b}[2J"},
        }),
    );
    world.server.has(
        "applications",
        json!({
            "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "cbapp", "generation": 1, "creationTimestamp": "2026-02-01T00:00:00Z",
                         "annotations": {"campaignbrain.io/manifest": "cbapp.yaml"}},
            "spec": {
                "versions": [{"name": "v0.1.0", "folder": {"path": "/srv/cbapp/v0.1.0"}}],
                "services": [{"name": "api", "command": "bin/api", "portOffset": 1, "healthCheck": {"path": "/health"}},
                             {"name": "frontend", "command": "bin/frontend", "portOffset": 0}],
                "routes": [{"path": "/", "service": "frontend"}],
                "databaseFile": "tenant.duckdb",
            },
        }),
    );
    world.server.has(
        "hosts",
        json!({
            "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Host", "metadata": {"name": "web1"},
            "spec": {"paths": {"manifests": "/etc/cb/manifests", "state": "/var/lib/cb"},
                     "ports": {"base": 32300, "stride": 10, "slots": 1000},
                     "nginx": {"sites": "/etc/nginx/conf.d"}},
        }),
    );
    world
}

#[test]
fn tables_have_kubectls_columns() {
    let world = world();
    let said = [
        "get tenants",
        "get tn -o wide --show-labels",
        "get tenants --no-headers",
        "get tenants,applications",
        "get app -o wide",
        "get hosts -o wide",
        "get tenant/ky04 application/cbapp -o name",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
}

#[test]
fn objects_are_shown_as_they_are() {
    let world = world();
    let said = [
        "get tenant oh09 -o yaml",
        "get tenants oh09 -o json",
        "get applications -o yaml",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
}

/// Law 11: `describe` shows the names of variables and no value.
#[test]
fn describe_tells_why_an_object_is_as_it_is() {
    let world = world();
    let said = world.run("describe tenant ky04 oh09");
    assert!(!said.contains("mail.example.org"), "{said}");
    assert_snapshot!(said);
    assert_snapshot!("describe_others", world.run("describe app/cbapp host/web1"));
}

#[test]
fn what_is_not_there_is_said_and_the_rest_is_shown() {
    let world = world();
    let said = [
        "get tenants ky04 nobody",
        "get tenant nobody -o yaml",
        "describe tenant nobody",
        "get pods",
        "get tenants ky04 -l ring=canary",
        "describe tenant ky04 -o yaml",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
    let empty = World::new();
    let said = [
        "get tenants",
        "get tenants -o yaml",
        "get tenants,app -o name",
    ]
    .map(|line| empty.run(line));
    assert_snapshot!("nothing_there", said.join("\n"));
}

#[test]
fn the_server_selects() {
    let world = world();
    world.run("get tenants --selector ring=canary,state!=oh");
    assert_eq!(
        world.server.asked(),
        ["GET tenants?labelSelector=ring%3Dcanary%2Cstate%21%3Doh"]
    );
}

#[test]
fn both_versions_are_shown() {
    let world = World::new();
    let said = ["version", "version --client", "version -o json"].map(|line| world.run(line));
    assert_snapshot!(
        said.join("\n")
            .replace(env!("CARGO_PKG_VERSION"), "[version]")
    );
}

#[test]
fn an_operator_that_does_not_answer_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let said = run_at(&folder.path().join(name), folder.path(), "get tenants", "");
        said.replace(&folder.path().display().to_string(), "[folder]")
    };
    // A socket that nobody listens at any more.
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("dead.sock")).unwrap());
    assert_snapshot!([at("none.sock"), at("dead.sock")].join("\n"));
}

/// A reader that left early is no failure; a disk that is full is one.
#[test]
fn output_that_cannot_be_written_is_said() {
    let world = world();
    let run = |out: Stdio| {
        let child = world.command("get tenants").stdout(out).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run(writer.into()), (Some(0), String::new()));
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let (code, said) = run(full.into());
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        "error: cannot write the output: No space left on device\n"
    );
}

#[test]
fn a_server_that_is_no_socket_is_a_wrong_command_line() {
    let world = World::new();
    let said = world.run("get tenants --server ftp://host");
    assert!(
        said.contains("unix:///PATH") && said.ends_with("--- exit 2\n"),
        "{said}"
    );
}
