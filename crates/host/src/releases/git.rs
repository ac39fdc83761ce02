//! Git tags: fetched and packed by a user without rights, unpacked like any
//! other archive.
//!
//! Each repository has a bare mirror in `<state>/git/`, which is a cache: it
//! can be removed at any time. Only the tag is fetched, without its history.
//! Nothing that a repository says makes git run a program: there is no work
//! tree (so no hook, filter or submodule), and no configuration is read but
//! the mirror's own. Root reads one file: an archive, as distrustfully as any.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cb_core::api::GitSource;
use cb_core::digest;
use cb_core::types::{CommitId, Version, shown};

use super::error::failure;
use super::tree::{hostile, unreadable};
use super::workers::{GIT, Turn, Workers, has_program};
use super::{Limits, ReleaseError, blocking};
use crate::files::{self, FileSpec};

/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How much memory git may use, in bytes.
const MEMORY: u64 = 2 << 30;

/// Runs in the repository's folder. What is left of a killed run goes first;
/// a mirror that gives nothing is made anew beside and replaced.
const SCRIPT: &str = r#"
url=$1 ref=refs/tags/$2
rm -rf out next
mkdir out
git() { command git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c gc.auto=0 "$@"; }
fetch() {
    git -C "$1" fetch --quiet --depth=1 --no-tags --no-recurse-submodules \
        ${UPLOAD_PACK:+"--upload-pack=$UPLOAD_PACK"} -- "$url" "+$ref:$ref"
}
if [ -d mirror ]; then find mirror -name '*.lock' -delete; fi
if ! { [ -d mirror ] && fetch mirror 2>/dev/null; }; then
    git init --quiet --bare --template= next
    fetch next
    rm -rf mirror
    mv next mirror
fi
cd mirror
commit=$(git rev-parse --verify --quiet "$ref^{commit}") || {
    echo "the tag does not point to a commit" >&2
    exit 1
}
echo "$commit"
git ls-tree -r "$commit" >../out/tree
sed -n 's/^160000 [^	]*	//p' ../out/tree
git archive --format=tar --output=../out/release.tar "$commit"
"#;

/// What was fetched. Nothing else is fetched while it is there.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The packed tree.
    pub(super) archive: PathBuf,
    /// The commit that the tag points to.
    pub(super) commit: String,
    _turn: Turn,
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // The next run removes it too; until then it only takes room.
        if let Err(error) = files::remove(&self.archive) {
            tracing::debug!(%error, "a packed release is left");
        }
    }
}

/// Fetches a tag.
pub(super) async fn fetch(
    workers: &Workers,
    git: &GitSource,
    version: &Version,
    limits: Limits,
) -> Result<Fetched, ReleaseError> {
    let tag = git.tag.as_ref().unwrap_or(version);
    let url = git.repository.as_str();
    let local = url.starts_with('/').then(|| PathBuf::from(url));
    check_programs(url)?;
    if let Some(path) = &local {
        // systemd's words for a folder that is not there are about mounts.
        path.read_dir().map_err(|e| unreadable(path, e))?;
    }
    let turn = workers.turn(GIT).await?;
    let mirrors = workers.mirrors();
    let folder = mirrors.join(&digest::of_content(url.as_bytes())[..16]);
    let (own, user) = (folder.clone(), turn.user);
    blocking(move || {
        // Open to be passed through, for the ssh keys of its user.
        files::ensure_dir(&mirrors, FileSpec::own(0o711))?;
        let mode = FileSpec::own(0o700);
        let spec = FileSpec {
            uid: user.uid,
            gid: user.gid,
            ..mode
        };
        Ok(files::ensure_dir(&own, spec)?)
    })
    .await?;

    let protocol = match (&local, url.split_once("://")) {
        (None, Some((protocol, _))) => protocol,
        _ => "file",
    };
    let home = workers.mirrors();
    // Headers and padding of the packed files count too.
    let largest = limits
        .bytes
        .saturating_add(limits.entries.saturating_mul(1024));
    let mut worker = workers
        .script(GIT, SCRIPT, TIMEOUT)
        .description("Campaign Brain fetches a release")
        .arg(url)
        .arg(tag.as_str())
        .memory_max(MEMORY)
        .property("LimitFSIZE", largest)
        .bind(&folder)
        .folder(&folder)
        .env("HOME", &home.to_string_lossy())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "/bin/true")
        .env("GIT_ALLOW_PROTOCOL", protocol)
        .env("GIT_HTTP_LOW_SPEED_LIMIT", "1000")
        .env("GIT_HTTP_LOW_SPEED_TIME", "60")
        .env(
            "GIT_SSH_COMMAND",
            "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=30",
        );
    if let Some(path) = &local {
        // It belongs to whoever made it, and git runs as nobody who matters.
        worker = worker
            .bind_read_only(path)
            .env("UPLOAD_PACK", "git -c safe.directory='*' upload-pack");
    } else {
        worker = worker.property("PrivateNetwork", false);
        let keys = home.join(".ssh");
        if keys.is_dir() {
            worker = worker.bind_read_only(&keys);
        }
    }
    let outcome = workers.run(&turn, &worker).await?;
    let failed = |reason: String| ReleaseError::Fetch {
        repository: url.to_owned(),
        tag: tag.clone(),
        reason,
    };
    if let Some(reason) = failure(&outcome, "30 minutes, 2 GiB") {
        return Err(failed(format!("git {reason}")));
    }
    let said = String::from_utf8_lossy(&outcome.stdout);
    let mut lines = said.lines();
    let commit = lines.next().unwrap_or_default();
    let commit: CommitId = commit.parse().map_err(|_| {
        let commit = shown(commit);
        failed(format!(
            "git names the commit `{commit}`, which is no SHA-1"
        ))
    })?;
    if let Some(submodule) = lines.next() {
        let problem = "is a submodule, and submodules are not fetched; put its content into the repository or use an archive";
        return Err(hostile(Path::new(url), Path::new(submodule), problem));
    }
    if let Some(expected) = &git.commit
        && *expected != commit
    {
        return Err(ReleaseError::Moved {
            repository: url.to_owned(),
            tag: tag.clone(),
            expected: expected.to_string(),
            found: commit.to_string(),
        });
    }
    Ok(Fetched {
        archive: folder.join("out/release.tar"),
        commit: commit.to_string(),
        _turn: turn,
    })
}

fn check_programs(url: &str) -> Result<(), ReleaseError> {
    let needed = [
        ("git", "git", true),
        ("ssh", "openssh-client", url.starts_with("ssh://")),
    ];
    for (program, package, needed) in needed {
        if needed && !has_program(program) {
            return Err(ReleaseError::NoProgram { program, package });
        }
    }
    Ok(())
}
