//! Databases that cannot be opened: nothing is deleted, and a person is told.

use anyhow::Result;

use super::Upgrades;

/// Law 9: a log that does not replay is kept with its database, the tenant is
/// not started on it, and a backup brings it back.
#[test]
fn a_log_that_does_not_replay_is_quarantined() -> Result<()> {
    let upgrades = Upgrades::running("badwal", &[], &["ky04"])?;
    let world = &upgrades.world;
    let rows = upgrades.rows("ky04")?;
    upgrades.put("ky04", "v0.2.0")?;
    let backup = upgrades.wait_operation("ky04", "v0.2.0", "Succeeded")?["backup"].clone();
    let backup = backup.as_str().unwrap_or_default().to_owned();
    world.wait_ready("ky04")?;
    upgrades.add_rows("ky04")?;

    // Damage in the middle of the log that a kill leaves.
    world.host.sh(
        "systemctl stop cb-operator && systemctl kill --signal=KILL ky04-api.service && systemctl stop ky04-api.service ky04-frontend.service\n\
         cd /var/lib/cb/tenants/ky04/db && size=$(stat -c %s tenant.duckdb.wal) && [ $size -gt 400 ]\n\
         dd if=/dev/urandom of=tenant.duckdb.wal bs=1 seek=$((size / 2)) count=64 conv=notrunc 2>/dev/null\n\
         sha256sum tenant.duckdb tenant.duckdb.wal | sort >/root/before",
    )?;
    upgrades.put("ky04", "v0.3.0")?;
    world.start()?;
    let operation = upgrades.wait_operation("ky04", "v0.3.0", "Halted")?;
    assert_eq!(operation["reason"], "WalDoesNotReplay", "{operation:#}");
    world.wait_condition("ky04", "Stalled", "True WalDoesNotReplay")?;
    let same = "sha256sum tenant.duckdb tenant.duckdb.wal | sort | diff /root/before -";
    world
        .host
        .sh(&format!("cd /var/lib/cb/tenants/ky04/db && {same}"))?;
    world.host.sh(&format!(
        "cd /var/lib/cb/backups/ky04/quarantine/* && {same}"
    ))?;
    // What the manifests say is read before anything is put right.
    let journal = world.host.sh("journalctl -u cb-operator -o cat")?;
    assert!(!journal.contains("drift: start ky04"), "{journal}");
    // What was killed may be left as failed.
    let state = world.show("ky04-api.service", "ActiveState")?;
    assert!(["inactive", "failed"].contains(&state.as_str()), "{state}");

    // A restore by explicit word: the version goes back with the database.
    let restored = world.host.exec(&[
        "cbctl",
        "restore",
        "ky04",
        &backup,
        "--to-version",
        "v0.1.0",
        "--wait",
    ])?;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;
    let kept = upgrades.backups("ky04")?;
    assert!(
        kept.contains("./replaced/") && kept.contains("./quarantine/"),
        "{kept}"
    );
    Ok(())
}

/// A database that another version of DuckDB wrote is not opened, and told so.
#[test]
fn a_database_of_another_duckdb_is_refused() -> Result<()> {
    let upgrades = Upgrades::running("otherduck", &[], &["ky04"])?;
    let world = &upgrades.world;
    world.host.sh(
        "systemctl stop cb-operator ky04-api.service ky04-frontend.service\n\
         printf '\\377' | dd of=/var/lib/cb/tenants/ky04/db/tenant.duckdb bs=1 seek=12 conv=notrunc 2>/dev/null\n\
         sha256sum /var/lib/cb/tenants/ky04/db/tenant.duckdb >/root/before",
    )?;
    upgrades.put("ky04", "v0.2.0")?;
    world.start()?;
    world.wait_condition("ky04", "Stalled", "True")?;
    let mut told = String::new();
    world.waits("it is told", || {
        told = upgrades.operation("ky04")?.to_string();
        Ok(told.contains("it has storage version 255"))
    })?;
    assert!(told.contains("Checkpointing failed"), "{told}");
    world.host.sh("sha256sum -c /root/before")?;
    Ok(())
}

