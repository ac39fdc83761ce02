use proptest::prelude::*;

use super::*;
use crate::api::TenantStatus;
use crate::operation::{Done, Failure, Next, Request, Wish, due};
use crate::record::Record;

fn spec(more: &str) -> Spec {
    serde_yaml::from_str(&format!("{{targetVersion: v2{more}}}")).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn names(count: usize) -> Vec<TenantName> {
    let name = |n| format!("t{n}").parse().unwrap();
    (0..count).map(name).collect()
}

fn rollout(count: usize, more: &str) -> Rollout {
    Rollout::new(Rollout::id_of(3), spec(more), names(count), at(0))
}

/// As what is written to disk and read again.
fn restarted(rollout: &Rollout) -> Rollout {
    serde_yaml::from_str(&serde_yaml::to_string(rollout).unwrap()).unwrap()
}

fn done() -> Came {
    Came::Done { backup: None }
}

fn failed() -> Came {
    Came::Failed {
        reason: "MigrationFailed".into(),
        message: "0002.sql".into(),
        reached: None,
    }
}

fn skipped() -> Came {
    Came::Skipped {
        reason: "Suspended".into(),
        message: "it is".into(),
    }
}

impl Rollout {
    fn ask_all(&mut self) -> Vec<TenantName> {
        let way = self.way();
        let due: Vec<TenantName> = self.to_ask().map(|member| member.tenant.clone()).collect();
        for name in &due {
            self.asking(way, name, Some("v1".parse().unwrap()), 0);
            self.asked(way, name);
        }
        due
    }

    fn all_come(&mut self, came: &Came) {
        let flown: Vec<(Way, TenantName)> = self
            .in_flight()
            .map(|(way, member)| (way, member.tenant.clone()))
            .collect();
        for (way, name) in flown {
            self.came(way, &name, came.clone());
        }
    }

    fn advance_all(&mut self, now: Timestamp) {
        while self.advance(now) {}
    }

    fn words(&self) -> String {
        let words: Vec<&str> = self.tenants.iter().map(Member::word).collect();
        words.join(" ")
    }
}

#[test]
fn waves_follow_each_other_after_their_pause() {
    let mut rollout = rollout(5, ", wave: 2, pauseSeconds: 30");
    rollout.advance_all(at(0));
    assert_eq!(rollout.ask_all(), names(2));
    assert!(!rollout.advance(at(1)), "the wave is under way");
    rollout.all_come(&done());
    rollout.advance_all(at(10));
    assert_eq!(rollout.next_wave, Some(at(40)));
    rollout.advance_all(at(39));
    assert_eq!(rollout.to_ask().count(), 0);
    rollout.advance_all(at(40));
    assert_eq!(rollout.ask_all().len(), 2);
    // A wave in which nothing was done needs no pause.
    rollout.all_come(&skipped());
    rollout.advance_all(at(41));
    assert_eq!(rollout.ask_all().len(), 1);
    rollout.all_come(&done());
    rollout.advance_all(at(42));
    assert_eq!((rollout.state, rollout.wave), (State::Succeeded, 3));
    assert_eq!(
        rollout.message.as_deref(),
        Some("of 5 tenants: 3 upgraded, 2 skipped")
    );
}

#[test]
fn the_first_failure_stops_it_and_resume_goes_on() {
    let mut rollout = rollout(4, ", wave: 2");
    rollout.advance_all(at(0));
    let wave = rollout.ask_all();
    rollout.came(Way::There, &wave[0], failed());
    assert!(!rollout.advance(at(1)), "the other one is waited for");
    rollout.came(Way::There, &wave[1], done());
    rollout.advance_all(at(2));
    assert_eq!(rollout.state, State::Failed);
    assert_eq!(rollout.words(), "Failed Succeeded Pending Pending");
    assert_eq!(
        rollout.pause().unwrap_err().to_string(),
        "rollout-3 is Failed and asks no tenant: there is nothing to pause"
    );

    let mut without = rollout.clone();
    without.resume(false, at(3)).unwrap();
    without.advance_all(at(3));
    assert_eq!(without.ask_all(), names(4)[2..]);
    without.all_come(&done());
    without.advance_all(at(4));
    // It is told as it is: more failed than may.
    assert_eq!(without.state, State::Failed);
    let refused = without.resume(false, at(5)).unwrap_err().to_string();
    assert!(refused.contains("tried again"), "{refused}");

    rollout.resume(true, at(3)).unwrap();
    rollout.advance_all(at(3));
    assert_eq!(rollout.ask_all().len(), 2, "the failed one, and the next");
    rollout.all_come(&done());
    rollout.advance_all(at(4));
    rollout.ask_all();
    rollout.all_come(&done());
    rollout.advance_all(at(5));
    assert_eq!(rollout.state, State::Succeeded);
    assert!(rollout.resume(true, at(6)).is_err());
}

#[test]
fn a_failure_within_the_budget_stops_nothing() {
    let mut rollout = rollout(3, ", wave: 1, maxFailures: 1");
    for came in [failed(), done(), failed()] {
        rollout.advance_all(at(0));
        rollout.ask_all();
        rollout.all_come(&came);
    }
    rollout.advance_all(at(1));
    assert_eq!(rollout.state, State::Failed);
}

#[test]
fn a_pause_lets_end_what_was_asked() {
    let mut rollout = rollout(3, ", wave: 1");
    rollout.advance_all(at(0));
    rollout.ask_all();
    rollout.pause().unwrap();
    rollout.all_come(&done());
    rollout.advance_all(at(9));
    assert_eq!(rollout.words(), "Succeeded Pending Pending");
    assert_eq!((rollout.state, rollout.wave), (State::Paused, 1));
    rollout.resume(false, at(10)).unwrap();
    rollout.advance_all(at(10));
    assert_eq!(rollout.ask_all(), names(3)[1..2]);
}

#[test]
fn undo_brings_back_what_was_upgraded_and_nothing_else() {
    let mut rollout = rollout(4, ", wave: 3");
    assert!(rollout.undo().is_err());
    rollout.advance_all(at(0));
    let wave = rollout.ask_all();
    rollout.came(Way::There, &wave[0], done());
    rollout.came(Way::There, &wave[1], failed());
    rollout.undo().unwrap();
    assert_eq!(rollout.to_ask().count(), 0, "one is still on its way there");
    let backup: BackupId = "20260304t120000z-7".parse().unwrap();
    let reached = Came::Failed {
        reason: "NotReady".into(),
        message: "its site".into(),
        reached: Some(Some(backup.clone())),
    };
    rollout.came(Way::There, &wave[2], reached);
    assert_eq!(rollout.tenants[2].backup, Some(backup.clone()));
    let (new, old) = (rollout.spec.target_version.clone(), "v0".parse().unwrap());
    let needed = |rollout: &Rollout| rollout.needs_backup(&wave[2], &new).cloned();
    assert_eq!(needed(&rollout), Some(backup.clone()));
    // It has another version by now, or made none.
    assert_eq!(rollout.needs_backup(&wave[2], &old), None);
    assert_eq!(rollout.needs_backup(&wave[0], &new), None);
    assert_eq!(rollout.ask_all(), [wave[0].clone(), wave[2].clone()]);
    rollout.came(Way::Back, &wave[0], done());
    rollout.came(Way::Back, &wave[2], failed());
    rollout.advance_all(at(1));
    assert_eq!(rollout.state, State::Failed);
    assert_eq!(rollout.words(), "Undone Failed UndoFailed Pending");
    assert!(rollout.undo().is_err());
    assert_eq!(needed(&rollout), Some(backup), "it can be tried again");
    rollout.resume(true, at(2)).unwrap();
    assert_eq!(rollout.ask_all(), [wave[2].clone()]);
    rollout.all_come(&done());
    rollout.advance_all(at(3));
    assert_eq!((rollout.state, rollout.wave), (State::Undone, 1));
    assert_eq!(needed(&rollout), None);
}

proptest! {
    /// Law 5: in any order of outcomes, with restarts, pauses and resumes at
    /// any point, it keeps to its waves and its budget and comes to its end,
    /// and no tenant is asked twice.
    #[test]
    fn any_order_keeps_to_the_waves_and_ends(
        (count, wave, budget) in (1..9_usize, 1..5_u32, 0..4_u32),
        choices in prop::collection::vec((any::<prop::sample::Index>(), 0..10_u8), 1..150),
        undo_at in 0..150_usize,
    ) {
        let mut rollout = rollout(count, &format!(", wave: {wave}, maxFailures: {budget}"));
        let mut asked: Vec<(Way, TenantName)> = Vec::new();
        let mut waves = 0;
        // What was not chosen is done in order, so that every run ends.
        let rest = std::iter::repeat((None, 9));
        let choices = choices.into_iter().map(|(index, what)| (Some(index), what));
        for (step, (index, what)) in choices.chain(rest).take(1000).enumerate() {
            if rollout.is_over() && index.is_none() && step > undo_at {
                break;
            }
            if step == undo_at {
                let _ = rollout.undo();
            }
            let flown: Vec<(Way, TenantName)> = rollout
                .in_flight().map(|(way, member)| (way, member.tenant.clone())).collect();
            let there = flown.iter().filter(|(way, _)| *way == Way::There).count();
            prop_assert!(there <= wave as usize);
            let which = |len| index.map_or(0, |index: prop::sample::Index| index.index(len));
            match what {
                0 => {
                    let again = restarted(&rollout);
                    prop_assert_eq!(&again, &rollout);
                    rollout = again;
                }
                1 => drop(rollout.pause()),
                2 => drop(rollout.resume(false, at(1))),
                3..=6 if !flown.is_empty() => {
                    let (way, name) = flown[which(flown.len())].clone();
                    let came = [done(), failed(), skipped(), done()][usize::from(what) - 3].clone();
                    rollout.came(way, &name, came);
                }
                7 | 9 if rollout.to_ask().next().is_some() => {
                    let due: Vec<TenantName> =
                        rollout.to_ask().map(|member| member.tenant.clone()).collect();
                    let (way, name) = (rollout.way(), due[which(due.len())].clone());
                    prop_assert!(!asked.contains(&(way, name.clone())), "asked twice");
                    rollout.asking(way, &name, None, 0);
                    rollout.asked(way, &name);
                    asked.push((way, name));
                }
                9 if !flown.is_empty() => {
                    let (way, name) = flown[0].clone();
                    rollout.came(way, &name, done());
                }
                9 if rollout.state == State::Paused => rollout.resume(false, at(1)).unwrap(),
                _ => drop(rollout.advance(at(2))),
            }
            if rollout.wave > waves {
                waves = rollout.wave;
                let counted = rollout.count(Phase::Failed) - rollout.forgiven;
                prop_assert!(counted <= budget as usize, "a wave above the budget");
            }
        }
        prop_assert!(rollout.is_over(), "{:?}", rollout);
        prop_assert_eq!(rollout.in_flight().count(), 0);
        let failed = rollout.count(Phase::Failed);
        match rollout.state {
            State::Succeeded => {
                prop_assert!(failed <= budget as usize);
                prop_assert_eq!(rollout.count(Phase::Pending), 0);
            }
            State::Undone => {
                let left = |member: &Member| {
                    let back = member.phase(Way::Back);
                    member.upgraded && !matches!(back, Phase::Succeeded | Phase::Skipped)
                };
                let left = rollout.tenants.iter().any(left);
                prop_assert!(!left);
            }
            _ => prop_assert!(rollout.undo || failed > budget as usize),
        }
    }
}

fn record() -> Record {
    let tenant = serde_yaml::from_str(
        "{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {name: t0}, \
         spec: {application: tiny, version: v1}}",
    )
    .unwrap();
    let mut record = Record::new(tenant, "t0.yaml".into());
    record.deployed = Some(Box::new(record.tenant.spec.clone()));
    record
}

/// A record that was asked for v2.
fn wished() -> Record {
    let mut record = record();
    let wish = Wish::Upgrade {
        version: "v2".parse().unwrap(),
        backup: true,
        migrate: true,
        restore: None,
    };
    let at = "2026-01-01T00:00:00Z".into();
    record.request = Some(Request { at, wish });
    record.tenant.spec.version = "v2".parse().unwrap();
    record
}

fn begun() -> Record {
    let mut record = wished();
    let operation = due(&record, &crate::api::BackupPolicy::default(), at(0)).unwrap();
    record.begin(operation);
    record
}

fn ended(good: bool) -> Record {
    let mut record = begun();
    loop {
        let operation = record.operation.as_mut().unwrap();
        let next = match good {
            true => operation.succeed(Done::default(), "now"),
            false => {
                let phase = operation.phase;
                let failure = Failure {
                    phase,
                    reason: "NoSpace".into(),
                    message: "full".into(),
                    log: Vec::new(),
                };
                operation.fail(failure, "now")
            }
        };
        if next != Next::Work {
            record.end(next);
            return record;
        }
    }
}

fn status(record: &Record, condition: &str) -> TenantStatus {
    let text = format!(
        "{{observedGeneration: {}, conditions: [{{type: {condition}, status: 'True', \
         observedGeneration: 1, lastTransitionTime: x, reason: {condition}, message: m}}]}}",
        record.generation
    );
    let mut status: TenantStatus = serde_yaml::from_str(&text).unwrap();
    status.operation = record.operation_status();
    status
}

fn seen(record: &Record, status: Option<&TenantStatus>, asked: bool) -> Sight {
    let version = "v2".parse().unwrap();
    let aim = Aim {
        version: &version,
        since: 0,
        asked,
    };
    look(aim, Some(record), status)
}

#[test]
fn a_tenant_is_done_once_a_status_from_after_the_upgrade_is_ready() {
    let record = ended(true);
    let before = status(&begun(), "Ready");
    for asked in [true, false] {
        assert_eq!(seen(&record, None, asked), Sight::UnderWay);
        assert_eq!(seen(&record, Some(&before), asked), Sight::UnderWay);
        let after = status(&record, "Ready");
        let sight = seen(&record, Some(&after), asked);
        assert!(matches!(sight, Sight::Done { .. }), "{sight:?}");
        let stalled = status(&record, "Stalled");
        let sight = seen(&record, Some(&stalled), asked);
        assert!(
            matches!(
                sight,
                Sight::Failed {
                    reached: Some(_),
                    ..
                }
            ),
            "{sight:?}"
        );
        let doing = status(&record, "Reconciling");
        assert_eq!(seen(&record, Some(&doing), asked), Sight::UnderWay);
    }
}

#[test]
fn a_tenant_that_was_not_asked_is_told_from_one_that_was() {
    assert_eq!(seen(&record(), None, false), Sight::Untouched);
    assert_eq!(seen(&wished(), None, false), Sight::UnderWay);
    assert_eq!(seen(&begun(), None, false), Sight::UnderWay);
    // A failure from before is none of this rollout.
    let failed = ended(false);
    let version = "v2".parse().unwrap();
    let mut aim = Aim {
        version: &version,
        since: last_operation(&failed),
        asked: false,
    };
    assert_eq!(look(aim, Some(&failed), None), Sight::Untouched);
    aim.since = 0;
    for asked in [true, false] {
        aim.asked = asked;
        let sight = look(aim, Some(&failed), None);
        assert!(
            matches!(&sight, Sight::Failed { reason, reached: None, .. } if reason == "NoSpace")
        );
    }
}

#[test]
fn what_will_never_get_there_is_not_waited_for() {
    let out = |record: &Record| match seen(record, None, true) {
        Sight::Out { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    let mut suspended = wished();
    suspended.tenant.spec.suspend = true;
    assert_eq!(out(&suspended), "Suspended");
    let mut gone = begun();
    gone.phase = crate::record::Phase::Retaining;
    assert_eq!(out(&gone), "Deleted");
    assert_eq!(out(&record()), "Superseded");
    // Suspended in the middle: its upgrade goes on to its end.
    let mut middle = begun();
    middle.tenant.spec.suspend = true;
    assert_eq!(seen(&middle, None, true), Sight::UnderWay);
}
