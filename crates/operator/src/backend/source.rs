//! Changes on a Host that follows a git repository: they are commits, and
//! either a person makes them or, with `writeBack`, the operator does.
//!
//! A commit of the operator takes the way of everybody's: it is pushed,
//! fetched, judged whole and published.

use cb_core::api::{GitRepository, Kind};
use cb_core::manifest::AnyObject;
use cb_core::source::SourceStatus;
use cb_core::types::{TenantName, Version};
use cb_host::files::FileCache;
use cb_host::source::Change;

use super::manifest::Edit;
use super::rewrite::Rewritten;
use crate::api::{Problem, ProblemKind, Refusal};
use crate::catalog::real_folder;
use crate::daemon::Daemon;
use crate::source::{Source, SourceProblem};

/// A change of one file.
#[derive(Debug)]
pub(super) struct Wish {
    /// The file, relative to the folder of manifests.
    file: String,
    /// What it was changed from, if not from what is there now.
    before: Option<Vec<u8>>,
    /// What is to be in it; nothing if it is to go.
    after: Option<Vec<u8>>,
    /// Whether the object goes.
    removes: bool,
    /// The object, as `tenant ky04`.
    object: String,
}

impl Wish {
    pub(super) fn write(file: &str, object: &AnyObject, new: Rewritten) -> Self {
        Self {
            file: file.to_owned(),
            before: new.before,
            after: Some(new.after.into_bytes()),
            removes: false,
            object: named(object.kind(), object.name()),
        }
    }

    /// Takes an object out of a file that has others too.
    pub(super) fn take_out(file: &str, object: &AnyObject, new: Rewritten) -> Self {
        Self {
            removes: true,
            ..Self::write(file, object, new)
        }
    }

    pub(super) fn remove(file: &str, kind: Kind, name: &str) -> Self {
        Self {
            file: file.to_owned(),
            before: None,
            after: None,
            removes: true,
            object: named(kind, name),
        }
    }
}

fn named(kind: Kind, name: &str) -> String {
    format!("{} {name}", kind.singular())
}

impl<H: cb_host::Host + 'static> Daemon<H> {
    /// Commits a change, or says what to commit where.
    pub(super) async fn commit(&self, source: &Source, wish: Wish) -> Result<(), Refusal> {
        let git = source.git();
        let Wish {
            file,
            before: changed,
            after,
            removes,
            object,
        } = wish;
        if !git.write_back {
            let path = git.in_repository(&file);
            let what = match &after {
                Some(_) if removes => format!("remove {object} from {path} there"),
                Some(_) => format!("commit {object} to {path} there"),
                None => format!("remove {object} with {path} there"),
            };
            return Err(Refusal::Conflict(by_hand(git, &what)));
        }
        let root = real_folder(&self.manifests.to_string_lossy());
        let path = root.join(&file);
        let before = tokio::task::spawn_blocking(move || match path.exists() {
            true => FileCache::content(&path).map(Some),
            false => Ok(None),
        });
        let before = before
            .await
            .map_err(super::internal)?
            .map_err(|error| Refusal::Internal(cb_host::files::chain(&error)))?;
        let before = changed.or(before);
        let verb = match (&before, removes) {
            (None, _) => "Add",
            (_, false) => "Change",
            (_, true) => "Remove",
        };
        let change = Change {
            file,
            before,
            after,
            message: format!("{verb} {object}, as it was asked for on this host\n"),
        };
        let status = source
            .change(change)
            .await
            .map_err(|problem| match problem {
                SourceProblem::Changed(why) | SourceProblem::NotAcceptable(why) => {
                    Refusal::Conflict(why)
                }
                SourceProblem::Unavailable(why) => Refusal::Unavailable(why),
            })?;
        held(&status).map_or(Ok(()), |why| Err(Refusal::Conflict(why)))
    }

    /// As [`Daemon::commit`], for another version.
    pub(super) async fn commit_edit(&self, source: &Source, edit: Edit) -> Result<(), Problem> {
        let name = edit.object.name().to_owned();
        let (file, before, after) = edit.into_change();
        let change = Change {
            file,
            before: Some(before),
            after: Some(after),
            message: format!(
                "Bring tenant {name} to another version, as it was asked for on this host\n"
            ),
        };
        let status = source
            .change(change)
            .await
            .map_err(|problem| match problem {
                SourceProblem::Changed(why) | SourceProblem::NotAcceptable(why) => {
                    Problem::new(ProblemKind::ManifestConflict, why)
                }
                SourceProblem::Unavailable(why) => Problem::new(ProblemKind::Unavailable, why),
            })?;
        match held(&status) {
            None => Ok(()),
            Some(why) => Err(Problem::new(ProblemKind::ManifestConflict, why)),
        }
    }
}

/// Whether the operator may commit a version; if not, what to commit where.
pub(super) fn may_commit_version(
    source: &Source,
    file: &str,
    tenant: &TenantName,
    version: &Version,
) -> Result<(), Problem> {
    let git = source.git();
    if git.write_back {
        return Ok(());
    }
    let path = git.in_repository(file);
    let what =
        format!("commit `version: {version}` to the spec of tenant `{tenant}` in {path} there");
    Err(Problem::new(
        ProblemKind::ManifestConflict,
        by_hand(git, &what),
    ))
}

fn by_hand(git: &GitRepository, what: &str) -> String {
    format!(
        "this host follows `{}` of {}: {what} (with spec.source.git.writeBack in the Host the operator does it)",
        git.reference, git.repository
    )
}

/// Why what was just committed does not take effect.
fn held(status: &SourceStatus) -> Option<String> {
    if let Some(refused) = &status.refused {
        let why = refused.messages.join("; ");
        return Some(format!(
            "it is committed, but {} does not take effect: {why}; {}",
            refused.commit,
            refused.hint()
        ));
    }
    let unreachable = status.unreachable.as_ref()?;
    Some(format!(
        "it is committed, but could not be fetched again yet: {}",
        unreachable.message
    ))
}
