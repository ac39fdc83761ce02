//! The text of a manifest after a change that came without one, as JSON or as a
//! patch, or that is about one of several objects in it.
//!
//! What a person wrote around the change stays: comments, order, fields that
//! are not set although they have a default, and other objects. Where that cannot
//! be, the object's text is written anew, below the comments that it begins with.

use std::path::Path;

use cb_core::manifest::{AnyObject, Document, File, parse};
use cb_core::patch::{difference, merge};
use cb_core::yaml::{self, change, section};
use cb_host::files::{FileCache, chain};
use serde_json::Value;

use super::target::Target;
use crate::api::{Refusal, object};

/// What an object is to become.
#[derive(Debug, Clone)]
pub(super) enum New {
    /// The object, and a text that says it but that no person wrote.
    Object(Box<AnyObject>, String),
    /// The text that is to stand there, comments and all.
    Text(String),
    /// Nothing: it goes.
    Gone,
}

/// A manifest that is not written yet.
#[derive(Debug, PartialEq)]
pub(super) struct Rewritten {
    /// What is in it now; nothing if it is not there.
    pub before: Option<Vec<u8>>,
    /// What is to be in it.
    pub after: String,
}

/// The manifest of `target` with `new` in it. It blocks.
///
/// # Errors
/// [`Refusal::Stale`]: the file was changed since it was read.
/// [`Refusal::Conflict`]: its objects cannot be told apart.
pub(super) fn kept(root: &Path, target: &Target, new: &New) -> Result<Rewritten, Refusal> {
    let Some(current) = &target.current else {
        let after = match new {
            New::Object(_, text) | New::Text(text) => text.clone(),
            New::Gone => return Err(Refusal::NotFound),
        };
        return Ok(Rewritten {
            before: None,
            after,
        });
    };
    let bytes = FileCache::content(&root.join(&target.path))
        .map_err(|error| Refusal::Internal(chain(&error)))?;
    let file = parse(&target.path, &bytes);
    if target.shared.as_ref().is_some_and(|read| *read != file) {
        return Err(Refusal::Stale);
    }
    let is_it = |document: &&Document| document.object.as_ref() == Some(current);
    let alone = target.shared.is_none();
    let document = file.documents.iter().find(is_it);
    let document = document.filter(|_| alone == (file.documents.len() == 1));
    let document = document.ok_or(Refusal::Stale)?.index;
    let text = yaml::read_text(&bytes).map_err(|_| Refusal::Stale)?;
    let after = match new {
        New::Object(object, plain) => edited(text, &file, document, (current, object, plain))
            .or_else(|| anew(text, document, alone, plain)),
        New::Text(new) => section::replace(text, document, new).ok(),
        New::Gone => section::remove(text, document).ok(),
    };
    let after = after.ok_or_else(|| {
        Refusal::Conflict(format!(
            "{} `{}` is in {} together with other objects in a form that a program cannot edit; edit that file instead",
            current.kind(),
            current.name(),
            target.path
        ))
    })?;
    // A byte order mark is no part of the text.
    let mark = String::from_utf8_lossy(&bytes[..bytes.len() - text.len()]).into_owned();
    Ok(Rewritten {
        before: Some(bytes),
        after: mark + &after,
    })
}

/// With the difference alone.
fn edited(
    text: &str,
    file: &File,
    document: usize,
    (current, object, plain): (&AnyObject, &AnyObject, &str),
) -> Option<String> {
    let plain = yaml::parse(plain).documents.first()?.root.to_json();
    let mut wanted = written_in(text, document)?;
    merge(&mut wanted, &difference(&object::written(current), &plain));
    let edited = change::change(text, document, &wanted).ok()?;
    let parsed = parse(&file.file, edited.as_bytes());
    let says = |(new, old): (&Document, &Document)| match old.index == document {
        true => new.object.as_ref() == Some(object),
        false => new.object == old.object,
    };
    let same = parsed.errors.is_empty()
        && parsed.documents.len() == file.documents.len()
        && parsed.documents.iter().zip(&file.documents).all(says);
    same.then_some(edited)
}

/// With the object's text written anew.
fn anew(text: &str, document: usize, alone: bool, plain: &str) -> Option<String> {
    if alone {
        return Some(format!("{}{plain}", head(text)));
    }
    let head = head(section::body(text, document)?);
    section::replace(text, document, &format!("{head}{plain}")).ok()
}

