//! Every option of `cbctl upgrade`, `backup` and `restore` does what it says.

use anyhow::Result;

use super::{SOON, Upgrades};

impl Upgrades {
    fn ends(&self, line: &str, code: i32) -> Result<String> {
        let line = format!("cbctl {line}");
        let output = self.world.host.exec(&["bash", "-c", &line])?;
        let said = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, Some(code), "{line}: {said}");
        Ok(said)
    }

    /// Waits until an operation that was only asked for has come to its end.
    fn rests(&self, name: &str) -> Result<()> {
        let rests = self.world.host.wait_until("it rests", 2 * SOON, || {
            let operation = self.operation(name).map_err(|error| format!("{error:#}"))?;
            match operation["state"].as_str() {
                Some("Succeeded" | "Failed") => Ok(()),
                _ => Err(format!("{operation:#}")),
            }
        });
        Ok(rests?)
    }
}

/// Law 6: what is only asked for is done all the same; what would lose data is
/// refused.
#[test]
fn options_of_operations() -> Result<()> {
    let upgrades = Upgrades::running("operations", &[], &["ky04"])?;
    let world = &upgrades.world;
    let rows = upgrades.rows("ky04")?;

    let refused = upgrades.ends("upgrade ky04 --to v0.2.0 --no-backup", 1)?;
    assert!(refused.contains("backup"), "{refused}");
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;

    // One after the other, none of them waited for.
    let list = || -> Result<Vec<String>> {
        let text = upgrades.ends("backup list ky04 --no-headers", 0)?;
        let names = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    };
    for line in [
        "backup create ky04 --no-wait",
        "backup create ky04 --wait=false",
    ] {
        upgrades.ends(line, 0)?;
        assert_ne!(upgrades.operation("ky04")?["state"], "Succeeded", "{line}");
        upgrades.rests("ky04")?;
    }
    upgrades.ends("backup create ky04 --timeout 60s", 0)?;
    assert_eq!(upgrades.operation("ky04")?["state"], "Succeeded");
    let late = upgrades.ends("backup create ky04 --timeout 0s", 1)?;
    assert!(late.contains("ky04"), "{late}");
    upgrades.rests("ky04")?;
    let backups = list()?;
    assert_eq!(backups.len(), 4, "{backups:?}");
    let newest = &backups[0];

    for (line, code) in [
        (format!("restore ky04 {newest} --no-wait"), 0),
        (format!("restore ky04 {newest} --wait=false"), 0),
        (format!("restore ky04 {newest} --timeout 0s"), 1),
    ] {
        upgrades.ends(&line, code)?;
        upgrades.rests("ky04")?;
        let operation = upgrades.operation("ky04")?;
        assert_eq!(operation["kind"], "Restore", "{operation:#}");
        assert_eq!(operation["state"], "Succeeded", "{operation:#}");
    }
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;

    for (line, code) in [
        ("upgrade ky04 --to v0.2.0 --no-wait", 0),
        ("upgrade ky04 --to v0.3.0 --timeout 0s", 1),
    ] {
        upgrades.ends(line, code)?;
        upgrades.rests("ky04")?;
    }
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.3.0", 3, &rows)?;
    let down = format!("upgrade ky04 --to v0.1.0 --restore-from {newest} --wait=false");
    upgrades.ends(&down, 0)?;
    upgrades.rests("ky04")?;
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;

    upgrades.ends("upgrade ky04 --to v0.2.0 --no-migrations", 0)?;
    let phases = Upgrades::phases(&upgrades.operation("ky04")?);
    assert!(!phases.contains(&"Migrating".to_owned()), "{phases:?}");
    upgrades.is_at("ky04", "v0.2.0", 1, &rows)?;
    Ok(())
}

