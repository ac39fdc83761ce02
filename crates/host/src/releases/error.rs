//! Why a release could not be made, for the person who can put it right.

use std::io;
use std::path::PathBuf;

use cb_core::types::Version;

use crate::files::FileError;
use crate::systemd::{End, Outcome, SystemdError};
use crate::users::UsersError;

/// How many lines of a program's output are told.
const LINES: usize = 10;

/// Why a release could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The source cannot be read.
    #[error("cannot read the release's source {}", path.display())]
    Source {
        /// The folder, archive or repository.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive is not the one that was meant.
    #[error("archive {} has the checksum {found}, but the Application says {expected}; nothing was installed", path.display())]
    Checksum {
        /// The archive.
        path: PathBuf,
        /// In the Application.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// An entry must not be in a release.
    #[error("{}: `{entry}` {problem}; nothing was installed", path.display())]
    Hostile {
        /// The folder or archive.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The source is larger than the limits.
    #[error("{} holds more than {limit}; nothing was installed", path.display())]
    TooLarge {
        /// The folder or archive.
        path: PathBuf,
        /// In words.
        limit: String,
    },
    /// The Application names no source, or two.
    #[error("the version must have exactly one of `folder`, `archive` and `git`")]
    NoSource,
    /// A program of the system is not there.
    #[error("there is no program `{program}` on this host; install the package `{package}`")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The tag could not be fetched.
    #[error("cannot fetch tag `{tag}` of {repository}: {reason}; nothing was installed")]
    Fetch {
        /// The repository.
        repository: String,
        /// The tag.
        tag: Version,
        /// How git ended, and its last words.
        reason: String,
    },
    /// The tag points to another commit than the Application says.
    #[error(
        "tag `{tag}` of {repository} is at commit {found}, but the Application says {expected}: the tag was moved; nothing was installed"
    )]
    Moved {
        /// The repository.
        repository: String,
        /// The tag.
        tag: Version,
        /// In the Application.
        expected: String,
        /// In the repository.
        found: String,
    },
    /// A build command failed.
    #[error("the build of {release} {reason}; nothing was installed")]
    Build {
        /// The Application and version.
        release: String,
        /// How it ended, and its last words.
        reason: String,
    },
    /// A file of the operator's name is somebody else's.
    #[error("{} does not carry the operator's mark; it is not touched. Move it away", .0.display())]
    Conflict(PathBuf),
    /// The user that fetches or builds cannot be made.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// systemd does not run the program.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The release cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The work was cut off.
    #[error("installing the release was cut off: {0}")]
    CutOff(String),
}

/// How a program failed, in words; `None` if it did not.
pub(crate) fn failure(outcome: &Outcome, limits: &str) -> Option<String> {
    let ended = match &outcome.end {
        End::Exited(0) => return None,
        End::Exited(code) => format!("ended with exit code {code}"),
        End::Killed(signal) => format!("was ended by signal {signal}"),
        End::TimedOut => format!("took too long ({limits})"),
        End::OutOfMemory => format!("used too much memory ({limits})"),
        End::NotStarted(word) => format!("could not be started ({word})"),
    };
    let lines = &outcome.log[outcome.log.len().saturating_sub(LINES)..];
    match lines {
        [] => Some(format!("{ended} and wrote nothing")),
        lines => Some(format!("{ended}; its last lines: {}", lines.join(" | "))),
    }
}
