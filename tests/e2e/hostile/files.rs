//! What a tenant does with its own folders holds up nothing, and leads nowhere.

use anyhow::{Result, ensure};

use super::{LETTER, Stage};

/// A Host that looks at the disk all the time.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  prune: {delaySeconds: 1, maxPercent: 34}
  resync: {periodSeconds: 5}
  disk: {periodSeconds: 1}
";

const LIMITS: &str = "\
resources: {memory: 256Mi, tasks: 40, fileSize: 16Mi, disk: 64Mi}
deletionPolicy: Delete";

const UPLOADS: &str = "/var/lib/cb/tenants/evil/uploads";

/// Laws 4, 9 and 10: links, FIFOs, names, depth and size of what a tenant has
/// make root open nothing of others, and hold up neither backups, nor the
/// counting, nor its own removal, nor anybody else.
#[test]
fn what_a_tenant_lays_in_its_folders_leads_nowhere() -> Result<()> {
    let stage = Stage::set_with("hostile-files", HOST, LIMITS)?;
    let (world, host) = (&stage.world, &stage.world.host);
    let runs = stage.runs()?;
    let probes = stage.probe()?;
    let letters = "cd /var/lib/cb; sha256sum tenants/ky04/*/*; stat -c '%n %U %a' \
         / /var/lib/cb /etc/shadow tenants tenants/ky04 tenants/ky04/* tenants/ky04/*/*";
    let before = host.sh(letters)?;
    let does = |what: &str| -> Result<()> {
        let told = stage.inside("api", what)?;
        ensure!(told.starts_with("succeeded"), "{what}: {told}");
        Ok(())
    };
    let level = |wanted: &str| world.wait_condition("evil", "DiskWithinLimit", wanted);
    level("True Within")?;

    // Backups, and the counting, while names change what they stand for.
    does("litter OWN/uploads")?;
    does("litter OWN/db")?;
    // Its services do not run meanwhile: this is more than they could do.
    for swap in [
        "OWN/db tenant.duckdb VICTIM/db/tenant.duckdb",
        "OWN/uploads file VICTIM/uploads/letter",
    ] {
        let words = stage.words(swap).join(" ");
        host.sh(&format!(
            "setpriv --reuid=cb-evil --regid=cb-evil --clear-groups \
             perl /srv/evil/bin/tenant.pl try swap {words} >/run/swap 2>&1; grep ^succeeded /run/swap"
        ))?;
    }
    for _ in 0..4 {
        // It ends, whatever the job found.
        let backup = host.exec(&["cbctl", "backup", "create", "evil"])?;
        ensure!(backup.code.is_some_and(|code| code != 124), "{backup:?}");
        world.reconcile("evil")?;
    }
    host.sh(&format!("head -c 56M /dev/zero >{UPLOADS}/marker"))?;
    level("True DiskNearlyFull")?;
    let stop = "rm uploads/marker; touch uploads/stop db/stop";
    host.sh(&format!("cd {UPLOADS}/..; {stop}"))?;
    level("True Within")?;
    let found = format!("grep -rslE '{LETTER}|^root:' /var/lib/cb/backups/evil || :");
    assert_eq!(host.sh(&found)?, "");
    assert_eq!(host.sh(letters)?, before);

    // What a person is shown has no name of a tenant's file in it.
    for shown in [
        "cbctl backup list evil",
        "cbctl describe tenant evil",
        "cbctl get tenants",
        "cbctl top",
        "cbctl events",
    ] {
        let text = host.sh(shown)?;
        let odd = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(odd) && !text.contains("gnp.exe"), "{text:?}");
    }

    // The disk is full for nobody but whom it was that filled it.
    does("pile OWN/uploads 20")?;
    level("False DiskLimitReached")?;
    let is_stopped = || Ok(world.show("evil-api", "ActiveState")? == "inactive");
    world.waits("its services have stopped", is_stopped)?;
    let size = host.sh(&format!("du -sm {UPLOADS}"))?;
    let mebibytes: u64 = size.split_whitespace().next().unwrap_or_default().parse()?;
    assert!((60..1024).contains(&mebibytes), "{size}");
    host.sh(&format!("rm {UPLOADS}/pile-*"))?;
    level("True Within")?;
    world.wait_ready("evil")?;

    // What cannot be counted counts as too much.
    does("deep OWN/uploads 400")?;
    level("False")?;
    world.waits("its services have stopped", is_stopped)?;

    // With all that, it can go, and its data are kept.
    host.sh("rm /etc/cb/manifests/evil-tenant.yaml")?;
    world.waits("it is gone", || {
        let left = host.sh("ls /var/lib/cb/tenants; ls /etc/systemd/system | grep evil || :")?;
        Ok(!left.contains("evil"))
    })?;
    let kept = host.sh("find /var/lib/cb/backups/evil -name bottom | wc -l")?;
    assert_eq!(kept.trim(), "1");
    assert_eq!(host.sh(letters)?, before);
    stage.assert_unnoticed(&runs, &probes)
}
