//! What the operator changes itself is no drift.

use anyhow::Result;

use super::name;
use crate::world::{TINY, World, tiny};

/// As many tenants as make a thousand changes in a few rounds.
const TENANTS: usize = 25;

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 1}
  operations: {parallelism: 25, settleSeconds: 0}
";

/// What counts as a change: written files, and what was asked of units.
const CHANGES: [&str; 7] = [
    "WriteFile",
    "WriteUnit",
    "WriteSite",
    "Start",
    "Stop",
    "Enable",
    "Disable",
];

impl World {
    /// How many changes the operator has made.
    fn changes(&self) -> Result<u64> {
        let text = self.ask("/metrics", &[])?.body;
        let count = |action: &str| {
            let begin = format!("cb_actions_total{{action=\"{action}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&begin));
            line.map_or(Ok(0), str::parse::<u64>)
        };
        let counts = CHANGES.iter().map(|action| count(action));
        Ok(counts.sum::<Result<u64, _>>()?)
    }

    /// Writes all tenants at this version with further lines, and waits until
    /// that is brought about.
    fn rewrite(&self, names: &[String], version: &str, more: &str, generation: u64) -> Result<()> {
        for name in names {
            let text = tiny(name, more).replace("v1\n", &format!("{version}\n"));
            self.put(&format!("{name}.yaml"), &text)?;
        }
        for name in names {
            self.waits(&format!("generation {generation} of {name}"), || {
                Ok(self.tenant(name)?["status"]["observedGeneration"] == generation)
            })?;
            self.wait_ready(name)?;
        }
        Ok(())
    }
}

/// Law 8: none of the operator's own thousand changes is taken for drift: of an
/// upgrade, of a change of all units, environments and sites, and of one that
/// is taken back at once.
#[test]
fn the_operators_own_changes_are_no_drift() -> Result<()> {
    let world = World::installed("own")?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", TINY)?;
    world.start()?;
    let names: Vec<String> = (0..TENANTS).map(name).collect();
    world.rewrite(&names, "v1", "", 1)?;
    let before = world.changes()?;

    world.rewrite(&names, "v2", "", 2)?;
    for name in &names {
        world.waits("the new version answers", || {
            Ok(world.page(name)? == format!("{name} v2 on /\n"))
        })?;
    }
    world.put("tiny.yaml", &TINY.replace("path: /api/", "path: /other/"))?;
    for name in &names {
        let site = format!("/etc/nginx/conf.d/cb-{name}.conf");
        world.waits("the site is the new one", || {
            Ok(String::from_utf8(world.host.read(&site)?)?.contains("/other/"))
        })?;
    }
    for (round, generation) in (3..8).enumerate() {
        let more = format!(
            "env: {{A: '{round}'}}\nresources: {{tasks: {}}}",
            90 + round
        );
        world.rewrite(&names, "v2", &more, generation)?;
    }
    for more in ["env: {A: b}", "env: {A: c}"] {
        for name in &names {
            let text = tiny(name, more).replace("v1\n", "v2\n");
            world.put(&format!("{name}.yaml"), &text)?;
        }
    }
    for name in &names {
        world.wait_ready(name)?;
        world.reconcile(name)?;
        world.wait_ready(name)?;
    }
    let made = world.changes()? - before;
    assert!(made >= 1000, "{made} changes");
    for name in &names {
        for reason in ["DriftDetected", "DriftCorrected", "DriftFought"] {
            assert_eq!(world.told(name, reason)?, [""; 0], "{name}");
        }
        assert!(world.drift(name)?.is_empty());
    }
    let text = world.ask("/metrics", &[])?.body;
    assert!(!text.contains("cb_drift_corrected_total{"), "{text}");
    let shown = world.host.exec(&["cbctl", "drift"])?;
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), ""));
    Ok(())
}
