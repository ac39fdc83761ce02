//! A release's own programs for its database.
//!
//! They run like `cb-duckdb`, with the environment that the services have:
//! `DATABASE_PATH`, the tenant's `.env` and its credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cb_core::api::ReleaseCommand;
use cb_core::database::{JobError, JobFailure};

use super::Work;
use super::error::{cut_short, failed};
use crate::system::credentials;
use crate::systemd::{End, OnLine, Outcome};

/// The variable that names the database.
const DATABASE_PATH: &str = "DATABASE_PATH";

/// Checks that a release has this program.
pub(super) fn require(release: &Path, command: &ReleaseCommand) -> Result<(), JobError> {
    let program = program(release, command);
    match program.is_file() {
        true => Ok(()),
        false => {
            let words = format!(
                "the release has no program {}, which the Application names to migrate with",
                program.display()
            );
            Err(failed(JobFailure::MigrationsRefused, words))
        }
    }
}

fn program(release: &Path, command: &ReleaseCommand) -> PathBuf {
    release.join(command.program.as_str())
}

impl Work<'_> {
    /// Migrates with the release's own program.
    pub(super) async fn migrate_by(
        &self,
        release: &Path,
        command: &ReleaseCommand,
    ) -> Result<(), JobError> {
        require(release, command)?;
        let progress = Arc::clone(self.progress);
        let on_line: OnLine = Arc::new(move |line: &str| progress(line.to_owned()));
        let outcome = self.run_release(release, command, Some(on_line)).await?;
        self.require_success(release, command, outcome, JobFailure::MigrationFailed)
            .map(drop)
    }

    /// The integer that the release's program prints.
    pub(super) async fn version_by(
        &self,
        release: &Path,
        command: &ReleaseCommand,
    ) -> Result<i64, JobError> {
        let outcome = self.run_release(release, command, None).await?;
        let outcome = self.require_success(release, command, outcome, JobFailure::Failed)?;
        let text = String::from_utf8_lossy(&outcome.stdout);
        text.trim().parse().map_err(|_| {
            let words = format!(
                "{} did not print one integer, the schema version",
                program(release, command).display()
            );
            failed(JobFailure::Failed, words)
        })
    }

    async fn run_release(
        &self,
        release: &Path,
        command: &ReleaseCommand,
        on_line: Option<OnLine>,
    ) -> Result<Outcome, JobError> {
        let file = self.database.file.to_string_lossy();
        let mut unit = self
            .confined(&program(release, command), self.database.timeout)
            .folder(release)
            .bind_read_only(release)
            .env(DATABASE_PATH, &file)
            .env_file(&self.database.env_file)
            // An integer; a migration's output is of no use here.
            .stdout_limit(4096);
        for (setting, credentials) in credentials::properties(&self.database.credentials) {
            unit = unit.property(setting, credentials);
        }
        for argument in &command.args {
            unit = unit.arg(argument.as_str());
        }
        if let Some(on_line) = on_line {
            unit = unit.on_line(on_line);
        }
        Ok(self.systemd.run(&unit).await?)
    }

    fn require_success(
        &self,
        release: &Path,
        command: &ReleaseCommand,
        outcome: Outcome,
        failure: JobFailure,
    ) -> Result<Outcome, JobError> {
        let program = program(release, command);
        let name = program.display().to_string();
        if let Some(mut error) = cut_short(&name, &outcome.end, self.database) {
            error.log = outcome.log;
            return Err(error);
        }
        match outcome.end {
            End::Exited(0) => Ok(outcome),
            end => {
                let code = match end {
                    End::Exited(code) => code,
                    _ => -1,
                };
                Err(JobError {
                    failure,
                    message: format!("{name} ended with exit code {code}"),
                    log: outcome.log,
                })
            }
        }
    }
}
