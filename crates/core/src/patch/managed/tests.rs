use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: &str = "2026-03-04T12:00:00Z";

fn apply<'a>(manager: &'a str, config: &'a Json) -> Apply<'a> {
    Apply {
        manager,
        config,
        force: false,
        now: NOW,
    }
}

fn tenant(spec: Json) -> Json {
    json!({"apiVersion": API_VERSION, "kind": "Tenant", "metadata": {"name": "ky04"}, "spec": spec})
}

/// One apply after the other, each by somebody.
fn all(live: Option<Json>, applies: &[(&str, Json)]) -> Applied {
    let start = Applied {
        object: live.unwrap_or(Json::Null),
        managed: Managed::default(),
    };
    applies.iter().fold(start, |before, (manager, config)| {
        let live = Some(&before.object).filter(|live| !live.is_null());
        let applied = before
            .managed
            .apply(Kind::Tenant, live, &apply(manager, config));
        applied.expect("no conflict")
    })
}

#[test]
fn each_applier_keeps_its_own_and_what_it_no_longer_says_goes() {
    let platform = tenant(json!({"application": "cbapp", "version": "v1"}));
    let mut team = tenant(json!({"env": {"A": "1", "B": "2"}}));
    team["metadata"]["labels"] = json!({"ring": "canary"});
    let both = all(None, &[("platform", platform.clone()), ("team", team)]);
    assert_eq!(
        both.object["spec"],
        json!({"application": "cbapp", "version": "v1", "env": {"A": "1", "B": "2"}})
    );
    let less = tenant(json!({"env": {"A": "1"}}));
    let live = Some(&both.object);
    let less = both
        .managed
        .apply(Kind::Tenant, live, &apply("team", &less))
        .unwrap();
    assert_eq!(less.object["spec"]["env"], json!({"A": "1"}));
    assert!(less.object["metadata"].get("labels").is_none());
    // Nothing of a mapping that is empty then is left.
    let none = tenant(json!({}));
    let live = Some(&less.object);
    let none = less
        .managed
        .apply(Kind::Tenant, live, &apply("team", &none))
        .unwrap();
    assert_eq!(none.object["spec"], platform["spec"]);
}

#[test]
fn a_field_of_another_is_a_conflict_unless_it_is_the_same_or_forced() {
    let first = all(
        None,
        &[("a", tenant(json!({"application": "x", "version": "v1"})))],
    );
    let same = tenant(json!({"version": "v1"}));
    let live = Some(&first.object);
    let shared = first
        .managed
        .apply(Kind::Tenant, live, &apply("b", &same))
        .unwrap();
    let other = tenant(json!({"version": "v2"}));
    let refused = shared
        .managed
        .apply(Kind::Tenant, live, &apply("b", &other));
    let conflict = Conflict {
        manager: "a".into(),
        operation: Operation::Apply,
        field: ".spec.version".into(),
    };
    assert_eq!(refused, Err(vec![conflict]));
    let forced = Apply {
        force: true,
        ..apply("b", &other)
    };
    let forced = shared.managed.apply(Kind::Tenant, live, &forced).unwrap();
    assert_eq!(forced.object["spec"]["version"], "v2");
    // It is not the first one's any more: to leave it out removes nothing.
    let without = tenant(json!({"application": "x"}));
    let live = Some(&forced.object);
    let left = forced
        .managed
        .apply(Kind::Tenant, live, &apply("a", &without))
        .unwrap();
    assert_eq!(left.object["spec"]["version"], "v2");
}

#[test]
fn what_the_manifest_says_is_the_manifests() {
    let live = tenant(json!({"application": "x", "version": "v1"}));
    let other = tenant(json!({"version": "v2"}));
    let managed = Managed::default();
    let refused = managed.apply(Kind::Tenant, Some(&live), &apply("a", &other));
    assert_eq!(refused.unwrap_err()[0].manager, MANIFEST);
    // A person who changes a field in the file takes it over.
    let mut applied = all(None, &[("a", live.clone())]);
    let edited = tenant(json!({"application": "x", "version": "v9"}));
    applied.managed.update(Kind::Tenant, (&live, &edited), None);
    let again = applied
        .managed
        .apply(Kind::Tenant, Some(&edited), &apply("a", &live));
    assert_eq!(again.unwrap_err()[0].manager, MANIFEST);
}

