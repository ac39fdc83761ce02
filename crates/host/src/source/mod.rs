//! A git repository of manifests: fetched, laid out and pushed by a user
//! without rights.
//!
//! ```text
//! Repository::fetch ─▶ fetch.sh as cb_source ─▶ <state>/source/git/out ─▶ Fetched
//!                                                          (read by root, distrustfully)
//! Fetched ─▶ publish ─▶ <state>/source/revisions/COMMIT/ ─▶ <state>/source/current
//! ```
//!
//! The mirror in `<state>/source/git/mirror` is a cache: it can be removed at
//! any time. Keys and tokens are handed over by systemd as credentials: they
//! are in no argument, no environment, no configuration and no log.
//!
//! What must not live here: what a commit means, and when to look for one.

mod layout;
mod publish;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cb_core::api::GitRepository;
use cb_core::source::{Commit, History};
use cb_core::types::{CommitId, shown};

use crate::files::{self, FileError, FileSpec};
use crate::releases::error::failure;
use crate::releases::workers::{SOURCE, Turn, Workers, has_program};
use crate::releases::{ReleaseError, blocking};
use crate::secrets::{SecretFile, SecretFileError};
use crate::systemd::{End, Outcome, Transient};

pub use publish::{current, publish, published};

/// How long a fetch or a push may take.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How much memory git may use, in bytes.
const MEMORY: u64 = 1 << 30;
/// The largest file that git may write, in bytes.
const LARGEST: u64 = 2 << 30;
/// What the limits are called in a message.
const LIMITS: &str = "10 minutes, 1 GiB";
/// The exit code of a push whose file was changed meanwhile.
const CHANGED: i32 = 10;

const HEAD: &str = "url=$1 name=$2\n";
const COMMON: &str = include_str!("common.sh");
const FETCH: &str = include_str!("fetch.sh");
const PUSH: &str = include_str!("push.sh");

/// Why a repository could not be read or written. Law 11: none of it holds a
/// key or token.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A key, token or list of signers cannot be used.
    #[error(transparent)]
    Credential(#[from] SecretFileError),
    /// The repository was not read.
    #[error("cannot fetch `{reference}` of {repository}: {reason}")]
    Fetch {
        /// The repository.
        repository: String,
        /// The branch or tag.
        reference: String,
        /// How git ended, and its last words.
        reason: String,
    },
    /// Nothing was pushed.
    #[error("cannot push to `{reference}` of {repository}: {reason}; nothing was changed")]
    Push {
        /// The repository.
        repository: String,
        /// The branch.
        reference: String,
        /// How git ended, and its last words.
        reason: String,
    },
    /// The file is another one now.
    #[error("{file} was changed in the repository meanwhile; nothing was pushed, ask again")]
    Changed {
        /// The file.
        file: String,
    },
    /// What was fetched cannot be read.
    #[error("what was fetched from {repository} cannot be read: {reason}")]
    Unreadable {
        /// The repository.
        repository: String,
        /// Why.
        reason: String,
    },
    /// The user that runs git cannot be used.
    #[error(transparent)]
    Worker(#[from] ReleaseError),
}

/// The newest commit of what is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Which.
    pub commit: Commit,
    /// How it relates to the one that is applied.
    pub history: History,
    /// Why its signature is not good, if one is asked for.
    pub unsigned: Option<String>,
    /// What was laid out; nothing if it was not asked for.
    pub content: Option<Content>,
}

/// The manifests of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The YAML files and encrypted files, by their paths relative to the folder of manifests.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is in the folder and must not be, in words.
    pub odd: Vec<String>,
}

/// What is asked of [`Repository::fetch`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The commit that is applied.
    pub applied: Option<&'a CommitId>,
    /// The commit whose manifests are not needed.
    pub skip: Option<&'a CommitId>,
}

/// A change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file, relative to the folder of manifests.
    pub file: String,
    /// What was in it; nothing if it was not there.
    pub before: Option<Vec<u8>>,
    /// What is to be in it; nothing if it is to go.
    pub after: Option<Vec<u8>>,
    /// What the commit says.
    pub message: String,
}

/// The repository that a Host follows.
#[derive(Debug)]
pub struct Repository {
    workers: Workers,
    git: GitRepository,
    /// Of the user that runs git.
    folder: PathBuf,
    /// Who commits.
    author: String,
}

