//! Secrets in a git repository: encrypted there, decrypted on the host alone.

use anyhow::{Result, ensure};

use super::credentials::{SOPS, SOPS_KEY};
use crate::world::{TINY, World, tiny};

/// A Host that follows a repository and looks at it when it is asked to.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 3600}
  source: {git: {repository: /srv/git/fleet, intervalSeconds: 3600}}
";

const SPEC: &str = "\
secretRefs:
- {name: from-sops, sops: {file: secrets/all.sops.yaml, key: example_key}}
envFrom:
- {age: ky04.env.age}
";

const CLONE: &str = "/root/fleet";

impl World {
    /// Encrypts variables for a public key, in the clone of a person who has
    /// no private one.
    fn seal(&self, text: &str, recipient: &str) -> Result<()> {
        self.host.push(text.as_bytes(), "/run/plain", 0o600)?;
        self.host.sh(&format!(
            "age -a -R {recipient} -o {CLONE}/ky04.env.age /run/plain; rm /run/plain"
        ))?;
        Ok(())
    }

    /// Commits and pushes the clone, and has the host follow.
    fn push(&self, message: &str) -> Result<()> {
        self.host.sh(&format!(
            "cd {CLONE}; git add -A; git commit -qm '{message}'; git push -q origin HEAD:main\n\
             cbctl source sync"
        ))?;
        Ok(())
    }

    /// Everything that the API and `cbctl` say.
    fn says(&self) -> Result<String> {
        let mut told = self.host.sh(
            "cbctl source status; cbctl describe tenant ky04; cbctl events -o json\n\
             cbctl diff || :; cbctl alerts; cat /var/lib/cb/status/*",
        )?;
        for path in ["tenants", "tenants/ky04/status", "applications", "hosts"] {
            told += &self
                .api(&format!("/apis/campaignbrain.io/v1alpha1/{path}"))?
                .to_string();
        }
        Ok(told)
    }

    fn has_variable(&self, value: &str) -> Result<()> {
        self.waits(&format!("the services have {value}"), || {
            Ok(self.variable("ky04-api", "TOKEN")? == value
                && self.variable("ky04-frontend", "TOKEN")? == value)
        })?;
        self.wait_ready("ky04")
    }
}

/// Laws 4, 11 and 12: what is encrypted in a commit is decrypted with the
/// host's key and is in plain text where services get it, and nowhere else; a
/// commit changes it, and one that cannot be decrypted leaves it as it was.
#[test]
fn a_secret_in_a_repository_is_decrypted_on_the_host_alone() -> Result<()> {
    let world = World::installed("sealedgit")?;
    let host = &world.host;
    host.push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    host.sh(&format!(
        "git config --global user.email dev@example.org; git config --global user.name dev\n\
         git config --global init.defaultBranch main; git config --global --add safe.directory '*'\n\
         git init -q --bare /srv/git/fleet; git clone -q /srv/git/fleet {CLONE} 2>/dev/null\n\
         age-keygen -o /etc/cb/age.key 2>/dev/null; echo {SOPS_KEY} >>/etc/cb/age.key\n\
         chmod 600 /etc/cb/age.key\n\
         age-keygen -y /etc/cb/age.key | head -1 >/root/own\n\
         age-keygen 2>/dev/null | age-keygen -y >/root/other"
    ))?;
    let write =
        |file: &str, text: &str| host.push(text.as_bytes(), &format!("{CLONE}/{file}"), 0o644);
    write("tiny.yaml", TINY)?;
    write("ky04.yaml", &tiny("ky04", SPEC))?;
    write("oh09.yaml", &tiny("oh09", ""))?;
    write("secrets/all.sops.yaml", SOPS)?;
    world.seal("TOKEN='hunter2 first'\n", "/root/own")?;
    host.sh(&format!(
        "cd {CLONE}; git add -A; git commit -qm first; git push -q origin HEAD:main"
    ))?;
    world.start()?;
    world.waits("the repository is followed", || {
        Ok(host.exec(&["cbctl", "source", "sync"])?.code == Some(0))
    })?;
    world.has_variable("hunter2 first")?;
    world.wait_ready("oh09")?;
    let others = world.runs("oh09")?;
    let sops = world.asks("ky04", "api", "/credential/from-sops")?;
    assert_eq!(sops, "200 example_value");
    // The whole host: the repository, its copies, records, status, journal.
    let env = "/etc/cb/tenants/ky04/.env\n";
    let only = |value: &str| -> Result<()> {
        assert_eq!(world.found(value)?, env);
        ensure!(!world.says()?.contains("hunter2"));
        Ok(())
    };
    only("hunter2 first")?;
    host.sh("! grep -rq hunter2 /var/lib/cb/source")?;

    world.seal("TOKEN='hunter2 second'\n", "/root/own")?;
    world.push("second")?;
    world.has_variable("hunter2 second")?;
    only("hunter2 second")?;
    assert_eq!(world.found("hunter2 first")?, "");

    // For another host, damaged, or with a line that is no variable.
    let runs = world.runs("ky04")?;
    let told = |words: &[&str]| -> Result<()> {
        world.waits(&format!("the condition says {words:?}"), || {
            let line = world.condition("ky04", "SecretsReady")?;
            Ok(line.starts_with("False SecretUnreadable")
                && words.iter().all(|word| line.contains(word)))
        })?;
        assert_eq!(world.runs("ky04")?, runs, "the services went on");
        assert_eq!(world.variable("ky04-api", "TOKEN")?, "hunter2 second");
        assert!(world.condition("oh09", "Ready")?.starts_with("True"));
        only("hunter2")
    };
    world.seal("TOKEN='hunter2 third'\n", "/root/other")?;
    world.push("for another host")?;
    told(&["spec.envFrom[0]", "ky04.env.age", "other keys"])?;
    world.seal("hunter2 is no variable\n", "/root/own")?;
    world.push("no variable")?;
    told(&["spec.envFrom[0]", "ky04.env.age"])?;
    world.seal("TOKEN='hunter2 second'\n", "/root/own")?;
    write(
        "secrets/all.sops.yaml",
        &SOPS.replacen("data:dlBJ", "data:AlBJ", 1),
    )?;
    world.push("damaged")?;
    told(&["spec.secretRefs[0]", "all.sops.yaml", "it was changed"])?;

    write("secrets/all.sops.yaml", SOPS)?;
    world.push("mended")?;
    world.wait_ready("ky04")?;
    assert_eq!(world.runs("ky04")?, runs, "nothing had changed");
    assert_eq!(world.runs("oh09")?, others);
    Ok(())
}
