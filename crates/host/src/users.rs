//! Linux users: made by systemd-sysusers, looked up in `/etc/passwd`.
//!
//! Lookups parse the file themselves and again only when it changed: no name
//! service is asked, and a user of a directory service is not ours. Whether a
//! user was made by us is told by its definition in `sysusers.d`, which carries
//! the mark.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use cb_core::observed::{Account, User};
use cb_runtime::{CoalesceConfig, Coalescer};
use tokio::process::Command;

use crate::files::Stamp;

/// The shell that systemd-sysusers gives to a user of a service.
const NO_LOGIN: &str = "/usr/sbin/nologin";

/// Why a user could not be looked up, made or removed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UsersError {
    /// The file of users cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A program cannot be run.
    #[error("cannot run {program}: {reason}; is it installed?")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        reason: String,
    },
    /// A program failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program.
        program: &'static str,
        /// Its words.
        message: String,
    },
    /// The user is not there although nothing failed.
    #[error("systemd-sysusers did not create user {user} from {}", file.display())]
    NotMade {
        /// The user.
        user: String,
        /// Its definition.
        file: PathBuf,
    },
}

type Batch = Coalescer<PathBuf, Arc<HashMap<PathBuf, UsersError>>>;
type Entries = HashMap<String, (User, Account)>;
type Parsed = (Stamp, Arc<Entries>);

/// The host's users.
#[derive(Debug)]
pub struct Users {
    passwd: PathBuf,
    cached: Mutex<Option<Parsed>>,
    batch: Batch,
    /// userdel and systemd-sysusers lock the same files, and userdel does not
    /// wait long for them.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Users {
    /// The users of `/etc/passwd`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn spawn() -> Self {
        let changing = Arc::new(tokio::sync::Mutex::new(()));
        let turn = Arc::clone(&changing);
        let batch = Coalescer::spawn(CoalesceConfig::default(), move |files: Vec<PathBuf>| {
            let turn = Arc::clone(&turn);
            async move {
                let _turn = turn.lock().await;
                Arc::new(sysusers(files).await)
            }
        });
        Self {
            passwd: PathBuf::from("/etc/passwd"),
            cached: Mutex::default(),
            batch,
            changing,
        }
    }

    /// The user of this name.
    ///
    /// # Errors
    /// The file of users cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<User>, UsersError> {
        Ok(self.entry(name)?.map(|(user, _)| user))
    }

    /// The ids, home and shell of the user of this name.
    ///
    /// # Errors
    /// The file of users cannot be read.
    pub fn entry(&self, name: &str) -> Result<Option<(User, Account)>, UsersError> {
        Ok(self.entries()?.get(name).cloned())
    }

    /// The ids of all users as they are now, by name.
    ///
    /// # Errors
    /// The file of users cannot be read.
    pub fn ids(&self) -> Result<impl Fn(&str) -> Option<u32> + use<>, UsersError> {
        let users = self.entries()?;
        Ok(move |name: &str| users.get(name).map(|(user, _)| user.uid))
    }

    fn entries(&self) -> Result<Arc<Entries>, UsersError> {
        let failed = |error: std::io::Error| UsersError::Read {
            path: self.passwd.clone(),
            reason: error.to_string(),
        };
        let stat = rustix::fs::stat(&self.passwd).map_err(|e| failed(e.into()))?;
        let stamp = Stamp::of(&stat);
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, users)) = &*cached
            && *at == stamp
        {
            return Ok(Arc::clone(users));
        }
        let users = Arc::new(parse(&std::fs::read(&self.passwd).map_err(failed)?));
        if stamp.is_settled() {
            *cached = Some((stamp, Arc::clone(&users)));
        }
        Ok(users)
    }

    /// Makes the user that a definition describes; many callers share one run.
    /// Of a user that is there already only the shell is set back.
    ///
    /// # Errors
    /// systemd-sysusers fails on this definition.
    pub async fn ensure(&self, user: &str, file: &Path) -> Result<User, UsersError> {
        if let Some((there, account)) = self.entry(user)? {
            if account.can_log_in() {
                let _turn = self.changing.lock().await;
                let arguments = ["--shell", NO_LOGIN, user].map(Path::new);
                run("usermod", &arguments).await?;
            }
            return Ok(there);
        }
        let failed = self.batch.submit(file.to_owned()).await;
        let failed = failed.map_err(|error| UsersError::Run {
            program: "systemd-sysusers",
            reason: error.to_string(),
        })?;
        match (self.get(user)?, failed.get(file)) {
            (Some(made), _) => Ok(made),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(UsersError::NotMade {
                user: user.to_owned(),
                file: file.to_owned(),
            }),
        }
    }

    /// Removes a user and its own group, but none of its files. One that is
    /// gone already counts as removed.
    ///
    /// # Errors
    /// `userdel` fails, for example because a process still runs as the user.
    pub async fn remove(&self, user: &str) -> Result<(), UsersError> {
        let _turn = self.changing.lock().await;
        if self.get(user)?.is_none() {
            return Ok(());
        }
        run("userdel", &[user.as_ref()]).await
    }
}

