//! The example in `examples/`, as its reader meets it: a real application with
//! a real database.

use anyhow::{Context as _, Result};
use cb_testhost::cache::{Artifacts, checkout};

use crate::world::{SOON, World};

/// The resources of the model: services, ports, site, database, `.env` and
/// uploads of each tenant's own; laws 7 and 9.
#[test]
fn the_example_works() -> Result<()> {
    let releases = Artifacts::of_this_checkout()?.releases;
    let manifests = checkout().join("examples/manifests");
    let world = World::installed_with("example", |options| {
        options
            .bind_ro(releases.display(), "/srv/cbapp")
            .bind_ro(manifests.display(), "/opt/cb/examples")
    })?;
    world
        .host
        .sh("cp /opt/cb/examples/*.yaml /etc/cb/manifests/")?;
    world.start()?;
    for name in ["ky04", "oh09", "tx28"] {
        world.wait_ready(name)?;
        let status = world.tenant(name)?["status"].clone();
        assert_eq!(status["version"], "v0.1.0");
        assert_eq!(status["schemaVersion"], 1);
    }
    let mut frontends = Vec::new();
    for name in ["ky04", "oh09", "tx28"] {
        let ports = world.tenant(name)?["status"]["ports"].clone();
        let frontend = ports["frontend"].as_u64().context("the frontend's port")?;
        assert_eq!(ports["api"], frontend + 1);
        frontends.push(frontend);
    }
    frontends.sort_unstable();
    assert_eq!(frontends, [32300, 32310, 32320]);

    // Through nginx to the api, into the database, and onto the page.
    let site = "Host: ky04.example.org";
    let json = "Content-Type: application/json";
    let contact = "{\"name\": \"Ada Lovelace\"}";
    let url = "http://127.0.0.1/api/contacts";
    let made = world
        .host
        .curl(&["-H", site, "-H", json, "-d", contact, url])?;
    assert_eq!(made.status, 201, "{}", made.body);
    let page = world.page("ky04")?;
    assert!(
        page.contains("Ada Lovelace") && page.contains("Kentucky 4th"),
        "{page}"
    );
    let other = world.page("oh09")?;
    assert!(
        !other.contains("Ada Lovelace") && other.contains("Ohio 9th"),
        "{other}"
    );

    // An upload is a file of the tenant's user in the tenant's folder.
    let text = "Content-Type: text/plain";
    let url = "http://127.0.0.1/api/uploads/flyer.txt";
    let stored = world
        .host
        .curl(&["-H", site, "-H", text, "-d", "vote", url])?;
    assert_eq!(stored.status, 201, "{}", stored.body);
    let file = "/var/lib/cb/tenants/ky04/uploads/flyer.txt";
    assert_eq!(
        world.host.sh(&format!("stat -c %U {file}; cat {file}"))?,
        "cb-ky04\nvote"
    );
    assert!(world.page("ky04")?.contains("flyer.txt"));
    let denied = world.host.exec(&[
        "setpriv",
        "--reuid=cb-oh09",
        "--regid=cb-oh09",
        "--clear-groups",
        "cat",
        file,
    ])?;
    assert_ne!(denied.code, Some(0), "another tenant reads the upload");

    // The api has the database open, and nobody else.
    let holders = world.host.sh(
        "for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -q '/var/lib/cb/tenants/ky04/db/' && echo ${p#/proc/} || :; done",
    )?;
    let api = world.show("ky04-api.service", "MainPID")?;
    assert_eq!(holders.split_whitespace().collect::<Vec<_>>(), [api]);

    // A person restarts the api: the data is there.
    world.host.sh("systemctl restart ky04-api.service")?;
    let page = world
        .host
        .wait_until("the page is back", SOON, || world.page("ky04"));
    assert!(page.context("ky04")?.contains("Ada Lovelace"));
    Ok(())
}