#[test]
fn items_of_a_list_are_told_apart_by_their_names() {
    let item = |name: &str| json!({"name": name, "file": format!("/{name}")});
    let refs = |names: &[&str]| {
        let items: Vec<Json> = names.iter().map(|name| item(name)).collect();
        tenant(json!({"secretRefs": items}))
    };
    let both = all(None, &[("a", refs(&["X", "Y"])), ("b", refs(&["Z"]))]);
    let names = |applied: &Applied| {
        let items = applied.object["spec"]["secretRefs"].as_array().cloned();
        let name = |item: &Json| item["name"].as_str().unwrap_or_default().to_owned();
        items
            .unwrap_or_default()
            .iter()
            .map(name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&both), ["X", "Y", "Z"]);
    let live = Some(&both.object);
    let only = refs(&["Y"]);
    let fewer = both
        .managed
        .apply(Kind::Tenant, live, &apply("a", &only))
        .unwrap();
    assert_eq!(names(&fewer), ["Y", "Z"]);
    let written = serde_json::to_value(&fewer.managed).unwrap();
    assert_eq!(
        written[1]["fieldsV1"],
        json!({"f:spec": {"f:secretRefs": {"k:{\"name\":\"Z\"}": {".": {}, "f:name": {}, "f:file": {}}}}})
    );
}

#[test]
fn an_update_takes_over_what_it_changes() {
    let live = tenant(json!({"application": "x", "version": "v1", "env": {"A": "1"}}));
    let mut applied = all(None, &[("a", live.clone())]);
    let new = tenant(json!({"application": "x", "version": "v2"}));
    let by = Some(("kubectl-edit", NOW));
    applied.managed.update(Kind::Tenant, (&live, &new), by);
    let written = serde_json::to_value(&applied.managed).unwrap();
    assert_eq!(
        written[0]["fieldsV1"],
        json!({"f:spec": {"f:application": {}}})
    );
    assert_eq!(written[1]["manager"], "kubectl-edit");
    assert_eq!(written[1]["fieldsV1"], json!({"f:spec": {"f:version": {}}}));
}

fn spec() -> impl Strategy<Value = Json> {
    let env = prop::collection::btree_map("[A-C]", "[x-z]", 0..3);
    let refs = prop::collection::btree_map("[A-C]", "[x-z]", 0..3);
    let domains = prop::collection::vec("[a-c]", 0..3);
    let version = prop::option::of("v[1-3]");
    (env, refs, domains, version).prop_map(|(env, refs, domains, version)| {
        let mut spec = Map::new();
        if !env.is_empty() {
            spec.insert("env".into(), json!(env));
        }
        if !refs.is_empty() {
            let item = |(name, file): (&String, &String)| json!({"name": name, "file": file});
            spec.insert(
                "secretRefs".into(),
                refs.iter().map(item).collect::<Vec<_>>().into(),
            );
        }
        if !domains.is_empty() {
            spec.insert("domains".into(), json!(domains));
        }
        if let Some(version) = version {
            spec.insert("version".into(), version.into());
        }
        spec.into()
    })
}

proptest! {
    /// Law 1: what was applied is there, and to apply it again changes nothing.
    #[test]
    fn an_apply_is_done_once(
        specs in prop::collection::vec((0..3_usize, spec(), any::<bool>()), 1..8),
    ) {
        let managers = ["a", "b", "c"];
        let (mut object, mut managed) = (None, Managed::default());
        for (who, spec, force) in specs {
            let config = tenant(spec);
            let apply = Apply { force, ..apply(managers[who], &config) };
            let Ok(done) = managed.apply(Kind::Tenant, object.as_ref(), &apply) else {
                prop_assert!(!force, "nothing is in the way of force");
                continue;
            };
            let shape = &schema::of(Kind::Tenant).shape;
            let all = fields(&done.object, shape);
            for path in &fields(&config, shape).0 {
                prop_assert!(all.0.contains(path), "{}", shown(path));
                if !matches!(path.last(), Some(Step::Item(..))) {
                    prop_assert_eq!(get(&done.object, path), get(&config, path));
                }
            }
            for manager in done.managed.managers() {
                prop_assert!(manager.fields_v1.0.is_subset(&all.0));
            }
            let again = done.managed.apply(Kind::Tenant, Some(&done.object), &apply);
            prop_assert_eq!(again.as_ref(), Ok(&done));
            let written = serde_json::to_string(&done.managed).unwrap();
            prop_assert_eq!(serde_json::from_str::<Managed>(&written).unwrap(), done.managed.clone());
            (object, managed) = (Some(done.object), done.managed);
        }
    }

    /// What nobody says any more is gone; what others say stays.
    #[test]
    fn to_apply_nothing_gives_everything_back(ours in spec(), theirs in spec()) {
        let (first, second) = (tenant(theirs), tenant(ours));
        let base = all(None, &[("theirs", first)]);
        let apply_ours = Apply { force: true, ..apply("ours", &second) };
        let both = base.managed.apply(Kind::Tenant, Some(&base.object), &apply_ours).unwrap();
        let nothing = tenant(json!({}));
        let end = both.managed.apply(Kind::Tenant, Some(&both.object), &apply("ours", &nothing)).unwrap();
        let shape = &schema::of(Kind::Tenant).shape;
        let left = end.managed.set_of("theirs", Operation::Apply);
        prop_assert_eq!(fields(&end.object, shape), left);
    }
}
