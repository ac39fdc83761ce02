//! A tenant connects to its own ports and to what is shared, and to nothing
//! else on the host; root and nginx connect to all.

use anyhow::{Context as _, Result, bail};

use crate::world::{TINY, World};

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  prune: {delaySeconds: 1, maxPercent: 50}
  resync: {periodSeconds: 2}
  api: {metricsAddress: 127.0.0.1:9643}
  sharedServices: {ollama: {url: 'http://localhost:11434'}}
  network: {allowPorts: [587]}
";

/// An address of the machine that others can reach.
const ADDRESS: &str = "192.0.2.7";

const TABLE: &str = "nft --stateless list table inet cb_operator";

impl World {
    fn isolating(hint: &str) -> Result<World> {
        let world = World::installed(hint)?;
        world.prepare_isolating()?;
        Ok(world)
    }

    fn prepare_isolating(&self) -> Result<()> {
        self.host
            .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        self.host
            .sh(&format!("ip address add {ADDRESS}/32 dev lo"))?;
        self.put("tiny.yaml", TINY)
    }

    fn wait_isolated(&self, tenant: &str) -> Result<()> {
        self.wait_ready(tenant)?;
        self.wait_condition(tenant, "NetworkIsolated", "True Isolated")
            .map(drop)
    }

    fn port(&self, tenant: &str, service: &str) -> Result<u64> {
        self.tenant(tenant)?["status"]["ports"][service]
            .as_u64()
            .with_context(|| format!("{tenant} has no port for {service}"))
    }

    /// Has something listen that is no tenant's.
    fn listen(&self, address: &str, port: u64) -> Result<()> {
        let at = match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        self.host.sh(&format!(
            "systemd-run --quiet systemd-socket-activate -l '{at}' --inetd -a cat"
        ))?;
        self.waits(&format!("{at} listens"), || {
            self.reaches("root", address, port)
        })
    }

    /// Whether a user's connection is taken; what is neither taken nor refused
    /// is an error.
    fn reaches(&self, user: &str, address: &str, port: u64) -> Result<bool> {
        let connect = format!("exec 3<>/dev/tcp/{address}/{port}");
        let command = [
            "runuser", "-u", user, "--", "timeout", "10", "bash", "-c", &connect,
        ];
        let tried = self.host.exec(&command)?;
        match tried.code {
            Some(0) => Ok(true),
            Some(1) if tried.stderr.contains("Connection refused") => Ok(false),
            _ => bail!("{user} to {address} port {port}: {tried:?}"),
        }
    }

    fn assert_reaches(&self, user: &str, address: &str, port: u64, wanted: bool) -> Result<()> {
        let reached = self.reaches(user, address, port)?;
        assert_eq!(
            reached,
            wanted,
            "{user} to {address} port {port}\n{}",
            self.host.sh(TABLE)?
        );
        Ok(())
    }

    /// The lines of the table's chains.
    fn rules(&self) -> Result<Vec<String>> {
        let table = self.host.sh(TABLE)?;
        let (_, rules) = table.split_once("chain output").context(table.clone())?;
        Ok(rules.lines().map(str::to_owned).collect())
    }
}

