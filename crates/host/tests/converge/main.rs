//! The laws as properties: from any state of a host, by the planner's plans
//! and nothing else, to what is wanted.
//!
//! `operator` is the pass, `scenario` what can have happened before, `expect`
//! what must be true after. Each test names the law of `docs/` that it holds.

mod expect;
mod operator;
mod scenario;

use cb_core::api::DriftPolicy;
use cb_core::record::Phase;
use operator::{Ended, World};
use proptest::prelude::*;
use proptest::sample::Index;
use scenario::{event, foreign, history, wish};

/// So many cases, or as many as the environment asks for.
fn cases(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(cases);
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn same<T: PartialEq + std::fmt::Debug>(before: &T, after: &T) -> Result<(), TestCaseError> {
    prop_assert_eq!(before, after);
    Ok(())
}

/// A pass that nothing keeps from its end.
fn converge(world: &mut World, wanted: &operator::Wanted) -> Result<(), TestCaseError> {
    let had_data = expect::data_is_kept(&world.host);
    let others = expect::foreign(&world.host.snapshot());
    let left = world.pass(wanted);
    let effects = world.host.effects();
    let left = left.map_err(|e| TestCaseError::fail(format!("{e}\neffects: {effects:#?}")))?;
    prop_assert!(left.blocked.is_empty(), "{:?}", operator::words(&left));
    let differences = expect::differences(world, wanted, &left);
    prop_assert!(
        differences.is_empty(),
        "{:#?}\neffects: {:#?}",
        differences,
        effects
    );
    prop_assert!(!had_data || expect::data_is_kept(&world.host));
    same(&others, &expect::foreign(&world.host.snapshot()))
}

proptest! {
    #![proptest_config(cases(256))]

    /// Law 1: one plan brings the host to what is wanted, and the plan after
    /// it is empty; whatever was left over, tampered with or forgotten.
    #[test]
    fn any_state_converges_in_one_plan(history in history(), wish in wish()) {
        let mut world = history.play();
        let wanted = wish.wanted("ky04");
        converge(&mut world, &wanted)?;
        // And then nothing is done, and nothing written.
        world.host.clear_log();
        let settled = world.host.snapshot();
        let left = world.pass(&wanted);
        prop_assert!(left.is_ok_and(|left| left.is_empty()));
        prop_assert_eq!(world.host.effects(), Vec::<String>::new());
        same(&settled, &world.host.snapshot())?;
    }

    /// Law 3: what is not ours stays as it is, and keeps back only what it is
    /// in the way of.
    #[test]
    fn what_others_made_is_left_alone(
        history in history(),
        intruders in prop::collection::vec(foreign(), 1..4),
        wish in wish(),
    ) {
        let mut world = history.play();
        let mut possible = false;
        for intruder in intruders {
            possible |= world.intrude(intruder);
        }
        let wanted = wish.wanted("ky04");
        let before = expect::foreign(&world.host.snapshot());
        let user = world.host.user("cb-ky04");
        let left = world.pass(&wanted);
        let left = left.map_err(|e| TestCaseError::fail(format!("{e}")))?;
        prop_assert!(possible || left.blocked.is_empty(), "{:?}", operator::words(&left));
        same(&before, &expect::foreign(&world.host.snapshot()))?;
        if left.blocked.iter().any(|b| b.aspect == cb_core::plan::Aspect::Base) {
            let effects = world.host.effects();
            prop_assert!(effects.iter().all(|e| e.contains("the record")), "{:?}", effects);
            same(&user, &world.host.user("cb-ky04"))?;
        }
        let differences = expect::differences(&world, &wanted, &left);
        prop_assert!(differences.is_empty(), "{:#?}", differences);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// Law 5: cut off at any effect, the next run converges; no data is lost
    /// and no service runs an old revision.
    #[test]
    fn cut_off_anywhere_it_converges(
        history in history(),
        wish in wish(),
        reboot: bool,
        between in prop::option::weighted(0.3, event()),
        cuts in prop::collection::vec(any::<Index>(), 2),
    ) {
        let world = history.play();
        // What happens before anything is recorded again is told by nothing.
        let between = between.filter(|_| !history.is_lost());
        let wanted = wish.wanted("ky04");
        let mut whole = world.fork();
        whole.pass(&wanted).map_err(|e| TestCaseError::fail(format!("{e}")))?;
        for cut in cuts {
            // A pass with nothing to do has no effect to cut it off at.
            let effects = cut.index(whole.host.effects().len().max(1)) as u64;
            let mut cut = world.fork();
            cut.host.cut_after(effects);
            let ended = cut.pass(&wanted);
            prop_assert!(matches!(ended, Err(Ended::Died)), "{:?}", ended);
            if reboot { cut.host.reboot() } else { cut.host.restart() }
            cut.play(between.as_slice());
            converge(&mut cut, &wanted)
                .map_err(|e| TestCaseError::fail(format!("cut after {effects}: {e}")))?;
        }
    }

    /// Law 2: with `Retain` the data stays where it is, with `Delete` it is in
    /// the backups; nothing else is left, wherever it was cut off.
    #[test]
    fn removal_leaves_the_data_and_nothing_else(
        history in history(),
        wish in wish(),
        delete: bool,
        reboot: bool,
        cuts in prop::collection::vec(any::<Index>(), 2),
    ) {
        let world = history.with_records().play();
        // Who takes a unit's file away has systemd know of it.
        world.host.daemon_reload();
        let wanted = wish.wanted("ky04");
        let phase = if delete { Phase::Deleting } else { Phase::Retaining };
        let mut whole = world.fork();
        whole.removal(phase, &wanted).map_err(|e| TestCaseError::fail(format!("{e}")))?;
        let (had_data, others) = (expect::data_is_kept(&world.host), expect::foreign(&world.host.snapshot()));
        for cut in cuts {
            let effects = cut.index(whole.host.effects().len() + 1) as u64;
            let mut cut = world.fork();
            cut.host.cut_after(effects);
            // The last one is not cut off any more.
            let _ = cut.removal(phase, &wanted);
            same(&others, &expect::foreign(&cut.host.snapshot()))?;
            if reboot { cut.host.reboot() } else { cut.host.restart() }
            let others = expect::foreign(&cut.host.snapshot());
            let again = cut.removal(phase, &wanted);
            again.map_err(|e| TestCaseError::fail(format!("cut after {effects}: {e}")))?;
            if world.saved.is_none() {
                continue;
            }
            let snapshot = cut.host.snapshot();
            let mut left = expect::leftovers(&snapshot, delete);
            // A user that may be somebody else's stays.
            left.retain(|what| what != "the user" || world.knows_its_user());
            prop_assert!(left.is_empty(), "cut after {}: {:?}", effects, left);
            prop_assert_eq!(cut.host.violations(), Vec::<String>::new());
            prop_assert!(!had_data || expect::data_is_kept(&cut.host));
            same(&others, &expect::foreign(&snapshot))?;
            let place = cut.host.content("/var/lib/cb/tenants/ky04/db/tenant.duckdb");
            prop_assert_eq!(place.is_some(), had_data && !delete);
            prop_assert_eq!(cut.saved.map(|record| record.phase), (!delete).then_some(Phase::Retained));
        }
    }

    /// Law 3, when a tenant is removed.
    #[test]
    fn removal_leaves_alone_what_others_made(
        history in history(),
        intruders in prop::collection::vec(foreign(), 1..4),
        wish in wish(),
        delete: bool,
    ) {
        let mut world = history.play();
        for intruder in intruders {
            world.intrude(intruder);
        }
        // With `Delete`, what lies in the tenant's own folder goes into the
        // backups.
        let others = |world: &World| {
            let mut others = expect::foreign(&world.host.snapshot());
            others.files.retain(|path, _| !(delete && path.starts_with("/etc/cb/tenants/ky04")));
            others
        };
        let before = others(&world);
        let phase = if delete { Phase::Deleting } else { Phase::Retaining };
        // A service of ours whose unit somebody replaced still runs: it is not
        // stopped, and what it uses cannot all be removed.
        let done = world.removal(phase, &wish.wanted("ky04"));
        let busy = |steps: &[String]| steps.iter().all(|step| step.contains("remove user"));
        prop_assert!(
            matches!(&done, Ok(()))
                || matches!(&done, Err(Ended::Failed(steps)) if busy(steps)),
            "{:?}", done
        );
        same(&before, &others(&world))?;
    }

    /// What is suspended is not touched, whatever it is like.
    #[test]
    fn suspended_is_left_as_it_is(history in history(), wish in wish()) {
        let mut world = history.play();
        let mut wanted = wish.wanted("ky04");
        wanted.tenant.spec.suspend = true;
        let before = world.host.snapshot();
        world.pass(&wanted).map_err(|e| TestCaseError::fail(format!("{e}")))?;
        same(&before, &world.host.snapshot())?;
    }

    /// With `driftPolicy: Detect` drift stays, and a changed manifest is
    /// applied even so.
    #[test]
    fn detected_drift_is_left_as_it_is(
        wish in wish(),
        next in wish(),
        events in prop::collection::vec(event(), 1..6),
        history in history(),
    ) {
        let mut world = history.play();
        let detect = |wish: &scenario::Wish| {
            let mut wanted = wish.wanted("ky04");
            wanted.tenant.spec.drift_policy = Some(DriftPolicy::Detect);
            wanted
        };
        converge(&mut world, &wish.wanted("ky04"))?;
        let wanted = detect(&wish);
        let applied = world.desired(&wanted).digest();
        world.play(&events);
        let before = world.host.snapshot();
        let left = world.pass(&wanted).map_err(|e| TestCaseError::fail(format!("{e}")))?;
        if world.desired(&wanted).digest() == applied {
            same(&before, &world.host.snapshot())?;
            prop_assert!(left.steps.is_empty() || left.hold.is_some());
        }
        let next = detect(&next);
        if world.desired(&next).digest() != applied {
            converge(&mut world, &next)?;
        }
    }
}