impl Repository {
    /// The repository, with its mirror in the Host's folder of state. `author`
    /// is the Host's name.
    #[must_use]
    pub(crate) fn new(workers: Workers, git: GitRepository, state: &Path, author: &str) -> Self {
        Self {
            workers,
            git,
            folder: state.join("source/git"),
            author: author.to_owned(),
        }
    }

    /// Asks for the newest commit.
    ///
    /// # Errors
    /// [`SourceError`]; nothing is known of the repository then.
    pub async fn fetch(&self, ask: Ask<'_>) -> Result<Fetched, SourceError> {
        let turn = self.begin().await?;
        let mut worker = self.worker(FETCH)?;
        let path = self.git.path.as_ref().map_or("", |path| path.as_str());
        for argument in [path, text(ask.applied), text(ask.skip)] {
            worker = worker.arg(argument);
        }
        if let Some(local) = self.local() {
            worker = worker.bind_read_only(local);
        }
        let outcome = self.workers.run(&turn, &worker).await?;
        if let Some(reason) = failure(&outcome, LIMITS) {
            return Err(SourceError::Fetch {
                repository: self.git.repository.to_string(),
                reference: self.git.reference.to_string(),
                reason: format!("git {reason}"),
            });
        }
        let (out, git) = (self.folder.join("out"), self.git.clone());
        let said = outcome.stdout;
        let read = blocking(move || Ok(layout::read(&git, &said, &out)));
        read.await?.map_err(|reason| SourceError::Unreadable {
            repository: self.git.repository.to_string(),
            reason,
        })
    }

    /// Commits a change to the branch and pushes it.
    ///
    /// # Errors
    /// [`SourceError`]; nothing was pushed then.
    pub async fn push(&self, change: &Change) -> Result<CommitId, SourceError> {
        let turn = self.begin().await?;
        self.hand_in(&turn, change).await?;
        let file = self.git.in_repository(&change.file);
        let mut worker = self.worker(PUSH)?.arg(file.clone());
        for who in ["AUTHOR", "COMMITTER"] {
            let host = &self.author;
            worker = worker
                .env(&format!("GIT_{who}_NAME"), "cb-operator")
                .env(&format!("GIT_{who}_EMAIL"), &format!("cb-operator@{host}"));
        }
        if let Some(local) = self.local() {
            worker = worker.bind(local);
        }
        let outcome = self.workers.run(&turn, &worker).await?;
        if outcome.end == End::Exited(CHANGED) {
            return Err(SourceError::Changed { file });
        }
        self.pushed(&outcome).map_err(|reason| SourceError::Push {
            repository: self.git.repository.to_string(),
            reference: self.git.reference.to_string(),
            reason,
        })
    }

    fn pushed(&self, outcome: &Outcome) -> Result<CommitId, String> {
        if let Some(reason) = failure(outcome, LIMITS) {
            return Err(format!("git {reason}"));
        }
        let said = String::from_utf8_lossy(&outcome.stdout);
        let commit = said.trim().strip_prefix("commit ").unwrap_or_default();
        commit
            .parse()
            .map_err(|_| format!("git names the commit `{}`", shown(commit)))
    }

    /// Waits for the turn, and makes the folder of the user that runs git.
    async fn begin(&self) -> Result<Turn, SourceError> {
        let ssh = self.git.repository.as_str().starts_with("ssh://");
        let needed = [
            ("git", "git", true),
            ("ssh", "openssh-client", ssh),
            ("ssh-keygen", "openssh-client", self.git.verify.is_some()),
        ];
        for (program, package, needed) in needed {
            if needed && !has_program(program) {
                return Err(ReleaseError::NoProgram { program, package }.into());
            }
        }
        if let Some(local) = self.local()
            && let Err(error) = local.read_dir()
        {
            // systemd's words for a folder that is not there are about mounts.
            return Err(SourceError::Fetch {
                repository: self.git.repository.to_string(),
                reference: self.git.reference.to_string(),
                reason: error.to_string(),
            });
        }
        let turn = self.workers.turn(SOURCE).await?;
        let (own, user) = (self.folder.clone(), turn.user);
        blocking(move || {
            if let Some(above) = own.parent() {
                files::ensure_dir(above, FileSpec::own(0o711))?;
            }
            let spec = FileSpec {
                mode: 0o700,
                uid: user.uid,
                gid: user.gid,
            };
            Ok(files::ensure_dir(&own, spec)?)
        })
        .await?;
        Ok(turn)
    }

