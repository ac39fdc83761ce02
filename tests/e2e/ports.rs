//! Ports: given out by records, sockets and nginx's configuration, and kept
//! for life.

use anyhow::Result;

use crate::world::{TINY, World, tiny};

/// A process of nobody that listens on a port, as `unit`.
fn intruder(world: &World, unit: &str, port: u16) -> Result<()> {
    world.host.sh(&format!(
        "systemd-run --quiet --unit={unit} --property=User=nobody /srv/tiny/v1/bin/tinyapp {port}"
    ))?;
    listening(world, port)
}

fn listening(world: &World, port: u16) -> Result<()> {
    let script = format!("ss -Hltn 'sport = :{port}' | grep -q .");
    world.wait_sh(&format!("port {port} is bound"), &script)
}

/// The model's ports, and law 4: what anything else on the host uses is passed
/// over, and the tenant's status says why.
#[test]
fn slots_that_others_use_are_skipped_and_the_range_is_reserved() -> Result<()> {
    let world = World::installed("slots")?;
    let reserved = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    world
        .host
        .sh(&format!("echo 8080,41000-43000 >{reserved}"))?;
    world.put("tiny.yaml", TINY)?;
    world.start()?;
    world.put_many(&["al01"])?;
    world.wait_served(&["al01"])?;
    assert_eq!(world.ports("al01")?, (32300, 32301));
    world.wait_condition("al01", "PortsAllocated", "True Allocated slot 0")?;
    world.wait_sh(
        "the range is reserved",
        &format!("test $(cat {reserved}) = 8080,32300-43000"),
    )?;
    world.host.sh("grep -qx 'net.ipv4.ip_local_reserved_ports = 8080,32300-43000' /etc/sysctl.d/60-cb-operator.conf")?;

    // The second slot's api port is bound, nginx names a port of the third,
    // and a name that only looks like one of ours is in the fourth.
    intruder(&world, "intruder", 32311)?;
    world.host.sh(
        "printf 'server { listen 8081; location / { proxy_pass http://127.0.0.1:32320; } }\\n' >/etc/nginx/conf.d/mine.conf\n\
         printf 'upstream other { server localhost:32331; }\\n' >/etc/nginx/conf.d/cb-other.conf",
    )?;
    world.put_many(&["az02"])?;
    world.wait_served(&["az02"])?;
    assert_eq!(world.ports("az02")?, (32340, 32341));
    world.wait_words(
        ("az02", "PortsAllocated"),
        "True Allocated slot 4",
        &[
            "slot 1 was skipped: port 32311 is bound by a process of user id",
            "slot 2 was skipped: port 32320 is named in nginx's configuration",
            "slot 3 was skipped: port 32331 is named in nginx's configuration",
        ],
    )?;

    // What is free again is given to the next, not to who has a slot already.
    world.host.sh("systemctl stop intruder")?;
    world.put_many(&["ca03"])?;
    world.wait_served(&["ca03", "az02", "al01"])?;
    assert_eq!(world.ports("ca03")?, (32310, 32311));
    assert_eq!(world.ports("az02")?, (32340, 32341));
    Ok(())
}

/// Law 4: a port that is taken away stops its tenant and no other, is named,
/// and is used again when it is free.
#[test]
fn a_port_taken_by_somebody_else_is_named_and_waited_for() -> Result<()> {
    let world = World::running("taken")?;
    world.put_many(&["al01", "az02"])?;
    world.wait_served(&["al01", "az02"])?;
    let port = u16::try_from(world.ports("al01")?.1)?;
    let allocated = world.condition("al01", "PortsAllocated")?;
    let other = world.runs("az02")?;
    let frontend = world.show("al01-frontend.service", "InvocationID")?;

    world
        .host
        .sh("systemctl stop cb-operator al01-api.service")?;
    intruder(&world, "intruder", port)?;
    world.start()?;
    world.wait_words(
        ("al01", "PortsAllocated"),
        "False PortTaken",
        &[&format!("port {port}"), "api"],
    )?;
    world.wait_condition("al01", "Ready", "False")?;
    world.wait_served(&["az02"])?;
    assert_eq!(world.runs("az02")?, other);
    assert_eq!(
        world.show("al01-frontend.service", "InvocationID")?,
        frontend
    );
    // It is not tried in vain.
    world.reconcile("al01")?;
    assert_eq!(world.show("al01-api.service", "ActiveState")?, "inactive");
    world.host.sh("systemctl is-active intruder")?;

    world.host.sh("systemctl stop intruder")?;
    world.wait_served(&["al01"])?;
    world.wait_condition("al01", "PortsAllocated", &allocated)?;
    assert_eq!(world.ports("al01")?.1, u64::from(port));
    assert_eq!(
        world.show("al01-frontend.service", "InvocationID")?,
        frontend
    );
    Ok(())
}

