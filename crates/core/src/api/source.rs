//! Where a Host's manifests come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{GitRef, GitUrl, HostPath, ListenAddress, RepositoryPath};

/// Where the manifests come from. Without `git` they are the files in
/// `paths.manifests`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ManifestSource {
    /// A git repository that is followed. `paths.manifests` is not read then.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitRepository>,
}

/// A git repository of manifests that is followed. A commit takes effect whole
/// or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitRepository {
    /// The repository.
    pub repository: GitUrl,
    /// The branch or tag that is followed. Default `main`.
    #[serde(rename = "ref", default = "main")]
    pub reference: GitRef,
    /// The folder in the repository that has the manifests, with those below
    /// it. Default: the whole repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<RepositoryPath>,
    /// How often the repository is asked for a new commit, in seconds; while it
    /// cannot be reached, less and less often, at most ten times as long.
    /// Default 60.
    #[serde(default = "a_minute")]
    #[schemars(range(min = 1, max = 86400))]
    pub interval_seconds: u32,
    /// The private key for an `ssh://` repository: a file that root alone can
    /// read, without a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key_file: Option<HostPath>,
    /// The keys of an `ssh://` repository's server, as in `known_hosts`.
    /// Default: `/etc/ssh/ssh_known_hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts_file: Option<HostPath>,
    /// The token for an `https://` repository: a file that root alone can read
    /// with the token in one line, or with two lines, a user name and the
    /// token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<HostPath>,
    /// Where the git server tells of a push, so that it takes effect before the
    /// interval is over. Default: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<SourceWebhook>,
    /// Whose signature a commit must have. Default: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyCommits>,
    /// Whether `cbctl apply`, `delete` and `upgrade` commit to the branch and
    /// push it. Without, they say what to commit where. Default `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub write_back: bool,
}

/// Where a git server tells of a push: a POST with the `X-Hub-Signature-256` of
/// GitHub, Gitea and Forgejo, or the `X-Gitlab-Token` of GitLab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceWebhook {
    /// An address of this machine and a port, spoken to in HTTP: have a proxy
    /// with TLS before it where others can listen.
    pub address: ListenAddress,
    /// The secret that the git server was given: a file that root alone can
    /// read.
    pub secret_file: HostPath,
}

/// Whose signature a commit must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyCommits {
    /// The SSH keys that may sign, as `ssh-keygen` reads them (`ALLOWED
    /// SIGNERS` in its manual). The newest commit must be signed by one; what
    /// it builds on is covered by that.
    pub allowed_signers_file: HostPath,
}

fn main() -> GitRef {
    "main".parse().expect("a valid constant")
}

fn a_minute() -> u32 {
    60
}

impl GitRepository {
    /// The path of a manifest in the repository; `file` is relative to the
    /// folder of manifests.
    #[must_use]
    pub fn in_repository(&self, file: &str) -> String {
        match &self.path {
            Some(path) => format!("{path}/{file}"),
            None => file.to_owned(),
        }
    }
}
