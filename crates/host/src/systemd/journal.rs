//! The last words of a unit, from systemd's journal.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::text::one_line;

/// How many lines are told.
const LINES: usize = 20;
/// How long the journal may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The last lines of a unit, each fit for a message; none if the journal does
/// not answer. It is for a person's eyes: nothing is decided by it.
pub async fn tail(unit: &str) -> Vec<String> {
    let lines = LINES.to_string();
    let unit = format!("--unit={unit}");
    let output = Command::new("journalctl")
        .args([
            "--quiet",
            "--no-pager",
            "--output=cat",
            &unit,
            "--lines",
            &lines,
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(TIMEOUT, output).await {
        Ok(Ok(output)) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let lines = text.lines().map(one_line).filter(|line| !line.is_empty());
            lines.collect()
        }
        Ok(Err(error)) => {
            tracing::debug!("journalctl cannot be run: {error}");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}
