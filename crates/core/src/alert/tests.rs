use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::api::Condition;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn name(tenant: &str) -> TenantName {
    tenant.parse().unwrap()
}

fn alert(tenant: &str, reason: &str, revision: u64) -> Alert {
    Alert {
        tenant: Some(name(tenant)),
        reason: reason.to_owned(),
        revision,
        condition: STALLED.to_owned(),
        message: format!("{reason} <of> {tenant}"),
        since: at(-5),
    }
}

fn firing(alerts: &[Alert]) -> Judgements {
    let mut out = Judgements::new();
    for alert in alerts {
        let judgement = out.entry(alert.tenant.clone()).or_default();
        judgement.firing.push(alert.clone());
    }
    out
}

const PACE: Pace = Pace {
    group: SignedDuration::from_secs(10),
    repeat: SignedDuration::from_secs(1000),
    per_hour: None,
};

/// Ticks, and takes what is in the queue.
fn written(outbox: &mut Outbox, pace: &Pace, now: Timestamp) -> Vec<Message> {
    outbox.tick(pace, now);
    let mut out = Vec::new();
    while let Some(message) = outbox.head().cloned() {
        outbox.done(&message.id);
        out.push(message);
    }
    out
}

fn condition(kind: &str, status: ConditionStatus, reason: &str) -> Condition {
    Condition {
        kind: kind.into(),
        status,
        observed_generation: 3,
        last_transition_time: "2026-01-01T00:00:00Z".into(),
        reason: reason.into(),
        message: "words".into(),
    }
}

fn status(conditions: &[(&str, ConditionStatus, &str)]) -> TenantStatus {
    TenantStatus {
        conditions: conditions
            .iter()
            .map(|(k, s, r)| condition(k, *s, r))
            .collect(),
        ..TenantStatus::default()
    }
}

#[test]
fn conditions_become_alerts() {
    use ConditionStatus::{False, True};
    let of = |conditions: &[_]| of(&name("a"), Some(&status(conditions)), at(0));
    assert_eq!(
        of(&[("Ready", True, "Ready"), ("Drifted", False, "InSync")]),
        Judgement::default()
    );
    let both = of(&[
        ("Stalled", True, "CrashLoop"),
        ("Drifted", True, "Detected"),
    ]);
    let seen: Vec<_> = both
        .firing
        .iter()
        .map(|a| (a.reason.as_str(), a.revision))
        .collect();
    assert_eq!(seen, [("CrashLoop", 3), ("Drifted", 3)]);
    assert_eq!(both.firing[0].since.to_string(), "2026-01-01T00:00:00Z");
    assert!(
        of(&[
            ("Ready", False, "Starting"),
            ("Reconciling", True, "Starting")
        ])
        .undecided
    );
    assert!(super::of(&name("a"), None, at(0)).undecided);
}

#[test]
fn drift_is_told_by_its_kind() {
    use crate::drift::DriftStatus;
    let mut drifted = status(&[("Drifted", ConditionStatus::True, "Detected")]);
    let drift = |kind: &str, what: &str| DriftStatus {
        kind: kind.into(),
        what: what.into(),
        detail: "d".into(),
        since: String::new(),
        by: None,
    };
    drifted.drift = vec![
        drift("UnitMode", "/a"),
        drift("ServiceStopped", "a-api"),
        drift("UnitMode", "/b"),
    ];
    let told = |status: &TenantStatus| {
        let firing = super::of(&name("a"), Some(status), at(0)).firing;
        let pairs = firing
            .into_iter()
            .map(|alert| (alert.reason, alert.message));
        pairs.collect::<Vec<_>>()
    };
    let pair = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
    assert_eq!(
        told(&drifted),
        [
            pair("ServiceStopped", "ServiceStopped of a-api: d"),
            pair("UnitMode", "UnitMode of /a: d; UnitMode of /b: d"),
        ]
    );
    drifted.conditions[0].reason = "Fought".into();
    assert_eq!(told(&drifted), [pair("DriftFought", "words")]);
}

