//! Secrets as credentials of systemd, from every kind of source, with the real
//! `age` and `systemd-creds`.

use anyhow::{Context as _, Result};

use crate::world::World;

/// A file that SOPS itself encrypted, and its published key.
pub(super) const SOPS: &str =
    include_str!("../../../crates/host/src/secrets/sops/vectors/all.sops.yaml");
pub(super) const SOPS_KEY: &str =
    "AGE-SECRET-KEY-1EQUCGFZH8UZKSZ0Z5N5T234YRNDT4U9H7QNYXWRRNJYDDVXE6FWSCPGNJ7";

/// One of each kind.
const SPEC: &str = "\
secretRefs:
- {name: from-file, file: /etc/cb/secrets/ky04}
- {name: tls.key, credential: /etc/cb/secrets/tls.cred}
- {name: db-password, age: secrets/db.age}
- {name: from-sops, sops: {file: secrets/ky04.sops.yaml, key: example_key}}
- {name: SOPS_ITEM, sops: {file: secrets/ky04.sops.yaml, key: example_array.1}, delivery: Environment}
envFrom:
- {age: ky04.env.age}
";

const FOLDER: &str = "/etc/cb/tenants/ky04/credentials";

impl World {
    /// What a tenant's service answers.
    pub(super) fn asks(&self, tenant: &str, service: &str, path: &str) -> Result<String> {
        let ports = &self.tenant(tenant)?["status"]["ports"];
        let port = ports[service].as_u64().context("it has no port")?;
        let url = format!("http://127.0.0.1:{port}{path}");
        let answer = self.host.curl(&[&url])?;
        Ok(format!("{} {}", answer.status, answer.body))
    }

    /// Encrypts a text for the host's key, or for another one, next to the
    /// manifests.
    fn age(&self, text: &str, file: &str, recipients: &str) -> Result<()> {
        self.host.push(text.as_bytes(), "/root/plain", 0o600)?;
        self.host.sh(&format!(
            "install -d /etc/cb/manifests/secrets\n\
             age -a -R {recipients} -o /root/sealed /root/plain\n\
             rm /root/plain\n\
             mv /root/sealed /etc/cb/manifests/{file}"
        ))?;
        Ok(())
    }

    fn credential(&self, text: &str, name: &str) -> Result<()> {
        self.host.push(text.as_bytes(), "/root/plain", 0o600)?;
        self.host.sh(&format!(
            "systemd-creds encrypt --with-key=host --name={name} /root/plain /etc/cb/secrets/tls.cred\n\
             rm /root/plain"
        ))?;
        Ok(())
    }

    /// Waits until both services were started again and have this credential.
    fn rotated(&self, before: &[String], name: &str, value: &str) -> Result<Vec<String>> {
        let wanted = format!("200 {value}");
        self.waits(&format!("{name} is {value}"), || {
            let path = format!("/credential/{name}");
            Ok(self.asks("ky04", "api", &path)? == wanted
                && self.asks("ky04", "frontend", &path)? == wanted)
        })?;
        self.wait_ready("ky04")?;
        let now = self.runs("ky04")?;
        assert!(before.iter().zip(&now).all(|(before, now)| before != now));
        Ok(now)
    }

    /// Waits until the condition tells why a secret cannot be read, and that
    /// nobody else is worse off.
    fn refused(&self, runs: &[String], words: &[&str]) -> Result<()> {
        self.waits(&format!("the condition says {words:?}"), || {
            let line = self.condition("ky04", "SecretsReady")?;
            Ok(line.starts_with("False SecretUnreadable")
                && words.iter().all(|word| line.contains(word))
                && !line.contains("hunter2"))
        })?;
        assert_eq!(self.runs("ky04")?, runs, "the services went on");
        assert!(self.condition("oh09", "Ready")?.starts_with("True"));
        Ok(())
    }
}

