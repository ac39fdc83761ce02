//! What a program in a transient unit writes, read as it comes and kept in
//! part.

use std::collections::VecDeque;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

use super::transient::OnLine;

/// How many lines of standard error are kept, the last ones.
const LINES: usize = 20;

/// How many characters of a line are kept.
const WIDTH: usize = 400;

/// How long the end of the pipes may be behind the end of the unit. systemd
/// closes its own ends when it forgets the unit.
const DRAIN: Duration = Duration::from_secs(10);

/// What was kept.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) log: Vec<String>,
}

/// Two tasks that read; they end with the pipes.
#[derive(Debug)]
pub(super) struct Reading {
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<String>>,
}

/// Begins to read.
pub(super) fn read(
    stdout: PipeReader,
    stderr: PipeReader,
    limit: usize,
    on_line: &Option<OnLine>,
) -> io::Result<Reading> {
    let stdout = Receiver::from_owned_fd(OwnedFd::from(stdout))?;
    let stderr = Receiver::from_owned_fd(OwnedFd::from(stderr))?;
    Ok(Reading {
        stdout: tokio::spawn(first_bytes(stdout, limit)),
        stderr: tokio::spawn(last_lines(stderr, on_line.clone())),
    })
}

impl Reading {
    /// Waits for the end of both pipes.
    pub(super) async fn finish(mut self) -> Output {
        let both = async { tokio::join!(&mut self.stdout, &mut self.stderr) };
        match tokio::time::timeout(DRAIN, both).await {
            Ok((stdout, log)) => Output {
                stdout: stdout.unwrap_or_default(),
                log: log.unwrap_or_default(),
            },
            // Somebody else has got hold of a pipe.
            Err(_) => Output::default(),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.stdout.abort();
        self.stderr.abort();
    }
}

async fn first_bytes(mut from: impl AsyncRead + Unpin, limit: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 8192];
    // An error ends it like the end does: what was read is what there is.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = limit.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

async fn last_lines(mut from: impl AsyncRead + Unpin, on_line: Option<OnLine>) -> Vec<String> {
    let mut kept = VecDeque::new();
    let mut line = Vec::new();
    let mut take = |line: &mut Vec<u8>| {
        let text = clean(line);
        line.clear();
        if text.is_empty() {
            return;
        }
        if let Some(on_line) = &on_line {
            on_line(&text);
        }
        if kept.len() == LINES {
            kept.pop_front();
        }
        kept.push_back(text);
    };
    let mut buffer = vec![0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        for byte in &buffer[..count] {
            match byte {
                b'\n' => take(&mut line),
                // A character has at most four bytes.
                byte if line.len() < 4 * WIDTH => line.push(*byte),
                _ => {}
            }
        }
    }
    take(&mut line);
    kept.into()
}

/// A line as text without control characters, cut to [`WIDTH`].
fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let plain = text.chars().filter(|c| !c.is_control());
    let cut: String = plain.take(WIDTH).collect();
    cut.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn output_is_kept_in_part_and_read_whole() {
        let long = vec![b'x'; 100_000];
        assert_eq!(first_bytes(&long[..], 10).await, b"xxxxxxxxxx");
        assert_eq!(first_bytes(&b"7\n"[..], 10).await, b"7\n");
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_without_control_characters() {
        let mut text: String = (0..30).map(|n| format!("line {n}\n")).collect();
        text.push_str("\n\u{1b}[31mred\u{7}\r\n");
        text.push_str(&"ü".repeat(9_000));
        let seen = Arc::new(Mutex::new(0));
        let count = Arc::clone(&seen);
        let on_line: OnLine = Arc::new(move |_: &str| *count.lock().unwrap() += 1);
        let lines = last_lines(text.as_bytes(), Some(on_line)).await;
        assert_eq!(*seen.lock().unwrap(), 32);
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0], "line 12");
        assert_eq!(lines[18], "[31mred");
        assert_eq!(lines[19], "ü".repeat(WIDTH));
    }
}
