//! Who has a name, a domain, a port or a unit that two want.

use super::*;

#[test]
fn a_name_in_two_files_takes_effect_in_neither() {
    let mut world = World::new();
    world.put("a.yaml", &domain("a", "a.example.org"));
    world.step();
    world.put("b.yaml", &domain("a", "b.example.org"));
    let out = world.step();
    assert_eq!(out.tenants["a"].decision, Decision::Keep);
    let places = refused(&out, "a");
    assert!(
        places[0].contains("a.yaml:3:18: metadata.name: tenant `a` is also in b.yaml:3:18"),
        "{places:?}"
    );
    assert!(places[1].contains("b.yaml:3:18: metadata.name: tenant `a` is also in a.yaml:3:18"));
    // The file was moved.
    world.remove("a.yaml");
    assert_eq!(change(&world.step().tenants["a"]), Some(Change::Changed));
    assert_eq!(world.domains("a"), ["b.example.org"]);
}

#[test]
fn a_claim_stays_with_the_one_that_had_it() {
    for field in ["  domains: [x.example.org]\n", "  ports: {api: 31000}\n"] {
        let mut world = World::new();
        world.put("b.yaml", &tenant("b", field));
        world.step();
        world.put("a.yaml", &tenant("a", field));
        let out = world.step();
        assert_eq!(change(&out.tenants["b"]), Some(Change::Same));
        let warning = out.tenants["b"].warnings[0].to_string();
        assert!(
            warning.starts_with("b.yaml:7:") && warning.contains("tenant `a` (a.yaml:7:"),
            "{warning}"
        );
        assert_eq!(out.tenants["a"].decision, Decision::Keep);
        assert!(refused(&out, "a")[0].contains("tenant `b` (b.yaml:7:"));
        assert!(!world.known.tenants.contains_key("a"));
        // It gives it up.
        world.put("b.yaml", &tenant("b", ""));
        assert_eq!(change(&world.step().tenants["a"]), Some(Change::New));
    }
}

#[test]
fn a_claim_that_nobody_had_goes_to_nobody() {
    let mut world = World::new();
    world.put("a.yaml", &domain("a", "x.example.org"));
    world.put("b.yaml", &domain("b", "x.example.org"));
    world.put("c.yaml", &domain("c", "c.example.org"));
    let out = world.step();
    assert!(refused(&out, "a")[0].contains("b.yaml:7:13"));
    assert!(refused(&out, "b")[0].contains("a.yaml:7:13"));
    assert_eq!(change(&out.tenants["c"]), Some(Change::New));
}

#[test]
fn domains_can_be_swapped_and_a_refused_swap_falls_back_whole() {
    let mut world = World::new();
    world.put("a.yaml", &domain("a", "a.example.org"));
    world.put("b.yaml", &domain("b", "b.example.org"));
    world.step();
    world.put("a.yaml", &domain("a", "b.example.org"));
    world.put("b.yaml", &domain("b", "a.example.org"));
    let out = world.step();
    assert_eq!(change(&out.tenants["a"]), Some(Change::Changed));
    assert_eq!(change(&out.tenants["b"]), Some(Change::Changed));
    // Back again, but b asks for a version that is not there: it keeps what
    // it has, so a cannot have it either.
    world.put("a.yaml", &domain("a", "a.example.org"));
    world.put(
        "b.yaml",
        &domain("b", "b.example.org").replace("v1\n", "v9\n"),
    );
    let out = world.step();
    assert!(refused(&out, "b")[0].contains("has no version `v9`"));
    assert!(refused(&out, "a")[0].contains("tenant `b`, as last accepted"));
    assert_eq!(
        (world.domains("a"), world.domains("b")),
        (vec!["b.example.org".into()], vec!["a.example.org".into()])
    );
}

#[test]
fn tenants_with_the_same_unit_are_refused() {
    let mut world = World::new();
    world.put("app.yaml", &APPLICATION.replace("frontend,", "x-api,"));
    world.put("a.yaml", &tenant("ky", ""));
    world.step();
    world.put("b.yaml", &tenant("ky-x", ""));
    let out = world.step();
    assert!(
        refused(&out, "ky-x")[0].contains("unit `ky-x-api.service` is also that of tenant `ky`")
    );
    assert_eq!(change(&out.tenants["ky"]), Some(Change::Same));
}

#[test]
fn a_tenant_placed_elsewhere_is_not_run_here_and_claims_nothing() {
    let mut world = World::new();
    let placed = |site: &str| {
        tenant(
            "a",
            &format!(
                "  domains: [a.example.org]\n  placement: {{hostSelector: {{site: {site}}}}}\n"
            ),
        )
    };
    world.put("a.yaml", &placed("b"));
    assert!(!world.step().tenants.contains_key("a"));
    world.put("a.yaml", &placed("a"));
    assert_eq!(change(&world.step().tenants["a"]), Some(Change::New));
    world.put("a.yaml", &placed("b"));
    world.put("b.yaml", &domain("b", "a.example.org"));
    let out = world.step();
    assert!(matches!(
        out.tenants["a"].decision,
        Decision::NotPlaced { .. }
    ));
    assert_eq!(change(&out.tenants["b"]), Some(Change::New));
    assert!(out.missing.is_empty() && out.prune.is_empty());
    // Its file is gone: nothing here is pruned, its data stays.
    world.remove("a.yaml");
    world.now = 1_000_000;
    let out = world.step();
    assert!(out.missing.is_empty() && out.prune.is_empty() && out.blocked.is_none());
}
