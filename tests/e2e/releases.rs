//! Releases: from a git tag by a build, and gone when nobody needs them.

use anyhow::Result;

use crate::world::{TINY, World, tiny};

/// The small application in a repository, which has to be built.
fn application(build: &str) -> String {
    let (head, rest) = TINY.split_once("  versions:\n").expect("it has versions");
    let (_, services) = rest.split_once("  services:\n").expect("it has services");
    format!(
        "{head}  versions:\n  \
         - {{name: v1, git: {{repository: /srv/git/tiny}}}}\n  \
         - {{name: v2, git: {{repository: /srv/git/tiny}}}}\n  \
         build: {{commands: {build}}}\n  \
         services:\n{services}"
    )
}

/// Laws 4 and 12: a tag that is not there yet, and a build that fails, keep
/// back those who need them, say why, and pass by themselves.
#[test]
fn a_tag_is_built_once_for_all_who_need_it() -> Result<()> {
    let world = World::installed("gittag")?;
    world.host.sh(
        "mkdir -p /srv/git/tiny; cd /srv/git/tiny; git init -q -b main\n\
         git config user.email dev@example.org; git config user.name dev\n\
         cp /opt/cb/bin/tinyapp .; echo v1 >version; git add .; git commit -qm one",
    )?;
    let good = "[[mkdir, bin], [cp, tinyapp, bin/], [mv, version, VERSION]]";
    world.put("tiny.yaml", &application(good))?;
    world.start()?;
    for name in ["ky04", "oh09"] {
        world.put_tiny(name, "")?;
    }
    let why = world.wait_condition("ky04", "Prepared", "False ReleaseUnavailable")?;
    assert!(why.contains("`v1` of /srv/git/tiny"), "{why}");
    // Nobody is told that it is there now.
    world.host.sh("cd /srv/git/tiny; git tag v1")?;
    for name in ["ky04", "oh09"] {
        world.wait_ready(name)?;
        assert_eq!(world.page(name)?, format!("{name} v1 on /\n"));
    }
    let journal = world.host.journal("cb_build.service");
    let builds = journal.matches("Starting cb_build.service").count();
    assert_eq!(builds, 1, "{journal}");
    let commit = world.host.sh("cd /srv/git/tiny; git rev-parse v1")?;
    let installed = world
        .host
        .read("/var/lib/cb/releases/tiny/v1/.cb-release.json")?;
    let installed: serde_json::Value = serde_json::from_slice(&installed)?;
    assert_eq!(installed["commit"], commit.trim());

    let bad = "[[sh, -c, 'echo the parts do not fit; exit 7']]";
    world.put("tiny.yaml", &application(bad))?;
    world
        .host
        .sh("cd /srv/git/tiny; echo v2 >version; git commit -qam two; git tag v2")?;
    let third = tiny("tx28", "").replace("version: v1", "version: v2");
    world.put("tx28.yaml", &third)?;
    let why = world.wait_condition("tx28", "Prepared", "False BuildFailed")?;
    assert!(
        why.contains("exit code 7") && why.contains("the parts do not fit"),
        "{why}"
    );
    // The same build is not run again and again; the message stays the same.
    world.reconcile("tx28")?;
    assert_eq!(world.condition("tx28", "Prepared")?, why);
    let journal = world.host.journal("cb_build.service");
    let builds = journal.matches("Starting cb_build.service").count();
    assert_eq!(builds, 2, "{journal}");
    world.wait_ready("ky04")?;
    world.put("tiny.yaml", &application(good))?;
    world.wait_ready("tx28")?;
    assert_eq!(world.page("tx28")?, "tx28 v2 on /\n");
    Ok(())
}