/// What was put right is told too, and is over after a while.
#[test]
fn what_was_put_right_is_an_alert_for_a_while() {
    use crate::event::{Event, Reason, Series};
    let series = |reason, note: &str, second| Series {
        event: Event::tenant(&name("a"), reason, note),
        count: 1,
        first_seen: at(0),
        last_seen: at(second),
    };
    let all = [
        series(Reason::DriftCorrected, "UnitMode of /a: d", 10),
        series(Reason::DriftCorrected, "UnitMode of /b: d", 20),
        series(Reason::DriftCorrected, "other words", 30),
        series(Reason::NotReady, "UnitMode of /c: d", 30),
        // Told by what stands, for as long as it does.
        series(Reason::DriftDetected, "UnitMode of /d: d", 30),
    ];
    let told = |second| {
        let (alerts, over) = corrected(&name("a"), 3, &all, at(second));
        let reasons: Vec<String> = alerts.iter().map(|alert| alert.reason.clone()).collect();
        (
            reasons,
            alerts.last().map(|alert| alert.message.clone()),
            over,
        )
    };
    let (reasons, _, over) = told(60);
    assert_eq!(reasons, ["DriftCorrected", "UnitMode"]);
    assert_eq!(over, Some(at(310)));
    let (reasons, message, over) = told(310);
    assert_eq!(reasons, ["DriftCorrected", "UnitMode"]);
    assert_eq!(
        message.as_deref(),
        Some("it was put right; UnitMode of /b: d")
    );
    assert_eq!(over, Some(at(320)));
    assert_eq!(told(330), (Vec::new(), None, None));
    // systemd restarts it before anybody can be told of it.
    let killed = series(Reason::DriftDetected, "ServiceKilled of a-api: d", 10);
    assert!(is_correction(&killed));
    let (alerts, _) = corrected(&name("a"), 3, [&killed], at(60));
    assert_eq!(alerts[0].reason, "ServiceKilled");
    let stopped = series(Reason::DriftDetected, "ServiceStopped of a-api: d", 10);
    assert!(!is_correction(&stopped));
}

#[test]
fn an_outage_of_a_hundred_tenants_is_one_message() {
    let mut outbox = Outbox::new("web1", at(0));
    let all: Vec<Alert> = (0..100)
        .map(|n| alert(&format!("t{n}"), "CrashLoop", 1))
        .collect();
    for n in 1..=100 {
        outbox.observe(&firing(&all[..n]), at(n as i64 / 20));
        assert!(written(&mut outbox, &PACE, at(n as i64 / 20)).is_empty());
    }
    assert_eq!(outbox.next(&PACE, at(5)), Some(at(10)));
    let messages = written(&mut outbox, &PACE, at(10));
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].firing.len(), 100);
    assert_eq!(
        render::summary(&messages[0]),
        "[FIRING] CrashLoop: 100 tenants on web1"
    );
    assert!(text(&messages[0]).ends_with("- and 80 more"));

    outbox.observe(&Judgements::new(), at(20));
    let messages = written(&mut outbox, &PACE, at(30));
    assert_eq!((messages.len(), messages[0].status), (1, State::Resolved));
    assert_eq!(messages[0].resolved.len(), 100);
    assert_eq!(outbox.next(&PACE, at(30)), None);
}

#[test]
fn the_same_is_not_said_twice_but_repeated_in_time() {
    let mut outbox = Outbox::new("web1", at(0));
    let mut one = alert("a", "Failed", 1);
    outbox.observe(&firing(std::slice::from_ref(&one)), at(0));
    let first = written(&mut outbox, &PACE, at(10)).remove(0);
    one.message = "other words".into();
    assert!(outbox.observe(&firing(std::slice::from_ref(&one)), at(20)));
    assert!(!outbox.observe(&firing(std::slice::from_ref(&one)), at(21)));
    assert!(written(&mut outbox, &PACE, at(1009)).is_empty());
    let again = written(&mut outbox, &PACE, at(1010)).remove(0);
    assert_ne!(first.id, again.id);
    assert_eq!(again.firing[0].message, "other words");
    // A new revision is a new alert.
    one.revision = 2;
    outbox.observe(&firing(&[one]), at(1020));
    let new = written(&mut outbox, &PACE, at(1030)).remove(0);
    assert_eq!((new.firing[0].revision, new.resolved[0].revision), (2, 1));
}

