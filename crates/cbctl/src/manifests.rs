//! Manifests of the command line: which files, and the text of each document.
//!
//! A document keeps its own text, with its comments, because the operator
//! writes it to a file as it is. What must not live here: what a manifest
//! means.

mod files;
mod slices;

use std::collections::BTreeMap;

use cb_core::api::Kind;
use cb_core::manifest::{self, AnyObject, Diagnostic, Severity, cross};
use cb_core::yaml::{MAX_BYTES, Path, read_text};
use serde_json::Value;

pub(crate) use files::{Files, Folders};

use crate::client::api::PlanManifest;
use crate::error::CommandError;
use crate::object::Object;
use cb_core::selector::Selector;

/// A file that was read.
pub(crate) struct Source {
    /// What is in it, and what is wrong with it.
    pub(crate) file: manifest::File,
    text: String,
}

/// An object with the text that it was written as.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) object: AnyObject,
    pub(crate) text: String,
}

/// Reads every file. What is wrong with one is in its `file.errors`.
pub(crate) fn read(files: &Files, folders: Folders) -> Result<Vec<Source>, CommandError> {
    let found = files.find(folders)?;
    Ok(found.iter().map(files::Found::read).collect())
}

impl Source {
    fn of(shown: &str, content: Result<Vec<u8>, String>) -> Self {
        let refused = |why: String| Self {
            file: manifest::File {
                file: shown.to_owned(),
                documents: Vec::new(),
                errors: vec![Diagnostic::of_file(shown, Severity::Error, why)],
            },
            text: String::new(),
        };
        match content {
            Err(why) => refused(why),
            Ok(bytes) if bytes.len() > MAX_BYTES => {
                refused(format!("the file is larger than {MAX_BYTES} bytes"))
            }
            Ok(bytes) => Self {
                file: manifest::parse(shown, &bytes),
                text: read_text(&bytes).unwrap_or_default().to_owned(),
            },
        }
    }

    /// The objects that a selector means, each with its own text.
    fn manifests(&self, selector: &Selector) -> Result<Vec<Manifest>, Box<Diagnostic>> {
        let mut out = Vec::new();
        for document in &self.file.documents {
            let Some(object) = &document.object else {
                continue;
            };
            if !selector.matches(|key| label(object, key)) {
                continue;
            }
            let text = if self.file.documents.len() == 1 {
                self.text.clone()
            } else {
                slices::alone(&self.text, document.position.line)
            };
            let again = manifest::parse(&self.file.file, text.as_bytes());
            let same = matches!(again.documents.as_slice(),
                [only] if only.object.as_ref() == Some(object) && again.errors.is_empty());
            if !same {
                let message = "this document cannot be taken out of its file";
                let finding = manifest::Finding::new(Path::root(), message)
                    .hint("put it into a file of its own");
                let error = document.diagnostic(&self.file.file, finding, Severity::Error);
                return Err(Box::new(error));
            }
            let object = object.clone();
            out.push(Manifest { object, text });
        }
        Ok(out)
    }

    /// The file for a plan: what a selector does not mean is blank, and the
    /// rest keeps its lines.
    fn for_plan(&self, selector: &Selector) -> PlanManifest {
        let out: Vec<usize> = self
            .file
            .documents
            .iter()
            .filter(|document| {
                let object = document.object.as_ref();
                object.is_some_and(|object| !selector.matches(|key| label(object, key)))
            })
            .map(|document| document.position.line)
            .collect();
        PlanManifest {
            name: self.file.file.clone(),
            text: if out.is_empty() {
                self.text.clone()
            } else {
                slices::without(&self.text, &out)
            },
        }
    }
}

/// Everything that is wrong with the files, one by one.
pub(crate) fn errors(sources: &[Source]) -> Vec<Diagnostic> {
    sources
        .iter()
        .flat_map(|source| source.file.errors.iter().cloned())
        .collect()
}

/// Names that are there more than once. Everything else about objects against
/// each other depends on what the operator has, and is its to say.
pub(crate) fn named_twice(sources: &[Source]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<(Kind, &str), String> = BTreeMap::new();
    let mut out = Vec::new();
    for source in sources {
        for document in &source.file.documents {
            let (Some(kind), Some(name)) = (document.kind, &document.name) else {
                continue;
            };
            let at = document.place(&Path::from(["metadata", "name"]));
            let place = format!("{}:{}:{}", source.file.file, at.line, at.column);
            match first.get(&(kind, name.as_str())) {
                Some(other) => {
                    let finding = cross::named_twice(kind, name, other);
                    out.push(document.diagnostic(&source.file.file, finding, Severity::Error));
                }
                None => {
                    first.insert((kind, name), place);
                }
            }
        }
    }
    out
}

