use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn event(object: u8, note: u8) -> Event {
    Event::new(
        Kind::Tenant,
        &format!("t{object}"),
        Reason::NotReady,
        note.to_string(),
    )
}

#[test]
fn the_same_event_is_counted_and_another_is_not() {
    let mut journal = Journal::new(10, 10);
    let first = journal.add(event(1, 1), at(0)).series;
    let again = journal.add(event(1, 1), at(5)).series;
    assert_eq!(
        (again.count, again.first_seen, again.last_seen),
        (2, at(0), at(5))
    );
    assert_eq!(first.name(), again.name());
    let other = journal.add(event(1, 2), at(6)).series;
    assert_eq!(other.count, 1);
    assert_ne!(other.name(), first.name());
    assert!(journal.add(event(1, 2), at(3)).series.last_seen == at(6));
}

#[test]
fn a_long_note_is_cut_between_letters() {
    let event = Event::new(Kind::Host, "one", Reason::NotReady, "ä".repeat(5000));
    assert!(event.note.len() <= MAX_NOTE && event.note.ends_with("ä…"));
}

/// A person finds every reason in the reference, with all it has to say.
#[test]
fn every_reason_is_documented() {
    let all = Reason::ALL.iter();
    crate::documented::assert_in("events.md", all.map(|r| (r.as_str(), r.about())));
    for reason in Reason::ALL {
        let word = serde_json::to_value(reason).unwrap();
        assert_eq!(word, reason.as_str());
    }
}

proptest! {
    /// The bounds hold whatever happens, nothing is lost silently, and what is
    /// kept is what was seen last.
    #[test]
    fn a_journal_is_bounded(
        events in prop::collection::vec((0..6_u8, 0..6_u8), 0..80),
        per_object in 1..4_usize,
        limit in 1..10_usize,
        restart_at in 0..80_usize,
    ) {
        let mut journal = Journal::new(per_object, limit);
        let mut gone = 0;
        for (second, (object, note)) in events.iter().enumerate() {
            if second == restart_at {
                let kept: Vec<Series> = journal.all().cloned().collect();
                let before = journal.clone();
                journal = Journal::new(per_object, limit);
                prop_assert!(journal.load(kept).is_empty());
                for object in 0..6 {
                    let of = event(object, 0).regarding;
                    prop_assert_eq!(journal.of(&of), before.of(&of));
                }
            }
            let added = journal.add(event(*object, *note), at(i64::try_from(second).unwrap()));
            gone += added.dropped.iter().map(|series| series.count).sum::<u64>();
            prop_assert!(journal.all().any(|series| *series == added.series));
            for dropped in &added.dropped {
                prop_assert!(dropped.last_seen <= added.series.last_seen);
                let of = journal.of(&dropped.event.regarding);
                prop_assert!(of.iter().all(|kept| kept.last_seen >= dropped.last_seen));
            }
            prop_assert!(journal.all().count() <= limit);
            for object in 0..6 {
                prop_assert!(journal.of(&event(object, 0).regarding).len() <= per_object);
            }
            let kept: u64 = journal.all().map(|series| series.count).sum();
            prop_assert_eq!(kept + gone, second as u64 + 1);
        }
    }
}