/// Runs systemd-sysusers on all definitions; if that fails, on each, so that
/// one that is refused does not keep the others' users from being made.
async fn sysusers(files: Vec<PathBuf>) -> HashMap<PathBuf, UsersError> {
    const PROGRAM: &str = "systemd-sysusers";
    let mut failed = HashMap::new();
    let all: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let Err(error) = run(PROGRAM, &all).await else {
        return failed;
    };
    if files.len() == 1 || matches!(error, UsersError::Run { .. }) {
        return files
            .into_iter()
            .map(|file| (file, error.clone()))
            .collect();
    }
    for file in files {
        if let Err(error) = run(PROGRAM, &[&file]).await {
            failed.insert(file, error);
        }
    }
    failed
}

async fn run(program: &'static str, arguments: &[&Path]) -> Result<(), UsersError> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .kill_on_drop(false)
        .output()
        .await
        .map_err(|error| UsersError::Run {
            program,
            reason: error.to_string(),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let message = match text.trim() {
        "" => output.status.to_string(),
        words => crate::text::one_line(words),
    };
    Err(UsersError::Failed { program, message })
}

/// `name:password:uid:gid:…`; lines of another shape are skipped.
fn parse(passwd: &[u8]) -> Entries {
    let text = String::from_utf8_lossy(passwd);
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        let shell = fields.next().unwrap_or_default().to_owned();
        Some((name, (User { uid, gid }, Account { home, shell })))
    };
    text.lines().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(passwd: &Path) -> Users {
        Users {
            passwd: passwd.to_owned(),
            ..Users::spawn()
        }
    }

    #[tokio::test]
    async fn a_user_is_seen_as_soon_as_the_file_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let passwd = folder.path().join("passwd");
        std::fs::write(&passwd, "root:x:0:0:root:/root:/bin/sh\nbroken\n+::::::\n").unwrap();
        let users = users(&passwd);
        assert_eq!(users.get("root").unwrap(), Some(User { uid: 0, gid: 0 }));
        assert_eq!(users.get("cb-a").unwrap(), None);
        std::fs::write(&passwd, "cb-a:!:998:997::/:/bin/false\n").unwrap();
        let user = User { uid: 998, gid: 997 };
        assert_eq!(users.get("cb-a").unwrap(), Some(user));
        // One that is there is not made again.
        let made = users.ensure("cb-a", Path::new("/nonexistent")).await;
        assert_eq!(made.unwrap(), user);
        assert!(users.remove("cb-gone").await.is_ok());
    }

    #[tokio::test]
    async fn a_missing_file_is_an_error_and_not_an_empty_host() {
        let users = users(Path::new("/nonexistent/passwd"));
        let error = users.get("root").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/passwd"), "{error}");
    }
}
