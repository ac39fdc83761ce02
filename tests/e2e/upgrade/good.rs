//! Upgrades that work.

use anyhow::Result;

use super::Upgrades;

/// Law 6: the new version with all rows, a verified backup from before, and
/// the old version serving until the new one is ready to take over.
#[test]
fn an_upgrade_migrates_every_row() -> Result<()> {
    let upgrades = Upgrades::running("upgrade", &[], &["ky04", "oh09"])?;
    let world = &upgrades.world;
    let (rows, others) = (upgrades.rows("ky04")?, upgrades.rows("oh09")?);
    let pid = world.show("oh09-api.service", "MainPID")?;

    upgrades.put("ky04", "v0.3.0")?;
    let operation = upgrades.wait_operation("ky04", "v0.3.0", "Succeeded")?;
    let all = [
        "Preparing",
        "Stopping",
        "Checkpointing",
        "BackingUp",
        "Migrating",
        "Switching",
        "Verifying",
    ];
    assert_eq!(Upgrades::phases(&operation), all);
    assert_eq!(operation["fromVersion"], "v0.1.0");
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.3.0", 3, &rows)?;
    assert_eq!(world.tenant("ky04")?["status"]["schemaVersion"], 3);

    // The backup is whole, and no tenant can read it.
    let backup = operation["backup"].as_str().unwrap_or_default().to_owned();
    let files = upgrades.backups("ky04")?;
    for file in ["backup.yaml", "database.duckdb", "env"] {
        assert!(
            files.contains(&format!("./{backup}/{file}\n")),
            "{file} in {files}"
        );
    }
    let told = world.host.sh(&format!(
        "cat /var/lib/cb/backups/ky04/{backup}/backup.yaml"
    ))?;
    for part in [
        "verified: true",
        "version: v0.1.0",
        "schemaVersion: 1",
        "cause: Upgrade",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let denied = world.host.exec(&[
        "setpriv",
        "--reuid=cb-ky04",
        "--regid=cb-ky04",
        "--clear-groups",
        "cat",
        &format!("/var/lib/cb/backups/ky04/{backup}/database.duckdb"),
    ])?;
    assert_ne!(denied.code, Some(0), "a tenant reads a backup");

    // Law 4: the other tenant was not touched. Law 1: nothing is left to do.
    assert_eq!(world.show("oh09-api.service", "MainPID")?, pid);
    upgrades.is_at("oh09", "v0.1.0", 1, &others)?;
    let before = world.fingerprint()?;
    world.reconcile("ky04")?;
    assert_eq!(world.fingerprint()?, before);

    // A database is not handed to a release that does not know its schema.
    upgrades.put("ky04", "v0.2.0")?;
    let operation = upgrades.wait_operation("ky04", "v0.2.0", "Failed")?;
    assert_eq!(operation["reason"], "MigrationsRefused", "{operation:#}");
    assert_eq!(Upgrades::phases(&operation), ["Preparing"]);
    world.wait_condition("ky04", "Stalled", "True UpgradeFailed")?;
    upgrades.is_at("ky04", "v0.3.0", 3, &rows)?;
    Ok(())
}

/// A spec that changes with its version is applied whole, and one that changes
/// during the upgrade is applied after it.
#[test]
fn what_changes_meanwhile_is_applied_after() -> Result<()> {
    let upgrades = Upgrades::running("meanwhile", &[], &["ky04"])?;
    let world = &upgrades.world;
    let rows = upgrades.rows("ky04")?;
    let with = |version: &str, word: &str| {
        let text = super::manifest("ky04", version);
        world.put("ky04.yaml", &format!("{text}  env: {{MOTTO: {word}}}\n"))
    };
    with("v0.2.0", "one")?;
    world.waits("the services are stopped", || {
        let phases = Upgrades::phases(&upgrades.operation("ky04")?);
        Ok(phases.iter().any(|phase| phase == "Stopping"))
    })?;
    with("v0.3.0", "two")?;
    upgrades.wait_operation("ky04", "v0.3.0", "Succeeded")?;
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.3.0", 3, &rows)?;
    let env = world.host.sh("cat /etc/cb/tenants/ky04/.env")?;
    assert!(env.contains("two") && !env.contains("one"), "{env}");
    let record = world.host.sh("cat /var/lib/cb/records/ky04.yaml")?;
    assert_eq!(record.matches("kind: Upgrade").count(), 2, "{record}");
    Ok(())
}