#[test]
fn what_came_and_went_unsaid_stays_so() {
    let mut outbox = Outbox::new("web1", at(0));
    assert!(outbox.observe(&firing(&[alert("a", "Failed", 1)]), at(0)));
    assert!(outbox.observe(&Judgements::new(), at(5)));
    assert_eq!(outbox.next(&PACE, at(5)), None);
    assert!(written(&mut outbox, &PACE, at(100)).is_empty());
}

#[test]
fn a_new_try_resolves_nothing_and_being_ready_does() {
    let mut outbox = Outbox::new("web1", at(0));
    outbox.observe(&firing(&[alert("a", "CrashLoop", 1)]), at(0));
    written(&mut outbox, &PACE, at(10));
    let undecided = Judgement {
        firing: Vec::new(),
        undecided: true,
    };
    let trying = Judgements::from([(Some(name("a")), undecided)]);
    assert!(!outbox.observe(&trying, at(20)));
    assert_eq!(outbox.firing().count(), 1);
    // Another reason takes the place of the first.
    let mut other = firing(&[alert("a", "Unhealthy", 1)]);
    other.get_mut(&Some(name("a"))).unwrap().undecided = true;
    outbox.observe(&other, at(30));
    let reasons: Vec<_> = outbox.firing().map(|a| a.reason.clone()).collect();
    assert_eq!(reasons, ["Unhealthy"]);
    outbox.observe(
        &Judgements::from([(Some(name("a")), Judgement::default())]),
        at(40),
    );
    assert_eq!(outbox.firing().count(), 0);
}

#[test]
fn beyond_the_rate_what_happens_waits_and_comes_together() {
    let pace = Pace {
        per_hour: Some(2),
        ..PACE
    };
    let mut outbox = Outbox::new("web1", at(0));
    let mut all = Vec::new();
    for n in 0..10 {
        all.push(alert(&format!("t{n}"), "Failed", 1));
        outbox.observe(&firing(&all), at(n * 100));
        written(&mut outbox, &pace, at(n * 100 + 10));
    }
    // The first two went at 10 and 110.
    assert_eq!(outbox.next(&pace, at(1000)), Some(at(3610)));
    assert!(written(&mut outbox, &pace, at(3609)).is_empty());
    let message = written(&mut outbox, &pace, at(3610)).remove(0);
    assert_eq!(message.firing.len(), 10);
}

#[test]
fn a_message_that_waits_is_not_repeated_and_the_queue_is_bounded() {
    let mut outbox = Outbox::new("web1", at(0));
    outbox.observe(&firing(&[alert("a", "Failed", 1)]), at(0));
    outbox.tick(&PACE, at(10));
    outbox.tick(&PACE, at(5000));
    assert_eq!(outbox.waiting(), 1);
    assert_eq!(outbox.next(&PACE, at(5000)), None);
    let mut lost = 0;
    for n in 0..(MAX_QUEUE as u64 + 5) {
        outbox.observe(&firing(&[alert("a", "Failed", n + 2)]), at(6000));
        lost += outbox.tick(&PACE, at(6010)).1;
    }
    assert_eq!((outbox.waiting(), lost), (MAX_QUEUE, 6));
}

/// Alertmanager knows an alert by its labels, so what is resolved has those of
/// what was firing, and an end.
#[test]
fn alertmanager_gets_each_alert_with_its_end() {
    let mut message = Message::test("web1", at(0));
    message.firing = vec![alert("a", "Failed", 2)];
    message.resolved = vec![alert("a", "Failed", 1), alert("b", "Failed", 1)];
    let body: Value = serde_json::from_str(&alertmanager(&message, at(60))).unwrap();
    let ends: Vec<_> = (0..3)
        .map(|n| body[n]["endsAt"].as_str().unwrap().to_owned())
        .collect();
    let end: Timestamp = ends[0].parse().unwrap();
    assert!(end > at(120) && body[0]["startsAt"] == at(-5).to_string());
    assert_eq!(ends[1..], [at(0).to_string(), at(0).to_string()]);
    message.firing = vec![alert("b", "Failed", 1)];
    let before: Value = serde_json::from_str(&alertmanager(&message, at(0))).unwrap();
    assert_eq!(before.as_array().unwrap().len(), 2);
    assert_eq!(before[0]["labels"], body[2]["labels"]);
}

