//! Progress for people: what runs, how long it took, what came of it.
//!
//! Coloured on a terminal, plain in a pipe or log.

use std::fmt::Write as _;
use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// A list of steps, run one after the other.
#[derive(Debug)]
pub(crate) struct Steps {
    colour: bool,
    start: Instant,
    done: Vec<(String, Duration, State)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passed,
    Failed,
    NotRun,
}

impl Steps {
    /// No step yet.
    pub(crate) fn new() -> Steps {
        Steps {
            colour: stdout().is_terminal(),
            start: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Runs a step, shows its error, and says whether it passed.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        println!("{}", self.paint("1", &format!("==> {name}")));
        let start = Instant::now();
        let result = step();
        let time = start.elapsed();
        let state = match result {
            Ok(()) => {
                println!(
                    "{}",
                    self.paint("32", &format!("    passed in {}", seconds(time)))
                );
                State::Passed
            }
            Err(error) => {
                let text = format!("    FAILED after {}: {error:#}", seconds(time));
                println!("{}", self.paint("31", &text));
                State::Failed
            }
        };
        self.done.push((name.to_owned(), time, state));
        state == State::Passed
    }

    /// Notes that a step could not be run because of an earlier one.
    pub(crate) fn not_run(&mut self, name: &str) {
        self.done
            .push((name.to_owned(), Duration::ZERO, State::NotRun));
    }

    /// Prints the summary; an error unless every step passed.
    pub(crate) fn finish(self) -> Result<()> {
        print!("\n{}", self.summary());
        let bad = |(_, _, state): &&(String, Duration, State)| *state != State::Passed;
        let failed = self.done.iter().filter(bad).count();
        let total = self.done.len();
        let time = seconds(self.start.elapsed());
        if failed > 0 {
            bail!("{failed} of {total} steps did not pass, after {time}");
        }
        println!(
            "{}",
            self.paint("32", &format!("all {total} steps passed in {time}"))
        );
        Ok(())
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        for (name, time, state) in &self.done {
            let (word, colour) = match state {
                State::Passed => ("passed", "32"),
                State::Failed => ("FAILED", "31"),
                State::NotRun => ("not run", "31"),
            };
            // Padded before painting: colours have a width of their own.
            let word = self.paint(colour, &format!("{word:8}"));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{word}{:>8}  {name}", seconds(*time));
        }
        text
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_step_fails_the_whole() {
        let mut steps = Steps::new();
        assert!(steps.run("good", || Ok(())));
        assert!(!steps.run("bad", || bail!("no")));
        steps.not_run("later");
        let summary = steps.summary();
        assert!(summary.contains("passed     0.0 s  good"), "{summary}");
        assert!(summary.contains("not run"), "{summary}");
        let error = steps.finish().unwrap_err().to_string();
        assert!(error.starts_with("2 of 3 steps"), "{error}");
    }
}
