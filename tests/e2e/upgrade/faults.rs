//! Upgrades that fail, each in its way: the end is the old version with all
//! rows (law 6), and the reason is told (laws 8 and 12).

use anyhow::Result;

use super::Upgrades;

/// What is wrong with a version, where that shows, and what it is called.
struct Fault {
    /// The version, which is also the tenant's name.
    name: &'static str,
    /// The version that the tenant has before, and its schema.
    before: (&'static str, i64),
    /// The good version that it is made of.
    from: &'static str,
    change: &'static str,
    reason: &'static str,
    phase: &'static str,
    /// What the message or the log tells.
    told: &'static str,
}

const FAULTS: [Fault; 9] = [
    Fault {
        name: "halfway",
        before: ("v0.1.0", 1),
        from: "v0.2.0",
        change: "echo 'INSERT INTO contacts (name, created_at) VALUES (NULL, now());' >>migrations/0002_contact_email.sql",
        reason: "MigrationFailed",
        phase: "Migrating",
        told: "0002_contact_email.sql",
    },
    Fault {
        name: "hangs",
        before: ("v0.1.0", 1),
        from: "v0.2.0",
        change: "echo 'CREATE TABLE big AS SELECT count(*) AS n FROM range(100000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3;' >>migrations/0002_contact_email.sql",
        reason: "TimedOut",
        phase: "Migrating",
        told: "10",
    },
    Fault {
        name: "edited",
        // What the operator applied is recorded with its checksum.
        before: ("v0.2.0", 2),
        from: "v0.3.0",
        change: "echo '-- changed' >>migrations/0002_contact_email.sql",
        reason: "MigrationsRefused",
        phase: "Migrating",
        told: "0002_contact_email.sql",
    },
    Fault {
        name: "nonsense",
        before: ("v0.1.0", 1),
        from: "v0.2.0",
        change: "mv migrations/0002_contact_email.sql migrations/second.sql",
        reason: "MigrationsRefused",
        phase: "Preparing",
        told: "second.sql",
    },
    Fault {
        name: "unhealthy",
        before: ("v0.1.0", 1),
        from: "v0.2.0",
        change: "echo unhealthy >FAULT",
        reason: "Unhealthy",
        phase: "Verifying",
        told: "503",
    },
    Fault {
        name: "liar",
        before: ("v0.1.0", 1),
        from: "v0.2.0",
        change: "echo wrong-version >FAULT",
        reason: "WrongVersion",
        phase: "Verifying",
        told: "liar",
    },
    Fault {
        name: "exits",
        before: ("v0.1.0", 1),
        from: "v0.2.0",
        change: "echo exit-at-once >FAULT",
        reason: "ServiceExited",
        phase: "Verifying",
        told: "exiting at once",
    },
    Fault {
        name: "deaf",
        before: ("v0.1.0", 1),
        from: "v0.2.0",
        change: "echo never-listen >FAULT",
        reason: "Unhealthy",
        phase: "Verifying",
        told: "/health",
    },
    Fault {
        name: "gone",
        before: ("v0.1.0", 1),
        from: "v0.2.0",
        change: "rm -r /srv/odd/gone",
        reason: "ReleaseUnavailable",
        phase: "Preparing",
        told: "/srv/odd/gone",
    },
];

/// Every fault, of different tenants at the same time.
#[test]
fn a_bad_version_ends_as_it_began() -> Result<()> {
    let names: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
    let upgrades = Upgrades::running("faults", &names, &names)?;
    let world = &upgrades.world;
    let mut rows = Vec::new();
    for fault in &FAULTS {
        upgrades.odd(fault.name, fault.from, fault.change)?;
        if fault.before.0 != "v0.1.0" {
            upgrades.put(fault.name, fault.before.0)?;
            upgrades.wait_operation(fault.name, fault.before.0, "Succeeded")?;
            world.wait_ready(fault.name)?;
        }
        rows.push(upgrades.rows(fault.name)?);
    }
    for fault in &FAULTS {
        upgrades.put(fault.name, fault.name)?;
    }
    for (fault, rows) in FAULTS.iter().zip(&rows) {
        let name = fault.name;
        let operation = upgrades.wait_operation(name, name, "Failed")?;
        let (reason, phase) = match operation["reason"].as_str() {
            // It exits so soon that systemd may tell it of the start.
            Some("StartFailed") if fault.reason == "ServiceExited" => ("StartFailed", "Switching"),
            _ => (fault.reason, fault.phase),
        };
        assert_eq!(operation["reason"], reason, "{name}: {operation:#}");
        let message = operation["message"].as_str().unwrap_or_default();
        assert!(
            message.starts_with(&format!("{phase} failed: ")),
            "{name}: {message}"
        );
        assert!(
            operation.to_string().contains(fault.told),
            "{name}: {operation:#}"
        );
        let stalled = world.wait_condition(name, "Stalled", "True UpgradeFailed")?;
        assert!(stalled.contains(message), "{name}: {stalled}");
        upgrades.is_at(name, fault.before.0, fault.before.1, rows)?;
    }
    // It is not tried again by itself.
    world.reconcile("halfway")?;
    let record = world.host.sh("cat /var/lib/cb/records/halfway.yaml")?;
    assert!(record.contains("operations: 1\n"), "{record}");
    // Mended, it works once the spec changes or a person says so; a new spec
    // is another try.
    world.host.sh("cp /srv/cbapp/v0.2.0/migrations/* /srv/odd/halfway/migrations/ && rm -rf /var/lib/cb/releases/cbapp/halfway")?;
    upgrades.put("halfway", "v0.2.0")?;
    upgrades.wait_operation("halfway", "v0.2.0", "Succeeded")?;
    world.wait_ready("halfway")?;
    upgrades.is_at("halfway", "v0.2.0", 2, &rows[0])
}

/// An api that ignores SIGTERM, and a log that SIGKILL left, keep no upgrade
/// from working.
#[test]
fn an_unclean_stop_loses_no_row() -> Result<()> {
    let upgrades = Upgrades::running("unclean", &["stubborn"], &["killed", "stubborn"])?;
    let world = &upgrades.world;
    upgrades.odd("stubborn", "v0.1.0", "echo ignore-sigterm >FAULT")?;
    upgrades.put("stubborn", "stubborn")?;
    upgrades.wait_operation("stubborn", "stubborn", "Succeeded")?;
    world.wait_ready("stubborn")?;
    let rows = upgrades.rows("stubborn")?;
    upgrades.put("stubborn", "v0.2.0")?;

    let killed = upgrades.rows("killed")?;
    world
        .host
        .sh("systemctl kill --signal=KILL killed-api.service")?;
    let log = world.host.sh("ls /var/lib/cb/tenants/killed/db")?;
    assert!(log.contains("tenant.duckdb.wal"), "{log}");
    upgrades.put("killed", "v0.3.0")?;
    upgrades.wait_operation("killed", "v0.3.0", "Succeeded")?;
    upgrades.is_at("killed", "v0.3.0", 3, &killed)?;

    upgrades.wait_operation("stubborn", "v0.2.0", "Succeeded")?;
    upgrades.is_at("stubborn", "v0.2.0", 2, &rows)
}

/// A full disk: not enough room for a backup is found before anything is
/// stopped; a migration that fills the disk is undone.
#[test]
fn a_full_disk_ends_as_it_began() -> Result<()> {
    let upgrades = Upgrades::running_with("fulldisk", &["fills"], &["ky04", "oh09"], |options| {
        options
            .tmpfs("/var/lib/cb/tenants", 48 << 20)
            .tmpfs("/var/lib/cb/backups", 32 << 20)
    })?;
    let world = &upgrades.world;
    let (rows, others) = (upgrades.rows("ky04")?, upgrades.rows("oh09")?);
    let fill = "CREATE TABLE big AS SELECT hash(range)::VARCHAR || hash(range + 1)::VARCHAR AS x FROM range(10000000);";
    upgrades.odd(
        "fills",
        "v0.2.0",
        &format!("echo '{fill}' >>migrations/0002_contact_email.sql"),
    )?;
    upgrades.put("ky04", "fills")?;
    let operation = upgrades.wait_operation("ky04", "fills", "Failed")?;
    assert_eq!(operation["reason"], "NoSpace", "{operation:#}");
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;

    world
        .host
        .sh("dd if=/dev/zero of=/var/lib/cb/backups/fill bs=64k 2>/dev/null || :")?;
    let pid = world.show("oh09-api.service", "MainPID")?;
    upgrades.put("oh09", "v0.2.0")?;
    let operation = upgrades.wait_operation("oh09", "v0.2.0", "Failed")?;
    assert_eq!(operation["reason"], "NoSpace", "{operation:#}");
    assert_eq!(Upgrades::phases(&operation), ["Preparing"]);
    assert_eq!(
        world.show("oh09-api.service", "MainPID")?,
        pid,
        "it was stopped"
    );
    upgrades.is_at("oh09", "v0.1.0", 1, &others)
}
