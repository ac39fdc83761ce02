//! A tag that is followed, and a repository that is away for a while.

use anyhow::Result;

use super::Fleet;
use crate::world::{World, tiny};

/// Laws 2 and 8: what the tag names is in effect, whatever is on the branches;
/// one that is set back, lost or no commit leaves everything as it is.
#[test]
fn a_tag_is_followed_where_it_is_moved() -> Result<()> {
    let world = World::installed("tag")?;
    let source = "repository: /srv/git/fleet, ref: live";
    let fleet = Fleet::installed(world, source, &["ky04"])?;
    let world = &fleet.world;
    let tag = |words: &str| fleet.git(&format!("tag {words}; git push -qf origin refs/tags/live"));
    world.start()?;
    // The first look may be cut off by what else begins then.
    world.waits("the tag is missed", || {
        let text = fleet.cbctl("source sync", 1)?;
        Ok(text.contains("there is no branch or tag live"))
    })?;
    fleet.refuses(&["State:       Unreachable"])?;

    // An annotated tag is an object of its own; the commit is what counts.
    let first = fleet.git("rev-parse HEAD")?;
    tag("-a -m first live")?;
    fleet.takes(&first)?;
    fleet.wait_revision("ky04", &first)?;
    let before = world.runs("ky04")?;

    // A commit is on the branch and not in effect, until the tag names it.
    fleet.write("oh09.yaml", &tiny("oh09", ""))?;
    let second = fleet.commit("second")?;
    fleet.takes(&first)?;
    assert!(!world.is_known("oh09")?);
    tag("-f live")?;
    fleet.takes(&second)?;
    fleet.wait_revision("oh09", &second)?;
    assert_eq!(world.runs("ky04")?, before);

    // Set back: a person says whether that is meant.
    tag("-f live HEAD~1")?;
    fleet.refuses(&["HistoryLost", &first, &second])?;
    world.wait_ready("oh09")?;
    tag("-f live HEAD")?;
    fleet.takes(&second)?;

    tag("-f live HEAD:web1/ky04.yaml")?;
    fleet.refuses(&["refs/tags/live does not point to a commit"])?;
    tag("-f live")?;
    fleet.git("push -q origin HEAD:refs/heads/live")?;
    fleet.refuses(&["live is a branch and a tag; rename one"])?;
    fleet.git("push -q origin :refs/heads/live :refs/tags/live")?;
    fleet.refuses(&["there is no branch or tag live"])?;
    world.wait_served(&["ky04", "oh09"])?;
    tag("-f live")?;
    fleet.takes(&second)?;

    // Nothing can be committed to a tag, and nothing is.
    fleet.follow("repository: /srv/git/fleet, ref: live, writeBack: true")?;
    world
        .host
        .sh("chown -R cb_source: /srv/git/fleet; systemctl restart cb-operator")?;
    let text = fleet.cbctl("label tenant ky04 ring=canary", 1)?;
    assert!(
        text.contains("live is a tag, and nothing can be committed to it"),
        "{text}"
    );
    fleet.takes(&second)?;
    assert_eq!(
        fleet.git("ls-remote -q origin refs/tags/live")?.get(..40),
        Some(&second[..])
    );
    assert_eq!(world.runs("ky04")?, before);
    Ok(())
}

/// Law 1: nobody has to tell the operator that the repository is back.
#[test]
fn a_repository_that_comes_back_is_followed_again() -> Result<()> {
    let world = World::installed("away")?;
    let fleet = Fleet::installed(world, "repository: /srv/git/fleet", &["ky04"])?;
    fleet.follow_every(1, "repository: /srv/git/fleet")?;
    let world = &fleet.world;
    world.start()?;
    world.wait_served(&["ky04"])?;

    world.host.sh("mv /srv/git/fleet /srv/git/away")?;
    world.wait_host_alerts(&["SourceUnreachable"])?;
    let text = fleet.cbctl("source status", 1)?;
    assert!(text.contains("State:       Unreachable"), "{text}");
    // What happens on the host meanwhile is put right as ever.
    world.host.sh("systemctl stop ky04-api")?;
    world.wait_sh("it is started again", "systemctl is-active -q ky04-api")?;
    world.host.sh("mv /srv/git/away /srv/git/fleet")?;
    fleet.write("oh09.yaml", &tiny("oh09", ""))?;
    let later = fleet.commit("later")?;
    fleet.wait_revision("oh09", &later)?;
    world.wait_host_alerts(&[])?;
    let text = fleet.cbctl("source status", 0)?;
    assert!(text.contains("State:       Current"), "{text}");
    // Once while it was away, however often it was asked.
    let events = fleet.cbctl("events --types Warning --no-headers", 0)?;
    assert_eq!(events.matches("SourceUnreachable").count(), 1, "{events}");
    Ok(())
}
