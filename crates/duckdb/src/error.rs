//! What can go wrong, which exit code it has, and how it is reported.
//!
//! A message names files, positions and versions only. DuckDB's own words are
//! the `detail`: they may quote rows of the tenant, so whoever shows a failure
//! to others than the tenant shows the message.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::files::{SIDECARS, beside};
use crate::migrations::Refused;

/// The exit codes, which are the interface to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Done = 0,
    /// Failed in a way that has no code of its own.
    Failed = 1,
    /// The command line is wrong, or the program was run as root.
    Usage = 2,
    /// Another process has the database open.
    Locked = 3,
    /// The file is no database, is damaged, or another version wrote it.
    NotADatabase = 4,
    /// The write-ahead log does not replay; nothing was changed.
    Wal = 5,
    /// The migrations contradict each other or the database; nothing was changed.
    Refused = 6,
    /// A migration failed; nothing was changed, or what `applied` names stays.
    MigrationFailed = 7,
    /// No space left.
    NoSpace = 8,
    /// The time given was over.
    TimedOut = 9,
    /// A backup is not equal to what it was compared with.
    Differs = 10,
    /// DuckDB needs more memory than it was given.
    OutOfMemory = 11,
}

impl Code {
    /// The name that the JSON document carries as `kind`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Code::Done => "Done",
            Code::Failed => "Failed",
            Code::Usage => "Usage",
            Code::Locked => "Locked",
            Code::NotADatabase => "NotADatabase",
            Code::Wal => "WalDoesNotReplay",
            Code::Refused => "MigrationRefused",
            Code::MigrationFailed => "MigrationFailed",
            Code::NoSpace => "NoSpace",
            Code::TimedOut => "TimedOut",
            Code::Differs => "Differs",
            Code::OutOfMemory => "OutOfMemory",
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cb-duckdb does not run as root, because it reads files that a tenant wrote")]
    Root,
    #[error("{path} exists already and is not overwritten")]
    Exists { path: PathBuf },
    #[error("{path} is no regular file")]
    NotRegular { path: PathBuf },
    #[error("{path} is no folder")]
    NotAFolder { path: PathBuf },
    #[error("{path} is the folder of the database itself")]
    OwnFolder { path: PathBuf },
    #[error("the path {path} cannot be used: it is not UTF-8 text")]
    Path { path: PathBuf },
    #[error("another process has {path} open")]
    Locked { path: PathBuf },
    #[error("{path} cannot be used as a database: {reason}")]
    NotADatabase { path: PathBuf, reason: String },
    #[error("the database {path} is damaged")]
    Damaged {
        path: PathBuf,
        source: duckdb::Error,
    },
    #[error("the write-ahead log {wal} does not replay; nothing was changed")]
    Wal { wal: PathBuf, detail: String },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the migration {file} failed{}; {}", because(.source), kept(.before))]
    Migration {
        file: String,
        /// Migrations of this run that were committed before it.
        before: Vec<String>,
        source: duckdb::Error,
    },
    #[error("the migrations up to {file} could not be committed{}; {}", because(.source), kept(.before))]
    Commit {
        file: String,
        /// Migrations of this run that were committed before it.
        before: Vec<String>,
        source: duckdb::Error,
    },
    #[error("the migration {file} ended the transaction it runs in; what it did before stays")]
    EndedTransaction { file: String },
    #[error("no space left while {doing} {path}")]
    NoSpace {
        doing: &'static str,
        path: PathBuf,
        detail: String,
    },
    #[error("{doing} {path} needs more memory than --memory-limit gives")]
    OutOfMemory {
        doing: &'static str,
        path: PathBuf,
        source: duckdb::Error,
    },
    #[error("{path} was not done within {seconds} s")]
    TimedOut { path: PathBuf, seconds: f64 },
    #[error("the backup {backup} differs from {other}: {what}")]
    Differs {
        backup: PathBuf,
        other: String,
        what: String,
    },
    #[error("a digest that DuckDB {theirs} made cannot be compared by DuckDB {ours}")]
    Incomparable { theirs: String, ours: String },
    #[error("{doing} {path} failed")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{doing} {path} failed")]
    Query {
        doing: &'static str,
        path: PathBuf,
        source: duckdb::Error,
    },
    #[error("{path} has a write-ahead log of {bytes} bytes after a checkpoint")]
    WalLeft { path: PathBuf, bytes: u64 },
}

