//! `cbctl edit`: an object in a person's editor, and what they changed of it.
//!
//! Only the changes are sent, so the manifest keeps its comments and order. A
//! text that is refused is opened again with the reasons on top; nothing that
//! was typed is lost.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use cb_core::api::{API_VERSION, Kind};
use cb_core::{manifest, yaml};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::cli::{Context, Done};
use crate::client::changes::PatchKind;
use crate::error::{CommandError, plain};
use crate::object::{Object, full_name};
use crate::output::{Format, document};
use crate::resource;

const HEADER: &str = "\
# Change the object below and leave the editor. Lines that begin with '#' are
# ignored; an empty file ends it without a change. If the object is refused,
# the file is opened again with the reasons on top.
#
";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "The editor is $KUBE_EDITOR or $EDITOR, else vi.

Examples:
  cbctl edit tenant ky04
  EDITOR=nano cbctl edit app/cbapp")]
pub(crate) struct Args {
    /// KIND NAME or KIND/NAME
    #[arg(required = true, value_name = "KIND NAME", num_args = 1..=2,
          add = crate::complete::objects())]
    object: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[])?;
    let (kind, name) = resource::single(&args.object)?;
    let object = context.client.get(kind, &name).await?;
    let mut session = Session::open(kind, name, &object)?;
    match session.edited(context).await {
        Ok(outcome) => {
            context.ui.line(&outcome);
            Ok(0)
        }
        Err(error) => Err(session.kept(error)),
    }
}

/// One object in the editor.
struct Session {
    kind: Kind,
    name: String,
    /// What the object was, as the editor shows it.
    original: Value,
    /// What was last shown, below the lines on top.
    text: String,
    file: Option<NamedTempFile>,
    /// Whether the file holds something that a person typed.
    typed: bool,
}

impl Session {
    fn open(kind: Kind, name: String, object: &Object) -> Result<Self, CommandError> {
        let original = editable(kind, object);
        let text = document(&original, Format::Yaml)?;
        let file = tempfile::Builder::new()
            .prefix(&format!("cbctl-edit-{name}-"))
            .suffix(".yaml")
            .tempfile()
            .map_err(|error| {
                CommandError::failed(format!("cannot make a file: {}", plain(&error)))
            })?;
        Ok(Self {
            kind,
            name,
            original,
            text,
            file: Some(file),
            typed: false,
        })
    }

    /// Opens the editor until what is in it is taken. Returns what to say.
    async fn edited(&mut self, context: &Context) -> Result<String, CommandError> {
        let mut reasons: Vec<String> = Vec::new();
        loop {
            let shown = format!("{HEADER}{}{}", commented(&reasons), self.text);
            self.show(&shown)?;
            self.editor()?;
            let now = self.content()?;
            let body: String = without_comments(&now);
            if now == shown || body == without_comments(&shown) {
                return match reasons.is_empty() {
                    true => Ok("Edit cancelled, no changes made.".into()),
                    false => Err(CommandError::failed(
                        "Edit cancelled, no valid changes were saved.",
                    )),
                };
            }
            if body.trim().is_empty() {
                return Ok("Edit cancelled, saved file was empty.".into());
            }
            self.typed = true;
            self.text = body;
            reasons = match self.changes() {
                Err(reasons) => reasons,
                Ok(patch) if patch == json!({}) => {
                    return Ok("Edit cancelled, no changes made.".into());
                }
                Ok(patch) => match self.send(&patch, context).await {
                    Ok(outcome) => return Ok(outcome),
                    Err(Refused::Again(reasons)) => reasons,
                    Err(Refused::For(error)) => return Err(error),
                },
            };
        }
    }

    fn path(&self) -> PathBuf {
        let file = self.file.as_ref();
        file.map(|file| file.path().to_owned()).unwrap_or_default()
    }

