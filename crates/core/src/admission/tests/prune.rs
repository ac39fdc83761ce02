//! What is gone, for how long, and how much of it at once.

use super::*;

/// Law 2.
#[test]
fn a_tenant_is_pruned_after_the_delay_and_a_renamed_one_follows() {
    let mut world = World::new();
    world.put("a.yaml", &domain("a", "a.example.org"));
    world.put("b.yaml", &tenant("b", ""));
    world.step();
    world.now = 5_000;
    world.put("a.yaml", &domain("a2", "a.example.org"));
    let out = world.step();
    assert_eq!((out.missing["a"], out.recheck_at), (5_000, Some(15_000)));
    assert!(refused(&out, "a2")[0].contains("tenant `a`"));
    world.now = 14_999;
    assert!(world.step().prune.is_empty());
    world.now = 15_000;
    assert_eq!(names(&world.step().prune), ["a"]);
    assert_eq!(change(&world.step().tenants["a2"]), Some(Change::New));
}

/// Law 2.
#[test]
fn a_scan_that_is_not_clean_starts_the_time_again() {
    let mut world = World::new();
    world.put("a.yaml", &tenant("a", ""));
    world.put("b.yaml", &tenant("b", ""));
    world.step();
    world.remove("a.yaml");
    world.step();
    world.now = 20_000;
    world.put("x.yaml", "{{{");
    let out = world.step();
    assert_eq!(out.blocked.unwrap().reason, Blocked::Errors);
    assert!(out.prune.is_empty() && out.missing.is_empty());
    world.remove("x.yaml");
    world.scan.complete = false;
    assert_eq!(world.step().blocked.unwrap().reason, Blocked::Incomplete);
    world.scan.complete = true;
    assert_eq!(world.step().missing["a"], 20_000);
}

/// Law 2.
#[test]
fn a_mass_disappearance_prunes_nothing_until_people_act() {
    let mut world = World::new();
    for n in 0..10 {
        world.put(&format!("t{n}.yaml"), &tenant(&format!("t{n}"), ""));
    }
    world.step();
    let full = world.scan.clone();
    for n in 0..3 {
        world.remove(&format!("t{n}.yaml"));
    }
    for now in [0, 100_000] {
        world.now = now;
        let out = world.step();
        assert!(out.prune.is_empty());
        let blocked = out.blocked.unwrap();
        assert_eq!(
            blocked.reason,
            Blocked::TooMany {
                allowed: 2,
                active: 10
            }
        );
        assert_eq!(
            blocked.to_string(),
            "3 tenants are in no file but not removed: at most 2 of 10 may go together (the Host's prune.maxPercent); put the files back, or delete each tenant by name with `cbctl delete tenant NAME`: `t0`, `t1`, `t2`"
        );
    }
    // One came back: the others are not overdue.
    world
        .scan
        .files
        .insert("t0.yaml".into(), full.files["t0.yaml"].clone());
    let out = world.step();
    assert!(out.prune.is_empty() && out.blocked.is_none());
    assert_eq!(out.missing.len(), 2);
    world.scan.files.clear();
    world.now += 100_000;
    let out = world.step();
    assert!(out.prune.is_empty() && out.forget.is_empty());
    assert_eq!(out.blocked.unwrap().reason, Blocked::Empty);
}
