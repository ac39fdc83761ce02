//! Upgrades, backups and restores that are asked for, over the API and with
//! `cbctl`.

use anyhow::Result;
use cb_testhost::Output;
use serde_json::{Value, json};

use crate::upgrade::Upgrades;

impl Upgrades {
    fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let answer = self
            .world
            .post(&format!("/api/tenants/{path}"), &body.to_string())?;
        Ok((answer.status, answer.json()))
    }

    /// Checks that a request is refused so; gives the detail.
    fn refused(&self, path: &str, body: &Value, code: u16, reason: &str) -> Result<String> {
        let (status, problem) = self.post(path, body)?;
        assert_eq!(
            (status, &problem["reason"]),
            (code, &json!(reason)),
            "{problem}"
        );
        assert_eq!(problem["status"], code);
        Ok(problem["detail"].as_str().unwrap_or_default().to_owned())
    }

    fn version(&self, tenant: &str) -> Result<Value> {
        self.world.api(&format!("/api/tenants/{tenant}/version"))
    }

    fn cbctl(&self, line: &str) -> Result<Output> {
        let words: Vec<&str> = ["cbctl"].into_iter().chain(line.split(' ')).collect();
        Ok(self.world.host.exec(&words)?)
    }

    /// Runs `cbctl`, checks how it ends, and gives all that it printed.
    fn told(&self, line: &str, code: i32) -> Result<String> {
        let output = self.cbctl(line)?;
        let text = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, Some(code), "cbctl {line}\n{text}");
        Ok(text)
    }

    fn manifest(&self, tenant: &str) -> Result<String> {
        let text = self
            .world
            .host
            .read(&format!("/etc/cb/manifests/{tenant}.yaml"))?;
        Ok(String::from_utf8(text)?)
    }
}

/// Law 6 and 12: what cannot be done is refused with what would be right; what
/// is asked for changes the version in the manifest and nothing else there.
#[test]
fn an_upgrade_is_asked_for_over_the_api() -> Result<()> {
    let upgrades = Upgrades::running("requests", &[], &["ky04"])?;
    let rows = upgrades.rows("ky04")?;
    let before = upgrades.manifest("ky04")?;
    let version = json!({
        "running": "v0.1.0", "desired": "v0.1.0", "schema": 1,
        "available": ["v0.1.0", "v0.2.0", "v0.3.0"], "last_upgrade": null,
    });
    assert_eq!(upgrades.version("ky04")?, version);

    let to = |version: &str| json!({"target_version": version});
    let detail = upgrades.refused(
        "ky04/upgrade",
        &json!({"target_verison": "v0.3.0"}),
        400,
        "Malformed",
    )?;
    assert!(detail.contains("did you mean `target_version`"), "{detail}");
    upgrades.refused("nobody/upgrade", &to("v0.3.0"), 404, "NotFound")?;
    let detail = upgrades.refused("ky04/upgrade", &to("v0.30.0"), 422, "UnknownVersion")?;
    assert!(detail.contains("did you mean `v0.3.0`"), "{detail}");
    let detail = upgrades.refused("ky04/upgrade", &to("v0.1.0"), 422, "AlreadyAtVersion")?;
    assert!(detail.contains("is ready"), "{detail}");
    let without = json!({"target_version": "v0.3.0", "backup_db": false});
    upgrades.refused("ky04/upgrade", &without, 422, "BackupRequired")?;
    let unknown = json!({"target_version": "v0.3.0", "restore_backup": "b1"});
    upgrades.refused("ky04/upgrade", &unknown, 422, "UnknownBackup")?;
    upgrades.refused("ky04/retry", &json!({}), 409, "NothingFailed")?;
    assert_eq!(upgrades.manifest("ky04")?, before);

    // A file that cannot be replaced: what was asked for is taken back.
    let file = "/etc/cb/manifests/ky04.yaml";
    let sh = |line: String| upgrades.world.host.sh(&line);
    sh(format!("mount --bind {file} {file}"))?;
    let detail = upgrades.refused("ky04/upgrade", &to("v0.2.0"), 500, "InternalError")?;
    assert!(detail.contains("ky04.yaml"), "{detail}");
    sh(format!("umount {file}"))?;
    let waiting = upgrades.world.api("/api/tenants/ky04/operation")?;
    assert_eq!(waiting["requested"], Value::Null);
    assert_eq!(upgrades.manifest("ky04")?, before);

    let wish = json!({"target_version": "v0.3.0", "backup_db": true, "run_migrations": true});
    let (code, accepted) = upgrades.post("ky04/upgrade", &wish)?;
    assert_eq!(code, 202, "{accepted}");
    upgrades.refused("ky04/upgrade", &to("v0.2.0"), 409, "OperationUnderWay")?;
    upgrades.refused("ky04/backups", &json!({}), 409, "OperationUnderWay")?;
    let after = before.replace("version: v0.1.0 # pinned", "version: v0.3.0 # pinned");
    assert_eq!(upgrades.manifest("ky04")?, after);
    upgrades.wait_operation("ky04", "v0.3.0", "Succeeded")?;
    upgrades.world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.3.0", 3, &rows)?;
    let version = upgrades.version("ky04")?;
    let last = &version["last_upgrade"];
    assert_eq!(
        (&version["running"], &version["schema"], &last["state"]),
        (&json!("v0.3.0"), &json!(3), &json!("Succeeded")),
        "{version}"
    );
    assert_eq!(last["phases"].as_array().map(Vec::len), Some(7), "{last}");
    let follow = accepted["links"]["operation"].as_str().unwrap_or_default();
    let operation = upgrades.world.api(follow)?["operation"].clone();
    assert_eq!(operation["id"], last["id"]);

    // A manifest that a program cannot edit is left alone, and nothing begins.
    let aliased = after.replace(
        "version: v0.3.0 # pinned",
        "env: {A: &v v0.3.0}\n  version: *v",
    );
    upgrades.world.put("ky04.yaml", &aliased)?;
    upgrades.world.waits("the alias is taken", || {
        Ok(upgrades.world.tenant("ky04")?["spec"]["env"]["A"] == "v0.3.0")
    })?;
    let detail = upgrades.refused("ky04/upgrade", &to("v0.2.0"), 409, "ManifestConflict")?;
    assert!(
        detail.contains("ky04.yaml") && detail.contains("alias"),
        "{detail}"
    );
    let waiting = upgrades.world.api("/api/tenants/ky04/operation")?;
    assert_eq!(waiting["requested"], Value::Null);
    Ok(())
}