/// Fixed ports are had or reported, never replaced; law 4.
#[test]
fn fixed_ports_are_had_or_reported() -> Result<()> {
    let world = World::installed("fixed")?;
    world.put("tiny.yaml", TINY)?;
    intruder(&world, "intruder", 9999)?;
    world.start()?;
    world.put_tiny("free", "ports: {api: 9001, frontend: 9000}")?;
    world.put_tiny("part", "ports: {api: 9101}")?;
    world.put_tiny("held", "ports: {api: 9999}")?;
    world.put_tiny("slot", "")?;
    world.wait_served(&["free", "part", "slot"])?;
    assert_eq!(world.ports("free")?, (9000, 9001));
    let (frontend, api) = world.ports("part")?;
    assert_eq!(api, 9101);
    assert!([32300, 32310].contains(&frontend), "{frontend}");
    world.wait_condition("free", "PortsAllocated", "True Allocated fixed ports")?;
    world.wait_words(
        ("held", "PortsAllocated"),
        "False PortTaken",
        &[
            "port 9999",
            "service `api`",
            "bound by a process of user id",
        ],
    )?;
    world.wait_condition("held", "Stalled", "True PortTaken")?;

    // The manifest is the way out, and so is the port.
    world.host.sh("systemctl stop intruder")?;
    world.wait_served(&["held"])?;
    assert_eq!(world.ports("held")?.1, 9999);
    world.put_tiny("held", "ports: {api: 9998}")?;
    world
        .host
        .wait_until("the port moves", crate::world::SOON, || {
            match world.ports("held") {
                Ok((_, 9998)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
    world.wait_served(&["held"])?;

    // Two tenants that want one port: who has it keeps it.
    world.put_tiny("late", "ports: {frontend: 9000}")?;
    world.wait_warned(&["late.yaml", "9000", "`free`"])?;
    assert_eq!(world.ports("free")?, (9000, 9001));
    assert!(!world.is_known("late")?);
    let refused =
        crate::world::condition_in(&world.status_file("late")?["status"], "ManifestAccepted");
    assert!(refused.starts_with("False Refused"), "{refused}");
    Ok(())
}

/// Records that are lost are made up for by what the units say: no port moves
/// and no service restarts; law 1.
#[test]
fn lost_records_move_no_port_and_restart_nothing() -> Result<()> {
    let world = World::running("lost")?;
    world.put_many(&["al01", "az02"])?;
    world.put_tiny("ca03", "ports: {api: 9301}")?;
    world.wait_served(&["al01", "az02", "ca03"])?;
    world.host.sh("rm /etc/cb/manifests/al01.yaml")?;
    world.wait_gone("al01")?;
    let names = ["az02", "ca03"];
    let state = || -> Result<Vec<_>> {
        names
            .iter()
            .map(|name| Ok((world.ports(name)?, world.runs(name)?)))
            .collect()
    };
    let before = state()?;

    world
        .host
        .sh("systemctl stop cb-operator; rm -r /var/lib/cb/records")?;
    let files = world.host.sh("find /etc/systemd/system /etc/nginx/conf.d /etc/cb/tenants -type f -printf '%p %i %T@\\n' | sort")?;
    // A new one comes first in the order of names.
    world.put("aa00.yaml", &tiny("aa00", ""))?;
    world.start()?;
    world.wait_served(&["aa00", "az02", "ca03"])?;
    assert_eq!(state()?, before);
    let after = world.host.sh("find /etc/systemd/system /etc/nginx/conf.d /etc/cb/tenants -type f -printf '%p %i %T@\\n' | grep -v aa00 | sort")?;
    assert_eq!(after, files);
    let (frontend, api) = world.ports("aa00")?;
    let used: Vec<u64> = before.iter().flat_map(|((f, a), _)| [*f, *a]).collect();
    assert!(
        !used.contains(&frontend) && !used.contains(&api),
        "{used:?}"
    );
    world.host.sh("test -s /var/lib/cb/records/az02.yaml")?;
    // And the records are as good as the old ones.
    world.host.sh("systemctl restart cb-operator")?;
    world.goes_on("aa00")?;
    assert_eq!(state()?, before);
    Ok(())
}

/// Law 4: when no slot is left, that is the new tenant's condition, and it gets
/// the first that becomes free.
#[test]
fn a_full_range_is_reported_and_waited_for() -> Result<()> {
    let world = World::installed("full")?;
    let host = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  ports: {slots: 2}
  prune: {delaySeconds: 0, maxPercent: 100}
  resync: {periodSeconds: 5}
";
    world
        .host
        .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", TINY)?;
    world.start()?;
    world.put_many(&["al01", "az02"])?;
    world.wait_served(&["al01", "az02"])?;
    world.put_many(&["ca03"])?;
    world.wait_words(
        ("ca03", "PortsAllocated"),
        "False PortsExhausted",
        &["none of the 2 slots from port 32300 is free", "ports.slots"],
    )?;
    world.wait_condition("ca03", "Stalled", "True PortsExhausted")?;
    world
        .host
        .sh("! ls /etc/systemd/system/ca03-* 2>/dev/null")?;
    world.wait_served(&["al01", "az02"])?;
    let free = world.ports("al01")?;
    world.host.sh("rm /etc/cb/manifests/al01.yaml")?;
    world.wait_served(&["ca03"])?;
    assert_eq!(world.ports("ca03")?, free);
    Ok(())
}
