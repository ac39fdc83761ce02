//! How far a repository is followed: kept over restarts, and shown.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::GitRepository;
use crate::status::ProblemReason;
use crate::types::{CommitId, GitRef, GitUrl, RepositoryPath};

/// A commit, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    /// Its id.
    pub id: CommitId,
    /// The first line of its message.
    #[serde(default)]
    pub subject: String,
    /// Who made it.
    #[serde(default)]
    pub author: String,
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.as_str();
        write!(f, "{}", &id[..12.min(id.len())])?;
        if !self.subject.is_empty() {
            write!(f, " \"{}\"", self.subject)?;
        }
        if !self.author.is_empty() {
            write!(f, " by {}", self.author)?;
        }
        Ok(())
    }
}

/// The commit that is in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Which.
    pub commit: Commit,
    /// Since when (RFC 3339, UTC).
    pub at: String,
}

/// Why a commit does not take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// Its signature is missing or not by a listed key.
    Unsigned,
    /// A manifest in it has an error.
    Invalid,
    /// It does not build on what is applied.
    HistoryLost,
    /// It removes more tenants than may go together.
    TooManyRemoved,
}

impl Why {
    /// Whether a person can accept the commit as it is.
    #[must_use]
    pub fn is_acceptable(self) -> bool {
        matches!(self, Why::HistoryLost | Why::TooManyRemoved)
    }

    /// The reason of the alert.
    #[must_use]
    pub fn reason(self) -> ProblemReason {
        match self {
            Why::Unsigned => ProblemReason::Unsigned,
            Why::Invalid => ProblemReason::Invalid,
            Why::HistoryLost => ProblemReason::HistoryLost,
            Why::TooManyRemoved => ProblemReason::TooManyRemoved,
        }
    }

    /// The CamelCase word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.reason().as_str()
    }
}

/// The newest commit, which does not take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Which.
    pub commit: Commit,
    /// The first reason.
    pub why: Why,
    /// All reasons, with file and line in the repository where they have one.
    pub messages: Vec<String>,
    /// Since when (RFC 3339, UTC).
    pub since: String,
}

impl Refused {
    /// What a person has to do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.why {
            Why::Unsigned => "push a commit that is signed by a listed key".into(),
            Why::Invalid => "push a commit that puts it right".into(),
            Why::HistoryLost | Why::TooManyRemoved => format!(
                "if that is meant: cbctl source accept {}; else push a commit that puts it right",
                self.commit.id
            ),
        }
    }
}

/// Why the repository could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreachable {
    /// In words.
    pub message: String,
    /// Since when (RFC 3339, UTC).
    pub since: String,
}

/// How far a repository is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The repository.
    pub repository: GitUrl,
    /// The branch or tag.
    #[serde(rename = "ref")]
    pub reference: GitRef,
    /// The folder in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<RepositoryPath>,
    /// What is in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// The newest commit, if it does not take effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The commit that a person accepted and that is not applied yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<CommitId>,
    /// Why the repository cannot be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<Unreachable>,
}

impl SourceStatus {
    /// Of a repository that was not asked yet.
    #[must_use]
    pub fn new(git: &GitRepository) -> Self {
        Self {
            repository: git.repository.clone(),
            reference: git.reference.clone(),
            path: git.path.clone(),
            applied: None,
            refused: None,
            accepted: None,
            unreachable: None,
        }
    }

    /// Whether it is about this repository, branch and folder. That of another
    /// says nothing of this one's history.
    #[must_use]
    pub fn is_of(&self, git: &GitRepository) -> bool {
        self.repository == git.repository
            && self.reference == git.reference
            && self.path == git.path
    }

    /// One word for how it is: `Starting`, `Current`, `Unreachable`, or why the
    /// newest commit is refused.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (&self.refused, &self.unreachable, &self.applied) {
            (_, Some(_), _) => "Unreachable",
            (Some(refused), ..) => refused.why.as_str(),
            (None, None, Some(_)) => "Current",
            (None, None, None) => "Starting",
        }
    }
}
