//! Patches of an object, a line each: what is read of any bytes is applied to
//! an end, and a second time it changes nothing.
//!
//! A line is a letter and JSON: `m` a merge patch, `j` a JSON patch, `a` a
//! server-side apply, `A` one that takes over what others have set; the applies
//! of odd lines are another's than those of even ones.

#![no_main]

use cb_core::api::Kind;
use cb_core::patch::{Apply, Managed, Patch, merge};
use cb_hostile::world;
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

const NOW: &str = "2026-01-01T00:00:00Z";

fuzz_target!(|bytes: &[u8]| {
    let mut object = serde_json::to_value(world::tenant()).expect("an object is JSON");
    let mut managed = Managed::default();
    for (n, line) in bytes.split(|byte| *byte == b'\n').take(4).enumerate() {
        let Some((letter, json)) = line.split_first() else {
            continue;
        };
        let Ok(change) = serde_json::from_slice::<Json>(json) else {
            continue;
        };
        let before = object.clone();
        match letter {
            b'm' => {
                let Ok(patch) = Patch::merge(change.clone()) else {
                    continue;
                };
                object = patch.apply(&object).expect("a merge always ends well");
                let mut again = object.clone();
                merge(&mut again, &change);
                assert_eq!(again, object);
            }
            b'j' => match Patch::json(change).map(|patch| patch.apply(&object)) {
                Ok(Ok(changed)) => object = changed,
                Ok(Err(error)) => is_one_line(&error.to_string()),
                Err(error) => is_one_line(&error.to_string()),
            },
            b'a' | b'A' => {
                let apply = Apply {
                    manager: ["one", "other"][n % 2],
                    config: &change,
                    force: *letter == b'A',
                    now: NOW,
                };
                let applied = match managed.apply(Kind::Tenant, Some(&object), &apply) {
                    Ok(applied) => applied,
                    Err(conflicts) => {
                        assert!(!apply.force && !conflicts.is_empty());
                        conflicts
                            .iter()
                            .for_each(|conflict| is_one_line(&conflict.field));
                        continue;
                    }
                };
                let again = applied
                    .managed
                    .apply(Kind::Tenant, Some(&applied.object), &apply);
                assert_eq!(again.as_ref(), Ok(&applied));
                let kept = serde_json::to_string(&applied.managed).expect("it can be written");
                assert_eq!(
                    serde_json::from_str(&kept).ok(),
                    Some(applied.managed.clone())
                );
                (object, managed) = (applied.object, applied.managed);
                continue;
            }
            _ => continue,
        }
        managed.update(Kind::Tenant, (&before, &object), Some(("one", NOW)));
    }
});

fn is_one_line(message: &str) {
    assert!(!message.chars().any(char::is_control), "{message:?}");
}
