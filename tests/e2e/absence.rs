//! Law 2: absence is not deletion.

use anyhow::Result;

use crate::world::{TINY, World};

const FOUR: [&str; 4] = ["al01", "az02", "ky04", "oh09"];

/// A Host that removes a tenant at the first reading that says it is gone, so
/// that one wrong reading would be enough.
const AT_ONCE: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  prune: {delaySeconds: 0, maxPercent: 34}
  resync: {periodSeconds: 5}
";

fn at_once(hint: &str, tenants: &[&str]) -> Result<World> {
    let world = World::installed(hint)?;
    world
        .host
        .push(AT_ONCE.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", TINY)?;
    world.put_many(tenants)?;
    world.start()?;
    world.wait_served(tenants)?;
    Ok(world)
}

fn all_runs(world: &World, tenants: &[&str]) -> Result<Vec<Vec<String>>> {
    tenants.iter().map(|tenant| world.runs(tenant)).collect()
}

/// Law 2: a folder that is away, or nearly empty, is not an order to remove
/// tenants; nothing restarts, and all is normal when the files are back.
#[test]
fn a_folder_that_goes_away_and_files_that_vanish_together_prune_nothing() -> Result<()> {
    let world = at_once("absent", &FOUR)?;
    let before = all_runs(&world, &FOUR)?;

    world.host.sh("mv /etc/cb/manifests /etc/cb/away")?;
    world.wait_warned(&["the folder of manifests is not read in full"])?;
    world.wait_warned(&["4 tenants are in no file but not removed"])?;
    world.wait_host_alerts(&["FolderNotRead", "MassDisappearance"])?;
    world.wait_served(&FOUR)?;
    world.host.sh("mv /etc/cb/away /etc/cb/manifests")?;
    world.goes_on("al01")?;
    world.wait_host_alerts(&[])?;

    // An empty folder in its place, as a mount that went away leaves it.
    world
        .host
        .sh("mv /etc/cb/manifests /etc/cb/away && mkdir /etc/cb/manifests")?;
    world.wait_warned(&["the folder of manifests has no manifest in it"])?;
    world
        .host
        .sh("rm -r /etc/cb/manifests && mv /etc/cb/away /etc/cb/manifests")?;
    world.goes_on("al01")?;

    // All but one.
    world.host.sh("mkdir /root/aside && cd /etc/cb/manifests && mv az02.yaml ky04.yaml oh09.yaml /root/aside/")?;
    world.wait_warned(&[
        "3 tenants are in no file but not removed",
        "at most 1 of 4",
        "`ky04`",
        "prune.maxPercent",
    ])?;
    world.goes_on("al01")?;
    assert_eq!(all_runs(&world, &FOUR[1..])?, before[1..]);
    for name in FOUR {
        assert!(world.is_known(name)?, "{name}");
    }
    world.host.sh("mv /root/aside/* /etc/cb/manifests/")?;
    world.goes_on("ky04")?;
    world.wait_served(&["az02", "oh09"])?;
    assert_eq!(world.runs("oh09")?, before[3]);

    // The same while nobody looks.
    world.host.sh(
        "systemctl stop cb-operator && cd /etc/cb/manifests && mv az02.yaml ky04.yaml oh09.yaml /root/aside/",
    )?;
    world.start()?;
    world.goes_on("al01")?;
    assert_eq!(world.runs("oh09")?, before[3]);
    world.host.sh("mv /root/aside/* /etc/cb/manifests/")?;
    world.goes_on("ky04")?;
    assert_eq!(world.runs("oh09")?, before[3]);

    // Each state was said once, not at every reading.
    let log = world.warnings();
    for (words, times) in [("is not read in full", 1), ("at most 1 of 4", 2)] {
        assert_eq!(log.matches(words).count(), times, "{words}: {log}");
    }
    Ok(())
}

/// Law 2: while anything in the folder is wrong, or a file is there without
/// its object, no tenant is gone.
#[test]
fn what_cannot_be_read_or_understood_blocks_pruning() -> Result<()> {
    let world = at_once("blocked", &FOUR)?;
    let before = all_runs(&world, &FOUR)?;
    let blocked = |make: &str, undo: &str| -> Result<()> {
        let seen = world
            .log()
            .matches("1 tenant is in no file but not removed")
            .count();
        // The obstacle comes before the file goes: no reading is clean.
        world.host.sh(&format!("cd /etc/cb/manifests && {make}"))?;
        world.host.sh("mv /etc/cb/manifests/oh09.yaml /root/")?;
        world
            .host
            .wait_until("pruning is blocked", crate::world::SOON, || {
                let log = world.warnings();
                let now = log
                    .matches("1 tenant is in no file but not removed")
                    .count();
                if now > seen { Ok(()) } else { Err(log) }
            })?;
        world.goes_on("al01")?;
        assert_eq!(world.runs("oh09")?, before[3], "after {make}");
        world.host.sh(&format!(
            "mv /root/oh09.yaml /etc/cb/manifests/ && cd /etc/cb/manifests && {undo}"
        ))?;
        world.goes_on("al01")
    };
    blocked("echo 'kind: [' >broken.yaml", "rm broken.yaml")?;
    blocked("ln -s /root/oh09.yaml link.yaml", "rm link.yaml")?;
    blocked("mkfifo pipe.yaml", "rm pipe.yaml")?;
    blocked("ln -s /root linked", "rm linked")?;
    // What lasts over several readings is said once.
    let said = world.warnings();
    assert_eq!(said.matches("is not read in full").count(), 1, "{said}");
    assert_eq!(said.matches("but not removed").count(), 4, "{said}");

    // Emptied is not deleted: the file is there.
    world.host.sh("truncate -s 0 /etc/cb/manifests/oh09.yaml")?;
    world.goes_on("al01")?;
    assert_eq!(world.runs("oh09")?, before[3]);
    world.wait_warned(&["oh09.yaml"])?;
    world.put_tiny("oh09", "")?;
    world.goes_on("al01")?;
    world.wait_served(&["oh09"])?;
    assert_eq!(world.runs("oh09")?, before[3]);
    Ok(())
}

/// Law 2: what a deleted tenant leaves is its data, and nothing of it is lost
/// when the tenant comes back; nobody else notices.
#[test]
fn a_deleted_tenant_keeps_its_data_and_finds_it_again() -> Result<()> {
    let world = World::running("retain")?;
    world.put_many(&["al01"])?;
    world.wait_served(&["al01"])?;
    world.put_many(&["ky04", "oh09"])?;
    world.wait_served(&["ky04", "oh09"])?;
    let others = all_runs(&world, &["ky04", "oh09"])?;
    assert_eq!(world.ports("al01")?, (32300, 32301));
    world.host.sh(
        "d=/var/lib/cb/tenants/al01; echo rows >$d/db/tenant.duckdb; echo photo >$d/uploads/a.jpg\n\
         chown cb-al01: $d/db/* $d/uploads/*",
    )?;
    let kept = "/var/lib/cb/tenants/al01/db/tenant.duckdb /var/lib/cb/tenants/al01/uploads/a.jpg";
    let user = world.host.sh("id -u cb-al01")?;
    let data = world.sums(&[kept])?;

    world.host.sh("rm /etc/cb/manifests/al01.yaml")?;
    world.wait_gone("al01")?;
    assert_eq!(world.show("al01-api.service", "LoadState")?, "not-found");
    assert_eq!(world.show("al01-api.service", "ActiveState")?, "inactive");
    world.host.sh(
        "! ls -d /etc/systemd/system/al01-* /etc/systemd/system/multi-user.target.wants/al01-* \
           /etc/nginx/conf.d/cb-al01.conf /etc/cb/manifests/al01.status.yaml 2>/dev/null\n\
         ! ss -Hltn 'sport = :32300 or sport = :32301' | grep .",
    )?;
    assert!(world.page("al01").is_err() || !world.page("al01")?.contains("al01"));
    assert_eq!(
        world
            .sums(&[kept, "/etc/cb/tenants/al01/.env"])?
            .lines()
            .count(),
        4
    );
    assert_eq!(world.sums(&[kept])?, data);
    assert_eq!(world.host.sh("id -u cb-al01")?, user);
    assert_eq!(all_runs(&world, &["ky04", "oh09"])?, others);

    // Its ports are free for the next one.
    world.put_tiny("wy01", "")?;
    world.wait_served(&["wy01"])?;
    assert_eq!(world.ports("wy01")?, (32300, 32301));

    world.put_tiny("al01", "")?;
    world.wait_served(&["al01"])?;
    assert_eq!(world.sums(&[kept])?, data);
    assert_eq!(world.host.sh("id -u cb-al01")?, user);
    assert_eq!(world.ports("al01")?, (32330, 32331));
    assert_eq!(all_runs(&world, &["ky04", "oh09"])?, others);
    Ok(())
}

/// Law 2: `Delete` moves the data into the backups first, and does nothing to
/// it while it cannot; a person's explicit word removes even the last tenant.
#[test]
fn delete_backs_up_first_and_the_last_tenant_goes_by_name() -> Result<()> {
    let world = World::running("delete")?;
    world.put_tiny("ky04", "deletionPolicy: Delete")?;
    world.put_many(&["oh09"])?;
    world.wait_served(&["ky04", "oh09"])?;
    let other = world.runs("oh09")?;
    world.host.sh(
        "d=/var/lib/cb/tenants/ky04; echo rows >$d/db/tenant.duckdb; echo photo >$d/uploads/a.jpg\n\
         ln -s /etc/machine-id $d/uploads/link\n\
         chown -h cb-ky04: $d/db/* $d/uploads/*",
    )?;
    let data = "/var/lib/cb/tenants/ky04/db/tenant.duckdb /var/lib/cb/tenants/ky04/uploads/a.jpg";
    let before = world.sums(&[data, "/etc/cb/tenants/ky04/.env"])?;
    let user = world.host.sh("id cb-ky04")?;

    // There is no place for backups.
    world
        .host
        .sh("rmdir /var/lib/cb/backups && touch /var/lib/cb/backups")?;
    world.host.sh("rm /etc/cb/manifests/ky04.yaml")?;
    let words = ["its manifest is gone", "/var/lib/cb/backups"];
    world.wait_words(("ky04", "Ready"), "False RemovalFailed", &words)?;
    world.wait_words(("ky04", "Stalled"), "True RemovalFailed", &words)?;
    world.wait_sh(
        "the status file says so",
        "grep -q RemovalFailed /etc/cb/manifests/ky04.status.yaml",
    )?;
    assert_eq!(world.sums(&[data, "/etc/cb/tenants/ky04/.env"])?, before);
    assert_eq!(world.host.sh("id cb-ky04")?, user);
    assert_eq!(world.runs("oh09")?, other);
    world.host.sh("rm /var/lib/cb/backups")?;
    world.wait_gone("ky04")?;
    world.host.sh(
        "! getent passwd cb-ky04\n! getent group cb-ky04\n\
         ! ls -d /var/lib/cb/tenants/ky04 /etc/cb/tenants/ky04 /etc/sysusers.d/cb-ky04.conf /var/lib/cb/records/ky04.yaml 2>/dev/null",
    )?;
    let found = world.host.sh(
        "cd /var/lib/cb/backups/ky04 && find . -type f | sort && grep -rl rows . && find . -type l && stat -c %a:%U .",
    )?;
    for name in ["tenant.duckdb", "uploads/a.jpg", ".env", "uploads/link"] {
        assert!(found.contains(name), "{found}");
    }
    assert!(found.ends_with("700:root\n"), "{found}");
    assert_eq!(world.runs("oh09")?, other);

    let path = "/apis/campaignbrain.io/v1alpha1/tenants/oh09";
    let answer = world.ask(path, &["-X", "DELETE"])?;
    assert_eq!(answer.status, 200, "{}", answer.body);
    world.wait_gone("oh09")?;
    world.host.sh("! test -e /etc/cb/manifests/oh09.yaml\ntest -d /var/lib/cb/tenants/oh09/uploads\nid cb-oh09")?;
    assert_eq!(world.show("oh09-api.service", "LoadState")?, "not-found");
    // A new one of the deleted name starts with nothing.
    world.put_tiny("ky04", "")?;
    world.wait_served(&["ky04"])?;
    world
        .host
        .sh("! test -e /var/lib/cb/tenants/ky04/uploads/a.jpg")?;
    Ok(())
}

/// Laws 4 and 12: files that nobody should write are named, with the place,
/// and keep no other tenant from being created.
#[test]
fn hostile_files_keep_nobody_from_being_created() -> Result<()> {
    let world = World::running("hostile")?;
    let bomb: String = (1..12)
        .map(|n| {
            format!(
                "a{n}: &a{n} [{}]\n",
                vec![format!("*a{}", n - 1); 10].join(", ")
            )
        })
        .collect();
    world.put("bomb.yaml", &format!("a0: &a0 lol\n{bomb}"))?;
    let typo = crate::world::tiny("typo", "").replace("domains:", "domain:");
    world.put("typo.yaml", &typo)?;
    let injected = crate::world::tiny("inject", "env: {A: \"x\\nB=y\"}");
    world.put("inject.yaml", &injected)?;
    world.host.sh(
        "cd /etc/cb/manifests && truncate -s 100M big.yaml && : >empty.yaml && mkfifo pipe.yaml\n\
         head -c 5000 /dev/urandom >noise.yaml && ln -s /etc/shadow shadow.yaml",
    )?;
    world.put_many(&["ky04", "oh09"])?;
    world.wait_served(&["ky04", "oh09"])?;

    world.wait_warned(&["bomb.yaml:"])?;
    world.wait_warned(&["big.yaml", "104857600 bytes"])?;
    world.wait_warned(&["pipe.yaml"])?;
    world.wait_warned(&["noise.yaml"])?;
    world.wait_warned(&["shadow.yaml"])?;
    let place = world.wait_warned(&["typo.yaml:7:3", "domain"])?;
    assert!(place.contains("did you mean `domains`"), "{place}");
    for stem in ["bomb", "big", "pipe", "typo", "inject", "noise"] {
        let status = world.status_file(stem)?;
        let ready = crate::world::condition_in(&status["status"], "Ready");
        assert!(ready.starts_with("False Refused"), "{stem}: {ready}");
        assert!(ready.contains(&format!("{stem}.yaml")), "{stem}: {ready}");
    }
    assert!(
        !world.warnings().contains("root:"),
        "a file outside was read"
    );
    // A second look says nothing again and changes nothing.
    let (log, before) = (world.warnings(), world.fingerprint()?);
    world.reconcile("ky04")?;
    world.goes_on("oh09")?;
    let after = world.warnings();
    assert_eq!(
        after.matches("bomb.yaml").count(),
        log.matches("bomb.yaml").count()
    );
    let only_oh09 = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.contains("oh09"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(only_oh09(&world.fingerprint()?), only_oh09(&before));
    // Right again, and its status file is a tenant's.
    world.put_tiny("typo", "")?;
    world.wait_served(&["typo"])?;
    Ok(())
}
