//! Units, as systemd shows them once it has loaded them.

use anyhow::{Context as _, Result, ensure};
use cb_testhost::TestHost;
use serde_json::{Map, Value as Json};

use super::{Case, FOLDER, Shelf, shows};

/// What systemd has of a unit, by the names of its properties.
type Properties = Map<String, Json>;

/// Lists that have no order.
const SETS: [&str; 5] = [
    "After",
    "Before",
    "Requires",
    "RequiresMountsFor",
    "InaccessiblePaths",
];

pub(super) fn name(number: usize) -> String {
    format!("u{number}.service")
}

pub(super) fn faults(host: &TestHost, shelf: &Shelf) -> Result<Vec<String>> {
    let loaded = loaded(host, shelf.contents.len())?;
    let mut faults = Vec::new();
    for case in &shelf.cases {
        let (found, harmless) = (&loaded[case.number], &loaded[case.harmless]);
        if case.shows && !shows(&Json::from(harmless.clone()).to_string(), case.sample) {
            faults.push(case.fault("systemd shows nothing of it"));
        }
        for (name, value) in harmless {
            let wanted = expected(case, name, value);
            let found = found.get(name).unwrap_or(&Json::Null);
            let is_as_wanted = match case.shows {
                true => *found == wanted,
                // An amount: its number is another, and nothing else.
                false => same_form(found, &wanted),
            };
            if !is_as_wanted {
                let (found, wanted) = (found.to_string(), wanted.to_string());
                faults
                    .push(case.fault(&format!("{name} is {found:.300} instead of {wanted:.300}")));
            }
        }
        if found.len() != harmless.len() {
            faults.push(case.fault("it has other properties"));
        }
    }
    faults.extend(complaints(host)?);
    Ok(faults)
}

/// The properties of every unit, each asked for once.
fn loaded(host: &TestHost, count: usize) -> Result<Vec<Properties>> {
    let last = count - 1;
    let text = host.sh(&format!(
        "mkdir /run/read; cd /run/read\n\
         read_all() {{ for n in $(seq $1 4 {last}); do\n\
         busctl --json=short call org.freedesktop.systemd1 \
         /org/freedesktop/systemd1/unit/u${{n}}_2eservice \
         org.freedesktop.DBus.Properties GetAll s '' >$n; done; }}\n\
         read_all 0 & read_all 1 & read_all 2 & read_all 3 & wait\n\
         seq 0 {last} | xargs cat"
    ))?;
    let mut all = Vec::with_capacity(count);
    for (number, line) in text.lines().enumerate() {
        // Its own name; no text has it.
        let own = name(number);
        let line = line.replace(&own, "UNIT");
        let mut answer: Json = serde_json::from_str(&line).context(line)?;
        let Json::Object(properties) = answer["data"][0].take() else {
            anyhow::bail!("{own} has no properties");
        };
        all.push(properties.into_iter().filter_map(property).collect());
    }
    ensure!(all.len() == count, "{} of {count} units", all.len());
    Ok(all)
}

/// A property, if it is of what the unit's file says.
fn property((name, mut value): (String, Json)) -> Option<(String, Json)> {
    if name.contains("Timestamp") || name == "InvocationID" {
        return None;
    }
    let mut value = value["data"].take();
    if let (true, Json::Array(list)) = (SETS.contains(&name.as_str()), &mut value) {
        // In which mount a path is follows from the path.
        let is_mount = |entry: &Json| entry.as_str().is_some_and(|e| e.ends_with(".mount"));
        list.retain(|entry| !is_mount(entry));
        list.sort_by_key(Json::to_string);
    }
    Some((name, value))
}

/// The property's value with the hostile text in the place of the harmless.
fn expected(case: &Case, name: &str, value: &Json) -> Json {
    // systemd shows command lines as they are before it puts variables in.
    let text = match name.starts_with("Exec") {
        true => case.comes_to.replace('$', "$$"),
        false => case.comes_to.clone(),
    };
    let mut value = replaced(value, &|of| case.expected_as(of, &text));
    if let (true, Json::Array(list)) = (SETS.contains(&name), &mut value) {
        list.sort_by_key(Json::to_string);
    }
    value
}

fn replaced(value: &Json, with: &impl Fn(&str) -> String) -> Json {
    match value {
        Json::String(text) => Json::String(with(text)),
        Json::Array(list) => list.iter().map(|entry| replaced(entry, with)).collect(),
        Json::Object(object) => {
            let replaced = object
                .iter()
                .map(|(name, value)| (name.clone(), replaced(value, with)));
            Json::Object(replaced.collect())
        }
        other => other.clone(),
    }
}

/// Whether two values differ by numbers alone.
fn same_form(one: &Json, other: &Json) -> bool {
    let without = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    match (one, other) {
        (Json::Number(_), Json::Number(_)) => true,
        (Json::String(one), Json::String(other)) => without(one) == without(other),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same_form(a, b))
        }
        _ => one == other,
    }
}

/// What systemd says of the files, but that the programs in them are not there.
fn complaints(host: &TestHost) -> Result<Vec<String>> {
    let said = host.sh(&format!(
        "systemd-analyze verify --man=no --recursive-errors=no {FOLDER}/units/u*.service 2>&1 || :\n\
         journalctl -q -o cat -p warning _PID=1 | grep ^/usr/local/lib/systemd || :"
    ))?;
    let lines = said
        .lines()
        .filter(|line| !line.contains("is not executable: "));
    Ok(lines.map(str::to_owned).collect())
}
