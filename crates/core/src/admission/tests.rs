use proptest::prelude::*;

use super::*;
use crate::manifest;

const APPLICATION: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp}
spec:
  versions:
    - {name: v1, folder: {path: /srv/v1}}
    - {name: v2, folder: {path: /srv/v2}}
  services:
    - {name: frontend, command: bin/frontend, portOffset: 0}
    - {name: api, command: bin/api, portOffset: 1}
";

/// A tenant with more fields of its spec.
fn tenant(name: &str, more: &str) -> String {
    format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec:\n  application: cbapp\n  version: v1\n{more}"
    )
}

fn domain(name: &str, domain: &str) -> String {
    tenant(name, &format!("  domains: [{domain}]\n"))
}

fn host() -> Host {
    let text = "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {name: h, labels: {site: a}}\nspec: {prune: {delaySeconds: 10, maxPercent: 20}}\n";
    match manifest::parse("host.yaml", text.as_bytes())
        .documents
        .remove(0)
        .object
    {
        Some(manifest::AnyObject::Host(host)) => Host::clone(&host),
        other => panic!("{other:?}"),
    }
}

/// A folder and what an operator remembers of it.
struct World {
    host: Host,
    known: Known,
    scan: Scan,
    now: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            host: host(),
            known: Known::default(),
            scan: Scan {
                complete: true,
                ..Scan::default()
            },
            now: 0,
        };
        world.put("app.yaml", APPLICATION);
        world
    }

    fn put(&mut self, file: &str, text: &str) {
        self.scan
            .files
            .insert(file.into(), Ok(manifest::parse(file, text.as_bytes())));
    }

    fn remove(&mut self, file: &str) {
        assert!(self.scan.files.remove(file).is_some());
    }

    /// Admits, and remembers what an operator would.
    fn step(&mut self) -> Admission {
        let out = admit(&self.known, &self.scan, &self.host, self.now);
        assert_eq!(
            out,
            admit(&self.known, &self.scan, &self.host, self.now),
            "it is a function"
        );
        for (name, verdict) in &out.applications {
            if let Decision::Accept { object, file, .. } = &verdict.decision {
                let known = KnownApplication {
                    application: object.clone(),
                    file: file.clone(),
                };
                self.known.applications.insert(name.clone(), known);
            }
        }
        for name in &out.forget {
            self.known.applications.remove(name);
        }
        for (name, verdict) in &out.tenants {
            let (object, file, active) = match &verdict.decision {
                Decision::Accept { object, file, .. } => (object, file, true),
                Decision::NotPlaced { object, file } => (object, file, false),
                Decision::Keep => continue,
            };
            let known = KnownTenant {
                tenant: object.clone(),
                file: file.clone(),
                active,
                runs: BTreeSet::new(),
                missing_since: None,
            };
            self.known.tenants.insert(name.clone(), known);
        }
        for (name, known) in &mut self.known.tenants {
            known.missing_since = out.missing.get(name).copied();
        }
        for name in &out.prune {
            self.known.tenants.remove(name);
        }
        out
    }

    fn domains(&self, name: &str) -> Vec<String> {
        let tenant = &self.known.tenants[name].tenant;
        tenant
            .spec
            .domains
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

fn change<T>(verdict: &Verdict<T>) -> Option<Change> {
    match verdict.decision {
        Decision::Accept { change, .. } => Some(change),
        _ => None,
    }
}

fn refused(out: &Admission, name: &str) -> Vec<String> {
    out.tenants[name]
        .refused
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn names(names: &[TenantName]) -> Vec<&str> {
    names.iter().map(TenantName::as_str).collect()
}

/// Law 1.
#[test]
fn what_was_accepted_is_the_same_the_second_time() {
    let mut world = World::new();
    world.put("a.yaml", &domain("a", "a.example.org"));
    let out = world.step();
    assert_eq!(change(&out.tenants["a"]), Some(Change::New));
    assert_eq!(change(&out.applications["cbapp"]), Some(Change::New));
    let out = world.step();
    assert_eq!(change(&out.tenants["a"]), Some(Change::Same));
    assert_eq!(change(&out.applications["cbapp"]), Some(Change::Same));
    world.put("a.yaml", &domain("a", "b.example.org"));
    assert_eq!(change(&world.step().tenants["a"]), Some(Change::Changed));
}

/// Law 4, law 12.
#[test]
fn a_broken_manifest_keeps_the_last_good_one_and_harms_no_other() {
    let mut world = World::new();
    world.put("a.yaml", &domain("a", "a.example.org"));
    world.step();
    world.put("a.yaml", &domain("a", "A"));
    world.put("b.yaml", &domain("b", "b.example.org"));
    let out = world.step();
    assert_eq!(out.tenants["a"].decision, Decision::Keep);
    assert!(refused(&out, "a")[0].starts_with("a.yaml:7:13: spec.domains[0]: "));
    assert_eq!(change(&out.tenants["b"]), Some(Change::New));
    assert_eq!(world.domains("a"), ["a.example.org"]);
    // Its domain is still its own.
    world.put("b.yaml", &domain("b", "a.example.org"));
    let out = world.step();
    assert!(
        refused(&out, "b")[0].contains("tenant `a`, as last accepted from a.yaml"),
        "{out:?}"
    );
    assert_eq!(world.domains("b"), ["b.example.org"]);
}

#[test]
fn an_error_goes_to_whom_it_is_about() {
    let mut world = World::new();
    world.put("a.yaml", &tenant("a", ""));
    world.step();
    // Nothing in it can be read, but the tenant is known to be in it.
    world.put("a.yaml", "{{{");
    world.put("x.yaml", "kind: Tenant\nmetadata: {name: NO}\n");
    world.put(
        "y.yaml",
        &format!("{}---\n{}", tenant("y", ""), tenant("z", "  domains: [\n")),
    );
    world.scan.files.insert(
        "u.yaml".into(),
        Err("Permission denied (os error 13)".into()),
    );
    let out = world.step();
    assert!(refused(&out, "a")[0].starts_with("a.yaml:"));
    assert!(out.files["x.yaml"].len() > 1);
    assert_eq!(
        out.files["u.yaml"][0].to_string(),
        "u.yaml: the file cannot be read: Permission denied (os error 13)"
    );
    assert_eq!(refused(&out, "y"), refused(&out, "z"));
    assert!(!out.tenants.contains_key("NO"));
    world.put(
        "y.yaml",
        &format!("{}---\n{}", tenant("y", ""), tenant("z", "  domain: []\n")),
    );
    let out = world.step();
    assert_eq!(
        change(&out.tenants["y"]),
        Some(Change::New),
        "the other document is good"
    );
    assert_eq!(refused(&out, "z").len(), 1);
}

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

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8, u8),
    Break(u8),
    Unreadable(u8),
    Remove(u8),
    RemoveAll,
    Complete(bool),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8u8, 0..8u8, 0..5u8).prop_map(|(file, name, claim)| Step::Put(file, name, claim)),
        1 => (0..8u8).prop_map(Step::Break),
        1 => (0..8u8).prop_map(Step::Unreadable),
        4 => (0..8u8).prop_map(Step::Remove),
        1 => Just(Step::RemoveAll),
        2 => any::<bool>().prop_map(Step::Complete),
        4 => (0..20_000u16).prop_map(Step::Wait),
    ]
}