/// A restore takes the place of what is halted and is followed to its end, and
/// the version that did not come up is not tried before somebody says so.
#[test]
fn what_is_halted_is_mended_by_a_backup_of_the_old_version() -> Result<()> {
    let upgrades = Upgrades::running("mended", &[], &["ky04"])?;
    let world = &upgrades.world;
    let rows = upgrades.rows("ky04")?;
    let made = world
        .host
        .exec(&["cbctl", "backup", "create", "ky04", "-o", "name"])?;
    assert_eq!(made.code, Some(0), "{made:?}");
    world.wait_ready("ky04")?;
    upgrades.add_rows("ky04")?;
    world.host.sh(
        "systemctl stop cb-operator && systemctl kill --signal=KILL ky04-api.service && systemctl stop ky04-api.service ky04-frontend.service\n\
         cd /var/lib/cb/tenants/ky04/db && size=$(stat -c %s tenant.duckdb.wal) && [ $size -gt 400 ]\n\
         dd if=/dev/urandom of=tenant.duckdb.wal bs=1 seek=$((size / 2)) count=64 conv=notrunc 2>/dev/null",
    )?;
    upgrades.put("ky04", "v0.2.0")?;
    world.start()?;
    upgrades.wait_operation("ky04", "v0.2.0", "Halted")?;
    let backup = made.stdout.trim();
    let good = world
        .host
        .exec(&["cbctl", "backup", "verify", "ky04", backup])?;
    assert_eq!(good.code, Some(0), "{good:?}");
    let restored = world
        .host
        .exec(&["cbctl", "restore", "ky04", backup, "--timeout", "60s"])?;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    world.wait_condition("ky04", "Stalled", "True UpgradeFailed")?;
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;
    let retried = world.host.exec(&["cbctl", "upgrade", "retry", "ky04"])?;
    assert_eq!(retried.code, Some(0), "{retried:?}");
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.2.0", 2, &rows)
}

/// A way back that fails leaves everything, names it, and goes on when a person
/// has put right what was in the way.
#[test]
fn a_rollback_that_fails_halts_and_can_go_on() -> Result<()> {
    let upgrades = Upgrades::running("halts", &["deaf"], &["ky04"])?;
    let world = &upgrades.world;
    upgrades.odd("deaf", "v0.2.0", "echo never-listen >FAULT")?;
    let rows = upgrades.rows("ky04")?;
    upgrades.put("ky04", "deaf")?;
    world.waits("the new version is being verified", || {
        let phases = Upgrades::phases(&upgrades.operation("ky04")?);
        Ok(phases.iter().any(|phase| phase == "Verifying"))
    })?;
    let backups = "/var/lib/cb/backups/ky04";
    world.host.sh(&format!(
        "cp {backups}/*/database.duckdb /root/good\n\
         printf wrong | dd of=$(echo {backups}/*/database.duckdb) bs=1 seek=9000 conv=notrunc 2>/dev/null"
    ))?;
    let operation = upgrades.wait_operation("ky04", "deaf", "Halted")?;
    assert_eq!(operation["reason"], "BackupDiffers", "{operation:#}");
    let message = operation["message"].as_str().unwrap_or_default();
    let backup = operation["backup"].as_str().unwrap_or_default();
    for part in ["Verifying failed: ", "then Restoring failed: ", backup] {
        assert!(
            !part.is_empty() && message.contains(part),
            "{part}: {message}"
        );
    }
    world.wait_condition("ky04", "Stalled", "True RollbackFailed")?;
    assert_eq!(world.show("ky04-api.service", "ActiveState")?, "inactive");
    // It is left alone, also by the next run of the operator.
    world.host.sh("systemctl restart cb-operator")?;
    world.wait_condition("ky04", "Stalled", "True RollbackFailed")?;
    assert_eq!(world.show("ky04-api.service", "ActiveState")?, "inactive");

    world.host.sh(&format!(
        "cat /root/good >$(echo {backups}/*/database.duckdb)"
    ))?;
    let retried = world
        .host
        .exec(&["cbctl", "upgrade", "retry", "ky04", "--no-wait"])?;
    assert_eq!(retried.code, Some(0), "{retried:?}");
    upgrades.wait_operation("ky04", "deaf", "Failed")?;
    world.wait_condition("ky04", "Stalled", "True UpgradeFailed")?;
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)
}
