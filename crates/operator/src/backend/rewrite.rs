//! The text of a manifest after a change that came without one: as JSON, or as
//! a patch.
//!
//! What a person wrote around the change stays: comments, order, fields that
//! are not set although they have a default. Where that cannot be, the text is
//! written anew, below the comments that it begins with.

use std::path::Path;

use cb_core::manifest::{AnyObject, parse};
use cb_core::patch::{difference, merge};
use cb_core::yaml::{self, change};
use cb_host::files::{FileCache, chain};
use serde_json::Value;

use super::target::Target;
use crate::api::{Refusal, object};

/// The manifest of `target` with `object` in it, which the change was made to
/// be, and which `plain` says. It blocks.
///
/// # Errors
/// [`Refusal::Stale`]: the file was changed since it was read.
pub(super) fn kept(
    root: &Path,
    target: &Target,
    (object, plain): (&AnyObject, &str),
) -> Result<String, Refusal> {
    let Some(current) = &target.current else {
        return Ok(plain.to_owned());
    };
    let bytes = FileCache::content(&root.join(&target.path))
        .map_err(|error| Refusal::Internal(chain(&error)))?;
    let file = parse(&target.path, &bytes);
    let document = match file.documents.as_slice() {
        [document] if document.object.as_ref() == Some(current) => document,
        _ => return Err(Refusal::Stale),
    };
    let Ok(text) = yaml::read_text(&bytes) else {
        return Ok(plain.to_owned());
    };
    let says = |text: &str| {
        let parsed = parse(&target.path, text.as_bytes());
        let same = |found: &cb_core::manifest::Document| found.object.as_ref() == Some(object);
        parsed.errors.is_empty() && parsed.documents.len() == 1 && same(&parsed.documents[0])
    };
    let written = |text: &str| Some(yaml::parse(text).documents.first()?.root.to_json());
    let wanted = written(plain).zip(written_in(text, document.index));
    let edited = wanted.and_then(|(plain, mut wanted)| {
        let change = difference(&object::written(current), &plain);
        merge(&mut wanted, &change);
        change::change(text, document.index, &wanted).ok()
    });
    Ok(edited
        .filter(|text| says(text))
        .unwrap_or_else(|| format!("{}{plain}", head(text))))
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
        };
        kept(folder.path(), &target, (&object.unwrap(), &plain))
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
