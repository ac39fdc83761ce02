//! `delete`: by name and by file.

use insta::assert_snapshot;
use serde_json::json;

use crate::world::{CBAPP, World, tenant};

fn world() -> World {
    let world = World::new();
    for (plural, name) in [
        ("tenants", "a"),
        ("tenants", "b"),
        ("applications", "cbapp"),
    ] {
        world
            .server
            .has(plural, json!({"metadata": {"name": name}, "spec": {}}));
    }
    world
}

#[test]
fn objects_are_deleted_by_name() {
    let world = world();
    let said = [
        "delete tenant a --dry-run=client",
        "delete tenant a --dry-run=server",
        "delete tenants a nobody",
        "delete tn/b app/cbapp -o name",
        "delete tenant a --ignore-not-found",
        "delete tenants",
        "delete",
    ]
    .map(|line| world.run(line));
    assert_snapshot!(said.join("\n"));
}

/// What is waited for is that the operator has taken the tenant down.
#[test]
fn it_is_over_when_the_tenant_is_gone() {
    let world = world();
    world.server.set(|state| state.looks = 2);
    let said = world.run("delete tenant a");
    assert_eq!(world.server.asked().last().unwrap(), "GET tenants/a");
    assert!(world.server.set(|state| state.objects.len()) == 2);
    world.server.set(|state| state.looks = 1000);
    let late = world.run("delete tenant b --timeout=0");
    let not_waited = world.run("delete tenant b --wait=false");
    assert_snapshot!([said, late, not_waited].join("\n"));
}

/// An Application can go only after its tenants.
#[test]
fn the_objects_of_a_file_go_tenants_first() {
    let world = world();
    // That the spec would be refused does not matter.
    world.file(
        "all.yaml",
        &format!("{CBAPP}---\n{}", tenant("a", "nonsense: 1")),
    );
    world.file("broken.yaml", "kind: Tenant\nmetadata: {}\n");
    let said = [
        world.run("delete -f broken.yaml -f all.yaml"),
        world.run("delete -f all.yaml"),
    ];
    assert_snapshot!(said.join("\n"));
    let deleted: Vec<String> = world
        .server
        .asked()
        .into_iter()
        .filter(|a| a.starts_with("DELETE"))
        .collect();
    assert_eq!(deleted, ["DELETE tenants/a", "DELETE applications/cbapp"]);
}
