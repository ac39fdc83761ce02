//! Calls of `cb-duckdb`: one command, one JSON document, an exit code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cb_core::database::{JobError, JobFailure, Progress};
use serde_json::Value;

use super::error::{cut_short, failed};
use super::{GRACE, Work};
use crate::systemd::{End, OnLine};

const PROGRAM: &str = "cb-duckdb";

/// A call that is being put together.
pub(super) struct Call<'a> {
    work: &'a Work<'a>,
    arguments: Vec<String>,
    binds: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
}

impl Work<'_> {
    /// A call of this command.
    pub(super) fn call(&self, command: &str) -> Call<'_> {
        // DuckDB's own limit leaves room for what it does not count, so that
        // it can say what it needed before the kernel kills it.
        let memory = self.database.memory / 4 * 3;
        let arguments = vec![
            command.to_owned(),
            "--progress".to_owned(),
            format!("--memory-limit={}KB", memory / 1000),
            format!("--timeout={}", self.database.timeout.as_secs()),
            format!("--threads={}", threads()),
        ];
        Call {
            work: self,
            arguments,
            binds: Vec::new(),
            read_only: Vec::new(),
        }
    }
}

impl Call<'_> {
    pub(super) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(super) fn path(self, path: &Path) -> Self {
        self.arg(path.to_string_lossy())
    }

    /// The tenant's database.
    pub(super) fn file(self) -> Self {
        let file = self.work.database.file.clone();
        self.path(&file)
    }

    /// A folder that the command writes.
    pub(super) fn writes(mut self, folder: &Path) -> Self {
        self.binds.push(folder.to_owned());
        self
    }

    /// A folder that the command reads.
    pub(super) fn read_only(mut self, folder: &Path) -> Self {
        self.read_only.push(folder.to_owned());
        self
    }

    /// Runs it. The document of a success, or what its failure means.
    pub(super) async fn run(self) -> Result<Value, JobError> {
        let work = self.work;
        let timeout = work.database.timeout + GRACE;
        let unit = work.confined(work.helper, timeout);
        let mut unit = unit.on_line(tell(work.progress));
        for argument in self.arguments {
            unit = unit.arg(argument);
        }
        for folder in &self.binds {
            unit = unit.bind(folder);
        }
        for folder in &self.read_only {
            unit = unit.bind_read_only(folder);
        }
        let outcome = work.systemd.run(&unit).await?;
        if let Some(mut error) = cut_short(PROGRAM, &outcome.end, work.database) {
            error.log = in_words(&outcome.log);
            return Err(error);
        }
        let document: Option<Value> = serde_json::from_slice(&outcome.stdout).ok();
        match (&outcome.end, document) {
            (End::Exited(0), Some(document)) => Ok(document),
            (End::Exited(code), Some(document)) => Err(refused(*code, &document, &outcome.log)),
            (end, None) => {
                let words = format!("{PROGRAM} printed no document: {end:?}");
                let mut error = failed(JobFailure::Failed, words);
                error.log = outcome.log;
                Err(error)
            }
            (end, Some(_)) => Err(failed(JobFailure::Failed, format!("{PROGRAM}: {end:?}"))),
        }
    }
}

/// Half of the processors: the tenant waits for the job, the others work.
fn threads() -> usize {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    all.div_ceil(2).min(4)
}

/// What the exit code and the document of a failure mean. DuckDB's own words
/// (`detail`) may quote rows, and stay where they are (law 11).
fn refused(code: i32, document: &Value, log: &[String]) -> JobError {
    let failure = match code {
        3 => JobFailure::Locked,
        4 => JobFailure::NotADatabase,
        5 => JobFailure::WalDoesNotReplay,
        6 => JobFailure::MigrationsRefused,
        7 => JobFailure::MigrationFailed,
        8 => JobFailure::NoSpace,
        9 => JobFailure::TimedOut,
        10 => JobFailure::Differs,
        11 => JobFailure::OutOfMemory,
        _ => JobFailure::Failed,
    };
    let error = &document["error"];
    let mut message = error["message"].as_str().unwrap_or_default().to_owned();
    if let Some(hint) = error["hint"].as_str() {
        message.push_str("; ");
        message.push_str(hint);
    }
    JobError {
        failure,
        message,
        log: in_words(log),
    }
}

/// Tells the lines of progress in words.
fn tell(progress: &Progress) -> OnLine {
    let progress = Arc::clone(progress);
    Arc::new(move |line: &str| {
        if let Some(words) = words(line) {
            progress(words);
        }
    })
}

/// The lines of progress in words; other lines are left out, because nobody
/// knows what they quote.
fn in_words(log: &[String]) -> Vec<String> {
    log.iter().filter_map(|line| words(line)).collect()
}

fn words(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    match line["event"].as_str()? {
        "started" => Some(format!("migration {}", text("migration"))),
        "applied" => Some(format!("migration {} is applied", text("migration"))),
        "copied" => Some(format!("copied to {}", text("file"))),
        "read" => Some(format!("read {} rows", line["rows"])),
        other => Some(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Law 11: DuckDB may quote a row.
    #[test]
    fn the_message_is_told_and_duckdbs_words_are_not() {
        let document = json!({"error": {
            "kind": "MigrationFailed",
            "message": "the migration 0002_x.sql failed; nothing was changed",
            "detail": "Duplicate key \"email: a@example.org\"",
            "hint": null,
        }});
        let log = [
            r#"{"event":"started","migration":"0002_x.sql"}"#,
            "a@example.org",
        ];
        let error = refused(7, &document, &log.map(str::to_owned));
        assert_eq!(error.failure, JobFailure::MigrationFailed);
        let all = format!("{error:?}");
        assert!(
            all.contains("0002_x.sql") && !all.contains("a@example.org"),
            "{all}"
        );
        assert_eq!(error.log, ["migration 0002_x.sql"]);
    }

    #[test]
    fn a_hint_follows_the_message() {
        let document = json!({"error": {"message": "it is so", "hint": "do this"}});
        assert_eq!(refused(3, &document, &[]).message, "it is so; do this");
    }
}