/// Law 4, and the promise of the table in `docs/security.md`.
#[test]
fn a_tenant_connects_to_its_own_ports_and_to_what_is_shared() -> Result<()> {
    let world = World::isolating("network")?;
    world.start()?;
    world.put_tiny("a", "")?;
    world.put_tiny("b", "")?;
    world.wait_isolated("a")?;
    world.wait_isolated("b")?;
    let (a, b) = (world.port("a", "api")?, world.port("b", "api")?);
    for address in ["::1", ADDRESS] {
        world.listen(address, a)?;
        world.listen(address, b)?;
    }
    for address in ["127.0.0.1", "::1", ADDRESS] {
        for user in ["root", "www-data"] {
            world.assert_reaches(user, address, a, true)?;
            world.assert_reaches(user, address, b, true)?;
        }
        world.assert_reaches("cb-a", address, a, true)?;
        world.assert_reaches("cb-a", address, b, false)?;
        world.assert_reaches("cb-b", address, a, false)?;
        world.assert_reaches("nobody", address, a, false)?;
    }
    let (a, b) = (world.port("a", "frontend")?, world.port("b", "frontend")?);
    world.assert_reaches("cb-a", "127.0.0.1", a, true)?;
    world.assert_reaches("cb-a", "127.0.0.1", b, false)?;
    world.page("a")?;
    world.page("b")?;

    // The operator's metrics, what is shared, and what is not.
    world.assert_reaches("root", "127.0.0.1", 9643, true)?;
    world.assert_reaches("cb-a", "127.0.0.1", 9643, false)?;
    world.assert_reaches("cb-a", "127.0.0.1", 80, true)?;
    for (port, is_shared) in [(11434, true), (587, true), (5432, false)] {
        world.listen("127.0.0.1", port)?;
        world.assert_reaches("cb-a", "127.0.0.1", port, is_shared)?;
        world.assert_reaches("nobody", "127.0.0.1", port, true)?;
    }
    for (user, may_send) in [("cb-a", false), ("nobody", true)] {
        let send = "echo >/dev/udp/127.0.0.1/5432";
        let command = ["runuser", "-u", user, "--", "bash", "-c", send];
        let sent = world.host.exec(&command)?;
        assert_eq!(sent.code == Some(0), may_send, "{user}: {sent:?}");
    }
    Ok(())
}

/// From outside, nginx alone is reached, also where a service listens on every
/// address.
#[test]
fn other_machines_do_not_reach_a_tenants_port() -> Result<()> {
    let world = World::isolating("network-outside")?;
    world.start()?;
    world.put_tiny("a", "")?;
    world.wait_isolated("a")?;
    world.host.sh("ip netns add other\n\
         ip link add here type veth peer name there netns other\n\
         ip address add 198.51.100.1/24 dev here\n\
         ip link set here up\n\
         ip -n other address add 198.51.100.2/24 dev there\n\
         ip -n other link set there up")?;
    let port = world.port("a", "api")?;
    world.listen("198.51.100.1", port)?;
    world.listen("198.51.100.1", 5432)?;
    let from_outside = |port: u64| -> Result<(Option<i32>, String)> {
        let connect = format!("exec 3<>/dev/tcp/198.51.100.1/{port}");
        let command = [
            "ip", "netns", "exec", "other", "timeout", "10", "bash", "-c", &connect,
        ];
        let tried = world.host.exec(&command)?;
        Ok((tried.code, tried.stderr))
    };
    for open in [80, 5432] {
        assert_eq!(from_outside(open)?.0, Some(0), "port {open}");
    }
    let (code, words) = from_outside(port)?;
    assert_eq!(code, Some(1));
    assert!(words.contains("Connection refused"), "{words}");
    Ok(())
}

/// Laws 1 and 3: what a person does to the table is put right, a table of
/// theirs is left alone, and a converged host is not written to.
#[test]
fn a_changed_table_is_put_back() -> Result<()> {
    let world = World::isolating("network-drift")?;
    world.start()?;
    world.put_tiny("a", "")?;
    world.put_tiny("b", "")?;
    world.wait_isolated("a")?;
    world.wait_isolated("b")?;
    let (a, b) = (world.port("a", "api")?, world.port("b", "api")?);
    let before = world.host.sh(TABLE)?;
    let is_back = || {
        world.waits("the table is as it was", || {
            Ok(world.host.sh(TABLE).is_ok_and(|table| table == before))
        })
    };
    for change in [
        "nft flush ruleset".to_owned(),
        format!("nft delete element inet cb_operator ports '{{ {b} }}'"),
        "nft insert rule inet cb_operator output accept".to_owned(),
    ] {
        world.host.sh(&change)?;
        is_back().context(change)?;
        world.assert_reaches("cb-a", "127.0.0.1", b, false)?;
    }
    let journal = world.host.journal("cb-operator");
    assert!(
        journal.contains("DriftCorrected: NetworkRulesChanged"),
        "{journal}"
    );

    // A new tenant is one of them at once, and adds no rule.
    let rules = world.rules()?;
    for name in ["c", "d"] {
        world.put_tiny(name, "")?;
    }
    for name in ["c", "d"] {
        world.wait_isolated(name)?;
        let port = world.port(name, "api")?;
        world.assert_reaches(&format!("cb-{name}"), "127.0.0.1", port, true)?;
        world.assert_reaches(&format!("cb-{name}"), "127.0.0.1", a, false)?;
        world.assert_reaches("cb-a", "127.0.0.1", port, false)?;
    }
    assert_eq!(world.rules()?, rules);

    // One that is gone leaves nothing.
    let port = world.port("d", "api")?;
    world.host.sh("rm /etc/cb/manifests/d.yaml")?;
    world.waits("its ports are nobody's", || {
        Ok(!world.host.sh(TABLE)?.contains(&port.to_string()))
    })?;

    // Somebody else's table of that name.
    world.host.sh("systemctl stop cb-operator\n\
         nft delete table inet cb_operator\n\
         nft add table inet cb_operator")?;
    world.start()?;
    world.wait_condition("a", "NetworkIsolated", "False Conflict")?;
    assert!(!world.host.sh(TABLE)?.contains("chain"));
    world.page("a")?;
    world.host.sh("nft delete table inet cb_operator")?;
    world.wait_isolated("a")?;
    world.assert_reaches("cb-a", "127.0.0.1", b, false)
}