#[test]
fn texts_are_quoted_for_where_they_go() {
    let mut message = Message::test("web1", at(0));
    message.firing[0].message = "<!channel> & \"quotes\"\nline".into();
    assert!(slack(&message).contains("&lt;!channel&gt; &amp; \\\"quotes\\\" line"));
    let template: Template = r#"{"a": "{{ text }}", "b": {{message}}}"#.parse().unwrap();
    let filled: Value = serde_json::from_str(&template.fill(&message)).unwrap();
    assert_eq!(filled["a"], text(&message));
    assert_eq!(filled["b"]["id"], message.id);
    assert!(mail(&message).subject.chars().all(|c| !c.is_control()));
    assert!("{{x}}".parse::<Template>().is_err() && "{{id".parse::<Template>().is_err());
}

proptest! {
    /// Whatever happens, and with restarts in between: each message tells what
    /// changed since the one before, so who reads all of them knows what is
    /// wrong in the end, and is told nothing twice.
    #[test]
    fn who_reads_all_messages_knows_what_is_wrong(
        steps in prop::collection::vec(
            (prop::collection::btree_map(0..4_u8, (0..3_u8, 1..3_u64), 0..4), 0..30_i64, any::<bool>()),
            1..30,
        ),
        limited in any::<bool>(),
    ) {
        let pace = Pace { repeat: SignedDuration::from_hours(2400), per_hour: limited.then_some(3), ..PACE };
        let mut outbox = Outbox::new("web1", at(0));
        let mut known: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut ids = std::collections::BTreeSet::new();
        // Before the first repetition.
        let horizon = at(3_000_000);
        let mut now = 0;
        let mut last = Judgements::new();
        for (tenants, wait, restart) in &steps {
            let alerts: Vec<Alert> = tenants.iter()
                .map(|(tenant, (reason, revision))| alert(&format!("t{tenant}"), &format!("R{reason}"), *revision))
                .collect();
            last = firing(&alerts);
            outbox.observe(&last, at(now));
            now += wait;
            if *restart {
                let text = serde_json::to_string(&outbox).unwrap();
                outbox = serde_json::from_str(&text).unwrap();
            }
            for message in written(&mut outbox, &pace, at(now)) {
                prop_assert!(ids.insert(message.id.clone()));
                prop_assert!(!(message.firing.is_empty() && message.resolved.is_empty()));
                let before = known.clone();
                for old in &message.resolved {
                    let of = (format!("{:?}", old.tenant), old.reason.clone());
                    prop_assert_eq!(known.remove(&of), Some(old.revision));
                }
                for new in &message.firing {
                    known.insert((format!("{:?}", new.tenant), new.reason.clone()), new.revision);
                }
                prop_assert_ne!(before, known.clone());
            }
        }
        // Time alone brings the rest.
        for _ in 0..20 {
            let Some(next) = outbox.next(&pace, at(now)).filter(|at| *at < horizon) else { break };
            now = now.max(next.as_second() - at(0).as_second());
            for message in written(&mut outbox, &pace, at(now)) {
                for old in &message.resolved {
                    known.remove(&(format!("{:?}", old.tenant), old.reason.clone()));
                }
                for new in &message.firing {
                    known.insert((format!("{:?}", new.tenant), new.reason.clone()), new.revision);
                }
            }
        }
        prop_assert!(outbox.next(&pace, at(now)).is_none_or(|at| at > horizon));
        let wrong: BTreeMap<(String, String), u64> = last.values().flat_map(|j| &j.firing)
            .map(|a| ((format!("{:?}", a.tenant), a.reason.clone()), a.revision))
            .collect();
        prop_assert_eq!(known, wrong);
    }
}
