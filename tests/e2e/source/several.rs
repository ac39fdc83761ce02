//! One manifest with several objects: what is changed through the operator is
//! the one that is meant, and the others stay byte for byte, in the folder and,
//! with `writeBack`, in the repository (laws 2 and 12).

use anyhow::Result;

use super::Fleet;
use crate::world::{TINY, World};

const HEAD: &str = "# All of the east.\n# Ask ops before you change it.\n\n";
const KY04: &str = "\
--- # the first house
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata: {name: ky04}
spec:
  version: v1   # see the list
  application: 'tiny'

  domains:
  - ky04.example.org

";
const OH09: &str = "\
---
# Ohio.
kind: Tenant
apiVersion: campaignbrain.io/v1alpha1
metadata:
    name: \"oh09\"   # short
    labels:
        ring: stable
spec:
    application: tiny
    version: v1
    domains: [oh09.example.org]
    env: {MODE: \"loud\"}
";
const TX28: &str = "\
---
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata: {name: tx28}
spec: {application: tiny, version: v1, domains: [tx28.example.org]}
# The end.
";

/// Comments, blank lines, quotes and orders of a person's own.
fn text() -> String {
    format!("{HEAD}{TINY}{KY04}{OH09}{TX28}")
}

/// Changes one object after the other, and compares the file after each with
/// what `read` gives.
fn change_one_by_one(fleet: &Fleet, read: &dyn Fn() -> Result<String>) -> Result<()> {
    let world = &fleet.world;
    let (mut wanted, host) = (text(), &world.host);
    assert_eq!(read()?, wanted);
    let before = world.runs("tx28")?;

    fleet.cbctl("upgrade ky04 --to v2", 0)?;
    wanted = wanted.replace("v1   # see", "v2   # see");
    assert_eq!(read()?, wanted);
    world.waits("ky04 serves v2", || {
        Ok(world.page("ky04")? == "ky04 v2 on /\n")
    })?;
    fleet.cbctl("label tenant oh09 ring=canary --overwrite", 0)?;
    wanted = wanted.replace("ring: stable", "ring: canary");
    assert_eq!(read()?, wanted);
    fleet.cbctl("label tenant tx28 ring=canary", 0)?;
    wanted = wanted.replace("{name: tx28}", "{labels: {ring: canary}, name: tx28}");
    assert_eq!(read()?, wanted);
    let patch = r#"patch tenant oh09 -p {"spec":{"env":{"MODE":"quiet"}}}"#;
    fleet.cbctl(patch, 0)?;
    wanted = wanted.replace("{MODE: \"loud\"}", "{MODE: quiet}");
    assert_eq!(read()?, wanted);

    // A text of a person's takes the place of the one, comments and all.
    let anew = "# Ohio, written anew.\n---\napiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\n\
                metadata: {name: oh09}\nspec:\n  application: tiny\n  version: v1\n  \
                domains: [oh09.example.org] # the old one\n";
    host.push(anew.as_bytes(), "/root/oh09.yaml", 0o644)?;
    fleet.cbctl("apply -f /root/oh09.yaml", 0)?;
    let anew = anew.replace("written anew.\n---\n", "written anew.\n");
    let (start, end) = wanted.split_once("# Ohio.").unwrap_or_default();
    let (_, end) = end.split_once("---\n").unwrap_or_default();
    wanted = format!("{start}{anew}---\n{end}");
    assert_eq!(read()?, wanted);
    world.wait_ready("oh09")?;

    // What is refused, or only tried, changes nothing.
    let said = fleet.cbctl(
        "patch tenant tx28 -p {\"spec\":{\"domains\":[\"oh09.example.org\"]}}",
        1,
    )?;
    assert!(said.contains("oh09"), "{said}");
    fleet.cbctl("delete tenant oh09 --dry-run=server", 0)?;
    assert_eq!(read()?, wanted);

    // What is deleted goes, and takes nothing with it.
    fleet.cbctl("delete tenant oh09", 0)?;
    wanted = wanted.replace(&format!("---\n{anew}"), "");
    assert_eq!(read()?, wanted);
    world.wait_gone("oh09")?;
    world.wait_ready("ky04")?;
    world.wait_ready("tx28")?;
    assert_eq!(world.runs("tx28")?, before);
    let said = fleet.cbctl("delete application tiny", 1)?;
    assert!(said.contains("used by tenants ky04, tx28"), "{said}");
    fleet.cbctl("delete tenant tx28", 0)?;
    world.wait_gone("tx28")?;
    assert_eq!(
        read()?,
        format!("{HEAD}{TINY}{}", KY04.replace("v1   #", "v2   #"))
    );
    Ok(())
}

#[test]
fn one_of_several_is_changed_in_the_folder() -> Result<()> {
    let world = World::installed("several")?;
    world.put("all.yaml", &text())?;
    // A folder with nothing in it would be one that is not there.
    let other = TINY.replace("{name: tiny}", "{name: other}");
    world.put("other.yaml", &other)?;
    world.start()?;
    world.wait_served(&["ky04", "oh09", "tx28"])?;
    let fleet = Fleet { world };
    let read = || {
        let text = fleet.world.host.read("/etc/cb/manifests/all.yaml")?;
        Ok(String::from_utf8(text)?)
    };
    change_one_by_one(&fleet, &read)?;
    // The last ones take the file with them.
    let world = &fleet.world;
    fleet.cbctl("delete tenant ky04", 0)?;
    world.wait_gone("ky04")?;
    assert_eq!(read()?, format!("{HEAD}{TINY}"));
    fleet.cbctl("delete application tiny", 0)?;
    world.host.sh("! test -e /etc/cb/manifests/all.yaml")?;
    Ok(())
}

#[test]
fn one_of_several_is_changed_in_the_repository() -> Result<()> {
    let world = World::installed("severalback")?;
    let fleet = Fleet { world };
    let world = &fleet.world;
    world.host.sh(super::REPOSITORY)?;
    fleet.write("all.yaml", &text())?;
    let first = fleet.commit("first")?;
    fleet.follow("repository: /srv/git/fleet, writeBack: true")?;
    world.start()?;
    world.wait_served(&["ky04", "oh09", "tx28"])?;
    let own = "chown -R cb_source: /srv/git/fleet";
    world.host.sh(own)?;
    let file = "/root/fleet/web1/all.yaml";
    let read = || {
        fleet.git("pull -q origin main")?;
        Ok(String::from_utf8(world.host.read(file)?)?)
    };
    change_one_by_one(&fleet, &read)?;

    // Each is one commit of this one file, and says which object it is about.
    let said = fleet.git(&format!("log --format=%s --name-only --reverse {first}.."))?;
    let about = said.replace(", as it was asked for on this host\n\nweb1/all.yaml", "");
    assert_eq!(
        about,
        "Bring tenant ky04 to another version\nChange tenant oh09\nChange tenant tx28\n\
         Change tenant oh09\nChange tenant oh09\nRemove tenant oh09\n\
         Remove tenant tx28"
    );

    // Somebody else changed another object of the file, and it was not fetched.
    world
        .host
        .sh(&format!("sed -i 's/^# All/# Most/' {file}"))?;
    let theirs = fleet.commit("theirs")?;
    world.host.sh(own)?;
    let said = fleet.cbctl("label tenant ky04 ring=canary", 1)?;
    assert!(
        said.contains("web1/all.yaml was changed in the repository meanwhile"),
        "{said}"
    );
    fleet.takes(&theirs)?;
    fleet.cbctl("label tenant ky04 ring=canary", 0)?;
    let now = read()?;
    assert!(
        now.starts_with("# Most of the east.") && now.contains("ring: canary"),
        "{now}"
    );
    fleet.takes(&fleet.git("rev-parse HEAD")?)
}
