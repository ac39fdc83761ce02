//! A git repository of manifests: which of its commits take effect.
//!
//! [`judge`] is a pure function of what was accepted before, of a commit and
//! its manifests, and of what a person said. A commit takes effect whole or not
//! at all: while one is refused, the last good one goes on.
//!
//! - Where signatures are asked for, an unsigned commit is as good as none.
//! - A commit that does not build on the applied one (a force-push, a branch
//!   that was set back) waits for a person.
//! - Every manifest in it must be good, alone and beside the others. Tenants
//!   that are gone in the commit count as gone: their domains are free, so a
//!   tenant can be renamed in one commit.
//! - A commit that removes more tenants than may go together waits for a
//!   person; what is accepted then names these tenants.
//!
//! What must not live here: git, files and clocks.

mod status;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use status::{Applied, Commit, Refused, SourceStatus, Unreachable, Why};

use crate::admission::{Admission, Blocked, Known, Scan, admit};
use crate::api::{GitRepository, Host, Kind};
use crate::manifest::{Diagnostic, Severity};
use crate::types::{CommitId, TenantName};

/// How a commit relates to the one that is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// None is applied.
    First,
    /// It is the same, or builds on it.
    Forward,
    /// It does not build on it.
    Lost,
}

/// A commit that was fetched.
#[derive(Debug, Clone, Copy)]
pub struct Tip<'a> {
    /// Which.
    pub commit: &'a CommitId,
    /// How it relates to the one that is applied.
    pub history: History,
    /// Why its signature is not good, if one is asked for.
    pub unsigned: Option<&'a str>,
    /// What is in it and must not be, in words with the place.
    pub odd: &'a [String],
    /// Its manifests.
    pub manifests: &'a Scan,
}

/// What becomes of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It takes effect.
    Apply {
        /// Tenants to delete because a person accepted the commit that removes
        /// them: more than may go together by themselves.
        delete: Vec<TenantName>,
    },
    /// It does not.
    Refuse {
        /// The first reason why.
        why: Why,
        /// All reasons, with file and line in the repository where they have
        /// one.
        messages: Vec<String>,
    },
}

/// Decides whether a commit takes effect. `known` and `now` are as for
/// [`admit`], `status` is what was decided before.
#[must_use]
pub fn judge(
    (known, host): (&Known, &Host),
    git: &GitRepository,
    tip: Tip<'_>,
    status: &SourceStatus,
    now: u64,
) -> Verdict {
    if let Some(problem) = tip.unsigned {
        return Verdict::Refuse {
            why: Why::Unsigned,
            messages: vec![problem.to_owned()],
        };
    }
    let messages = wrong(&known_after(known, tip.manifests), host, git, tip, now);
    if !messages.is_empty() {
        return Verdict::Refuse {
            why: Why::Invalid,
            messages,
        };
    }
    let blocked = admit(known, tip.manifests, host, now).blocked;
    let accepted = status.accepted.as_ref() == Some(tip.commit);
    if accepted {
        let delete = blocked.map(|blocked| blocked.names).unwrap_or_default();
        return Verdict::Apply { delete };
    }
    let mut why = None;
    let mut messages = Vec::new();
    if tip.history == History::Lost
        && let Some(applied) = &status.applied
    {
        why = Some(Why::HistoryLost);
        messages.push(format!(
            "{} does not build on {}, which is applied: the history was rewritten or set back",
            tip.commit, applied.commit.id
        ));
    }
    if let Some(blocked) = blocked {
        why = why.or(Some(Why::TooManyRemoved));
        let allowed = match blocked.reason {
            Blocked::TooMany { allowed, active } => format!(
                "at most {allowed} of {active} may go together (the Host's prune.maxPercent)"
            ),
            Blocked::Empty | Blocked::Errors | Blocked::Incomplete => {
                "it has no manifest at all".to_owned()
            }
        };
        let names: Vec<&str> = blocked.names.iter().map(TenantName::as_str).collect();
        messages.push(format!(
            "{} removes {}: {allowed}",
            tip.commit,
            names.join(", ")
        ));
    }
    match why {
        None => Verdict::Apply { delete: Vec::new() },
        Some(why) => Verdict::Refuse { why, messages },
    }
}

/// What was accepted before, without the tenants that are in no manifest any
/// more: what they had is free for others.
fn known_after(known: &Known, manifests: &Scan) -> Known {
    let documents = manifests
        .files
        .values()
        .flatten()
        .flat_map(|file| &file.documents);
    let there: BTreeSet<&str> = documents
        .filter(|document| document.kind == Some(Kind::Tenant))
        .filter_map(|document| document.name.as_deref())
        .collect();
    let mut known = known.clone();
    known
        .tenants
        .retain(|name, _| there.contains(name.as_str()));
    known
}

/// Everything that is wrong in the commit.
fn wrong(known: &Known, host: &Host, git: &GitRepository, tip: Tip<'_>, now: u64) -> Vec<String> {
    let mut out = tip.odd.to_vec();
    let Admission {
        tenants,
        applications,
        files,
        ..
    } = admit(known, tip.manifests, host, now);
    let refused = tenants.into_values().map(|verdict| verdict.refused);
    let refused = refused.chain(applications.into_values().map(|verdict| verdict.refused));
    let mut lines = BTreeSet::new();
    for diagnostic in files.into_values().chain(refused).flatten() {
        if diagnostic.severity == Severity::Error {
            let file = git.in_repository(&diagnostic.file);
            let position = diagnostic.position;
            let line = Diagnostic { file, ..diagnostic }.to_string();
            lines.insert((position, line));
        }
    }
    out.extend(lines.into_iter().map(|(_, line)| line));
    out
}
