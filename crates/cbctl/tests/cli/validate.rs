//! `validate`: all errors of all files, without an operator.

use insta::assert_snapshot;

use crate::world::{CBAPP, World, tenant};

#[test]
fn good_files_are_counted() {
    let world = World::new();
    world.file("m/cbapp.yaml", CBAPP);
    world.file(
        "m/deep/all.yaml",
        &format!("{}---\n{}", tenant("a", ""), tenant("b", "")),
    );
    world.file("m/deep/all.a.status.yaml", "kind: not looked at\n");
    let said = [
        world.run("validate m"),
        world.run("validate -f m/cbapp.yaml"),
        world.run("validate m -o json"),
        world.run_with("validate -", &tenant("a", "")),
        world.run("validate"),
    ];
    assert_snapshot!(said.join("\n"));
    assert!(world.server.asked().is_empty());
}

/// Law 12: every error names the file, line and field, what is wrong, and what
/// would be right.
#[test]
fn every_error_of_every_file_is_said() {
    let world = World::new();
    world.file("m/cbapp.yaml", CBAPP);
    world.file(
        "m/a.yaml",
        &tenant("a", "domain: [a.example.org]\nsuspend: maybe"),
    );
    world.file("m/b.yaml", &tenant("b", "domains: [same.example.org]"));
    world.file(
        "m/c.yaml",
        &tenant("c", "domains: [same.example.org]").replace("v0.1.0", "v0.1.1"),
    );
    world.file("m/d.yaml", "kind: Tenant\n  bad: [\n");
    world.file("m/e.yaml", &tenant("Not_A_Name", ""));
    world.file("m/f.yaml", "");
    assert_snapshot!(world.run("validate m"));
    assert_snapshot!(
        "errors_as_json",
        world.run("validate m/c.yaml m/cbapp.yaml -o json")
    );
}

/// Law 11: the value of a variable is in no message.
#[test]
fn a_value_that_is_refused_is_not_repeated() {
    let world = World::new();
    world.file(
        "a.yaml",
        &tenant("a", "env: {PASSWORD: [hunter2], TOKEN: \"x\\0hunter2\"}"),
    );
    let said = world.run("validate a.yaml");
    assert!(
        said.contains("spec.env.PASSWORD") && !said.contains("hunter2"),
        "{said}"
    );
}
