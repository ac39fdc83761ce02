//! From what went wrong to a [`JobError`].

use cb_core::database::{Database, JobError, JobFailure};

use crate::files::{FileError, chain};
use crate::systemd::{End, SystemdError};

/// An error without a log.
pub(super) fn failed(failure: JobFailure, message: impl Into<String>) -> JobError {
    JobError {
        failure,
        message: message.into(),
        log: Vec::new(),
    }
}

pub(super) fn no_user(database: &Database) -> JobError {
    let words = format!(
        "there is no user {}, so nobody can work on {}",
        database.user,
        database.file.display()
    );
    failed(JobFailure::Failed, words)
}

/// How a program ended that did not end by itself; `None` if it did.
pub(super) fn cut_short(program: &str, end: &End, database: &Database) -> Option<JobError> {
    let file = database.file.display();
    let seconds = database.timeout.as_secs();
    let error = match end {
        // systemd's own codes, see systemd.exec(5).
        End::Exited(code @ 200..=245) => failed(
            JobFailure::Failed,
            format!("systemd could not run {program} for {file}: exit code {code}"),
        ),
        End::Exited(_) => return None,
        End::TimedOut => failed(
            JobFailure::TimedOut,
            format!(
                "{program} was not done with {file} within {seconds} s and was killed; spec.database.timeoutSeconds of the Application gives more time"
            ),
        ),
        End::OutOfMemory => failed(
            JobFailure::OutOfMemory,
            format!(
                "{program} needs more memory for {file} than {} bytes; spec.database.memory of the Application gives more",
                database.memory
            ),
        ),
        End::Killed(signal) => failed(
            JobFailure::Failed,
            format!("{program} was killed by signal {signal} while it worked on {file}"),
        ),
        End::NotStarted(word) => failed(
            JobFailure::Failed,
            format!("systemd did not start {program} for {file}: {word}"),
        ),
    };
    Some(error)
}

impl From<FileError> for JobError {
    fn from(error: FileError) -> Self {
        let failure = match error.is_no_space() {
            true => JobFailure::NoSpace,
            false => JobFailure::Failed,
        };
        failed(failure, chain(&error))
    }
}

impl From<SystemdError> for JobError {
    fn from(error: SystemdError) -> Self {
        let failure = match error.is_transient() {
            true => JobFailure::Transient,
            false => JobFailure::Failed,
        };
        failed(failure, chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let lost = JobError::from(SystemdError::Disconnected);
        assert_eq!(lost.failure, JobFailure::Transient);
        let refused = JobError::from(SystemdError::Refused {
            method: "StartTransientUnit",
            name: "org.freedesktop.DBus.Error.InvalidArgs".to_owned(),
            message: "no".to_owned(),
        });
        assert_eq!(refused.failure, JobFailure::Failed);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let full = FileError::io("write", std::path::Path::new("/x"), full);
        assert_eq!(JobError::from(full).failure, JobFailure::NoSpace);
    }
}
