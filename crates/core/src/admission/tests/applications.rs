//! Applications and versions that are in no file and still needed.

use super::*;

#[test]
fn an_application_that_is_gone_or_broken_is_kept_while_a_tenant_uses_it() {
    let mut world = World::new();
    world.put("a.yaml", &tenant("a", ""));
    world.step();
    world.put(
        "app.yaml",
        &APPLICATION.replace("portOffset: 1", "portOffset: 50"),
    );
    let out = world.step();
    assert_eq!(out.applications["cbapp"].decision, Decision::Keep);
    assert!(
        out.applications["cbapp"].refused[0]
            .to_string()
            .contains("not in a slot of 10 ports")
    );
    world.remove("app.yaml");
    let out = world.step();
    assert!(
        out.applications["cbapp"].warnings[0]
            .to_string()
            .contains("tenant `a` runs it")
    );
    assert_eq!(change(&out.tenants["a"]), Some(Change::Same));
    assert!(out.forget.is_empty());
    world.known.tenants.clear();
    world.put("a.yaml", &tenant("a", "").replace("cbapp", "other"));
    let out = world.step();
    assert_eq!(
        out.forget
            .iter()
            .map(ObjectName::as_str)
            .collect::<Vec<_>>(),
        ["cbapp"]
    );
    assert!(refused(&out, "a")[0].contains("there is no Application `other`"));
}

#[test]
fn a_version_that_is_dropped_stays_while_a_tenant_runs_it() {
    let mut world = World::new();
    world.put("a.yaml", &tenant("a", ""));
    world.step();
    let dropped = APPLICATION.replace("    - {name: v1, folder: {path: /srv/v1}}\n", "");
    world.put("app.yaml", &dropped);
    world.put("b.yaml", &tenant("b", ""));
    for _ in 0..2 {
        let out = world.step();
        assert_eq!(change(&out.tenants["a"]), Some(Change::Same));
        assert!(refused(&out, "b")[0].contains("has no version `v1`"));
        assert_eq!(out.applications["cbapp"].warnings.len(), 1);
        let kept = &world.known.applications["cbapp"].application;
        assert!(kept.spec.source(&"v1".parse().unwrap()).is_some());
    }
    world.put("a.yaml", &tenant("a", "").replace("v1\n", "v2\n"));
    let out = world.step();
    assert_eq!(change(&out.tenants["a"]), Some(Change::Changed));
    let kept = &world.known.applications["cbapp"].application;
    assert!(kept.spec.source(&"v1".parse().unwrap()).is_none());
}

/// Law 6: a tenant that waits for its upgrade can go on with what it runs.
#[test]
fn what_a_tenant_still_runs_stays_though_its_manifest_asks_for_another() {
    let mut world = World::new();
    world.put("a.yaml", &tenant("a", ""));
    world.step();
    let next = tenant("a", "").replace("v1\n", "v2\n");
    world.put("a.yaml", &next);
    world.step();
    let runs = |version: &str| ReleaseId {
        application: "cbapp".parse().unwrap(),
        version: version.parse().unwrap(),
    };
    world.known.tenants.get_mut("a").unwrap().runs = [runs("v1")].into();
    let dropped = APPLICATION.replace("    - {name: v1, folder: {path: /srv/v1}}\n", "");
    world.put("app.yaml", &dropped);
    let out = admit(&world.known, &world.scan, &world.host, world.now);
    let (kept, _) = out.applications["cbapp"].accepted().unwrap();
    assert!(kept.spec.source(&"v1".parse().unwrap()).is_some());
    assert_eq!(out.applications["cbapp"].warnings.len(), 1);
    // It may be told to stay with it.
    world.put("a.yaml", &tenant("a", ""));
    let out = admit(&world.known, &world.scan, &world.host, world.now);
    assert_eq!(refused(&out, "a"), [""; 0]);
    // Another Application that the manifest moved to leaves this one known.
    let other = APPLICATION.replace("name: cbapp", "name: other");
    world.put("app.yaml", &other);
    world.put("a.yaml", &next.replace("cbapp", "other"));
    let out = admit(&world.known, &world.scan, &world.host, world.now);
    assert_eq!(out.forget, []);
    // Once it runs nothing of it, it goes.
    world.known.tenants.get_mut("a").unwrap().runs.clear();
    let out = admit(&world.known, &world.scan, &world.host, world.now);
    assert_eq!(out.forget.len(), 1);
}
