//! Every hostile text in every place of every object: it is refused with a
//! clear error, or means nothing but itself in what is rendered (law 10).

use cb_core::api::{API_VERSION, Application, Host, Object, Tenant};
use cb_core::manifest::AnyObject;
use cb_hostile::places::{self, Place, Start};
use cb_hostile::world::{self, Setting};
use cb_hostile::{env, list};
use serde_json::{Value as Json, json};

/// What came of the texts in one place.
#[derive(Debug, Default)]
struct Count {
    refused: usize,
    taken: usize,
}

#[test]
fn no_text_leaves_its_field() {
    let (list, places) = (list::all(), places::all());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = places
            .chunks(places.len().div_ceil(threads))
            .map(|part| scope.spawn(|| part.iter().map(|p| place(p, &list)).collect::<Vec<_>>()))
            .collect();
        let ends = workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap());
        ends.collect()
    });
    let (mut total, mut faults) = (Count::default(), Vec::new());
    for (place, result) in places.iter().zip(results) {
        match result {
            Ok(count) => {
                println!("{place}: {} refused, {} taken", count.refused, count.taken);
                total.refused += count.refused;
                total.taken += count.taken;
            }
            Err(fault) => faults.push(format!("{place}: {fault}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let free = places.iter().filter(|place| place.free).count();
    println!("{} texts, {free} places of text: {total:?}", list.len());
    // They do reach what they are meant for.
    assert!(free > 100 && total.refused > 10_000 && total.taken > 1_000);
}

/// Puts every text into a place. The error is the first fault.
fn place(place: &Place, list: &[String]) -> Result<Count, String> {
    let mut count = Count::default();
    let Some(setting) = Setting::of(place.clone()) else {
        if place.free {
            return Err("no base takes harmless text there; add one".to_owned());
        }
        let base = json!({"apiVersion": API_VERSION, "kind": place.kind});
        for text in list {
            let manifest = world::manifest(&place.with(&base, Start::AsInBase, text));
            match world::read(&manifest) {
                Ok(_) => return Err(format!("{text:?} is taken")),
                Err(errors) => are_clear(place, text, &errors)?,
            }
            count.refused += 1;
        }
        return Ok(count);
    };
    let read = |text: &str| world::read(&setting.manifest(text));
    let harmless = read(setting.sample).map_err(|errors| errors.join("; "))?;
    let harmless = world::files(&harmless, "secret");
    for text in list {
        let object = match read(text) {
            Ok(object) => object,
            Err(errors) => {
                are_clear(place, text, &errors)?;
                count.refused += 1;
                continue;
            }
        };
        count.taken += 1;
        let with = |fault: String| format!("with {text:?}: {fault}");
        kept(place, text, &object).map_err(with)?;
        match (world::files(&object, "secret"), &harmless) {
            (Ok(files), Ok(harmless)) if !text.contains("$(") => {
                world::same_but_for(&files, text, harmless, setting.sample).map_err(with)?;
            }
            // Another value may stand there in its place: as much is said.
            (Ok(files), Ok(harmless)) => {
                let found = world::meaning(&files).map_err(with)?.len();
                let wanted = world::meaning(harmless)?.len();
                if found != wanted {
                    return Err(with(format!("{found} things are said, not {wanted}")));
                }
            }
            (Ok(files), Err(_)) => drop(world::meaning(&files).map_err(with)?),
            (Err(error), _) => are_clear(place, text, &[error])?,
        }
    }
    Ok(count)
}

/// Law 12: one line that cannot do anything to a terminal, of a length that is
/// read; law 11: without the value of a variable.
fn are_clear(place: &Place, text: &str, errors: &[String]) -> Result<(), String> {
    for error in errors {
        let secret = place.is_secret() && text.len() >= 8 && error.contains(text);
        if error.chars().any(does_something) || error.len() > 2_000 || secret {
            return Err(format!("with {text:?} it says {error:?}"));
        }
    }
    Ok(())
}

/// What a terminal does not show as it is.
fn does_something(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The object has the text as it was written, and is the same again when its
/// record is read.
fn kept(place: &Place, text: &str, object: &AnyObject) -> Result<(), String> {
    let json = match object {
        AnyObject::Tenant(of) => again::<Tenant>(of),
        AnyObject::Application(of) => again::<Application>(of),
        AnyObject::Host(of) => again::<Host>(of),
    };
    match place.of(&json?) {
        Some(found) if found == text => Ok(()),
        found => Err(format!("it is read as {found:?}")),
    }
}

fn again<T: Object + PartialEq>(object: &T) -> Result<Json, String> {
    let yaml = serde_yaml::to_string(object).map_err(|error| error.to_string())?;
    let read: T = serde_yaml::from_str(&yaml).map_err(|error| format!("{error} in {yaml:?}"))?;
    match read == *object {
        true => serde_json::to_value(object).map_err(|error| error.to_string()),
        false => Err(format!("another object is read from {yaml:?}")),
    }
}

/// As a person writes it, without quotes: YAML may make anything of it, but
/// the reader ends, and what it says is clear.
#[test]
fn text_that_is_not_quoted_is_read_or_refused() {
    for text in list::all() {
        for frame in [
            format!(
                "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {text}}}\nspec:\n  displayName: {text}\n"
            ),
            format!("{text}\n---\n{text}: {text}\n"),
        ] {
            let file = cb_core::manifest::parse(&text, frame.as_bytes());
            for error in &file.errors {
                let error = error.to_string();
                let error = error.replacen(&text, "", 1);
                assert!(!error.chars().any(char::is_control), "{text:?}: {error:?}");
            }
        }
    }
}

/// What a secret's file holds is a free field too.
#[test]
fn a_secret_is_one_variable_or_refused_and_never_shown() {
    let manifest = r#"{"apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
        "metadata": {"name": "ky04"}, "spec": {"application": "cbapp", "version": "v1",
        "secretRefs": [{"name": "SECRET", "file": "/s", "delivery": "Environment"}]}}"#;
    let object = world::read(manifest).unwrap();
    let mut taken = 0;
    for text in list::all() {
        match world::files(&object, text.as_str()) {
            Ok(files) => {
                let (_, content) = files
                    .iter()
                    .find(|(path, _)| path.ends_with(".env"))
                    .unwrap();
                let variables = env::read(content).unwrap();
                // A final line break is removed.
                let line = text.strip_suffix('\n').unwrap_or(&text);
                let line = line.strip_suffix('\r').unwrap_or(line);
                let wanted = ("SECRET".to_owned(), line.to_owned());
                assert_eq!(variables.last(), Some(&wanted));
                taken += 1;
            }
            Err(error) => {
                assert!(error.starts_with("spec.secretRefs[0]: "), "{error}");
                assert!(text.len() < 8 || !error.contains(&text), "{error}");
            }
        }
    }
    assert!(taken > 100, "{taken}");
}
