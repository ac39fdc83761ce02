//! The operator is killed in each phase of an upgrade (laws 5 and 6): the end is
//! the new version with all rows, or the old version with all rows.

use anyhow::Result;

use super::Upgrades;

impl Upgrades {
    /// Has systemd restart a killed operator at once, however often.
    fn restarts_at_once(&self) -> Result<()> {
        self.world.host.push(
            b"[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=100ms\n",
            "/etc/systemd/system/cb-operator.service.d/test.conf",
            0o644,
        )?;
        self.world.host.sh("systemctl daemon-reload")?;
        Ok(())
    }

    /// Asks for a version and kills the operator when the journal says that
    /// this phase has begun.
    fn killed_in(&self, name: &str, version: &str, phase: &str) -> Result<()> {
        self.signalled_in(name, version, (phase, "KILL"))
    }

    /// Asks for a version and sends the operator a signal when the journal says
    /// that this phase has begun. Looks in a loop of its own, as phases are
    /// short.
    pub(super) fn signalled_in(
        &self,
        name: &str,
        version: &str,
        (phase, signal): (&str, &str),
    ) -> Result<()> {
        let record = format!("/var/lib/cb/records/{name}.yaml");
        self.world.host.push(
            super::manifest(name, version).as_bytes(),
            "/root/next.yaml",
            0o644,
        )?;
        // Only built-in commands in the loop: some phases take milliseconds. One
        // that was missed on a way back comes again with another try.
        let script = format!(
            "until pid=$(systemctl show -P MainPID cb-operator); [ \"$pid\" != 0 ]; do :; done\n\
             cp /root/next.yaml /etc/cb/manifests/{name}.yaml\n\
             end=$((SECONDS + 60))\n\
             until IFS= read -r -d '' text <{record}; [[ $text == *'  phase: {phase}'$'\\n'* ]]; do\n\
             (( SECONDS < end )) || exit 1\n\
             if [[ $text == *$'\\n'failed:* ]]; then cbctl upgrade retry {name} --no-wait >/dev/null || :; fi\n\
             done\n\
             kill -{signal} $pid; echo $pid"
        );
        let killed = self.world.host.exec(&["bash", "-c", &script])?;
        assert_eq!(killed.code, Some(0), "{phase} was not seen");
        let killed = killed.stdout;
        assert!(!killed.trim().is_empty());
        Ok(())
    }
}

const FORWARD: [(&str, &str); 7] = [
    ("f0", "Preparing"),
    ("f1", "Stopping"),
    ("f2", "Checkpointing"),
    ("f3", "BackingUp"),
    ("f4", "Migrating"),
    ("f5", "Switching"),
    ("f6", "Verifying"),
];

#[test]
fn killed_in_each_phase_the_upgrade_is_finished() -> Result<()> {
    let names = FORWARD.map(|(name, _)| name);
    let upgrades = Upgrades::running("killup", &[], &names)?;
    upgrades.restarts_at_once()?;
    for (name, phase) in FORWARD {
        let rows = upgrades.rows(name)?;
        upgrades.killed_in(name, "v0.3.0", phase)?;
        upgrades.world.waits("the API is back", || {
            Ok(upgrades.world.tenant(name).is_ok())
        })?;
        let operation = upgrades.wait_operation(name, "v0.3.0", "Succeeded")?;
        upgrades.world.wait_ready(name)?;
        upgrades.is_at(name, "v0.3.0", 3, &rows)?;
        assert_eq!(Upgrades::phases(&operation).len(), 7, "{operation:#}");
    }
    Ok(())
}

const BACKWARD: [(&str, &str); 4] = [
    ("b0", "RollingBack"),
    ("b1", "Restoring"),
    ("b2", "Reverting"),
    ("b3", "Confirming"),
];

#[test]
fn killed_on_the_way_back_it_is_as_before() -> Result<()> {
    let names = BACKWARD.map(|(name, _)| name);
    let upgrades = Upgrades::running("killback", &["exits"], &names)?;
    upgrades.odd("exits", "v0.2.0", "echo exit-at-once >FAULT")?;
    upgrades.restarts_at_once()?;
    for (name, phase) in BACKWARD {
        let rows = upgrades.rows(name)?;
        upgrades.killed_in(name, "exits", phase)?;
        upgrades.world.waits("the API is back", || {
            Ok(upgrades.world.tenant(name).is_ok())
        })?;
        upgrades.wait_operation(name, "exits", "Failed")?;
        upgrades
            .world
            .wait_condition(name, "Stalled", "True UpgradeFailed")?;
        upgrades.is_at(name, "v0.1.0", 1, &rows)?;
    }
    Ok(())
}
