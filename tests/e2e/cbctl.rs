//! `cbctl` with the real operator.

use anyhow::Result;
use cb_testhost::Output;

use crate::world::{TINY, World, tiny};

fn cbctl(world: &World, arguments: &[&str]) -> Result<Output> {
    Ok(world.host.exec(&[&["cbctl"], arguments].concat())?)
}

/// The code and everything that was printed.
fn told(output: &Output) -> (Option<i32>, String) {
    (output.code, format!("{}{}", output.stdout, output.stderr))
}

/// Law 1 and 12: objects are applied whole or not at all, a second apply
/// changes nothing, and the words and exit codes are kubectl's.
#[test]
fn objects_are_applied_shown_compared_and_deleted() -> Result<()> {
    let world = World::installed("cbctl")?;
    let (code, text) = told(&cbctl(&world, &["get", "tenants"])?);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("operator.sock"), "{text}");
    world.start()?;
    world
        .host
        .push(TINY.as_bytes(), "/root/m/z-tiny.yaml", 0o644)?;
    let commented = format!("# ours\n{}", tiny("ky04", "env: {MODE: loud}  # kept"));
    world
        .host
        .push(commented.as_bytes(), "/root/m/ky04.yaml", 0o644)?;

    // A bad file refuses all of them.
    world.host.push(
        tiny("oh09", "domain: x").as_bytes(),
        "/root/m/oh09.yaml",
        0o644,
    )?;
    let (code, text) = told(&cbctl(&world, &["apply", "-f", "/root/m"])?);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("oh09.yaml:8") && text.contains("domains"),
        "{text}"
    );
    assert_eq!(world.host.sh("ls /etc/cb/manifests")?, "");
    world
        .host
        .push(tiny("oh09", "").as_bytes(), "/root/m/oh09.yaml", 0o644)?;

    let (code, text) = told(&cbctl(
        &world,
        &["apply", "-f", "/root/m", "--dry-run=server"],
    )?);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(world.host.sh("ls /etc/cb/manifests")?, "");
    let (code, text) = told(&cbctl(
        &world,
        &["apply", "-f", "/root/m", "--wait", "--timeout", "60s"],
    )?);
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "application.campaignbrain.io/tiny created",
        "tenant.campaignbrain.io/ky04 created",
        "tenant.campaignbrain.io/oh09 created",
    ] {
        assert!(text.contains(line), "{text}");
    }
    // The text is the person's, comments and all.
    assert_eq!(
        String::from_utf8(world.host.read("/etc/cb/manifests/ky04.yaml")?)?,
        commented
    );
    let before = world.fingerprint()?;
    let (_, text) = told(&cbctl(&world, &["apply", "-f", "/root/m"])?);
    assert!(
        text.lines().all(|line| line.ends_with(" unchanged")),
        "{text}"
    );
    assert_eq!(world.fingerprint()?, before);

    let (code, text) = told(&cbctl(&world, &["get", "tenants"])?);
    assert_eq!(code, Some(0), "{text}");
    let first = text.lines().nth(1).unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    assert_eq!(words[..4], ["ky04", "v1", "True", "Ready"], "{text}");
    let (_, name) = told(&cbctl(&world, &["get", "tenants", "-o", "name"])?);
    assert_eq!(
        name,
        "tenant.campaignbrain.io/ky04\ntenant.campaignbrain.io/oh09\n"
    );
    let (_, text) = told(&cbctl(&world, &["describe", "tenant", "ky04"])?);
    assert!(
        text.contains("ky04-api.service") && text.contains("ProxyReady"),
        "{text}"
    );
    let (code, text) = told(&cbctl(&world, &["get", "tenant", "nobody"])?);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("Error from server (NotFound): "), "{text}");

    let (code, text) = told(&cbctl(&world, &["diff"])?);
    assert_eq!((code, text.as_str()), (Some(0), ""));
    let second = tiny("ky04", "env: {MODE: quiet}").replace("version: v1", "version: v2");
    world
        .host
        .push(second.as_bytes(), "/root/m/ky04.yaml", 0o644)?;
    let (code, text) = told(&cbctl(&world, &["diff", "-f", "/root/m/ky04.yaml"])?);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("v2") && text.contains("ky04-api.service"),
        "{text}"
    );
    // Law 11: the values of the environment are not shown.
    assert!(!text.contains("loud") && !text.contains("quiet"), "{text}");

    let (code, text) = told(&cbctl(&world, &["delete", "tenant", "oh09", "--wait"])?);
    assert_eq!(code, Some(0), "{text}");
    // Its status file goes when all else has gone.
    world.waits("no file of the tenant is left", || {
        let files = world.host.sh("ls /etc/cb/manifests")?;
        Ok(files.lines().all(|file| !file.starts_with("oh09")))
    })?;
    assert_eq!(
        world
            .host
            .sh("ls /etc/systemd/system | grep -c oh09 || true")?
            .trim(),
        "0"
    );
    let (code, _) = told(&cbctl(&world, &["frobnicate"])?);
    assert_eq!(code, Some(2));
    Ok(())
}
