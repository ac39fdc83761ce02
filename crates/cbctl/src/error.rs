//! Why a command failed: the kind decides the exit code, and what to do about
//! it is a hint apart from the message.

use std::error::Error as _;

use crate::client;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The operation failed: exit code 1.
    Failed,
    /// The command line makes no sense: exit code 2.
    Usage,
    /// What went wrong has been said already: exit code 1 and no more words.
    Said,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    pub(crate) kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

impl CommandError {
    /// The operation failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Failed,
            message: format!("error: {}", message.into()),
            hint: None,
        }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Usage,
            ..Self::failed(message)
        }
    }

    /// What went wrong has been said already.
    pub(crate) fn said() -> Self {
        Self {
            kind: ErrorKind::Said,
            ..Self::failed("")
        }
    }

    /// What the operator refused or would refuse, in its words.
    pub(crate) fn said_by_server(message: String) -> Self {
        Self {
            kind: ErrorKind::Failed,
            message,
            hint: None,
        }
    }

    /// Adds what to do.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Failed | ErrorKind::Said => 1,
            ErrorKind::Usage => 2,
        }
    }

    /// The lines for a person; none if all is said.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.kind == ErrorKind::Said {
            return Vec::new();
        }
        let mut lines: Vec<String> = self.message.lines().map(str::to_owned).collect();
        lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        lines
    }
}

impl From<client::Error> for CommandError {
    fn from(error: client::Error) -> Self {
        let hint = error.hint();
        let message = match &error {
            // It says itself who is speaking.
            client::Error::Refused(status) => status.to_string(),
            error => format!("error: {}", chain(error)),
        };
        Self {
            kind: ErrorKind::Failed,
            message,
            hint,
        }
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An I/O error in plain words, without the number that nobody knows.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.source().map_or_else(|| error.to_string(), chain);
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_decides_the_exit_code() {
        assert_eq!(CommandError::failed("x").exit_code(), 1);
        assert_eq!(CommandError::usage("x").exit_code(), 2);
        assert_eq!(CommandError::said().exit_code(), 1);
        assert!(CommandError::said().lines().is_empty());
    }

    #[test]
    fn a_hint_is_a_line_of_its_own() {
        let error = CommandError::failed("it broke").hint("mend it");
        assert_eq!(error.lines(), ["error: it broke", "hint: mend it"]);
    }

    #[test]
    fn the_number_of_a_system_error_is_left_out() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(plain(&error), "No such file or directory");
    }
}
