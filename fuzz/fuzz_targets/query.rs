//! What a request carries besides its body: options come out as they went in,
//! and what is read of any text is the same when it is written and read again.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/operator/src/api/query.rs"]
mod query;

use query::{Place, Query};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    options: Vec<(&'a str, &'a str)>,
    text: &'a str,
    place: (u64, &'a str),
    accept: Vec<&'a [u8]>,
}

fuzz_target!(|input: Input<'_>| {
    options(&input.options);
    any_query(input.text);
    place(input.place, input.text);
    media_ranges(&input.accept);
});

fn options(options: &[(&str, &str)]) {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    let query = Query::read(&encoded.extend_pairs(options).finish());
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in options {
        given.entry(key).or_default().push(value);
    }
    for (key, values) in given {
        assert_eq!(query.all(key), values);
        match (query.get(key), values.as_slice()) {
            (Ok(None), [""]) => {}
            (Ok(Some(found)), [value]) => assert_eq!(found, *value),
            (Err(error), [_, _, ..]) => assert!(error.ends_with("is given twice")),
            (found, _) => panic!("{found:?} of {values:?}"),
        }
        if let (Ok(Some(number)), [value]) = (query.number(key), values.as_slice()) {
            assert_eq!(value.trim_start_matches(['0', '+']), trimmed(number));
        }
        if let (Ok(true), [value]) = (query.flag(key), values.as_slice()) {
            assert!(["true", "1"].contains(value));
        }
    }
    assert_eq!(query.get("an option that was not given"), Ok(None));
}

fn trimmed(number: u64) -> String {
    match number {
        0 => String::new(),
        number => number.to_string(),
    }
}

fn any_query(text: &str) {
    let read = Query::read(text);
    let mut again = form_urlencoded::Serializer::new(String::new());
    again.extend_pairs(form_urlencoded::parse(text.as_bytes()));
    assert_eq!(Query::read(&again.finish()), read);
    for option in ["limit", "watch"] {
        for error in [read.number(option).err(), read.flag(option).err()] {
            assert!(!error.unwrap_or_default().contains(char::is_control));
        }
    }
}

fn place((revision, name): (u64, &str), text: &str) {
    let read = Place::read(&format!("{revision}.{name}"));
    let name = name.to_owned();
    assert_eq!(read, Ok(Place { revision, name }));
    match Place::read(text) {
        Ok(place) => {
            let again = format!("{}.{}", place.revision, place.name);
            assert_eq!(Place::read(&again), Ok(place));
        }
        Err(error) => assert!(!error.contains(char::is_control), "{error:?}"),
    }
}

fn media_ranges(headers: &[&[u8]]) {
    let ranges = query::ranges(headers.iter().copied());
    let again = ranges.join(", ");
    assert_eq!(query::ranges(std::iter::once(again.as_bytes())), ranges);
    // One header with all is the same as one for each.
    let whole = headers.join(&b',');
    assert_eq!(query::ranges(std::iter::once(whole.as_slice())), ranges);
    let takes = query::take_json(&ranges);
    let mut turned = ranges.clone();
    turned.reverse();
    assert_eq!(query::take_json(&turned), takes);
    turned.push("application/json".to_owned());
    assert!(query::take_json(&turned));
    for range in ranges {
        let media = range.split(';').next().unwrap_or_default().trim();
        match query::form_in(&range) {
            Some(form) => {
                assert!(query::is_json(media), "{range}");
                assert!(form.is_empty() || range.contains(&format!("as={form}")));
            }
            None => assert!(
                !query::is_json(media) || range.contains(';'),
                "{range} is JSON"
            ),
        }
    }
}
