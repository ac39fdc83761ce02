//! Manifests: text in, objects and every error out.
//!
//! [`parse`] reads the text into documents with places ([`crate::yaml`]),
//! holds each against the shape of its kind (`walk`), makes the object and
//! checks what no shape can say ([`check`]). [`cross`] checks objects against
//! each other. A document with an error gives no object; a file that is not
//! valid YAML gives none at all, because what stands before the error may have
//! been meant otherwise. Which objects take effect is not decided here but in
//! [`crate::admission`].
//!
//! Law 11: the value of an environment variable is in no message.

pub mod check;
pub mod cross;
mod diagnostic;
pub mod exceptions;
mod sinks;
mod source;
mod suggest;
mod walk;

use std::sync::Arc;

use serde::de::DeserializeOwned;

pub use diagnostic::{Diagnostic, Finding, Severity};
pub use suggest::among as nearest;

use crate::api::{API_VERSION, Application, Host, Kind, Object, Tenant};
use crate::schema;
use crate::types::shown;
use crate::yaml::{self, Node, Path, Position, Value};

/// An object of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyObject {
    /// A tenant.
    Tenant(Arc<Tenant>),
    /// An Application.
    Application(Arc<Application>),
    /// A Host.
    Host(Arc<Host>),
}

impl AnyObject {
    /// The object's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            AnyObject::Tenant(_) => Kind::Tenant,
            AnyObject::Application(_) => Kind::Application,
            AnyObject::Host(_) => Kind::Host,
        }
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            AnyObject::Tenant(tenant) => tenant.name(),
            AnyObject::Application(application) => application.name(),
            AnyObject::Host(host) => host.name(),
        }
    }
}

/// A manifest file as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct File {
    /// The file's path, as it is shown.
    pub file: String,
    /// The file's documents, without empty ones.
    pub documents: Vec<Document>,
    /// Everything that is refused, in the order of the text.
    pub errors: Vec<Diagnostic>,
}

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its place among the file's documents, from 0.
    pub index: usize,
    /// Its kind, if that could be read.
    pub kind: Option<Kind>,
    /// Its `metadata.name`, if that could be read; not checked.
    pub name: Option<String>,
    /// The object, if nothing in the document is refused.
    pub object: Option<AnyObject>,
    /// Where it starts.
    pub position: Position,
    root: Node,
}

impl Document {
    /// Where the value at `path` stands, or what is there of the way to it.
    #[must_use]
    pub fn place(&self, path: &Path) -> Position {
        self.locate(path, false)
    }

    fn locate(&self, path: &Path, key: bool) -> Position {
        let mut path = path.clone();
        loop {
            if key && let Some(position) = self.key_place(&path) {
                return position;
            }
            if let Some(node) = self.root.get(&path) {
                return node.span.position;
            }
            match path.parent() {
                Some(parent) => path = parent,
                None => return self.position,
            }
        }
    }

    fn key_place(&self, path: &Path) -> Option<Position> {
        let yaml::Segment::Key(key) = path.segments().last()? else {
            return None;
        };
        Some(
            self.root
                .get(&path.parent()?)?
                .entry(key)?
                .key_span
                .position,
        )
    }

    /// A finding about this document with its place.
    #[must_use]
    pub fn diagnostic(&self, file: &str, finding: Finding, severity: Severity) -> Diagnostic {
        Diagnostic {
            severity,
            file: file.to_owned(),
            position: Some(
                finding
                    .at
                    .unwrap_or_else(|| self.locate(&finding.path, finding.on_key)),
            ),
            path: finding.path,
            message: finding.message,
            hint: finding.hint,
            kind: self.kind,
            name: self.name.clone(),
        }
    }
}

/// Reads a manifest. `file` is how messages name it.
#[must_use]
pub fn parse(file: &str, bytes: &[u8]) -> File {
    let mut out = File {
        file: file.to_owned(),
        ..File::default()
    };
    let parsed = match yaml::read_text(bytes) {
        Ok(text) => yaml::parse(text),
        Err(error) => yaml::Parsed {
            documents: Vec::new(),
            errors: vec![*error],
        },
    };
    let fatal = parsed.errors.iter().any(|error| error.fatal);
    for document in parsed.documents {
        if document.root.value == Value::Null {
            continue;
        }
        let broken = fatal || parsed.errors.iter().any(|e| e.document == document.index);
        let (document, errors) = read(file, document, broken);
        out.documents.push(document);
        out.errors.extend(errors);
    }
    for error in parsed.errors {
        let document = out.documents.iter().find(|d| d.index == error.document);
        out.errors.push(Diagnostic {
            severity: Severity::Error,
            file: file.to_owned(),
            position: Some(error.position),
            path: error.path,
            message: error.message,
            hint: error.hint,
            kind: document.and_then(|d| d.kind),
            name: document.and_then(|d| d.name.clone()),
        });
    }
    if out.documents.is_empty() && out.errors.is_empty() {
        out.errors.push(empty(file));
    }
    // Stable: findings at one place stay in the order they were made.
    out.errors.sort_by_key(|error| error.position);
    out
}

