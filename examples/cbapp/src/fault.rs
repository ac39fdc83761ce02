//! Test knobs: make a service misbehave in one well-known way.
//!
//! The knob is the environment variable `CBAPP_FAULT` or, where that is unset
//! or empty, the file `FAULT` in the release folder; a release can so be
//! faulty by itself. Both services obey it.
//!
//! | value | what happens |
//! |---|---|
//! | `exit-at-once` | the process exits with code 1 before doing anything |
//! | `unhealthy` | `GET /health` answers 503; everything else works |
//! | `wrong-version` | `GET /health` reports a version that is not the release's |
//! | `never-listen` | the process runs, but does not listen on its port |
//! | `ignore-sigterm` | the process goes on after SIGTERM |

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The environment variable that sets a fault.
pub const VARIABLE: &str = "CBAPP_FAULT";

/// A way to misbehave. The module's table says what each does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `exit-at-once`
    ExitAtOnce,
    /// `unhealthy`
    Unhealthy,
    /// `wrong-version`
    WrongVersion,
    /// `never-listen`
    NeverListen,
    /// `ignore-sigterm`
    IgnoreSigterm,
}

/// Why the knob could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The value is none of the known ones.
    #[error(
        "{origin} is `{value}`; it must be exit-at-once, unhealthy, wrong-version, never-listen \
         or ignore-sigterm"
    )]
    Unknown {
        /// The variable or file it comes from.
        origin: String,
        /// What it says.
        value: String,
    },
    /// The file exists but cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Fault {
    /// The fault asked for by `variable` (the value of [`VARIABLE`]) or by the
    /// release's `FAULT` file; `None` if neither says anything.
    ///
    /// # Errors
    /// An unknown value, or a file that cannot be read: a test that misspells
    /// a fault must not pass for lack of it.
    pub fn find(variable: Option<&str>, release: &Path) -> Result<Option<Fault>, FaultError> {
        if let Some(value) = variable.map(str::trim).filter(|value| !value.is_empty()) {
            return parse(value, VARIABLE.to_owned()).map(Some);
        }
        let path = release.join("FAULT");
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => parse(text.trim(), path.display().to_string()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FaultError::Read { path, source }),
        }
    }
}

/// The version to report: the release's, unless the fault says otherwise.
#[must_use]
pub fn reported_version(fault: Option<Fault>, release: String) -> String {
    match fault {
        Some(Fault::WrongVersion) => format!("{release}-wrong"),
        _ => release,
    }
}

fn parse(value: &str, origin: String) -> Result<Fault, FaultError> {
    Ok(match value {
        "exit-at-once" => Fault::ExitAtOnce,
        "unhealthy" => Fault::Unhealthy,
        "wrong-version" => Fault::WrongVersion,
        "never-listen" => Fault::NeverListen,
        "ignore-sigterm" => Fault::IgnoreSigterm,
        _ => {
            let value = value.to_owned();
            return Err(FaultError::Unknown { origin, value });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_file_and_nothing_means_no_fault() {
        let release = tempfile::tempdir().unwrap();
        let find = |variable| Fault::find(variable, release.path());
        assert_eq!(find(None).unwrap(), None);
        assert_eq!(find(Some("")).unwrap(), None);
        fs::write(release.path().join("FAULT"), "unhealthy\n").unwrap();
        assert_eq!(find(None).unwrap(), Some(Fault::Unhealthy));
        assert_eq!(
            find(Some("never-listen")).unwrap(),
            Some(Fault::NeverListen)
        );
    }

    #[test]
    fn an_unknown_fault_is_an_error_that_names_the_known_ones() {
        let error = Fault::find(Some("unhealty"), Path::new("/"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("CBAPP_FAULT is `unhealty`"), "{error}");
        assert!(error.contains("unhealthy, wrong-version"), "{error}");
    }
}