/// Law 7: without the operator the rules hold, over a restart of nftables and
/// of the machine.
#[test]
fn the_rules_hold_without_the_operator() -> Result<()> {
    let mut world = World::installed_with("network-boot", cb_testhost::Options::keep_disk)?;
    world.prepare_isolating()?;
    world.host.sh("systemctl enable --now nftables")?;
    world.start()?;
    world.put_tiny("a", "")?;
    world.put_tiny("b", "")?;
    world.wait_isolated("a")?;
    world.wait_isolated("b")?;
    let (a, b) = (world.port("a", "api")?, world.port("b", "api")?);
    world.host.sh("systemctl stop cb-operator")?;
    let before = world.host.sh(TABLE)?;
    for verb in ["reload", "restart"] {
        world.host.sh(&format!("systemctl {verb} nftables"))?;
        world.waits("the table is there again", || {
            Ok(world.host.sh(TABLE).is_ok_and(|table| table == before))
        })?;
    }
    world.host.power_cycle()?;
    world.waits("the services run", || world.reaches("root", "127.0.0.1", b))?;
    assert_eq!(world.host.sh(TABLE)?, before);
    world.waits("the services run", || world.reaches("root", "127.0.0.1", a))?;
    world.assert_reaches("cb-a", "127.0.0.1", a, true)?;
    world.assert_reaches("cb-a", "127.0.0.1", b, false)
}

/// Law 8: what is not enforced is told, and keeps nothing from running.
#[test]
fn without_nftables_tenants_run_and_say_so() -> Result<()> {
    let world = World::isolating("network-none")?;
    world.host.sh("mv /usr/sbin/nft /usr/sbin/nft.away")?;
    world.start()?;
    world.put_tiny("a", "")?;
    let told = world.wait_condition("a", "NetworkIsolated", "False NftMissing")?;
    assert!(told.contains("install the package nftables"), "{told}");
    world.waits("it runs all the same", || Ok(world.page("a").is_ok()))?;
    world.host.sh("mv /usr/sbin/nft.away /usr/sbin/nft")?;
    world.wait_isolated("a")?;

    // Switched off, nothing is left of it.
    let off = HOST.replace("allowPorts: [587]", "isolation: 'Off'");
    world
        .host
        .push(off.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.host.sh("systemctl restart cb-operator")?;
    world.wait_ready("a")?;
    world.waits("the table and its unit are gone", || {
        let left = world.host.sh("nft list tables; \
             find /etc/systemd /var/lib/cb -name 'cb-network*' -o -name network.nft")?;
        Ok(left.is_empty())
    })?;
    let port = world.port("a", "api")?;
    world.assert_reaches("nobody", "127.0.0.1", port, true)?;
    assert_eq!(world.condition("a", "NetworkIsolated")?, "");
    Ok(())
}
