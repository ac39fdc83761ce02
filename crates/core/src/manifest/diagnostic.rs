//! What is wrong with a manifest, and where.

use std::fmt;

use crate::api::Kind;
use crate::types::shown;
use crate::yaml::{Path, Position};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object does not take effect.
    Error,
    /// The object takes effect; a person should look at it.
    Warning,
}

/// Something wrong at a field, in a document that is known from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The field.
    pub path: Path,
    /// Whether it is about the field's name and not its value.
    pub on_key: bool,
    /// Where it is, if the path does not say that.
    pub at: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding about the value at `path`.
    pub fn new(path: Path, message: impl Into<String>) -> Self {
        Self {
            path,
            on_key: false,
            at: None,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Points to the field's name instead of its value.
    #[must_use]
    pub fn on_key(self) -> Self {
        Self {
            on_key: true,
            ..self
        }
    }
}

/// Something wrong in a file. Displayed on one line:
/// `ky04.yaml:7:12: spec.domains[1]: what is wrong (what would be right)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the object takes effect all the same.
    pub severity: Severity,
    /// The file, as it is shown.
    pub file: String,
    /// Where in the file; `None` if it is about the file as a whole.
    pub position: Option<Position>,
    /// The field; the root if it is about the whole document.
    pub path: Path,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// The kind of the object, if known.
    pub kind: Option<Kind>,
    /// The name of the object, if known.
    pub name: Option<String>,
}

impl Diagnostic {
    /// A diagnostic about a file as a whole.
    pub fn of_file(file: &str, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            position: None,
            path: Path::root(),
            message: message.into(),
            hint: None,
            kind: None,
            name: None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file name can hold any character but `/` and NUL.
        f.write_str(&one_line(&self.file))?;
        if let Some(position) = self.position {
            write!(f, ":{}:{}", position.line, position.column)?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.segments().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

fn one_line(file: &str) -> String {
    if file.chars().any(char::is_control) {
        shown(file)
    } else {
        file.to_owned()
    }
}
