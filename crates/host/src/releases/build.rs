//! Builds: an Application's commands, run in a copy of the source by a user
//! without rights.
//!
//! The copy is shown to the commands where the release will be, so paths that
//! a build writes down are right. Nothing else can be written, the network is
//! there only if the Application asks for it, and what the commands leave is
//! taken over as distrustfully as any other folder.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cb_core::api::Build;
use cb_core::desired::Release;
use tokio::time::Instant;

use super::error::failure;
use super::tree::Builder;
use super::workers::{BUILD, Workers};
use super::{Limits, ReleaseError, blocking};

/// Recursive, as systemd names it in bind mounts.
const MS_REC: u64 = 16384;

/// How long a build that failed is not tried again, as a multiple of the time
/// that it took: builds that fail leave most of the host's time to others.
const PAUSE: u32 = 10;
/// At least, so that all who ask at the same time share one attempt.
const SHORTEST_PAUSE: Duration = Duration::from_secs(30);
/// At most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Builds in place: afterwards the builder's folder has what the commands left.
pub(super) async fn run(
    workers: &Workers,
    release: &Release,
    build: &Build,
    limits: Limits,
    mut source: Builder,
) -> Result<Builder, ReleaseError> {
    let turn = workers.turn(BUILD).await?;
    let user = turn.user;
    let source = blocking(move || {
        source.hand_over(user)?;
        Ok(source)
    })
    .await?;
    let time = Duration::from_secs(build.timeout_seconds.into());
    let shown_at = release.path.to_string_lossy().into_owned();
    let made_at = source.root().to_string_lossy().into_owned();
    let worker = workers
        .script(BUILD, &script(build), time)
        .description(&format!("Campaign Brain builds {}", name(release)))
        .memory_max(build.memory.bytes())
        .property("LimitFSIZE", limits.bytes)
        .property("PrivateNetwork", !build.network)
        .property("BindPaths", vec![(made_at, shown_at, false, MS_REC)])
        .property("UMask", 0o022_u32)
        .folder(&release.path)
        .env("HOME", "/tmp")
        .stdout_limit(0);
    let outcome = workers.run(&turn, &worker).await?;
    let limits = format!("{} seconds, {}", build.timeout_seconds, build.memory);
    match failure(&outcome, &limits) {
        None => Ok(source),
        Some(reason) => Err(ReleaseError::Build {
            release: name(release),
            reason,
        }),
    }
}

/// The Application and version.
pub(super) fn name(release: &Release) -> String {
    format!("{} {}", release.application, release.version)
}

/// All commands, each named before it runs; the first that fails ends it.
/// `env` keeps the shell from taking a program's name for a word of its own.
fn script(build: &Build) -> String {
    let mut text = String::from("exec 1>&2\n");
    for command in &build.commands {
        let words: Vec<String> = command.iter().map(|word| quoted(word.as_str())).collect();
        let words = words.join(" ");
        text.push_str(&format!(
            "echo {}\nenv -- {words}\n",
            quoted(&format!("+ {words}"))
        ));
    }
    text
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Builds that failed. A build is long and mostly fails for a reason that
/// lasts, so it is not tried again at once, whoever asks.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<PathBuf, Failed>>);

#[derive(Debug)]
struct Failed {
    release: Release,
    reason: String,
    again: Instant,
}

impl Failures {
    /// The failure of this build, if it is not to be tried again yet.
    pub(super) fn recent(&self, release: &Release) -> Option<ReleaseError> {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.get(&release.path)?;
        let same = failed.release == *release && Instant::now() < failed.again;
        same.then(|| ReleaseError::Build {
            release: name(release),
            reason: failed.reason.clone(),
        })
    }

    /// Remembers how an installation ended that took this long.
    pub(super) fn note(
        &self,
        release: &Release,
        result: &Result<(), ReleaseError>,
        took: Duration,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(ReleaseError::Build { reason, .. }) = result else {
            all.remove(&release.path);
            return;
        };
        let pause = took.saturating_mul(PAUSE);
        let failed = Failed {
            release: release.clone(),
            reason: reason.clone(),
            again: Instant::now() + pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
        };
        all.insert(release.path.clone(), failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(json: &str) -> Release {
        Release {
            application: "cbapp".parse().unwrap(),
            version: "v1".parse().unwrap(),
            source: serde_json::from_str(r#"{"name":"v1"}"#).unwrap(),
            build: serde_json::from_str(json).unwrap(),
            path: "/var/lib/cb/releases/cbapp/v1".into(),
        }
    }

    /// Law 10: what the shell gets are words, whatever is in them.
    #[test]
    fn commands_are_quoted_word_by_word() {
        let release = release(r#"{"commands": [["make", "X=$(id)", "it's"], ["./b", ";rm"]]}"#);
        let script = script(&release.build.unwrap());
        let output = std::process::Command::new("sh")
            .args(["-nc", &script])
            .status()
            .unwrap();
        assert!(output.success());
        assert!(
            script.contains(r"env -- 'make' 'X=$(id)' 'it'\''s'"),
            "{script}"
        );
        assert!(script.contains("env -- './b' ';rm'"), "{script}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_build_rests_by_its_length_or_until_it_changes() {
        let failures = Failures::default();
        let release = self::release(r#"{"commands": [["false"]]}"#);
        let failed = || {
            Err(ReleaseError::Build {
                release: name(&release),
                reason: "ended with exit code 1".to_owned(),
            })
        };
        for (took, pause) in [(0, 30), (60, 600), (7200, 3600)] {
            failures.note(&release, &failed(), Duration::from_secs(took));
            let pause = Duration::from_secs(pause);
            tokio::time::advance(pause - Duration::from_millis(1)).await;
            let error = failures.recent(&release).unwrap();
            assert_eq!(error.to_string(), failed().unwrap_err().to_string());
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(failures.recent(&release).is_none());
        }
        failures.note(&release, &failed(), Duration::ZERO);
        let other = self::release(r#"{"commands": [["true"]]}"#);
        assert!(failures.recent(&other).is_none());
        failures.note(&release, &Ok(()), Duration::ZERO);
        assert!(failures.recent(&release).is_none());
    }
}
