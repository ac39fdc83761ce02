//! The test of a change, without the change.
//!
//! A copy of the sites folder with the changes is bind-mounted over the real
//! one in a mount namespace of its own, where `nginx -t` reads it. The
//! namespace ends with the command; nothing else on the host sees it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

use super::offender::{Overlay, Tester, Verdict};
use super::{NginxPaths, SiteError};
use crate::counts::NginxCounter;
use crate::files::FileError;
use crate::text::one_line;

const TIMEOUT: Duration = Duration::from_secs(120);
const SCRIPT: &str = r#"mount --bind -- "$1" "$2" && exec nginx -t -q -c "$3""#;
/// The exit code of a shell that did not get to nginx.
const NOT_FOUND: i32 = 127;

#[derive(Debug)]
pub(super) struct SystemTester {
    config: PathBuf,
    sites: PathBuf,
    stage: PathBuf,
    counter: Arc<NginxCounter>,
}

impl SystemTester {
    pub(super) fn new(paths: &NginxPaths, counter: Arc<NginxCounter>) -> Self {
        Self {
            config: paths.config.clone(),
            sites: paths.sites.clone(),
            stage: paths.state.join("staging/sites"),
            counter,
        }
    }

    async fn run(&self, overlay: &Overlay) -> Result<Verdict, SiteError> {
        let (stage, sites, changes) = (self.stage.clone(), self.sites.clone(), overlay.clone());
        let staged = tokio::task::spawn_blocking(move || build(&stage, &sites, &changes)).await;
        staged
            .map_err(|error| system(format!("cannot stage nginx's sites: {error}")))?
            .map_err(|error| FileError::io("stage nginx's sites in", &self.stage, error))?;
        let work = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                SCRIPT,
                "sh",
            ])
            .args([&self.stage, &self.sites, &self.config])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(TIMEOUT, work).await {
            Ok(output) => output.map_err(|e| system(format!("cannot run unshare: {e}")))?,
            Err(_) => {
                let seconds = TIMEOUT.as_secs();
                return Err(system(format!("`nginx -t` did not end within {seconds} s")));
            }
        };
        if output.status.success() {
            return Ok(Verdict::Accepted);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        // Words of nginx look like `nginx: [emerg] …`; others are of the tools
        // around it.
        if output.status.code() == Some(NOT_FOUND) || !words.contains("nginx: ") {
            let words = one_line(&words);
            return Err(system(format!(
                "cannot test nginx's configuration: {words}"
            )));
        }
        Ok(Verdict::Rejected {
            message: message(&words),
            named: named(&words, &self.sites),
        })
    }
}

#[async_trait]
impl Tester for SystemTester {
    async fn test(&self, overlay: &Overlay) -> Result<Verdict, SiteError> {
        let verdict = self.run(overlay).await;
        let counter = match verdict {
            Ok(Verdict::Accepted) => &self.counter.accepted,
            Ok(Verdict::Rejected { .. }) => &self.counter.rejected,
            Err(_) => &self.counter.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        verdict
    }
}

fn system(message: String) -> SiteError {
    SiteError::System {
        message,
        no_space: false,
    }
}

/// A copy of the sites folder with the changes.
#[expect(
    clippy::disallowed_methods,
    reason = "the stage is thrown away after the test"
)]
fn build(stage: &Path, sites: &Path, overlay: &Overlay) -> io::Result<()> {
    match fs::remove_dir_all(stage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(stage)?;
    copy(sites, stage)?;
    for (name, content) in overlay {
        let path = stage.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(content) = content {
            fs::write(&path, content)?;
        }
    }
    Ok(())
}

/// Links are copied as they are: under the mount they lead where they led.
#[expect(
    clippy::disallowed_methods,
    reason = "the stage is thrown away after the test"
)]
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            match fs::copy(entry.path(), &target) {
                // Gone since the listing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => drop(other?),
            }
        }
    }
    Ok(())
}

/// What nginx complains about, without its summary and warnings.
fn message(words: &str) -> String {
    let bad = |line: &&str| {
        ["[emerg]", "[alert]", "[crit]", "[error]"]
            .iter()
            .any(|l| line.contains(l))
    };
    let lines: Vec<&str> = words.lines().filter(bad).map(timeless).collect();
    match lines.is_empty() {
        true => one_line(words),
        false => one_line(&lines.join("\n")),
    }
}

