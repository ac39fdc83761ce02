//! The migrations of a release, what a database records of them, and what
//! follows: pure but for reading the folder.
//!
//! A migration is a file `NNNN_name.sql`. The application's own table
//! (`schema_migrations`: version, name, applied_at) says which were applied;
//! the SHA-256 of each is kept in a second table beside it, so that the
//! application's table stays as the application knows it. A database that was
//! set up by the application has no checksums yet: they are taken over from
//! the folder by the next `migrate`.

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::statements;

/// One numbered change of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) sha256: String,
    #[serde(skip)]
    pub(crate) sql: String,
}

/// What a database records of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) name: String,
    pub(crate) sha256: Option<String>,
}

/// What a database needs to reach a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// To be applied, in this order.
    pub(crate) pending: Vec<Migration>,
    /// Applied without a recorded checksum, which is recorded now.
    pub(crate) adopt: Vec<Migration>,
}

/// Why migrations are not applied. Nothing was changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refused {
    #[error("{} is no migration: its name must be like 0001_init.sql", file.display())]
    Name { file: PathBuf },
    #[error("{} is not UTF-8 text", file.display())]
    Text { file: PathBuf },
    #[error("{} has no migrations", folder.display())]
    None { folder: PathBuf },
    #[error("{first} and {second} have the same number")]
    Twice { first: String, second: String },
    #[error("{file}, line {line}: a migration cannot have the statement {word}")]
    Statement {
        file: String,
        line: usize,
        word: &'static str,
    },
    #[error("{version:04}_{name}.sql was applied to the database and is missing")]
    Missing { version: i64, name: String },
    #[error("{file} was applied to the database under the name {version:04}_{recorded}.sql")]
    Renamed {
        file: String,
        version: i64,
        recorded: String,
    },
    #[error("{file} was edited after it was applied to the database: its SHA-256 was {recorded}")]
    Edited { file: String, recorded: String },
    #[error("{file} comes too late: the database is at version {at} already")]
    OutOfOrder { file: String, at: i64 },
    #[error("there is no migration {target}")]
    NoTarget { target: i64 },
    #[error("the database is at version {at}, and there is no way back to {target}")]
    Backwards { target: i64, at: i64 },
    #[error("the database is ahead of the release: it is at version {at}, and {} has migrations up to {top}", folder.display())]
    Ahead { folder: PathBuf, at: i64, top: i64 },
    #[error("the database is at version {at}, and {} has no migration of that number", folder.display())]
    Unknown { folder: PathBuf, at: i64 },
    #[error("the table {table} is not the record of migrations: {reason}")]
    Table { table: String, reason: String },
}

impl Refused {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let hint = match self {
            Refused::Statement { .. } => {
                "remove it; a migration runs in one transaction with its record and stays in it"
            }
            Refused::Missing { .. } | Refused::Ahead { .. } | Refused::Unknown { .. } => {
                "use a release that has every migration of the database"
            }
            Refused::Renamed { .. } | Refused::Edited { .. } => {
                "put the file back as it was and add a new migration instead"
            }
            Refused::OutOfOrder { .. } => "give it a number above all that were applied",
            Refused::Backwards { .. } => "restore a backup of that version",
            _ => return None,
        };
        Some(hint)
    }
}

/// Reads the migrations in `folder`, ordered by number. Files that do not end
/// in `.sql` are left alone.
pub(crate) fn load(folder: &Path) -> Result<Vec<Migration>, Error> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::io("reading", &path, source)
    };
    let mut migrations = Vec::new();
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        if path.extension().is_none_or(|ending| ending != "sql") {
            continue;
        }
        let (version, name) =
            parse_name(&path).ok_or_else(|| Refused::Name { file: path.clone() })?;
        // A link is as good as a file; a pipe would never end.
        if !fs::metadata(&path).map_err(io(&path))?.is_file() {
            return Err(Error::NotRegular { path });
        }
        let bytes = fs::read(&path).map_err(io(&path))?;
        let sha256 = HEXLOWER.encode(&Sha256::digest(&bytes));
        let sql = String::from_utf8(bytes).map_err(|_| Refused::Text { file: path.clone() })?;
        migrations.push(Migration {
            file: format!("{version:04}_{name}.sql"),
            version,
            name,
            sha256,
            sql,
        });
    }
    migrations.sort_by(|a, b| (a.version, &a.name).cmp(&(b.version, &b.name)));
    check(&migrations, folder)?;
    Ok(migrations)
}

