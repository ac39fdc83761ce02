//! Results of jobs, kept for those who wait for them.
//!
//! A job can end before the caller has read the answer that names it. So while
//! anyone is about to ask ([`Jobs::interest`]), every result is kept; when
//! nobody is, all are forgotten.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::SystemdError;

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobResult {
    /// As asked.
    Done,
    /// In systemd's word for anything else: `failed`, `timeout`, `canceled`,
    /// `dependency`, `skipped`, …
    Other(String),
}

impl JobResult {
    fn of(word: &str) -> Self {
        match word {
            "done" => JobResult::Done,
            other => JobResult::Other(other.to_owned()),
        }
    }

    /// Whether it ended as asked.
    #[must_use]
    pub fn is_done(&self) -> bool {
        *self == JobResult::Done
    }
}

impl fmt::Display for JobResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobResult::Done => f.write_str("done"),
            JobResult::Other(word) => f.write_str(word),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    interested: usize,
    finished: HashMap<String, JobResult>,
    waiting: HashMap<String, Vec<oneshot::Sender<JobResult>>>,
}

/// While it lives, results are kept.
#[derive(Debug)]
pub(super) struct Interest<'a>(&'a Jobs);

impl Jobs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn interest(&self) -> Interest<'_> {
        self.state().interested += 1;
        Interest(self)
    }

    /// Takes in a `JobRemoved`.
    pub(super) fn finish(&self, path: &str, result: &str) {
        let mut state = self.state();
        let result = JobResult::of(result);
        for waiting in state.waiting.remove(path).unwrap_or_default() {
            // One that gave up wants no answer.
            let _ = waiting.send(result.clone());
        }
        if state.interested > 0 {
            state.finished.insert(path.to_owned(), result);
        }
    }

    /// The connection is gone, and with it the ends of all jobs.
    pub(super) fn disconnect(&self) {
        let mut state = self.state();
        state.waiting.clear();
        state.finished.clear();
    }
}

impl Interest<'_> {
    /// The result of a job that was queued after this was made. (Several calls
    /// can be given the same job, so a result stays for the others.)
    pub(super) async fn result(&self, path: &str) -> Result<JobResult, SystemdError> {
        let wait = {
            let mut state = self.0.state();
            if let Some(result) = state.finished.get(path) {
                return Ok(result.clone());
            }
            let (sender, receiver) = oneshot::channel();
            state
                .waiting
                .entry(path.to_owned())
                .or_default()
                .push(sender);
            receiver
        };
        wait.await.map_err(|_| SystemdError::Disconnected)
    }
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.interested -= 1;
        if state.interested == 0 {
            state.finished.clear();
            state.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_ends_before_its_path_is_known_is_not_missed() {
        let jobs = Jobs::default();
        let (one, two) = (jobs.interest(), jobs.interest());
        jobs.finish("/job/1", "done");
        jobs.finish("/job/2", "dependency");
        assert_eq!(one.result("/job/1").await.unwrap(), JobResult::Done);
        assert_eq!(two.result("/job/1").await.unwrap(), JobResult::Done);
        let other = two.result("/job/2").await.unwrap();
        assert_eq!(other.to_string(), "dependency");
        drop((one, two));
        assert!(jobs.state().finished.is_empty());
    }

    #[tokio::test]
    async fn waiting_ends_with_the_job_or_the_connection() {
        let jobs = Jobs::default();
        let interest = jobs.interest();
        let (result, ()) = tokio::join!(interest.result("/job/1"), async {
            jobs.finish("/job/1", "failed");
        });
        assert_eq!(result.unwrap(), JobResult::Other("failed".to_owned()));
        let (result, ()) = tokio::join!(interest.result("/job/2"), async { jobs.disconnect() });
        assert!(matches!(result, Err(SystemdError::Disconnected)));
    }

    #[test]
    fn without_interest_nothing_is_kept() {
        let jobs = Jobs::default();
        jobs.finish("/job/1", "done");
        assert!(jobs.state().finished.is_empty());
    }
}