/// A line without the time and the process of `2026/11/24 20:19:45 [emerg]
/// 23#23: …`, which nginx writes once it has opened its log: the same reason is
/// the same words at each try (law 8).
fn timeless(line: &str) -> &str {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let rest = line
        .split_once("] ")
        .filter(|_| line.starts_with(|first: char| first.is_ascii_digit()))
        .and_then(|(_, rest)| rest.split_once(": "));
    match rest {
        Some((process, rest)) if process.split('#').all(number) => rest,
        _ => line,
    }
}

/// The site in `… in /etc/nginx/conf.d/cb-x.conf:12`.
fn named(words: &str, sites: &Path) -> Option<String> {
    let line = words.lines().find(|line| line.contains("[emerg]"))?;
    let (_, place) = line.rsplit_once(" in ")?;
    let (file, _) = place.trim().rsplit_once(':')?;
    let inside = Path::new(file).strip_prefix(sites).ok()?;
    inside.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "nginx: [warn] conflicting server name \"a\" on 0.0.0.0:80, ignored\n\
        nginx: [emerg] unknown directive \"sserver\" in /etc/nginx/conf.d/cb-x.conf:12\n\
        nginx: configuration file /etc/nginx/nginx.conf test failed\n";

    #[test]
    fn nginx_names_the_site_it_rejects() {
        let sites = Path::new("/etc/nginx/conf.d");
        assert_eq!(named(WORDS, sites).as_deref(), Some("cb-x.conf"));
        let expected =
            "nginx: [emerg] unknown directive \"sserver\" in /etc/nginx/conf.d/cb-x.conf:12";
        assert_eq!(message(WORDS), expected);
        let other = "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\n";
        assert_eq!(named(other, sites), None);
        let main = "nginx: [emerg] x in /etc/nginx/nginx.conf:3\n";
        assert_eq!(named(main, sites), None);
    }

    /// Law 8: nginx writes the time and its process before some of its words.
    #[test]
    fn the_same_reason_is_the_same_words_at_each_try() {
        let words = |time: &str, process: &str| {
            format!(
                "2026/11/24 20:19:{time} [emerg] {process}: could not build server_names_hash, \
                 you should increase server_names_hash_bucket_size: 64\n\
                 nginx: configuration file /etc/nginx/nginx.conf test failed\n"
            )
        };
        let first = message(&words("45", "2363#2363"));
        assert_eq!(first, message(&words("46", "2381#2381")));
        assert!(
            first.starts_with("could not build server_names_hash"),
            "{first}"
        );
    }

    #[test]
    fn the_stage_is_the_folder_with_the_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (sites, stage) = (folder.path().join("sites"), folder.path().join("a/stage"));
        fs::create_dir_all(sites.join("sub")).unwrap();
        fs::write(sites.join("foreign.conf"), "f").unwrap();
        fs::write(sites.join("old.conf"), "o").unwrap();
        fs::write(sites.join("gone.conf"), "g").unwrap();
        fs::write(sites.join("sub/x"), "x").unwrap();
        symlink("../elsewhere", sites.join("link")).unwrap();
        let overlay = Overlay::from([
            ("old.conf".to_owned(), Some(b"n".to_vec())),
            ("new.conf".to_owned(), Some(b"n".to_vec())),
            ("gone.conf".to_owned(), None),
        ]);
        // Twice: what is left of an earlier test does not matter.
        for _ in 0..2 {
            build(&stage, &sites, &overlay).unwrap();
            let read = |name: &str| fs::read_to_string(stage.join(name)).ok();
            assert_eq!(read("foreign.conf").as_deref(), Some("f"));
            assert_eq!(read("old.conf").as_deref(), Some("n"));
            assert_eq!(read("new.conf").as_deref(), Some("n"));
            assert_eq!(read("gone.conf"), None);
            assert_eq!(read("sub/x").as_deref(), Some("x"));
            assert_eq!(
                fs::read_link(stage.join("link")).unwrap(),
                Path::new("../elsewhere")
            );
        }
        // Law 4: the live folder is as it was.
        assert_eq!(fs::read_to_string(sites.join("old.conf")).unwrap(), "o");
    }
}
