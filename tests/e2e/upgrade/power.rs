//! The machine goes down in the middle of an upgrade (laws 5 and 6).

use anyhow::Result;
use cb_testhost::Options;

use super::Upgrades;

/// The boot starts no service on a database that is being worked on, whether
/// the operator is there or not; once it is, it carries the upgrade to its end.
#[test]
fn a_power_cut_while_it_migrates_starts_nothing_before_it_is_done() -> Result<()> {
    let mut upgrades = Upgrades::running_with("power", &[], &["ky04", "oh09"], Options::keep_disk)?;
    let (rows, others) = (upgrades.rows("ky04")?, upgrades.rows("oh09")?);
    let port = upgrades.port("oh09")?;
    upgrades.signalled_in("ky04", "v0.3.0", ("Migrating", "STOP"))?;
    upgrades
        .world
        .host
        .sh("systemctl disable cb-operator; sync")?;
    upgrades.world.host.power_cycle()?;

    let world = &upgrades.world;
    world.waits("the other tenant serves after the boot", || {
        Ok(upgrades
            .rows_on("oh09", port)
            .is_ok_and(|rows| rows == others))
    })?;
    world.host.sh("systemctl is-system-running --wait || :")?;
    for unit in ["ky04-api", "ky04-frontend"] {
        assert_eq!(world.show(unit, "ActiveState")?, "inactive", "{unit}");
        assert_eq!(world.show(unit, "UnitFileState")?, "disabled", "{unit}");
    }
    let journal = world.host.sh("cat /var/lib/cb/records/ky04.yaml")?;
    assert!(journal.contains("  phase: Migrating\n"), "{journal}");

    world.host.sh("systemctl enable --now cb-operator")?;
    world.waits("the API is back", || Ok(world.tenant("ky04").is_ok()))?;
    let operation = upgrades.wait_operation("ky04", "v0.3.0", "Succeeded")?;
    assert_eq!(Upgrades::phases(&operation).len(), 7, "{operation:#}");
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.3.0", 3, &rows)?;
    upgrades.is_at("oh09", "v0.1.0", 1, &others)
}