fn written_in(text: &str, document: usize) -> Option<Value> {
    let documents = yaml::parse(text).documents;
    Some(documents.get(document)?.root.to_json())
}

/// The comments that a text begins with.
fn head(text: &str) -> String {
    text.lines()
        .take_while(|line| line.starts_with('#') || line.trim().is_empty())
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests set files up")]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "\
# The first house.
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: cbapp} # short
spec:
  # newest last
  versions:
    - name: v1
      folder: {path: /srv/v1}
  services:
    - name: api # one
      command: bin/api
      portOffset: 1
";

    fn changed(text: &str, edit: impl FnOnce(&mut Value)) -> Result<String, Refusal> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), text).unwrap();
        let current = parse("a.yaml", TEXT.as_bytes()).documents[0].object.clone();
        // As a client gets it, with the defaults.
        let mut wanted = object::written(current.as_ref().unwrap());
        edit(&mut wanted);
        let plain = serde_yaml::to_string(&wanted).unwrap();
        let object = parse("b.yaml", plain.as_bytes()).documents[0]
            .object
            .clone();
        let target = Target {
            path: "a.yaml".into(),
            current,
            refused: false,
            shared: None,
        };
        let new = New::Object(Box::new(object.unwrap()), plain);
        kept(folder.path(), &target, &new).map(|rewritten| rewritten.after)
    }

    /// The text with `new` for the second of three objects.
    fn changed_among(text: &str, new: &New) -> Result<String, Refusal> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), text).unwrap();
        let read = parse("a.yaml", among(TEXT).as_bytes());
        let target = Target {
            path: "a.yaml".into(),
            current: read.documents[1].object.clone(),
            refused: false,
            shared: Some(read),
        };
        kept(folder.path(), &target, new).map(|rewritten| rewritten.after)
    }

    fn among(text: &str) -> String {
        let named = |name: &str| TEXT.replace("name: cbapp", &format!("name: {name}"));
        format!("{}---\n{text}---\n{}", named("one"), named("three"))
    }

    #[test]
    fn one_of_several_is_changed_and_the_others_stay() {
        let read = parse("a.yaml", TEXT.as_bytes());
        let mut wanted = object::written(read.documents[0].object.as_ref().unwrap());
        wanted["spec"]["services"][0]["command"] = "bin/new".into();
        let plain = serde_yaml::to_string(&wanted).unwrap();
        let object = parse("b.yaml", plain.as_bytes()).documents[0]
            .object
            .clone();
        let new = New::Object(Box::new(object.unwrap()), plain);
        let edited = TEXT.replace("bin/api", "bin/new");
        assert_eq!(changed_among(&among(TEXT), &new), Ok(among(&edited)));

        let text = TEXT.replace("# The first house.", "# Anew.");
        let new = New::Text(text.clone());
        assert_eq!(changed_among(&among(TEXT), &new), Ok(among(&text)));
        let gone = among(TEXT).replace(&format!("---\n{TEXT}"), "");
        assert_eq!(changed_among(&among(TEXT), &New::Gone), Ok(gone));

        // Somebody changed another one meanwhile.
        let newer = among(TEXT).replace("name: three", "name: four");
        assert_eq!(changed_among(&newer, &New::Gone), Err(Refusal::Stale));
    }

    #[test]
    fn what_a_person_wrote_stays_and_no_default_comes_in() {
        let new = changed(TEXT, |o| {
            o["spec"]["services"][0]["command"] = "bin/new".into()
        });
        assert_eq!(new.unwrap(), TEXT.replace("bin/api", "bin/new"));
        let new = changed(TEXT, |o| o["metadata"]["labels"] = json!({"a": "b"}));
        assert_eq!(
            new.unwrap(),
            TEXT.replace("{name: cbapp}", "{labels: {a: b}, name: cbapp}")
        );
    }

    #[test]
    fn a_text_that_cannot_be_edited_is_written_anew() {
        let shared = TEXT.replace("bin/api", "&c bin/api");
        let new = changed(&shared, |o| {
            o["spec"]["services"][0]["command"] = "x".into()
        });
        let new = new.unwrap();
        assert!(new.starts_with("# The first house.\napiVersion"), "{new}");
        assert!(new.contains("command: x"), "{new}");
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_is_left() {
        let newer = TEXT.replace("bin/api", "bin/newer");
        let new = changed(&newer, |o| o["metadata"]["labels"] = json!({"a": "b"}));
        assert_eq!(new, Err(Refusal::Stale));
    }
}
