//! The last words of one run of a unit, from systemd's journal.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::text::one_line;

/// How many lines are told.
const LINES: usize = 20;
/// How long the journal may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The last lines of a run of a unit, each fit for a message; none if the
/// journal does not answer. It is for a person's eyes: nothing is decided by it.
///
/// A run is named by its InvocationID; without one it is the last run. What
/// earlier runs printed is about something else.
pub async fn tail(unit: &str, run: Option<&str>) -> Vec<String> {
    let run = match run {
        Some(run) => run.to_owned(),
        None => last_run(unit).await,
    };
    if run.is_empty() {
        return Vec::new();
    }
    let lines = LINES.to_string();
    // What the service printed, and what systemd said of it.
    let (printed, said) = (
        format!("_SYSTEMD_INVOCATION_ID={run}"),
        format!("INVOCATION_ID={run}"),
    );
    let options = ["--quiet", "--no-pager", "--output=cat", "--lines", &lines];
    let matches = [printed.as_str(), "+", &said];
    let text = output("journalctl", options.into_iter().chain(matches)).await;
    let lines = text.lines().map(one_line).filter(|line| !line.is_empty());
    lines.collect()
}

/// The InvocationID of the last run of a unit; empty if there is none.
async fn last_run(unit: &str) -> String {
    let arguments = ["show", "--property=InvocationID", "--value", "--", unit];
    output("systemctl", arguments).await.trim().to_owned()
}

/// What a program prints; nothing if it cannot be run or takes too long.
async fn output<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(TIMEOUT, output).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(Err(error)) => {
            tracing::debug!("{program} cannot be run: {error}");
            String::new()
        }
        Err(_) => String::new(),
    }
}
