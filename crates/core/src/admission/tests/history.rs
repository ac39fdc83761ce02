//! Any history of a folder.

use proptest::prelude::*;

use super::*;

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
