//! Law 4: a fault stays with its tenant.

use anyhow::Result;

use crate::world::{TINY, World, condition_in, tiny};

/// Laws 4 and 12: a bad update leaves what runs, and says where and what.
#[test]
fn a_bad_update_leaves_the_last_good_one_running() -> Result<()> {
    let world = World::running("badupdate")?;
    let names = ["ky04", "oh09", "tx28"];
    world.put_many(&names)?;
    world.wait_served(&names)?;
    let runs = world.runs("ky04")?;

    let refused = |text: &str, words: &[&str]| -> Result<()> {
        world.put("ky04.yaml", text)?;
        world.wait_words(("ky04", "ManifestAccepted"), "False Refused", words)?;
        world.wait_words(("ky04", "Stalled"), "True Refused", words)?;
        world.wait_words(("ky04", "Ready"), "False Refused", words)?;
        let written = condition_in(&world.status_file("ky04")?["status"], "ManifestAccepted");
        assert!(words.iter().all(|word| written.contains(word)), "{written}");
        // It runs and is kept as it was.
        assert_eq!(world.runs("ky04")?, runs);
        assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");
        world.wait_condition("ky04", "ServicesReady", "True")?;
        Ok(())
    };
    let good = tiny("ky04", "");
    refused(
        &good.replace("domains: [", "domains: [Bad_Domain, "),
        &["ky04.yaml:7:13", "spec.domains[0]"],
    )?;
    world.host.sh("rm /etc/nginx/conf.d/cb-ky04.conf")?;
    world.waits("the site is there again", || {
        Ok(world.host.sh("ls /etc/nginx/conf.d/cb-ky04.conf").is_ok())
    })?;
    refused(
        &good.replace("version: v1", "version: v9"),
        &["ky04.yaml:6:12", "spec.version", "v9"],
    )?;
    refused(&good.replace("  version", " version"), &["ky04.yaml:6:"])?;
    refused(
        &good.replace("application: tiny", "application: tinny"),
        &["ky04.yaml:5:", "`tinny`", "`tiny`"],
    )?;
    refused(
        &format!("{good}  surprise: 1\n"),
        &["ky04.yaml:8:3", "surprise"],
    )?;

    // The same tenant in two files takes effect in neither.
    world.put("copy.yaml", &good.replace("version: v1", "version: v2"))?;
    world.put("ky04.yaml", &good)?;
    world.wait_words(
        ("ky04", "ManifestAccepted"),
        "False Refused",
        &["ky04.yaml:3:", "copy.yaml:3:"],
    )?;
    assert_eq!(world.runs("ky04")?, runs);
    world.host.sh("rm /etc/cb/manifests/copy.yaml")?;
    world.wait_served(&names)?;
    assert_eq!(world.runs("ky04")?, runs);
    world
        .host
        .sh("! ls /etc/cb/manifests/copy*.status.yaml 2>/dev/null")?;

    // A domain that another tenant has stays with that one.
    world.put_tiny("wy01", "")?;
    world.wait_served(&["wy01"])?;
    let greedy = tiny("aa01", "").replace("domains: [", "domains: [wy01.example.org, ");
    world.put("aa01.yaml", &greedy)?;
    world.put(
        "oh09.yaml",
        &tiny("oh09", "").replace("domains: [", "domains: [wy01.example.org, "),
    )?;
    world.wait_words(
        ("oh09", "ManifestAccepted"),
        "False Refused",
        &["oh09.yaml:7:", "wy01.example.org", "`wy01`"],
    )?;
    world.wait_warned(&["aa01.yaml:7:", "wy01.example.org"])?;
    assert!(!world.is_known("aa01")?);
    assert_eq!(world.page("wy01")?, "wy01 v1 on /\n");
    assert_eq!(world.page("oh09")?, "oh09 v1 on /\n");
    world.wait_ready("wy01")?;
    // The owner gives it up, and the ones that waited are in each other's way;
    // one of them gives in.
    world.host.sh("rm /etc/cb/manifests/aa01.yaml")?;
    world.put(
        "wy01.yaml",
        &tiny("wy01", "").replace("wy01.example.org", "wy02.example.org"),
    )?;
    world
        .host
        .wait_until("the domain moves", crate::world::SOON, || {
            match world.page("wy01") {
                Ok(page) if page == "oh09 v1 on /\n" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
    world.wait_ready("oh09")?;
    Ok(())
}

/// A name that is longer than nginx's tables take.
fn long(name: &str) -> String {
    let label = "a".repeat(55);
    tiny(name, "").replace(
        &format!("[{name}.example.org]"),
        &format!("[{name}.example.org, {name}-{label}.example.org]"),
    )
}

/// Law 4: a site that nginx rejects is found among many, keeps its last good
/// form, and keeps back no other.
#[test]
fn one_rejected_site_keeps_no_other_from_going_live() -> Result<()> {
    let world = World::installed("rejected")?;
    world.put("tiny.yaml", TINY)?;
    world.put("bad.yaml", &long("bad"))?;
    let names: Vec<String> = (1..50).map(|n| format!("t{n:02}")).collect();
    for name in &names {
        world.put_tiny(name, "")?;
    }
    world.start()?;
    for name in &names {
        world.wait_ready(name)?;
    }
    for name in &names {
        assert_eq!(world.page(name)?, format!("{name} v1 on /\n"));
    }
    let words = ["server_names_hash"];
    world.wait_words(("bad", "ProxyReady"), "False SiteRejected", &words)?;
    world.wait_condition("bad", "ServicesReady", "True")?;
    world
        .host
        .sh("! test -e /etc/nginx/conf.d/cb-bad.conf\nnginx -t -q")?;

    // One that was live.
    let first = world.host.read("/etc/nginx/conf.d/cb-t01.conf")?;
    world.put("t01.yaml", &long("t01"))?;
    world.put_tiny("t02", "displayName: Second")?;
    let words = ["server_names_hash", "last good site stays"];
    world.wait_words(("t01", "ProxyReady"), "False SiteRejected", &words)?;
    world.wait_ready("t02")?;
    assert_eq!(world.host.read("/etc/nginx/conf.d/cb-t01.conf")?, first);
    assert_eq!(world.page("t01")?, "t01 v1 on /\n");
    // The live configuration never was a bad one.
    world.host.sh("nginx -t -q && systemctl reload nginx")?;

    // Put right outside of the manifest, it goes live by itself.
    let larger = "server_names_hash_bucket_size 128;";
    world.host.sh(&format!(
        "cp /etc/nginx/nginx.conf /etc/nginx/nginx.before\n\
         sed 's/^http {{/http {{ {larger}/' /etc/nginx/nginx.before >/etc/nginx/new\n\
         grep -q '{larger}' /etc/nginx/new\nmv /etc/nginx/new /etc/nginx/nginx.conf"
    ))?;
    world.wait_served(&["t01", "bad"])?;

    // A live site that nginx no longer accepts keeps back nobody either, and
    // comes back with what it needs.
    world
        .host
        .sh("cp /etc/nginx/nginx.conf /etc/nginx/large; mv /etc/nginx/nginx.before /etc/nginx/nginx.conf")?;
    // A change of its site alone: its services run on.
    world.put_tiny("t03", "proxy: {timeoutSeconds: 61}")?;
    world.put_tiny("new", "")?;
    world.wait_served(&["new", "t03"])?;
    world.host.sh("nginx -t -q")?;
    let words = ["server_names_hash"];
    world.wait_words(("t01", "ProxyReady"), "False SiteRejected", &words)?;
    world.wait_condition("t01", "ServicesReady", "True")?;
    world.host.sh("mv /etc/nginx/large /etc/nginx/nginx.conf")?;
    world.wait_served(&["t01", "bad"])?;
    Ok(())
}

/// Law 4: an Application that is broken or gone keeps its tenants running, and
/// tenants that come meanwhile are told.
#[test]
fn a_broken_or_missing_application_keeps_its_tenants_running() -> Result<()> {
    let world = World::running("application")?;
    world.put_many(&["ky04", "oh09"])?;
    world.wait_served(&["ky04", "oh09"])?;
    let runs = world.runs("ky04")?;

    world.put("tiny.yaml", &TINY.replace("portOffset: 1", "portOffset: 0"))?;
    world.wait_warned(&["tiny.yaml:", "portOffset"])?;
    world.goes_on("oh09")?;
    assert_eq!(world.runs("ky04")?, runs);
    world.put("tiny.yaml", "apiVersion: [")?;
    world.wait_warned(&["tiny.yaml:", "not valid YAML"])?;
    world.goes_on("oh09")?;
    world.host.sh("rm /etc/cb/manifests/tiny.yaml")?;
    world.wait_warned(&[
        "Application `tiny` is in no file",
        "its last manifest is kept",
    ])?;
    world.goes_on("oh09")?;
    assert_eq!(world.runs("ky04")?, runs);
    world.wait_served(&["ky04"])?;

    // A version that is dropped stays for those who run it and is there for
    // nobody else.
    let dropped = TINY.replace("  - {name: v1, folder: {path: /srv/tiny/v1}}\n", "");
    world.put("tiny.yaml", &dropped)?;
    world.wait_warned(&["tiny.yaml:", "version `v1` is not listed any more"])?;
    world.put_tiny("tx28", "")?;
    world.wait_warned(&["tx28.yaml:6:", "`v1`"])?;
    assert!(!world.is_known("tx28")?);
    assert_eq!(world.runs("ky04")?, runs);
    world.put("tiny.yaml", TINY)?;
    world.wait_served(&["tx28", "ky04", "oh09"])?;
    assert_eq!(world.runs("ky04")?, runs);
    Ok(())
}

/// Law 4: an nginx that was broken before is left alone and reported; its
/// tenants' services run, and their sites go live when it is well.
#[test]
fn an_nginx_that_is_broken_or_stopped_is_reported_and_left_alone() -> Result<()> {
    let world = World::installed("broken")?;
    let broken = "/etc/nginx/conf.d/other.conf";
    world.host.sh(&format!("echo 'sserver {{}}' >{broken}"))?;
    let before = world.sums(&[broken, "/etc/nginx/nginx.conf"])?;
    let main = world.show("nginx.service", "MainPID")?;
    world.put("tiny.yaml", TINY)?;
    let names = ["al01", "az02", "ca03"];
    world.put_many(&names)?;
    world.start()?;
    for name in names {
        world.wait_words(
            (name, "ProxyReady"),
            "False NginxBroken",
            &["sserver", broken],
        )?;
        world.wait_condition(name, "ServicesReady", "True Running")?;
    }
    world.host.sh("! ls /etc/nginx/conf.d/cb-* 2>/dev/null")?;
    assert_eq!(world.sums(&[broken, "/etc/nginx/nginx.conf"])?, before);
    assert_eq!(world.show("nginx.service", "MainPID")?, main);
    world.host.sh(&format!("rm {broken}"))?;
    world.wait_served(&names)?;

    // Stopped: that is a person's to undo.
    world.host.sh("systemctl stop nginx")?;
    for name in names {
        world.wait_words(
            (name, "ProxyReady"),
            "False NginxNotRunning",
            &["systemctl start nginx"],
        )?;
        world.wait_condition(name, "ServicesReady", "True Running")?;
    }
    world.put_tiny("co04", "")?;
    world.wait_condition("co04", "ProxyReady", "False NginxNotRunning")?;
    assert_eq!(world.show("nginx.service", "ActiveState")?, "inactive");
    world.host.sh("systemctl start nginx")?;
    world.wait_served(&["al01", "az02", "ca03", "co04"])?;
    Ok(())
}

/// Law 4: services that end, do not answer or never listen are their tenant's
/// alone, and are well again with the manifest.
#[test]
fn services_that_fail_are_their_tenants_alone() -> Result<()> {
    let world = World::running("crash")?;
    world.put_many(&["good", "late"])?;
    world.wait_served(&["good", "late"])?;
    let good = world.runs("good")?;
    world.put_tiny("crash", "env: {TINYAPP_FAULT: exit}")?;
    world.put_tiny("sick", "env: {TINYAPP_FAULT: unhealthy}")?;
    world.put_tiny("deaf", "env: {TINYAPP_FAULT: deaf}")?;
    world.put_tiny("late", "env: {TINYAPP_FAULT: exit}")?;
    for name in ["crash", "late"] {
        world
            .host
            .wait_until("the crash is seen", crate::world::SOON, || {
                let line = world
                    .condition(name, "ServicesReady")
                    .map_err(|error| format!("{error:#}"))?;
                let seen = line.starts_with("False CrashLoop") || line.starts_with("False Failed");
                let named = line.contains(&format!("journalctl -u {name}-api.service"));
                if seen && named { Ok(()) } else { Err(line) }
            })?;
    }
    world.wait_words(
        ("sick", "ServicesReady"),
        "False Unhealthy",
        &["sick-api.service", "503"],
    )?;
    world.wait_words(
        ("deaf", "ServicesReady"),
        "False Unhealthy",
        &["deaf-api.service", "refused"],
    )?;
    for name in ["sick", "deaf"] {
        world.wait_condition(name, "Stalled", "True Unhealthy")?;
        world.wait_condition(name, "ProxyReady", "True")?;
        assert_eq!(
            world.tenant(name)?["status"]["services"][0]["healthy"],
            false
        );
    }
    world.put_tiny("next", "")?;
    world.wait_served(&["next", "good"])?;
    assert_eq!(world.runs("good")?, good);

    for name in ["crash", "sick", "deaf", "late"] {
        world.put_tiny(name, "")?;
    }
    world.wait_served(&["crash", "sick", "deaf", "late"])?;
    assert_eq!(world.runs("good")?, good);
    Ok(())
}
