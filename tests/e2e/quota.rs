//! Law 4: one tenant cannot fill the disk of all.

use anyhow::{Result, ensure};

use crate::world::{TINY, World, tiny};

/// A Host that looks at the disk all the time.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 5}
  defaults: {resources: {disk: 20Mi}}
  disk: {periodSeconds: 1}
";

/// The small application with two flaws: while there is a file `go` among the
/// uploads, it writes; while there is a file `many`, it makes empty files.
const FLAW: &str = r#"#!/bin/sh
n=0
while :; do
  [ -e "$CB_UPLOADS_DIR/go" ] && head -c 1000000 /dev/zero >>"$CB_UPLOADS_DIR/flood"
  if [ -e "$CB_UPLOADS_DIR/many" ]; then
    n=$((n + 1))
    mkdir -p "$CB_UPLOADS_DIR/swarm/$n" && cd "$CB_UPLOADS_DIR/swarm/$n" && touch $(seq 500)
  fi
  sleep 0.1
done &
exec "${0%/*}/small" "$@"
"#;

const UPLOADS: &str = "/var/lib/cb/tenants/ky04/uploads";

/// A host with two tenants of the application with the flaws.
fn flawed(hint: &str) -> Result<World> {
    let world = World::installed(hint)?;
    let host = &world.host;
    host.push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    host.push(FLAW.as_bytes(), "/srv/flaw", 0o755)?;
    host.sh(
        "mv /srv/tiny/v1/bin/tinyapp /srv/tiny/v1/bin/small; mv /srv/flaw /srv/tiny/v1/bin/tinyapp",
    )?;
    world.put("tiny.yaml", TINY)?;
    for name in ["ky04", "oh09"] {
        world.put_tiny(name, "")?;
    }
    world.start()?;
    for name in ["ky04", "oh09"] {
        world.wait_ready(name)?;
    }
    Ok(world)
}

impl World {
    fn is_stopped(&self, tenant: &str) -> Result<bool> {
        for service in ["api", "frontend"] {
            if self.show(&format!("{tenant}-{service}"), "ActiveState")? != "inactive" {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// On a file system without project quotas: the tenant that writes without end
/// stops, another goes on, and it comes back once it may have more, or has less.
#[test]
fn a_tenant_that_fills_the_disk_is_stopped_and_no_other() -> Result<()> {
    let world = flawed("quota")?;
    let host = &world.host;
    let within = |name: &str| world.wait_condition(name, "DiskWithinLimit", "True Within");
    for name in ["ky04", "oh09"] {
        within(name)?;
    }
    let disk = world.tenant("ky04")?["status"]["disk"].clone();
    assert_eq!(disk["limit"], "20Mi");
    assert_eq!(disk["enforcement"], "Watched");
    let other = world.runs("oh09")?;

    host.sh(&format!("touch {UPLOADS}/go"))?;
    let told = world.wait_condition("ky04", "DiskWithinLimit", "False DiskLimitReached")?;
    assert!(told.contains("20Mi"), "{told}");
    let stopped = || world.is_stopped("ky04");
    world.waits("its services have stopped", stopped)?;
    world.wait_condition("ky04", "Stalled", "True DiskLimitReached")?;
    // It does not run again after a restart of the operator either.
    host.sh("systemctl restart cb-operator")?;
    world.reconcile("ky04")?;
    assert!(stopped()?);
    world.wait_condition("ky04", "DiskWithinLimit", "False DiskLimitReached")?;
    let metrics = || -> Result<f64> {
        let text = world.ask("/metrics", &[])?.body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("cb_tenant_disk_bytes{tenant=\"ky04\"} "));
        Ok(line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0.0))
    };
    world.waits("its bytes are told", || Ok(metrics()? >= 20_971_520.0))?;
    assert_eq!(world.runs("oh09")?, other);
    assert_eq!(world.page("oh09")?, "oh09 v1 on /\n");
    world.wait_ready("oh09")?;

    // More is allowed, and by itself it runs.
    host.sh(&format!("rm {UPLOADS}/go"))?;
    world.put("ky04.yaml", &tiny("ky04", "resources: {disk: 10Gi}"))?;
    world.wait_ready("ky04")?;
    within("ky04")?;
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");

    // Near the limit it goes on, and is told of.
    host.sh(&format!(
        "truncate -s 0 {UPLOADS}/flood; head -c 17M /dev/zero >{UPLOADS}/flood"
    ))?;
    world.put("ky04.yaml", &tiny("ky04", ""))?;
    world.wait_condition("ky04", "DiskWithinLimit", "True DiskNearlyFull")?;
    world.wait_ready("ky04")?;

    // Less is there, and by itself it runs.
    world.put("ky04.yaml", &tiny("ky04", "resources: {disk: 10Mi}"))?;
    world.waits("its services have stopped", stopped)?;
    host.sh(&format!("rm {UPLOADS}/flood"))?;
    world.wait_ready("ky04")?;
    within("ky04")?;
    assert_eq!(world.runs("oh09")?, other);

    let events = host.sh("cbctl events")?;
    for reason in ["DiskLimitReached", "DiskNearlyFull"] {
        ensure!(events.contains(reason), "{reason} is not among {events}");
    }
    Ok(())
}

/// Empty files take no bytes, but inodes, which are as finite: the tenant that
/// makes them without end stops, and another goes on.
#[test]
fn a_tenant_that_makes_files_without_end_is_stopped_and_no_other() -> Result<()> {
    let world = flawed("inodes")?;
    let host = &world.host;
    let other = world.runs("oh09")?;
    host.sh(&format!("touch {UPLOADS}/many"))?;
    world.wait_condition("ky04", "DiskWithinLimit", "False DiskLimitReached")?;
    world.waits("its services have stopped", || world.is_stopped("ky04"))?;
    // Not for their bytes.
    let bytes = host.sh(&format!("find {UPLOADS} -type f -printf '%s\\n' | sort -u"))?;
    assert_eq!(bytes, "0\n");
    assert_eq!(world.runs("oh09")?, other);
    assert_eq!(world.page("oh09")?, "oh09 v1 on /\n");
    world.wait_ready("oh09")?;

    host.sh(&format!("rm -r {UPLOADS}/many {UPLOADS}/swarm"))?;
    world.wait_ready("ky04")?;
    world.wait_condition("ky04", "DiskWithinLimit", "True Within")?;
    Ok(())
}