/// The objects that a selector means, Applications before the tenants that may
/// refer to them, else in the order they are written.
pub(crate) fn objects(
    sources: &[Source],
    selector: &Selector,
) -> Result<Vec<Manifest>, Vec<Diagnostic>> {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    for source in sources {
        match source.manifests(selector) {
            Ok(manifests) => out.extend(manifests),
            Err(error) => errors.push(*error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    out.sort_by_key(|manifest| manifest.kind() != Kind::Application);
    Ok(out)
}

/// The files for a plan of the objects that a selector means.
pub(crate) fn for_plan(sources: &[Source], selector: &Selector) -> Vec<PlanManifest> {
    let chosen = |source: &&Source| {
        let mut documents = source.file.documents.iter();
        documents.any(|document| {
            let object = document.object.as_ref();
            object.is_none_or(|object| selector.matches(|key| label(object, key)))
        })
    };
    let sources = sources.iter().filter(chosen);
    sources.map(|source| source.for_plan(selector)).collect()
}

impl Manifest {
    /// The object's kind.
    pub(crate) fn kind(&self) -> Kind {
        self.object.kind()
    }

    /// The object's name.
    pub(crate) fn name(&self) -> &str {
        self.object.name()
    }

    /// The object in the form that the API shows.
    pub(crate) fn shown(&self) -> Object {
        let value = match &self.object {
            AnyObject::Tenant(tenant) => serde_json::to_value(tenant.as_ref()),
            AnyObject::Application(application) => serde_json::to_value(application.as_ref()),
            AnyObject::Host(host) => serde_json::to_value(host.as_ref()),
        };
        Object::new(value.unwrap_or(Value::Null))
    }
}

fn label<'a>(object: &'a AnyObject, key: &str) -> Option<&'a str> {
    let labels = match object {
        AnyObject::Tenant(tenant) => &tenant.metadata.labels,
        AnyObject::Application(application) => &application.metadata.labels,
        AnyObject::Host(host) => &host.metadata.labels,
    };
    labels.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of("all.yaml", Ok(text.as_bytes().to_vec()))
    }

    fn tenant(name: &str, ring: &str) -> String {
        format!(
            "# about {name}\napiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\n\
             metadata: {{name: {name}, labels: {{ring: {ring}}}}}\n\
             spec: {{application: cbapp, version: v1}} # the end\n"
        )
    }

    #[test]
    fn a_document_keeps_its_comments_and_only_its_own() {
        let (a, b) = (tenant("a", "canary"), tenant("b", "stable"));
        let source = source(&format!("{a}---\n{b}"));
        let all = objects(&[source], &Selector::default()).unwrap();
        let texts: Vec<&str> = all.iter().map(|manifest| manifest.text.as_str()).collect();
        assert_eq!(texts, [a, b]);
    }

    #[test]
    fn a_file_of_one_object_is_sent_as_it_is() {
        let text = format!("# header\n---\n{}\n\n", tenant("a", "canary"));
        let all = objects(&[source(&text)], &Selector::default()).unwrap();
        assert_eq!(all[0].text, text);
    }

    #[test]
    fn what_is_not_selected_is_not_planned_for_and_the_lines_stay() {
        let (a, b) = (tenant("a", "canary"), tenant("b", "stable"));
        let source = source(&format!("{a}---\n{b}"));
        let plan = for_plan(&[source], &"ring=stable".parse().unwrap());
        let file = manifest::parse("all.yaml", plan[0].text.as_bytes());
        assert!(file.errors.is_empty(), "{:?}", file.errors);
        assert_eq!(file.documents.len(), 1);
        assert_eq!(file.documents[0].name.as_deref(), Some("b"));
        assert_eq!(file.documents[0].position.line, 8);
    }

    #[test]
    fn a_name_twice_is_found_over_files() {
        let files = [source(&tenant("a", "x")), source(&tenant("a", "y"))];
        let found = named_twice(&files);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].message.contains("`a` is also in all.yaml:4:18"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn applications_come_first() {
        let application = "apiVersion: campaignbrain.io/v1alpha1\nkind: Application\nmetadata: {name: z}\n\
             spec: {versions: [{name: v1, folder: {path: /srv/z}}], services: [{name: api, command: bin/a, portOffset: 0}]}\n";
        let source = source(&format!("{}---\n{application}", tenant("a", "x")));
        let all = objects(&[source], &Selector::default()).unwrap();
        let names: Vec<&str> = all.iter().map(Manifest::name).collect();
        assert_eq!(names, ["z", "a"]);
    }
}
