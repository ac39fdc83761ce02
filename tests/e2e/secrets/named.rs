//! Files that manifests name are watched: a changed secret is taken up at once,
//! as a change and not as drift.

use anyhow::{Context as _, Result};

use crate::world::{TINY, World};

/// A Host whose periodic look is too far away to notice anything.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 3600}
";

const SPEC: &str = "\
secretRefs:
- {name: TOKEN, file: /etc/cb/secrets/token, delivery: Environment}
- {name: from-file, file: /etc/cb/secrets/token}
- {name: sealed, credential: /etc/cb/secrets/sealed.cred}
- {name: from-age, age: from.age}
";

/// The ways in which people and programs replace a file, each with the value
/// that is there then.
const WAYS: &[(&str, &str)] = &[
    ("written in place", "printf in-place >/etc/cb/secrets/token"),
    (
        "renamed over, as editors, age and SOPS do",
        "cd /etc/cb/secrets; install -m 600 /dev/null .token.new; printf renamed >.token.new; mv .token.new token",
    ),
    (
        "removed and made anew",
        "cd /etc/cb/secrets; rm token; (umask 077; printf anew >token)",
    ),
    (
        "in a folder that was replaced",
        "cd /etc/cb; cp -a secrets next; printf folder >next/token; mv secrets old; mv next secrets; rm -r old",
    ),
    (
        "written in that folder",
        "printf again >/etc/cb/secrets/token",
    ),
];

impl World {
    /// Encrypts a text for the key that is in a file.
    fn age_for(&self, text: &str, key: &str) -> Result<()> {
        self.host.push(text.as_bytes(), "/root/plain", 0o600)?;
        let script = format!(
            "age -r \"$(age-keygen -y {key})\" -o /root/sealed /root/plain\n\
             rm /root/plain; mv /root/sealed /etc/cb/manifests/from.age"
        );
        Ok(self.host.sh(&script).map(drop)?)
    }

    /// Waits until both services have a value of a secret.
    fn has(&self, credential: &str, value: &str) -> Result<()> {
        self.waits(&format!("{credential} is {value}"), || {
            let path = format!("/credential/{credential}");
            let wanted = format!("200 {value}");
            Ok(self.asks("ky04", "api", &path)? == wanted
                && self.asks("ky04", "frontend", &path)? == wanted)
        })?;
        self.wait_ready("ky04")
    }
}

/// Laws 1 and 8: whoever changes a secret does not wait for the periodic look,
/// and nobody is told of drift.
#[test]
fn a_changed_file_of_a_secret_is_taken_up_at_once() -> Result<()> {
    let world = World::installed("named")?;
    let host = &world.host;
    host.push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    host.sh("install -d -m 700 /etc/cb/secrets\n\
         age-keygen -o /etc/cb/age.key 2>/dev/null; age-keygen -o /root/next.key 2>/dev/null\n\
         chmod 600 /etc/cb/age.key /root/next.key")?;
    host.push(b"first", "/etc/cb/secrets/token", 0o600)?;
    let seal = |value: &str| {
        host.push(value.as_bytes(), "/root/plain", 0o600)?;
        host.sh(
            "systemd-creds encrypt --with-key=host --name=sealed /root/plain /root/sealed\n\
             rm /root/plain; mv /root/sealed /etc/cb/secrets/sealed.cred",
        )
    };
    seal("sealed-first")?;
    world.age_for("age-first", "/etc/cb/age.key")?;
    world.put("tiny.yaml", TINY)?;
    world.put_tiny("ky04", SPEC)?;
    world.put_tiny("oh09", "")?;
    world.start()?;
    world.wait_ready("oh09")?;
    world.has("from-file", "first")?;
    world.has("sealed", "sealed-first")?;
    world.has("from-age", "age-first")?;
    let others = world.runs("oh09")?;

    for (way, script) in WAYS {
        host.sh(script)?;
        let value = host.sh("cat /etc/cb/secrets/token")?;
        let taken = world.has("from-file", &value);
        taken.with_context(|| format!("the file is {way}"))?;
        assert_eq!(world.variable("ky04-api", "TOKEN")?, value);
    }
    seal("sealed-next")?;
    world.has("sealed", "sealed-next")?;

    // Emptied, it is no secret, and the last good value stays.
    let runs = world.runs("ky04")?;
    host.sh(": >/etc/cb/secrets/token")?;
    let line = world.wait_condition("ky04", "SecretsReady", "False SecretUnreadable")?;
    assert!(
        line.contains("/etc/cb/secrets/token: it is empty"),
        "{line}"
    );
    assert_eq!(world.runs("ky04")?, runs);
    host.sh("printf whole >/etc/cb/secrets/token")?;
    world.has("from-file", "whole")?;

    // The key that others are decrypted with.
    world.age_for("age-next", "/root/next.key")?;
    world.wait_condition("ky04", "SecretsReady", "False SecretUnreadable")?;
    host.sh("cat /root/next.key >>/etc/cb/age.key")?;
    world.has("from-age", "age-next")?;

    assert_eq!(world.runs("oh09")?, others);
    assert_eq!(host.sh("cbctl events -o json | grep -c Drift || :")?, "0\n");
    let drifted = world.condition("ky04", "Drifted")?;
    assert!(!drifted.starts_with("True"), "{drifted}");
    Ok(())
}