fn take(world: &mut World, step: Step) {
    let file = |n: u8| format!("f{n}.yaml");
    match step {
        Step::Put(n, name, claim) => {
            let claims = [
                "",
                "  domains: [x.example.org]\n",
                "  domains: [y.example.org]\n",
                "  ports: {api: 31000}\n",
                "  ports: {api: 31001}\n  domains: [y.example.org]\n",
            ];
            world.put(
                &file(n),
                &tenant(&format!("t{name}"), claims[usize::from(claim)]),
            );
        }
        Step::Break(n) => world.put(
            &file(n),
            "kind: Tenant\nmetadata: {name: t1}\nspec: {version: 1}\n",
        ),
        Step::Unreadable(n) => drop(world.scan.files.insert(file(n), Err("no".into()))),
        Step::Remove(n) => drop(world.scan.files.remove(&file(n))),
        Step::RemoveAll => world.scan.files.clear(),
        Step::Complete(complete) => world.scan.complete = complete,
        Step::Wait(ms) => world.now += u64::from(ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Laws 2 and 4, over any history of a folder.
    #[test]
    fn any_history_prunes_only_what_is_gone_and_keeps_claims_apart(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            take(&mut world, step);
            let before = world.known.clone();
            let out = world.step();
            let active = before.tenants.len();
            if !world.scan.is_clean() || world.scan.files.is_empty() {
                prop_assert!(out.prune.is_empty() && out.missing.is_empty() && out.forget.is_empty());
            }
            prop_assert!(out.missing.len() <= (active / 5).max(1));
            for name in &out.prune {
                let since = before.tenants[name].missing_since;
                prop_assert!(since.is_some_and(|since| since + 10_000 <= world.now));
            }
            for (name, known) in &before.tenants {
                if !out.prune.contains(name) {
                    // Nothing but a prune removes one, nothing but an accepted
                    // manifest changes one.
                    let now = &world.known.tenants[name].tenant;
                    let accepted = out.tenants.get(name).and_then(Verdict::accepted);
                    prop_assert!(*now == known.tenant || accepted.is_some_and(|(object, _)| object == now));
                }
            }
            for verdict in out.tenants.values() {
                prop_assert!(verdict.refused.is_empty() || verdict.decision == Decision::Keep);
                prop_assert!(!verdict.refused.is_empty() || verdict.accepted().is_some() || !verdict.warnings.is_empty());
            }
            // What is kept here never claims the same thing twice.
            let mut claimed = std::collections::BTreeSet::new();
            for known in world.known.tenants.values() {
                for (claim, _) in manifest::cross::claims(&known.tenant, None) {
                    prop_assert!(claimed.insert(claim.clone()), "{claim} twice");
                }
            }
            // A second look changes nothing.
            let after = world.known.clone();
            world.step();
            let spec = |known: &Known| known.tenants.iter().map(|(n, t)| (n.clone(), t.tenant.clone())).collect::<Vec<_>>();
            if out.prune.is_empty() {
                prop_assert_eq!(spec(&world.known), spec(&after));
            }
        }
    }
}