/// Law 5: a restore keeps what it replaces, and another version goes back with
/// its database only by the word for it.
#[test]
fn backups_are_made_verified_restored_and_deleted_with_cbctl() -> Result<()> {
    let upgrades = Upgrades::running("backups", &[], &["ky04"])?;
    let rows = upgrades.rows("ky04")?;
    let first = upgrades.told("backup create ky04 -o name", 0)?;
    let first = first.trim();
    let list = upgrades.told("backup list ky04 -o name", 0)?;
    assert_eq!(list.trim(), first);
    upgrades.told(&format!("backup verify ky04 {first}"), 0)?;
    let kept = upgrades.told(&format!("backup delete ky04 {first}"), 1)?;
    assert!(kept.contains("OnlyBackup"), "{kept}");

    // On a terminal the phase that goes on is shown, and then its line.
    let said = upgrades.world.host.sh(
        "export TERM=xterm; script -qec 'cbctl upgrade ky04 --to v0.3.0' /dev/null </dev/null",
    )?;
    for part in ["\r\x1b[K  ", "Migrating", "Verifying", "upgraded to v0.3.0"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    upgrades.is_at("ky04", "v0.3.0", 3, &rows)?;
    let said = upgrades.told(&format!("restore ky04 {first}"), 1)?;
    assert!(said.contains("BackupMismatch"), "{said}");
    let line = format!("restore ky04 {first} --to-version v0.1.0");
    let said = upgrades.told(&line, 0)?;
    assert!(said.contains("Restoring"), "{said}");
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;
    assert!(
        upgrades
            .manifest("ky04")?
            .contains("version: v0.1.0 # pinned")
    );
    // Of the version that runs, no word is needed.
    upgrades.told(&format!("restore ky04 {first}"), 0)?;
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;

    // A byte changes on the disk.
    upgrades.world.host.sh(&format!(
        "printf X | dd of=/var/lib/cb/backups/ky04/{first}/database.duckdb bs=1 seek=20000 conv=notrunc 2>&1"
    ))?;
    let bad = upgrades.told(&format!("backup verify ky04 {first}"), 1)?;
    assert!(bad.contains("not good (BackupDiffers)"), "{bad}");
    upgrades.told(&format!("backup delete ky04 {first}"), 0)?;
    let list = upgrades.told("backup list ky04", 0)?;
    assert!(!list.contains(first) && list.contains("v0.3.0"), "{list}");
    Ok(())
}

/// Law 6 and 8: a failed upgrade says why, is not tried again by itself, and is
/// when a person says so.
#[test]
fn a_failed_upgrade_is_told_and_retried_with_cbctl() -> Result<()> {
    let upgrades = Upgrades::running("retry", &["bad"], &["ky04"])?;
    let rows = upgrades.rows("ky04")?;
    let broken = "echo 'CREATE TABLE broken(;' >migrations/0004_broken.sql";
    upgrades.odd("bad", "v0.3.0", broken)?;
    let said = upgrades.told("upgrade ky04 --to bad", 1)?;
    for part in [
        "Migrating",
        "failed",
        "was not upgraded to bad",
        "upgrade retry ky04",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;
    let status = upgrades.told("upgrade status ky04", 0)?;
    for part in ["Failed", "MigrationFailed", "Desired:          bad"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    // Again with the same end, as another operation.
    let first = upgrades.version("ky04")?["last_upgrade"]["id"].clone();
    upgrades.told("upgrade retry ky04", 1)?;
    assert_ne!(upgrades.version("ky04")?["last_upgrade"]["id"], first);
    // Back in the manifest: nothing has to be done.
    let said = upgrades.told("upgrade ky04 --to v0.1.0", 0)?;
    assert!(said.contains("unchanged"), "{said}");
    assert!(
        upgrades
            .manifest("ky04")?
            .contains("version: v0.1.0 # pinned")
    );
    upgrades.world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)
}