fn empty(file: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: file.to_owned(),
        position: Some(Position::START),
        path: Path::root(),
        message: "the file has no object in it".into(),
        hint: Some("to remove a tenant, delete its file".into()),
        kind: None,
        name: None,
    }
}

fn read(file: &str, document: yaml::Document, broken: bool) -> (Document, Vec<Diagnostic>) {
    let root = document.root;
    let mut out = Document {
        index: document.index,
        kind: root.text("kind").and_then(kind_named),
        name: name(&root),
        object: None,
        position: root.span.position,
        root,
    };
    // What the shape says about half a text is noise.
    if broken {
        return (out, Vec::new());
    }
    let mut findings = Vec::new();
    if let Err(finding) = kind_of(&out.root) {
        findings.push(finding);
        findings.extend(wrong_api_version(&out.root));
    } else if let Some(kind) = out.kind {
        findings.extend(wrong_api_version(&out.root));
        let (json, more) = walk::walk(&out.root, schema::of(kind));
        findings.extend(more);
        if findings.is_empty() {
            match object(kind, json) {
                Ok(object) => {
                    findings = check::object(&object);
                    out.object = findings.is_empty().then_some(object);
                }
                Err(finding) => findings.push(finding),
            }
        }
    }
    let more = findings.len().saturating_sub(yaml::MAX_ERRORS);
    findings.truncate(yaml::MAX_ERRORS);
    if more > 0 {
        findings.push(Finding::new(
            Path::root(),
            format!("there are {more} more errors"),
        ));
    }
    let errors = findings
        .into_iter()
        .map(|f| out.diagnostic(file, f, Severity::Error))
        .collect();
    (out, errors)
}

fn kind_named(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
}

fn name(root: &Node) -> Option<String> {
    let name = &root.entry("metadata")?.value.entry("name")?.value;
    match &name.value {
        Value::Text(text) | Value::Int(_, text) | Value::Float(_, text) => Some(text.clone()),
        _ => None,
    }
}

fn kind_of(root: &Node) -> Result<(), Finding> {
    let Value::Map(_) = root.value else {
        let what = root.value.kind();
        return Err(Finding::new(
            Path::root(),
            format!("a document must be a mapping, but this is {what}"),
        )
        .hint(format!("start with `apiVersion: {API_VERSION}`")));
    };
    let path = Path::from(["kind"]);
    let kinds = "write `kind: Tenant`, `kind: Application` or `kind: Host`";
    match root.entry("kind").map(|entry| &entry.value.value) {
        None | Some(Value::Null) => Err(Finding::new(path, "the kind is missing").hint(kinds)),
        Some(Value::Text(text)) if kind_named(text).is_some() => Ok(()),
        Some(Value::Text(text)) => {
            let hint = suggest::among(text, Kind::ALL.into_iter().map(Kind::as_str));
            Err(
                Finding::new(path, format!("there is no kind `{}`", shown(text)))
                    .hint(hint.map_or_else(|| kinds.to_owned(), suggest::did_you_mean)),
            )
        }
        Some(other) => Err(Finding::new(
            path,
            format!("the kind must be text, but it is {}", other.kind()),
        )
        .hint(kinds)),
    }
}

fn wrong_api_version(root: &Node) -> Option<Finding> {
    let entry = root.entry("apiVersion")?;
    match &entry.value.value {
        Value::Text(text) if text != API_VERSION => Some(
            Finding::new(
                Path::from(["apiVersion"]),
                format!("the API version `{}` is not known", shown(text)),
            )
            .hint(format!("write `apiVersion: {API_VERSION}`")),
        ),
        _ => None,
    }
}

fn object(kind: Kind, json: serde_json::Value) -> Result<AnyObject, Finding> {
    Ok(match kind {
        Kind::Tenant => AnyObject::Tenant(Arc::new(deserialize(json)?)),
        Kind::Application => AnyObject::Application(Arc::new(deserialize(json)?)),
        Kind::Host => AnyObject::Host(Arc::new(deserialize(json)?)),
    })
}

/// What passed the walk deserializes; a difference between the two is still
/// an error with a place, and not a panic.
fn deserialize<T: DeserializeOwned>(json: serde_json::Value) -> Result<T, Finding> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = Path::of_serde(error.path());
        let secret = path.segments().contains(&yaml::Segment::Key("env".into()));
        let message = if secret {
            "this value cannot be used".to_owned()
        } else {
            error.into_inner().to_string()
        };
        Finding::new(path, message)
    })
}

#[cfg(test)]
mod tests;
