//! What is wrong with a Host's source of manifests that its shape cannot say.

use super::Finding;
use crate::api::ManifestSource;
use crate::yaml::Path;

/// Checks the source.
#[must_use]
pub(super) fn check(of: &ManifestSource) -> Vec<Finding> {
    let Some(git) = &of.git else {
        return Vec::new();
    };
    let at = Path::from(["spec", "source", "git"]);
    let url = git.repository.as_str();
    let mut out = Vec::new();
    let mut only_for = |field: &str, given: bool, start: &str| {
        if given && !url.starts_with(start) {
            let message = format!("`{field}` is for a repository that starts with `{start}`");
            let hint = "leave it out, or write the repository that way";
            out.push(Finding::new(at.key(field), message).hint(hint));
        }
    };
    only_for("sshKeyFile", git.ssh_key_file.is_some(), "ssh://");
    only_for("knownHostsFile", git.known_hosts_file.is_some(), "ssh://");
    only_for("tokenFile", git.token_file.is_some(), "https://");
    if url.starts_with("ssh://") && git.ssh_key_file.is_none() {
        let finding = Finding::new(at.clone(), "an `ssh://` repository needs a key");
        out.push(finding.hint("name its file in `sshKeyFile`"));
    }
    if git.write_back && git.verify.is_some() {
        let message = "the operator does not sign what it commits, and `verify` would refuse it";
        let finding = Finding::new(at.key("writeBack"), message);
        out.push(finding.hint("leave out `writeBack` or `verify`"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(git: &str) -> Vec<String> {
        let source: ManifestSource = serde_yaml::from_str(&format!("git: {git}")).unwrap();
        let findings = check(&source);
        findings
            .iter()
            .map(|finding| format!("{}: {}", finding.path, finding.message))
            .collect()
    }

    #[test]
    fn credentials_go_with_the_protocol_and_unsigned_commits_with_no_check() {
        for good in [
            "{repository: /srv/git/fleet, writeBack: true}",
            "{repository: 'ssh://git@example.org/fleet', sshKeyFile: /k, knownHostsFile: /h}",
            "{repository: 'https://example.org/fleet', tokenFile: /t, verify: {allowedSignersFile: /s}}",
        ] {
            assert_eq!(findings(good), Vec::<String>::new(), "{good}");
        }
        let bad = findings(
            "{repository: 'ssh://git@example.org/fleet', tokenFile: /t, writeBack: true, \
             verify: {allowedSignersFile: /s}}",
        );
        let starts = [
            "spec.source.git.tokenFile: `tokenFile` is for a repository that starts with `https://`",
            "spec.source.git: an `ssh://` repository needs a key",
            "spec.source.git.writeBack: the operator does not sign",
        ];
        assert_eq!(bad.len(), starts.len(), "{bad:#?}");
        for (found, start) in bad.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
        }
    }
}