fn check(migrations: &[Migration], folder: &Path) -> Result<(), Refused> {
    if migrations.is_empty() {
        return Err(Refused::None {
            folder: folder.to_owned(),
        });
    }
    for pair in migrations.windows(2) {
        if pair[0].version == pair[1].version {
            return Err(Refused::Twice {
                first: pair[0].file.clone(),
                second: pair[1].file.clone(),
            });
        }
    }
    Ok(())
}

fn parse_name(path: &Path) -> Option<(i64, String)> {
    let (number, name) = path.file_stem()?.to_str()?.split_once('_')?;
    let digits = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    let version = number
        .parse()
        .ok()
        .filter(|version| digits && *version > 0)?;
    (!name.is_empty()).then(|| (version, name.to_owned()))
}

/// Compares the files with the records, both ordered by number, and says what
/// is to be done up to `target` or the last file.
pub(crate) fn plan(
    files: &[Migration],
    applied: &[Applied],
    target: Option<i64>,
) -> Result<Plan, Refused> {
    let at = applied.last().map_or(0, |applied| applied.version);
    let mut adopt = Vec::new();
    for applied in applied {
        let file = files.iter().find(|file| file.version == applied.version);
        let file = file.ok_or_else(|| Refused::Missing {
            version: applied.version,
            name: applied.name.clone(),
        })?;
        compare(file, applied)?;
        if applied.sha256.is_none() {
            adopt.push(file.clone());
        }
    }
    let is_applied = |version| applied.iter().any(|applied| applied.version == version);
    if let Some(late) = files
        .iter()
        .find(|file| file.version < at && !is_applied(file.version))
    {
        return Err(Refused::OutOfOrder {
            file: late.file.clone(),
            at,
        });
    }
    if let Some(target) = target {
        if target < at {
            return Err(Refused::Backwards { target, at });
        }
        if !files.iter().any(|file| file.version == target) {
            return Err(Refused::NoTarget { target });
        }
    }
    let pending: Vec<Migration> = files
        .iter()
        .filter(|file| file.version > at && target.is_none_or(|target| file.version <= target))
        .cloned()
        .collect();
    check_statements(&pending)?;
    Ok(Plan {
        from: at,
        to: pending.last().map_or(at, |last| last.version),
        pending,
        adopt,
    })
}

/// The files of a release that a database at version `at` still needs, all of
/// them for 0. Without the database: whether those that were applied are the
/// same is for [`plan`] to say.
pub(crate) fn pending<'a>(
    files: &'a [Migration],
    folder: &Path,
    at: i64,
) -> Result<&'a [Migration], Refused> {
    let folder = || folder.to_owned();
    let top = files.last().map_or(0, |last| last.version);
    if at > top {
        let folder = folder();
        return Err(Refused::Ahead { folder, at, top });
    }
    if at > 0 && !files.iter().any(|file| file.version == at) {
        let folder = folder();
        return Err(Refused::Unknown { folder, at });
    }
    let pending = &files[files.partition_point(|file| file.version <= at)..];
    check_statements(pending)?;
    Ok(pending)
}

fn check_statements(files: &[Migration]) -> Result<(), Refused> {
    for file in files {
        if let Some((line, word)) = statements::refused(&file.sql) {
            return Err(Refused::Statement {
                file: file.file.clone(),
                line,
                word,
            });
        }
    }
    Ok(())
}

fn compare(file: &Migration, applied: &Applied) -> Result<(), Refused> {
    if file.name != applied.name {
        return Err(Refused::Renamed {
            file: file.file.clone(),
            version: applied.version,
            recorded: applied.name.clone(),
        });
    }
    match &applied.sha256 {
        Some(recorded) if *recorded != file.sha256 => Err(Refused::Edited {
            file: file.file.clone(),
            recorded: recorded.clone(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "migrations_tests.rs"]
mod tests;
