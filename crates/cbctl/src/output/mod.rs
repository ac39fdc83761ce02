//! What is written to the terminal: results to standard output, everything else
//! to standard error, colours and progress only where a person looks.

pub(crate) mod columns;
pub(crate) mod sheet;
pub(crate) mod sort;
pub(crate) mod table;

pub(crate) use cb_core::elapsed as age;

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::CommandError;
use crate::object::Object;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table with more columns
    Wide,
    /// YAML
    Yaml,
    /// JSON
    Json,
    /// Only kind and name
    Name,
}

impl Format {
    /// Refuses a form that a command has not.
    pub(crate) fn among(of: Option<Format>, allowed: &[Format]) -> Result<(), CommandError> {
        match of {
            Some(format) if !allowed.contains(&format) => {
                let word = |format: Format| format!("{format:?}").to_lowercase();
                let error =
                    CommandError::usage(format!("this command has no output `{}`", word(format)));
                let words: Vec<String> = allowed.iter().copied().map(word).collect();
                Err(if words.is_empty() {
                    error.hint("leave out --output")
                } else {
                    error.hint(format!("use one of: {}", words.join(", ")))
                })
            }
            _ => Ok(()),
        }
    }
}

/// A colour.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    Red,
    Green,
    Cyan,
    Bold,
}

/// The terminal.
pub(crate) struct Ui {
    /// The time, for ages.
    pub(crate) now: Timestamp,
    colours: bool,
    interactive: bool,
    progress: Cell<bool>,
    lost: RefCell<Option<io::Error>>,
}

impl Ui {
    /// The process's own terminal.
    pub(crate) fn new(now: Timestamp) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            now,
            colours: io::stdout().is_terminal() && !no_color && !dumb,
            interactive: io::stderr().is_terminal() && !dumb,
            progress: Cell::new(false),
            lost: RefCell::new(None),
        }
    }

    /// Writes to standard output. After it failed once nothing more is written:
    /// a reader that is gone must not stop a change half-way.
    pub(crate) fn print(&self, text: &str) {
        self.clear_progress();
        let mut lost = self.lost.borrow_mut();
        if lost.is_none() {
            let mut out = io::stdout().lock();
            *lost = out
                .write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .err();
        }
    }

    /// Writes a line to standard output.
    pub(crate) fn line(&self, text: &str) {
        self.print(&format!("{text}\n"));
    }

    /// Writes a line for a person to standard error.
    pub(crate) fn note(&self, text: &str) {
        self.clear_progress();
        // There is nowhere to say that this failed.
        let _ = writeln!(io::stderr(), "{}", clean(text));
    }

    /// Says what a command failed with.
    pub(crate) fn error(&self, error: &CommandError) {
        for line in error.lines() {
            self.note(&line);
        }
    }

    /// Shows what is waited for, on a terminal only, in place of what was shown
    /// before.
    pub(crate) fn progress(&self, text: &str) {
        if self.interactive {
            let line: String = clean(text).chars().take(100).collect();
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            self.progress.set(true);
        }
    }

    /// Removes what [`Ui::progress`] shows.
    pub(crate) fn clear_progress(&self) {
        if self.progress.take() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// The text in a colour, if there are colours.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Cyan => 36,
            Colour::Bold => 1,
        };
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Whether everything was written. A reader that left early is no failure.
    pub(crate) fn finish(&self) -> Result<(), CommandError> {
        self.clear_progress();
        match &*self.lost.borrow() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::failed(
                format!("cannot write the output: {}", crate::error::plain(error)),
            )),
            _ => Ok(()),
        }
    }
}

/// A text without what a terminal would obey. Versions and messages may come
/// from a tenant's own services.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A text on one line, for a cell or a field.
pub(crate) fn one_line(text: &str) -> String {
    clean(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// A value as YAML or JSON, as kubectl writes it.
pub(crate) fn document(value: &Value, format: Format) -> Result<String, CommandError> {
    let written = match format {
        Format::Json => json_text(value).map_err(|error| error.to_string()),
        _ => serde_yaml::to_string(value).map_err(|error| error.to_string()),
    };
    written.map_err(|error| CommandError::failed(format!("cannot write the object: {error}")))
}

fn json_text(value: &Value) -> serde_json::Result<String> {
    let mut out = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, indent);
    serde::Serialize::serialize(value, &mut writer)?;
    out.push(b'\n');
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Objects as one: the object itself if it was asked for alone, else a list.
pub(crate) fn bundle(objects: &[Object], alone: bool) -> Value {
    match objects {
        [object] if alone => object.value().clone(),
        objects => {
            let items: Vec<&Value> = objects.iter().map(Object::value).collect();
            json!({
                "apiVersion": "v1",
                "items": items,
                "kind": "List",
                "metadata": {"resourceVersion": ""},
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 10: what a tenant's service answers does not drive a terminal.
    #[test]
    fn control_characters_are_shown_and_not_sent() {
        assert_eq!(clean("v1\u{1b}[2Jx\u{7}"), "v1\\u{1b}[2Jx\\u{7}");
        assert_eq!(one_line("a\nb"), "a\\nb");
        assert_eq!(clean("Ärger\n"), "Ärger\n");
    }
}
