//! Reads a whole backup, and compares it with what it should be.

use std::path::Path;

use serde_json::{Value, json};

use crate::commands::Context;
use crate::digest::{self, Content};
use crate::error::Error;
use crate::files;
use crate::open::{Access, open};

/// What a backup must be equal to.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) against: Option<std::path::PathBuf>,
    pub(crate) digest: Option<String>,
    pub(crate) sha256: Option<String>,
}

/// The digest of the database at `path`.
pub(crate) fn digest(path: &Path, context: &Context) -> Result<Value, Error> {
    let content = self::content(path, context)?;
    Ok(json!({"file": path, "content": content}))
}

/// Reads every byte and row of `backup` and compares it with `expected`.
pub(crate) fn verify(
    backup: &Path,
    expected: &Expected,
    context: &Context,
) -> Result<Value, Error> {
    let differs = |other: &str, what: String| Error::Differs {
        backup: backup.to_owned(),
        other: other.to_owned(),
        what,
    };
    let file = files::report(backup, &context.watch)?;
    if let Some(sha256) = &expected.sha256
        && *sha256 != file.sha256
    {
        let what = format!("its SHA-256 is {}", file.sha256);
        return Err(differs("the recorded SHA-256", what));
    }
    let content = self::content(backup, context)?;
    let version = |digest: &str| Some(digest.split_once(':')?.0.to_owned());
    if let Some(digest) = &expected.digest
        && let (Some(theirs), Some(ours)) = (version(digest), version(&content.digest))
        && theirs != ours
    {
        return Err(Error::Incomparable { theirs, ours });
    }
    context
        .progress
        .say(&json!({"event": "read", "file": backup, "rows": content.rows}));
    if let Some(digest) = &expected.digest
        && *digest != content.digest
    {
        let what = format!("its content has the digest {}", content.digest);
        return Err(differs("the recorded digest", what));
    }
    if let Some(other) = &expected.against {
        let source = self::content(other, context)?;
        if source != content {
            let other = other.display().to_string();
            return Err(differs(&other, difference(&content, &source)));
        }
    }
    Ok(json!({
        "backup": file,
        "content": content,
        "comparedWith": expected.against,
    }))
}

/// Reads every row of the database at `path`.
pub(crate) fn content(path: &Path, context: &Context) -> Result<Content, Error> {
    let connection = open(path, Access::ReadOnly, &context.limits, &context.watch)?;
    digest::content(&connection, path, &context.watch)
}

/// The first thing that differs, in words.
fn difference(backup: &Content, source: &Content) -> String {
    for table in &source.tables {
        let name = format!("{}.{}", table.schema, table.name);
        let found = backup
            .tables
            .iter()
            .find(|found| (&found.schema, &found.name) == (&table.schema, &table.name));
        match found {
            None => return format!("it has no table {name}"),
            Some(found) if found.rows != table.rows => {
                return format!("{name} has {} rows instead of {}", found.rows, table.rows);
            }
            Some(found) if found.digest != table.digest => {
                return format!("the rows of {name} are others");
            }
            Some(_) => {}
        }
    }
    match backup.tables.len() > source.tables.len() {
        true => "it has more tables".to_owned(),
        false => "the definitions of tables, views, indexes or sequences are others".to_owned(),
    }
}