/// Law 5: a build that goes on while the operator is killed is ended and begun
/// anew, and nothing of it is left.
#[test]
fn a_build_is_begun_anew_after_the_operator_was_killed() -> Result<()> {
    let world = World::installed("killedbuild")?;
    world.host.sh(
        "mkdir -p /srv/git/tiny; cd /srv/git/tiny; git init -q -b main\n\
         git config user.email dev@example.org; git config user.name dev\n\
         cp /opt/cb/bin/tinyapp .; echo v1 >VERSION; git add .; git commit -qm one; git tag v1",
    )?;
    let build = "[[sh, -c, 'echo begun; test -e /srv/go || sleep 1000'], [mkdir, bin], [mv, tinyapp, bin/]]";
    world.put("tiny.yaml", &application(build))?;
    world.start()?;
    world.put_tiny("ky04", "")?;
    world.waits("the build is under way", || {
        Ok(!world.host.sh("pgrep -u cb_build sleep || true")?.is_empty())
    })?;
    world.host.sh(
        "systemctl kill --kill-whom=main -s KILL cb-operator; systemctl stop cb-operator\n\
         touch /srv/go; pgrep -u cb_build sleep",
    )?;
    world.start()?;
    world.wait_ready("ky04")?;
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");
    world.host.sh("! pgrep -u cb_build")?;
    assert_eq!(world.host.sh("ls -A /var/lib/cb/releases/tiny")?, "v1\n");
    Ok(())
}

/// A Host that keeps one unused release and removes tenants at once.
const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  prune: {delaySeconds: 0, maxPercent: 100}
  resync: {periodSeconds: 5}
  releases: {keep: 1}
";

/// A backup of a tenant that is gone, as the operator describes one.
const BACKUP: &str = "\
id: 20261124t213000z-1
tenant: wy01
cause: Request
created: 2026-11-24T21:30:00Z
application: tiny
version: v2
spec: {application: tiny, version: v2}
files: []
verified: true
";

/// Law 5: what a tenant runs or a backup needs stays; of the rest the newest.
#[test]
fn releases_that_nobody_needs_are_removed() -> Result<()> {
    let world = World::installed("releasegc")?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.host.sh(
        "for v in v3 v4 v5 v6; do cp -r /srv/tiny/v1 /srv/tiny/$v; echo $v >/srv/tiny/$v/VERSION; done",
    )?;
    let listing = |versions: &[&str]| {
        let lines = versions.iter().map(|version| {
            format!("  - {{name: {version}, folder: {{path: /srv/tiny/{version}}}}}\n")
        });
        let (head, rest) = TINY.split_once("  versions:\n").expect("it has versions");
        let (_, services) = rest.split_once("  services:\n").expect("it has services");
        let lines: String = lines.collect();
        format!("{head}  versions:\n{lines}  services:\n{services}")
    };
    let all = ["v1", "v2", "v3", "v4", "v5", "v6"];
    world.put("tiny.yaml", &listing(&all))?;
    world.start()?;
    for version in all {
        let name = format!("t-{version}");
        let text = tiny(&name, "deletionPolicy: Delete")
            .replace("version: v1", &format!("version: {version}"));
        world.put(&format!("{name}.yaml"), &text)?;
        world.wait_ready(&name)?;
    }
    let backup = "/var/lib/cb/backups/wy01/20261124t213000z-1/backup.yaml";
    world.host.push(BACKUP.as_bytes(), backup, 0o600)?;
    // v4 is taken from the list, too.
    world.put("tiny.yaml", &listing(&["v1", "v2", "v3", "v5", "v6"]))?;
    for version in ["v2", "v3", "v4", "v6"] {
        world
            .host
            .sh(&format!("rm /etc/cb/manifests/t-{version}.yaml"))?;
    }
    let of_gone = "/var/lib/cb/records/t-v6.yaml /var/lib/cb/records/t-v4.yaml";
    world.waits("the tenants are gone", || {
        Ok(world
            .host
            .sh(&format!("ls {of_gone} 2>/dev/null || true"))?
            .is_empty())
    })?;
    // A look is due soon after the start, and then once a minute.
    world.host.sh("systemctl restart cb-operator")?;
    world.waits("unused releases are gone", || {
        Ok(world.host.sh("ls -A /var/lib/cb/releases/tiny")? == "v1\nv2\nv5\nv6\n")
    })?;
    for name in ["t-v1", "t-v5"] {
        world.wait_ready(name)?;
        assert!(world.page(name)?.starts_with(name));
    }
    // It comes back for who needs it.
    let again = tiny("t-v3", "").replace("version: v1", "version: v3");
    world.put("t-v3.yaml", &again)?;
    world.wait_ready("t-v3")?;
    assert_eq!(world.page("t-v3")?, "t-v3 v3 on /\n");
    Ok(())
}