/// Laws 4, 7, 11 and 12: every kind of secret reaches the services that are to
/// have it and nothing else; a new value is taken up; what cannot be decrypted
/// is told, and the last good value stays, with the operator gone too.
#[test]
fn every_kind_of_secret_is_delivered_and_kept() -> Result<()> {
    let world = World::running("creds")?;
    world.host.sh("install -d -m 700 /etc/cb/secrets\n\
         age-keygen -o /etc/cb/age.key 2>/dev/null\n\
         chmod 600 /etc/cb/age.key\n\
         age-keygen -y /etc/cb/age.key >/root/own\n\
         age-keygen 2>/dev/null | age-keygen -y >/root/other")?;
    let key = world.host.read("/etc/cb/age.key")?;
    let keys = format!("{}{SOPS_KEY}\n", String::from_utf8(key)?);
    world.host.push(keys.as_bytes(), "/etc/cb/age.key", 0o600)?;
    world
        .host
        .push(b"hunter2-file\n", "/etc/cb/secrets/ky04", 0o600)?;
    world.credential("hunter2-sealed", "tls.key")?;
    world.age("hunter2-age\nline two\n", "secrets/db.age", "/root/own")?;
    world.age("FROM_AGE='hunter2 env'\n", "ky04.env.age", "/root/own")?;
    world.put("secrets/ky04.sops.yaml", SOPS)?;
    world.put_tiny("ky04", SPEC)?;
    world.put_tiny("oh09", "")?;
    world.wait_ready("ky04")?;
    world.wait_ready("oh09")?;

    for service in ["api", "frontend"] {
        for (name, value) in [
            ("from-file", "hunter2-file\n"),
            ("tls.key", "hunter2-sealed"),
            ("db-password", "hunter2-age\nline two\n"),
            ("from-sops", "example_value"),
        ] {
            let told = world.asks("ky04", service, &format!("/credential/{name}"))?;
            assert_eq!(told, format!("200 {value}"), "{name}");
        }
        let unit = format!("ky04-{service}");
        assert_eq!(world.variable(&unit, "FROM_AGE")?, "hunter2 env");
        assert_eq!(world.variable(&unit, "SOPS_ITEM")?, "example_value2");
    }
    assert_eq!(
        world
            .host
            .sh(&format!("stat -c '%a %U %n' {FOLDER} {FOLDER}/*"))?,
        format!(
            "700 root {FOLDER}\n400 root {FOLDER}/db-password\n400 root {FOLDER}/from-file\n\
             400 root {FOLDER}/from-sops\n400 root {FOLDER}/tls.key.cred\n"
        )
    );
    let given = format!("{FOLDER}/db-password\n{FOLDER}/from-file\n");
    let env = "/etc/cb/tenants/ky04/.env\n";
    let source = "/etc/cb/secrets/ky04\n";
    assert_eq!(world.found("hunter2")?, format!("{source}{env}{given}"));

    // Another tenant's service, in its own sandbox, and its user without one.
    for file in [
        &format!("{FOLDER}/db-password"),
        "/run/credentials/ky04-api.service/db-password",
        "/etc/cb/tenants/ky04/.env",
        "/etc/cb/age.key",
        "/var/lib/cb/fingerprint.key",
        "/etc/cb/secrets/ky04",
    ] {
        let told = world.asks("oh09", "api", &format!("/file{file}"))?;
        assert!(told.starts_with("404 "), "{file}: {told}");
        let script = format!("! setpriv --reuid cb-oh09 --regid cb-oh09 --clear-groups cat {file}");
        world.host.sh(&format!("{script} 2>/dev/null"))?;
    }

    // Each kind is rotated; the old value is nowhere.
    let mut runs = world.runs("ky04")?;
    world.age("hunter2-next", "secrets/db.age", "/root/own")?;
    runs = world.rotated(&runs, "db-password", "hunter2-next")?;
    world.credential("hunter2-resealed", "tls.key")?;
    world.reconcile("ky04")?;
    runs = world.rotated(&runs, "tls.key", "hunter2-resealed")?;
    world
        .host
        .push(b"hunter2-other", "/etc/cb/secrets/ky04", 0o600)?;
    world.reconcile("ky04")?;
    runs = world.rotated(&runs, "from-file", "hunter2-other")?;
    for old in ["hunter2-age", "hunter2-file", "hunter2-sealed"] {
        assert_eq!(world.found(old)?, "", "{old}");
    }
    // The same value, encrypted anew, is no reason to restart.
    world.age("hunter2-next", "secrets/db.age", "/root/own")?;
    world.reconcile("ky04")?;
    world.wait_ready("ky04")?;
    assert_eq!(world.runs("ky04")?, runs);

    // What cannot be had is told by field, file and reason.
    let age = ["spec.secretRefs[2]", "db-password", "secrets/db.age"];
    world.age("hunter2-lost", "secrets/db.age", "/root/other")?;
    world.refused(&runs, &[&age[..], &["other keys"]].concat())?;
    world.age("hunter2-next", "secrets/db.age", "/root/own")?;
    world.wait_ready("ky04")?;
    world.host.sh("chmod 644 /etc/cb/age.key")?;
    world.reconcile("ky04")?;
    world.refused(&runs, &["/etc/cb/age.key", "chmod 600"])?;
    world.host.sh("chmod 600 /etc/cb/age.key")?;
    let changed = SOPS.replacen("data:dlBJ", "data:AlBJ", 1);
    world.put("secrets/ky04.sops.yaml", &changed)?;
    let sops = [
        "spec.secretRefs[3]",
        "ky04.sops.yaml",
        "`example_key`",
        "it was changed",
    ];
    world.refused(&runs, &sops)?;
    world.put("secrets/ky04.sops.yaml", SOPS)?;
    world.wait_ready("ky04")?;
    world.credential("hunter2-misnamed", "other")?;
    world.reconcile("ky04")?;
    world.refused(
        &runs,
        &[
            "spec.secretRefs[1]",
            "/etc/cb/secrets/tls.cred",
            "`tls.key`",
        ],
    )?;

    // The last good values outlive their sources and the operator.
    world.host.sh("systemctl stop cb-operator\n\
         mv /etc/cb/age.key /etc/cb/secrets /root\n\
         rm -r /etc/cb/manifests/secrets\n\
         systemctl restart ky04-api ky04-frontend")?;
    let port = world
        .host
        .sh("grep -h ^CB_API_PORT= /etc/cb/tenants/ky04/.env")?;
    let port = port
        .trim()
        .trim_start_matches("CB_API_PORT=")
        .trim_matches('"');
    for (name, value) in [
        ("db-password", "hunter2-next"),
        ("tls.key", "hunter2-resealed"),
    ] {
        let url = format!("http://127.0.0.1:{port}/credential/{name}");
        world.waits("the service answers", || {
            Ok(world
                .host
                .curl(&[&url])
                .is_ok_and(|answer| answer.body == value))
        })?;
    }

    // Without secrets nothing of them is left.
    world.put_tiny("ky04", "")?;
    world.start()?;
    world.wait_ready("ky04")?;
    world.waits("the credentials are gone", || {
        Ok(world.host.sh(&format!("ls -A {FOLDER}"))?.is_empty())
    })?;
    let units = world.host.sh("cat /etc/systemd/system/ky04-*.service")?;
    assert!(!units.contains("LoadCredential"), "{units}");
    assert_eq!(world.condition("ky04", "SecretsReady")?, "");
    Ok(())
}