    /// Writes the change where the script finds it.
    async fn hand_in(&self, turn: &Turn, change: &Change) -> Result<(), SourceError> {
        let (folder, user) = (self.folder.join("in"), turn.user);
        let Change {
            before,
            after,
            message,
            ..
        } = change.clone();
        let work = move || {
            let spec = |mode| FileSpec {
                mode,
                uid: user.uid,
                gid: user.gid,
            };
            files::ensure_dir(&folder, spec(0o700))?;
            let message = Some(message.into_bytes());
            for (name, content) in [("before", before), ("after", after), ("message", message)] {
                let path = folder.join(name);
                match content {
                    Some(content) => files::write(&path, &content, spec(0o600))?,
                    None => drop(files::remove(&path)?),
                }
            }
            Ok(())
        };
        Ok(blocking(work).await?)
    }

    fn local(&self) -> Option<&Path> {
        let url = self.git.repository.as_str();
        url.starts_with('/').then(|| Path::new(url))
    }

    /// A script with what both need; its further arguments are added.
    fn worker(&self, script: &str) -> Result<Transient, SourceError> {
        let text = format!("{HEAD}{COMMON}{script}");
        let mut worker = self
            .workers
            .script(SOURCE, &text, TIMEOUT)
            .description("Campaign Brain follows the repository of manifests")
            .arg(self.git.repository.as_str())
            .arg(self.git.reference.as_str())
            .memory_max(MEMORY)
            .property("LimitFSIZE", LARGEST)
            .bind(&self.folder)
            .folder(&self.folder);
        for (name, value) in environment(&self.git, &self.folder) {
            worker = worker.env(name, &value);
        }
        if self.local().is_none() {
            worker = worker.property("PrivateNetwork", false);
        }
        let mut handed = Vec::new();
        for (name, path, secret) in credentials(&self.git) {
            check_credential(&path, secret)?;
            handed.push((name.to_owned(), path.to_string_lossy().into_owned()));
        }
        if !handed.is_empty() {
            worker = worker.property("LoadCredential", handed);
        }
        Ok(worker)
    }
}

fn text(commit: Option<&CommitId>) -> &str {
    commit.map_or("", |commit| commit.as_str())
}

/// What git finds in its environment: no settings of anybody, no questions.
fn environment(git: &GitRepository, home: &Path) -> Vec<(&'static str, String)> {
    let url = git.repository.as_str();
    let protocol = url
        .split_once("://")
        .map_or("file", |(protocol, _)| protocol);
    [
        ("HOME", home.to_string_lossy().into_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("GIT_ASKPASS", "/bin/true".to_owned()),
        ("GIT_ALLOW_PROTOCOL", protocol.to_owned()),
        ("GIT_HTTP_LOW_SPEED_LIMIT", "1000".to_owned()),
        ("GIT_HTTP_LOW_SPEED_TIME", "60".to_owned()),
    ]
    .into()
}

/// What is handed over: how the scripts call it, the file, and whether it is a
/// secret.
fn credentials(git: &GitRepository) -> Vec<(&'static str, PathBuf, bool)> {
    let signers = git.verify.as_ref().map(|of| &of.allowed_signers_file);
    let all = [
        ("key", git.ssh_key_file.as_ref(), true),
        ("hosts", git.known_hosts_file.as_ref(), false),
        ("token", git.token_file.as_ref(), true),
        ("signers", signers, false),
    ];
    let given = |(name, file, secret): (_, Option<&cb_core::types::HostPath>, bool)| {
        Some((name, PathBuf::from(file?.as_str()), secret))
    };
    all.into_iter().filter_map(given).collect()
}

/// Checks a file here, as systemd's words for a credential that is not there
/// name no file.
fn check_credential(path: &Path, secret: bool) -> Result<(), SecretFileError> {
    if secret {
        return SecretFile::open(path)?.check_private();
    }
    let failed = |error: io::Error| FileError::io("read", path, error);
    match path.metadata().map_err(failed)?.is_file() {
        true => Ok(()),
        false => Err(failed(io::Error::other("it is no regular file")).into()),
    }
}