/// Law 5: the only good backup is not deleted but by force; what failed is tried
/// again, waited for or not.
#[test]
fn options_of_deleting_and_trying_again() -> Result<()> {
    let upgrades = Upgrades::running("retries", &["bad"], &["ky04"])?;
    let world = &upgrades.world;
    let rows = upgrades.rows("ky04")?;
    upgrades.odd("bad", "v0.2.0", "rm bin/cbapp-api && printf '#!/bin/sh\\nexit 3\\n' >bin/cbapp-api && chmod 755 bin/cbapp-api")?;
    upgrades.ends("upgrade ky04 --to bad", 1)?;
    for (line, code) in [
        ("upgrade retry ky04 --timeout 0s", 1),
        ("upgrade retry ky04 --wait=false", 0),
    ] {
        let before = upgrades.operation("ky04")?["id"].clone();
        upgrades.ends(line, code)?;
        world.waits("it has begun", || {
            Ok(upgrades.operation("ky04")?["id"] != before)
        })?;
        upgrades.rests("ky04")?;
        let after = upgrades.operation("ky04")?;
        assert_eq!(after["state"], "Failed", "{line}: {after:#}");
    }
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;
    upgrades.put("ky04", "v0.1.0")?;
    world.wait_ready("ky04")?;

    let text = upgrades.ends("backup list ky04 --no-headers", 0)?;
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let (last, others) = names.split_last().expect("upgrades make backups");
    for name in others {
        upgrades.ends(&format!("backup delete ky04 {name}"), 0)?;
    }
    upgrades.ends(&format!("backup delete ky04 {last}"), 1)?;
    assert!(upgrades.ends("backup list ky04", 0)?.contains(last));
    upgrades.ends(&format!("backup delete ky04 {last} --force"), 0)?;
    assert!(!upgrades.ends("backup list ky04", 0)?.contains(last));
    Ok(())
}

/// Law 6: a rollout makes backups and applies migrations unless it is told
/// otherwise, and what would lose data is refused. On a terminal it shows what
/// it waits for, and in a pipe nothing but lines.
#[test]
fn options_of_a_rollout() -> Result<()> {
    let upgrades = Upgrades::running("rolloutoptions", &[], &["ky04"])?;
    let world = &upgrades.world;
    let rows = upgrades.rows("ky04")?;
    let backups = || upgrades.ends("backup list ky04 -o name", 0);
    let begins = "rollout start ky04 --wait --to";

    let refused = upgrades.ends(&format!("{begins} v0.2.0 --no-backup"), 1)?;
    assert!(refused.contains("backup"), "{refused}");
    upgrades.is_at("ky04", "v0.1.0", 1, &rows)?;
    assert_eq!(backups()?, "");

    let piped = upgrades.ends(&format!("{begins} v0.2.0 --no-migrations"), 0)?;
    assert!(!piped.contains(['\r', '\u{1b}']), "{piped:?}");
    let phases = Upgrades::phases(&upgrades.operation("ky04")?);
    assert!(phases.contains(&"BackingUp".to_owned()), "{phases:?}");
    assert!(!phases.contains(&"Migrating".to_owned()), "{phases:?}");
    upgrades.is_at("ky04", "v0.2.0", 1, &rows)?;
    let kept = backups()?;
    assert_eq!(kept.lines().count(), 1, "{kept}");

    let line = format!("cbctl {begins} v0.3.0 --no-backup --no-migrations");
    let shown = world.host.sh(&format!(
        "export TERM=xterm; script -qec '{line}' /dev/null </dev/null"
    ))?;
    assert!(shown.contains("\r\u{1b}[K"), "{shown:?}");
    assert!(shown.contains("succeeded; "), "{shown:?}");
    let phases = Upgrades::phases(&upgrades.operation("ky04")?);
    for phase in ["BackingUp", "Migrating"] {
        assert!(!phases.contains(&phase.to_owned()), "{phases:?}");
    }
    upgrades.is_at("ky04", "v0.3.0", 1, &rows)?;
    assert_eq!(backups()?, kept);

    let shown = world
        .host
        .sh("export TERM=xterm; cbctl label tn ky04 a=b; \
         script -qec 'cbctl wait tn/ky04 --for=delete --timeout 2s' /dev/null </dev/null || :")?;
    assert!(shown.contains("\r\u{1b}[Kwaiting for "), "{shown:?}");
    let piped = upgrades.ends("wait tn/ky04 --for=delete --timeout 1s", 1)?;
    assert!(!piped.contains(['\r', '\u{1b}']), "{piped:?}");
    Ok(())
}
