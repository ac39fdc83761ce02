//! Copies of backups off the host (laws 5 and 8): in a folder and in a bucket,
//! while the destination is away, and when they are all that is left.

use anyhow::{Context as _, Result};
use cb_testhost::cache::checkout;
use serde_json::Value;

use crate::upgrade::Upgrades;
use crate::world::{SOON, World};

/// The Host with this destination.
fn host(offsite: &str) -> String {
    format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {{name: test}}\nspec:\n  \
         resync: {{periodSeconds: 5}}\n  operations: {{settleSeconds: 1}}\n  \
         backups: {{offsite: {offsite}}}\n"
    )
}

const FOLDER: &str = "{folder: /mnt/copies/test}";
const SECRET: &str = "a-very-secret-secret";
const BUCKET: &str = "{s3: {bucket: backups, endpoint: 'https://127.0.0.1:9000', \
                      credentialsFile: /srv/store/key, caFile: /srv/store/ca.pem}}";

/// A host with a tenant at v0.1.0 with rows, whose Host names a destination.
fn running(hint: &str, offsite: &str) -> Result<Upgrades> {
    let upgrades = Upgrades::running(hint, &[], &["ky04"])?;
    let world = &upgrades.world;
    let text = host(offsite);
    world
        .host
        .push(text.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.host.sh("systemctl restart cb-operator")?;
    Ok(upgrades)
}

impl World {
    /// The backups of ky04 as `ID onHost offsite`, newest first.
    fn copies(&self) -> Result<Vec<String>> {
        let list = self.api("/api/tenants/ky04/backups")?;
        let backups = list["backups"].as_array().context("a list")?;
        let row = |row: &Value| {
            let id = row["id"].as_str().unwrap_or_default();
            format!("{id} {} {}", row["onHost"], row["offsite"])
        };
        Ok(backups.iter().map(row).collect())
    }

    /// Waits for what is tried again after pauses that grow.
    fn wait_copies(&self, wanted: &[String]) -> Result<()> {
        let what = format!("the backups are {wanted:?}");
        let seen = self.host.wait_until(&what, 5 * SOON, || {
            let seen = self.copies().map_err(|error| format!("{error:#}"))?;
            if seen == wanted {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        });
        seen.with_context(|| self.host.journal("cb-operator"))
    }

    /// A metric's value for ky04.
    fn metric(&self, name: &str) -> Result<String> {
        let socket = "--unix-socket /run/cb/operator.sock http://operator/metrics";
        let line = format!("curl -sS {socket} | grep '^{name}{{tenant=\"ky04\"}}'");
        let line = self.host.sh(&line)?;
        Ok(line
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned())
    }

    /// Whether ky04 has an event of this reason with these words in its note.
    fn has_event(&self, reason: &str, words: &str) -> Result<bool> {
        let list = self.api("/apis/events.k8s.io/v1/events")?;
        let events = list["items"].as_array().cloned().unwrap_or_default();
        Ok(events.iter().any(|event| {
            event["reason"] == reason
                && event["note"]
                    .as_str()
                    .is_some_and(|note| note.contains(words))
        }))
    }
}

/// A destination that is away keeps no upgrade waiting, is told, and gets what
/// it missed. Then, step by step, what `docs/backups.md` tells a person to do.
#[test]
fn a_folder_that_was_away_gets_every_copy_and_the_drill_works() -> Result<()> {
    let upgrades = running("offsite", FOLDER)?;
    let world = &upgrades.world;
    let rows = upgrades.rows("ky04")?;
    upgrades.put("ky04", "v0.2.0")?;
    let operation = upgrades.wait_operation("ky04", "v0.2.0", "Succeeded")?;
    let backup = operation["backup"].as_str().context("a backup")?.to_owned();
    let told = world.wait_condition("ky04", "BackupsCopied", "False NotCopied")?;
    assert!(
        told.contains("the folder /mnt/copies/test does not exist"),
        "{told}"
    );
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.2.0", 2, &rows)?;
    assert!(world.has_event("BackupNotCopied", "/mnt/copies/test")?);
    world.wait_copies(&[format!("{backup} true null")])?;
    assert_eq!(world.metric("cb_backup_copies_missing")?, "1.0");

    // Law 8: as long as it is the same, nothing is written.
    let status = "stat -c '%i %z' /etc/cb/manifests/ky04.status.yaml";
    let before = world.host.sh(status)?;
    world.reconcile("ky04")?;
    assert_eq!(world.host.sh(status)?, before);

    world
        .host
        .sh("mkdir -p /mnt/copies && mkdir -m 700 /mnt/copies/test")?;
    world.wait_copies(&[format!("{backup} true true")])?;
    world.wait_condition("ky04", "BackupsCopied", "True Copied")?;
    assert!(world.has_event("BackupCopied", &backup)?);
    assert_eq!(world.metric("cb_backup_copies_missing")?, "0.0");
    assert_eq!(world.metric("cb_backup_copies")?, "1.0");
    let sums = format!("cd /mnt/copies/test/ky04/{backup} && sha256sum --check SHA256SUMS");
    world.host.sh(&sums)?;

    // One after the other, as in one shell.
    let mut said = String::new();
    for block in drill()? {
        let script = format!(
            "exec bash -e <<'EOF'\n[ ! -e /root/shell ] || . /root/shell\n{block}\n\
             declare -p backup >/root/shell; declare -f count >>/root/shell\nEOF"
        );
        let output = world.host.sh(&script);
        said += &output.with_context(|| world.host.journal("cb-operator"))?;
    }
    assert_eq!(said.matches("all rows are back").count(), 2, "{said}");
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.2.0", 2, &rows)
}

/// The commands of the drill in the documentation.
fn drill() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(checkout().join("docs/backups.md"))?;
    let (_, drill) = text.split_once("\n## Restore drill\n").context("a drill")?;
    let (drill, _) = drill.split_once("\n## ").context("its end")?;
    let blocks = drill.split("\n```sh\n").skip(1);
    let blocks = blocks.filter_map(|block| Some(block.split_once("\n```")?.0.to_owned()));
    let blocks: Vec<String> = blocks.collect();
    anyhow::ensure!(blocks.len() == 6, "{blocks:#?}");
    Ok(blocks)
}

/// A bucket over TLS with an authority of its own: a backup that is on the host
/// no more comes back from there with all rows. Law 11: the key is nowhere.
#[test]
fn a_bucket_gives_back_what_the_host_lost() -> Result<()> {
    let upgrades = running("bucket", BUCKET)?;
    let world = &upgrades.world;
    world.host.sh(&format!(
        "mkdir -p /srv/store/buckets/backups && cd /srv/store && umask 077 && printf 'AKIATEST\\n{SECRET}\\n' >key"
    ))?;
    let start = "systemd-run --quiet --unit=store --property=Type=exec /opt/cb/bin/bucketstore /srv/store 9000";
    world.host.sh(start)?;
    let rows = upgrades.rows("ky04")?;
    upgrades.put("ky04", "v0.2.0")?;
    let operation = upgrades.wait_operation("ky04", "v0.2.0", "Succeeded")?;
    let first = operation["backup"].as_str().context("a backup")?.to_owned();
    world.wait_copies(&[format!("{first} true true")])?;
    world.wait_condition("ky04", "BackupsCopied", "True Copied")?;
    world.host.sh(&format!(
        "ls /srv/store/buckets/backups/test/ky04/{first}/backup.yaml"
    ))?;

    world.host.sh("systemctl stop store")?;
    let made = world.host.sh("cbctl backup create ky04 -o name")?;
    let second = made.trim().to_owned();
    let told = world.wait_condition("ky04", "BackupsCopied", "False NotCopied")?;
    assert!(
        told.contains("the bucket backups at https://127.0.0.1:9000"),
        "{told}"
    );
    world.wait_ready("ky04")?;
    world.host.sh(start)?;
    let [first, second] = [&first, &second];
    world.wait_copies(&[format!("{second} true true"), format!("{first} true true")])?;

    world.host.sh("rm -r /var/lib/cb/backups/ky04")?;
    world.wait_copies(&[
        format!("{second} false true"),
        format!("{first} false true"),
    ])?;
    let gone = world.host.exec(&["cbctl", "restore", "ky04", second])?;
    assert_ne!(gone.code, Some(0), "{gone:?}");
    assert!(gone.stderr.contains("cbctl backup fetch ky04"), "{gone:?}");
    let fetched = world
        .host
        .sh(&format!("cbctl backup fetch ky04 {second}"))?;
    assert!(fetched.contains("fetched"), "{fetched}");
    world.host.sh(&format!("cbctl restore ky04 {second}"))?;
    world.wait_ready("ky04")?;
    upgrades.is_at("ky04", "v0.2.0", 2, &rows)?;
    let none = world
        .host
        .exec(&["cbctl", "backup", "fetch", "ky04", "20200101t000000z-1"])?;
    assert!(none.stderr.contains("has no whole copy"), "{none:?}");

    let told = world.host.journal("cb-operator") + &world.tenant("ky04")?.to_string();
    assert!(!told.contains(SECRET));
    Ok(())
}
