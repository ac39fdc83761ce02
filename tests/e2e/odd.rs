//! Odd orders of events, as people and git make them: an Application and a
//! range of ports that change under running tenants, a file with several
//! tenants that breaks, tenants that swap and rename.

use anyhow::Result;

use crate::world::{TINY, World, tiny};

/// The ports of a tenant never change while it exists: neither an Application
/// that moves its offsets and gets a service, nor a Host whose range moved,
/// takes them away, and no tenant gets its neighbour's (law 4).
#[test]
fn a_new_service_and_a_moved_range_leave_all_ports_where_they_are() -> Result<()> {
    let world = World::running("ports-stay")?;
    let names = ["a", "a-b", "a-b-c"];
    world.put_many(&names)?;
    world.wait_served(&names)?;
    let before = names.map(|name| world.tenant(name).map(|t| t["status"]["ports"].clone()));

    world.host.sh("systemctl stop cb-operator")?;
    world
        .host
        .sh("echo '  ports: {base: 32310}' >>/etc/cb/host.yaml")?;
    world.start()?;
    let more =
        "  - {name: worker, command: bin/tinyapp, args: [$(PORT)], portOffset: 2}\n  routes:";
    let changed = TINY
        .replace("portOffset: 1", "portOffset: 5")
        .replace("  routes:", more);
    world.put("tiny.yaml", &changed)?;
    for (name, before) in names.iter().zip(before) {
        let has_worker = |t: &serde_json::Value| t["status"]["ports"]["worker"].is_u64();
        world.waits("the tenant has the new service", || {
            Ok(has_worker(&world.tenant(name)?))
        })?;
        world.wait_ready(name)?;
        let (ports, before) = (world.tenant(name)?["status"]["ports"].clone(), before?);
        for service in ["api", "frontend"] {
            assert_eq!(ports[service], before[service], "{service} of {name}");
        }
        assert_eq!(world.page(name)?, format!("{name} v1 on /\n"));
    }
    Ok(())
}

/// Law 2: deleting a tenant by name takes no other with it, although its file
/// cannot be read any more.
#[test]
fn a_broken_file_of_several_tenants_is_not_deleted_for_one() -> Result<()> {
    let world = World::running("broken-many")?;
    let both = format!("{}---\n{}", tiny("ky04", ""), tiny("oh09", ""));
    world.put("ky04.yaml", &both)?;
    world.wait_served(&["ky04", "oh09"])?;
    world
        .host
        .sh("printf '\\377' >>/etc/cb/manifests/ky04.yaml")?;
    world.wait_condition("oh09", "ManifestAccepted", "False")?;
    let told = world
        .host
        .exec(&["cbctl", "delete", "tenant", "ky04", "--wait=false"])?;
    assert_ne!(told.code, Some(0), "{}", told.stdout);
    assert!(told.stderr.contains("oh09"), "{}", told.stderr);
    world.host.sh("test -e /etc/cb/manifests/ky04.yaml")?;
    world.put("ky04.yaml", &both)?;
    world.wait_served(&["ky04", "oh09"])
}

/// Two tenants swap their domains, and one gets another name in its file and
/// keeps its domain: each is served by the one that has it now.
#[test]
fn domains_follow_swaps_and_renames() -> Result<()> {
    let world = World::running("swap")?;
    world.put_many(&["a", "a-b", "b", "c", "d"])?;
    world.wait_served(&["a", "a-b", "b", "c", "d"])?;
    let with = |name: &str, domain: &str| {
        tiny(name, "").replace(
            &format!("{name}.example.org"),
            &format!("{domain}.example.org"),
        )
    };
    world.put("a.yaml", &with("a", "a-b"))?;
    world.put("a-b.yaml", &with("a-b", "a"))?;
    let serves = |domain: &str, name: &str| {
        world.waits(&format!("{domain} is served by {name}"), || {
            let page = world.page(domain);
            Ok(page.is_ok_and(|page| page == format!("{name} v1 on /\n")))
        })
    };
    serves("a", "a-b")?;
    serves("a-b", "a")?;

    world.put("b.yaml", &with("b2", "b"))?;
    serves("b", "b2")?;
    world.wait_ready("b2")?;
    world.waits("b2 has the status file of b.yaml", || {
        let status = world.status_file("b");
        Ok(status.is_ok_and(|status| status["metadata"]["name"] == "b2"))
    })?;
    assert!(
        !world
            .warnings()
            .contains("b.status.yaml is not the operator's")
    );
    Ok(())
}

/// The last manifest of a folder is deleted by name, though an empty folder by
/// itself removes nothing: it may be one that is not mounted.
#[test]
fn the_last_manifest_of_a_folder_is_deleted_by_name() -> Result<()> {
    let world = World::running("last")?;
    let get = || world.host.exec(&["cbctl", "get", "application", "tiny"]);
    assert_eq!(get()?.code, Some(0));
    let delete = ["cbctl", "delete", "application", "tiny", "--timeout", "60s"];
    let deleted = world.host.exec(&delete)?;
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    for _ in 0..2 {
        let gone = get()?;
        let told = "Error from server (NotFound): applications \"tiny\" not found";
        assert!(gone.stderr.contains(told), "{gone:?}");
        world.host.sh("systemctl restart cb-operator")?;
    }
    Ok(())
}