impl Error {
    /// An error of the file system; gives "no space" its own kind.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Error {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Error::NoSpace {
                doing,
                path,
                detail: source.to_string(),
            },
            _ => Error::Io {
                doing,
                path,
                source,
            },
        }
    }

    /// An error that DuckDB gave after the database was opened.
    pub(crate) fn query(doing: &'static str, path: &Path, source: duckdb::Error) -> Error {
        let path = path.to_owned();
        let text = source.to_string();
        if is_no_space(&text) {
            Error::NoSpace {
                doing,
                path,
                detail: text,
            }
        } else if is_out_of_memory(&text) {
            Error::OutOfMemory {
                doing,
                path,
                source,
            }
        } else if is_damage(&text) {
            Error::Damaged { path, source }
        } else {
            Error::Query {
                doing,
                path,
                source,
            }
        }
    }

    /// The same error about the database at `to`, if it is one about that at
    /// `from` or its log.
    pub(crate) fn moved(mut self, from: &Path, to: &Path) -> Error {
        if let Error::NotADatabase { path, .. }
        | Error::Damaged { path, .. }
        | Error::Wal { wal: path, .. }
        | Error::OutOfMemory { path, .. }
        | Error::Query { path, .. } = &mut self
        {
            let renamed = std::iter::once("")
                .chain(SIDECARS)
                .find(|suffix| *path == beside(from, suffix))
                .map(|suffix| beside(to, suffix));
            if let Some(renamed) = renamed {
                *path = renamed;
            }
        }
        self
    }

    pub(crate) fn code(&self) -> Code {
        match self {
            Error::Root | Error::OwnFolder { .. } => Code::Usage,
            Error::Locked { .. } => Code::Locked,
            Error::NotADatabase { .. } | Error::Damaged { .. } => Code::NotADatabase,
            Error::Wal { .. } => Code::Wal,
            Error::Refused(_) => Code::Refused,
            Error::Migration { source, .. } | Error::Commit { source, .. } => {
                match source.to_string() {
                    text if is_no_space(&text) => Code::NoSpace,
                    text if is_out_of_memory(&text) => Code::OutOfMemory,
                    _ => Code::MigrationFailed,
                }
            }
            Error::NoSpace { .. } => Code::NoSpace,
            Error::TimedOut { .. } => Code::TimedOut,
            Error::Differs { .. } => Code::Differs,
            Error::OutOfMemory { .. } => Code::OutOfMemory,
            Error::Exists { .. }
            | Error::NotRegular { .. }
            | Error::NotAFolder { .. }
            | Error::Path { .. }
            | Error::EndedTransaction { .. }
            | Error::Incomparable { .. }
            | Error::Io { .. }
            | Error::Query { .. }
            | Error::WalLeft { .. } => Code::Failed,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Error::Wal { detail, .. } | Error::NoSpace { detail, .. } => Some(detail.clone()),
            other => std::error::Error::source(other).map(ToString::to_string),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        let hint = match self {
            Error::Root => "run it as the user that owns the database",
            Error::OwnFolder { .. } => "name another, in which it can be kept",
            Error::OutOfMemory { .. } => "give more with --memory-limit",
            Error::Locked { .. } => "stop the service that uses it, then try again",
            Error::Wal { .. } => {
                "keep the database and its .wal together, aside; restore a backup in their place"
            }
            Error::Migration { .. } | Error::Commit { .. } if self.is_transaction_limit() => {
                "DuckDB cannot do this in one transaction with what was changed before it; \
                 with --one-by-one every migration has a transaction of its own"
            }
            Error::EndedTransaction { .. } => "restore the backup and correct the migration",
            Error::Incomparable { .. } => "compare the SHA-256 of the file with --sha256",
            Error::TimedOut { .. } => "give more time with --timeout",
            Error::Refused(refused) => return refused.hint(),
            _ => return None,
        };
        Some(hint)
    }

    /// Migrations of this run that stay applied.
    fn applied(&self) -> &[String] {
        match self {
            Error::Migration { before, .. } | Error::Commit { before, .. } => before,
            _ => &[],
        }
    }

    /// Whether the migrations could succeed in transactions of their own.
    fn is_transaction_limit(&self) -> bool {
        match self {
            Error::Migration { source, .. } | Error::Commit { source, .. } => {
                is_transaction_limit(&source.to_string())
            }
            _ => false,
        }
    }

    /// The document that is printed on stdout.
    pub(crate) fn document(&self) -> Value {
        json!({"error": {
            "kind": self.code().name(),
            "message": self.to_string(),
            "detail": self.detail(),
            "hint": self.hint(),
            "applied": self.applied(),
            "transactionLimit": self.is_transaction_limit(),
        }})
    }
}

fn kept(before: &[String]) -> String {
    match before {
        [] => "nothing was changed".to_owned(),
        before => format!("{} stay applied", before.join(", ")),
    }
}

/// Why a migration failed, where that is not the migration's fault.
fn because(source: &duckdb::Error) -> &'static str {
    match source.to_string() {
        text if is_no_space(&text) => ": no space left",
        text if is_out_of_memory(&text) => ": it needs more memory than --memory-limit gives",
        _ => "",
    }
}

/// Whether DuckDB says that the disk or a quota is full.
pub(crate) fn is_no_space(text: &str) -> bool {
    [
        "No space left on device",
        "Disk quota exceeded",
        // By itself it takes what is free on the disk for temporary files.
        "max_temp_directory_size",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// Whether DuckDB says that it has no memory left.
pub(crate) fn is_out_of_memory(text: &str) -> bool {
    text.contains("Out of Memory Error")
}

/// Whether DuckDB says that what it read is not what was written.
pub(crate) fn is_damage(text: &str) -> bool {
    [
        "Corrupt database file",
        "Could not read enough bytes",
        "Could not read all bytes",
        "Failed to deserialize",
        "Serialization Error",
        "INTERNAL Error",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// Whether DuckDB refuses because of an earlier change in the same transaction.
fn is_transaction_limit(text: &str) -> bool {
    text.starts_with("TransactionContext Error") || text.contains("outstanding updates")
}
