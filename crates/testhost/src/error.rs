//! Why a test host did not do what was asked. Each text has all that is needed
//! to understand a failed test run from its log alone.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a test host did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file or folder of the cache cannot be used.
    #[error("cannot {verb} {path}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program on this machine cannot be started.
    #[error("cannot run {program}; `cargo xtask setup` installs what the test hosts need")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// There is no home for the cache.
    #[error("neither CB_CACHE_DIR nor XDG_CACHE_HOME nor HOME is set, so there is no cache folder")]
    NoCache,
    /// The root file system could not be built.
    #[error("building the root file system failed; the end of {log}:\n{tail}")]
    Rootfs {
        /// The whole log.
        log: PathBuf,
        /// Its end.
        tail: String,
    },
    /// A path or name would be misread by systemd-nspawn.
    #[error(
        "`{0}` cannot be handed to systemd-nspawn: use a plain absolute path without `:` or `\\`"
    )]
    Path(String),
    /// The host did not come up.
    #[error("{name} did not boot: {reason}\n{log}")]
    Boot {
        /// The host.
        name: String,
        /// What happened instead.
        reason: String,
        /// The end of its console, or its failed units.
        log: String,
    },
    /// A command in the host failed.
    #[error(
        "in {name}, this ended with {code}:\n{script}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
    )]
    Command {
        /// The host.
        name: String,
        /// What was run.
        script: String,
        /// Its exit code or signal.
        code: String,
        /// What it printed.
        stdout: String,
        /// What it complained.
        stderr: String,
    },
    /// A condition did not come true.
    #[error(
        "in {name}, waited {timeout:?} in vain for: {what}\nlast seen: {seen}\n--- journal\n{journal}"
    )]
    Wait {
        /// The host.
        name: String,
        /// The condition.
        what: String,
        /// How long.
        timeout: Duration,
        /// What was seen instead.
        seen: String,
        /// The end of the host's journal.
        journal: String,
    },
}

impl HostError {
    pub(crate) fn file(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> HostError {
        let path = path.into();
        move |source| HostError::File { verb, path, source }
    }

    pub(crate) fn program(program: &str) -> impl FnOnce(io::Error) -> HostError {
        let program = program.to_owned();
        move |source| HostError::Program { program, source }
    }
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