    fn show(&mut self, text: &str) -> Result<(), CommandError> {
        let failed = |error: std::io::Error| {
            CommandError::failed(format!("cannot write the file to edit: {}", plain(&error)))
        };
        // An editor may have put another file in its place.
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.path())
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)
    }

    fn content(&self) -> Result<String, CommandError> {
        std::fs::read_to_string(self.path()).map_err(|error| {
            CommandError::failed(format!("cannot read what was edited: {}", plain(&error)))
        })
    }

    /// Runs the editor, through a shell as everybody does: it may have options.
    fn editor(&self) -> Result<(), CommandError> {
        let named = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let editor = named("KUBE_EDITOR").or_else(|| named("EDITOR"));
        let editor = editor.unwrap_or_else(|| "vi".into());
        let ended = Command::new("sh")
            .args(["-c", &format!("{editor} \"$@\""), "sh"])
            .arg(self.path())
            .status();
        let broken = |why: String| {
            CommandError::failed(format!("the editor \"{editor}\" failed: {why}"))
                .hint("name another one in $EDITOR")
        };
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(broken(status.to_string())),
            Err(error) => Err(broken(plain(&error))),
        }
    }

    /// What was changed, as a merge patch; or what is wrong with the text.
    fn changes(&self) -> Result<Value, Vec<String>> {
        let read = manifest::parse("the object", self.text.as_bytes());
        if !read.errors.is_empty() {
            return Err(read.errors.iter().map(ToString::to_string).collect());
        }
        let [document] = read.documents.as_slice() else {
            return Err(vec!["there must be one object".into()]);
        };
        if document.kind != Some(self.kind) || document.name.as_deref() != Some(&self.name) {
            return Err(vec![format!(
                "kind and metadata.name cannot be changed: they must stay {} and {}",
                self.kind, self.name
            )]);
        }
        // Both sides as a reader of YAML sees them.
        Ok(difference(
            &seen(&self.original.to_string()),
            &seen(&self.text),
        ))
    }

    async fn send(&self, patch: &Value, context: &Context) -> Result<String, Refused> {
        let at = (self.kind, self.name.as_str());
        let sent = context.client.patch(at, PatchKind::Merge, patch, false);
        match sent.await {
            Ok(_) => Ok(format!("{} edited", full_name(self.kind, &self.name))),
            Err(error) => {
                let again = error.is_refused_as("Invalid") || error.is_refused_as("BadRequest");
                let error = CommandError::from(error);
                Err(match again {
                    true => Refused::Again(error.lines()),
                    false => Refused::For(error),
                })
            }
        }
    }

    /// Keeps what was typed, and says where.
    fn kept(mut self, error: CommandError) -> CommandError {
        let file = self.file.take().filter(|_| self.typed);
        match file.map(NamedTempFile::keep) {
            Some(Ok((_, path))) => error.hint(format!(
                "a copy of your changes is in \"{}\"",
                path.display()
            )),
            _ => error,
        }
    }
}

/// Why a change was not taken.
enum Refused {
    /// The text can be put right.
    Again(Vec<String>),
    /// Another text would not help.
    For(CommandError),
}

/// What a person may change of an object.
fn editable(kind: Kind, object: &Object) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), object.name().into());
    if let labels @ Value::Object(_) = &object.value()["metadata"]["labels"] {
        metadata.insert("labels".into(), labels.clone());
    }
    let annotations: Map<String, Value> = object
        .annotations()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), annotations.into());
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": kind.as_str(),
        "metadata": metadata,
        "spec": object.value()["spec"],
    })
}

fn seen(text: &str) -> Value {
    let parsed = yaml::parse(text);
    let document = parsed.documents.first();
    document.map_or(Value::Null, |document| document.root.to_json())
}

fn commented(reasons: &[String]) -> String {
    let lines = reasons.iter().flat_map(|reason| reason.lines());
    let mut out: String = lines.map(|line| format!("# {line}\n")).collect();
    if !out.is_empty() {
        out.push_str("#\n");
    }
    out
}

fn without_comments(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with('#')).collect()
}

/// The merge patch (RFC 7396) that makes `new` of `old`.
fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut out = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        out.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) => drop(out.insert(key.clone(), difference(before, value))),
            None => drop(out.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_changed_is_sent() {
        let old = json!({"spec": {"version": "v1", "env": {"A": "1", "B": "2"}, "domains": ["a"]}});
        let new = json!({"spec": {"version": "v2", "env": {"B": "2"}, "domains": ["a", "b"]}});
        assert_eq!(
            difference(&old, &new),
            json!({"spec": {"version": "v2", "env": {"A": null}, "domains": ["a", "b"]}})
        );
        assert_eq!(difference(&old, &old), json!({}));
    }

    #[test]
    fn what_the_operator_adds_is_not_edited() {
        let object = Object::new(json!({
            "kind": "Tenant",
            "metadata": {"name": "a", "uid": "u", "labels": {"x": "y"},
                         "annotations": {"campaignbrain.io/manifest": "a.yaml"}},
            "spec": {"version": "v1"}, "status": {"phase": "x"},
        }));
        assert_eq!(
            editable(Kind::Tenant, &object),
            json!({"apiVersion": API_VERSION, "kind": "Tenant",
                   "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"version": "v1"}})
        );
    }

    #[test]
    fn reasons_are_comments() {
        let text = format!("{HEADER}{}a: 1\n", commented(&["one\ntwo".into()]));
        assert!(text.contains("# one\n# two\n#\na: 1\n"));
        assert_eq!(without_comments(&text), "a: 1\n");
    }
}
