//! A tenant whose application was taken over reaches nothing of others (law 4).
//!
//! The attacks run inside a service of a real tenant, with the unit that the
//! operator writes. Those that cannot harm the host run outside of the sandbox
//! too, as root, where they work: what fails inside is not the attack itself.

mod attacks;
mod files;

use anyhow::{Context as _, Result, bail, ensure};
use cb_testhost::Running;

use crate::world::{TINY, World, tiny};
use attacks::Attack;

const TENANT: &str = include_str!("hostile/tenant.pl");

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  prune: {delaySeconds: 1, maxPercent: 34}
  resync: {periodSeconds: 5}
  api: {metricsAddress: 127.0.0.1:9643}
";

/// The application that was taken over; its frontend is let out of the sandbox.
const EVIL: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: evil}
spec:
  versions: [{name: v1, folder: {path: /srv/evil}}]
  services:
  - {name: api, command: bin/tenant.pl, args: [serve, $(PORT)], portOffset: 1, healthCheck: {path: /health}}
  - name: frontend
    command: bin/tenant.pl
    args: [serve, $(PORT)]
    portOffset: 0
    healthCheck: {path: /health}
    sandbox: {allow: [WritableCode, Namespaces, Netlink, OtherProcesses, Scheduling, AllSystemCalls]}
";

const LIMITS: &str =
    "resources: {memory: 256Mi, tasks: 40, temporary: 8Mi, fileSize: 16Mi, openFiles: 256}";

/// What the victims have that nobody else may see.
const LETTER: &str = "the letter of ky04";

/// A host with a hostile tenant and two others.
struct Stage {
    world: World,
    facts: Vec<(&'static str, String)>,
}

impl Stage {
    fn set(hint: &str) -> Result<Stage> {
        Stage::set_with(hint, HOST, LIMITS)
    }

    /// With this Host, and this in the spec of the hostile tenant.
    fn set_with(hint: &str, spec: &str, limits: &str) -> Result<Stage> {
        let world = World::installed(hint)?;
        let host = &world.host;
        host.push(spec.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        host.push(TENANT.as_bytes(), "/srv/evil/bin/tenant.pl", 0o755)?;
        host.sh("echo v1 >/srv/evil/VERSION")?;
        world.put("tiny.yaml", TINY)?;
        world.put("evil.yaml", EVIL)?;
        world.start()?;
        host.push(LETTER.as_bytes(), "/etc/cb/secrets/ky04", 0o600)?;
        world.put_tiny(
            "ky04",
            "secretRefs: [{name: token, file: /etc/cb/secrets/ky04, delivery: Credential}]",
        )?;
        world.put_tiny("oh09", "")?;
        let evil = tiny("evil", limits).replace("application: tiny", "application: evil");
        world.put("evil-tenant.yaml", &evil)?;
        for name in ["ky04", "oh09", "evil"] {
            world.wait_ready(name)?;
        }
        world.host.sh(&format!(
            "cd /var/lib/cb/tenants/ky04\n\
             for f in db/tenant.duckdb uploads/letter /tmp/letter /dev/shm/letter; do\n\
             echo '{LETTER}' >$f; chown cb-ky04: $f; done\n\
             chmod 644 /tmp/letter /dev/shm/letter\n\
             install -d /var/lib/cb/backups/ky04/kept\n\
             echo '{LETTER}' >/var/lib/cb/backups/ky04/kept/database.duckdb\n\
             perl -e 'defined shmget 4660, 4096, 01666 or die; my $name = \"letter\"; syscall(240, $name, 0102, 0666, 0) < 0 and die'"
        ))?;
        let port = world.tenant("ky04")?["status"]["ports"]["api"].to_string();
        let facts = vec![
            ("VICTIM", "/var/lib/cb/tenants/ky04".to_owned()),
            ("OWN", "/var/lib/cb/tenants/evil".to_owned()),
            ("OPERATOR", world.show("cb-operator", "MainPID")?),
            ("GROUP", world.show("ky04-api", "ControlGroup")?),
            ("PID", world.show("ky04-api", "MainPID")?),
            ("PORT", port),
            ("UID", world.host.sh("id -u cb-ky04")?.trim().to_owned()),
        ];
        Ok(Stage { world, facts })
    }

    /// An attack with the facts in it.
    fn words(&self, command: &str) -> Vec<String> {
        let with = |word: &str| {
            let facts = self.facts.iter();
            facts.fold(word.to_owned(), |word, (name, fact)| {
                word.replace(name, fact)
            })
        };
        command.split(' ').map(with).collect()
    }

    /// What an attack comes to inside one of the hostile tenant's services.
    fn inside(&self, service: &str, command: &str) -> Result<String> {
        let port = &self.world.tenant("evil")?["status"]["ports"][service];
        let url = format!(
            "http://127.0.0.1:{port}/try?{}",
            self.words(command).join("&")
        );
        Ok(self.world.host.curl(&[&url])?.body)
    }

    /// What it comes to as root, outside.
    fn outside(&self, command: &str) -> Result<String> {
        let words = self.words(command);
        let mut run = vec![
            "systemd-run",
            "--quiet",
            "--wait",
            "--pipe",
            "--collect",
            "perl",
            "/srv/evil/bin/tenant.pl",
            "try",
        ];
        run.extend(words.iter().map(String::as_str));
        let tried = self.world.host.exec(&run)?;
        ensure!(tried.code == Some(0), "{command}: {tried:?}");
        Ok(tried.stdout.trim().to_owned())
    }

    fn assert_stopped(&self, attack: &Attack) -> Result<()> {
        let told = self.inside("api", attack.command)?;
        let is_as_told = attack.ends.iter().any(|end| told.contains(end));
        ensure!(
            told.starts_with("stopped ") && is_as_told,
            "to {}: {told} ({})",
            attack.what,
            attack.command
        );
        println!("{}: {told}; {}", attack.what, attack.by);
        Ok(())
    }

    /// The run of each service of the other tenants.
    fn runs(&self) -> Result<Vec<String>> {
        let units = ["ky04-api", "ky04-frontend", "oh09-api", "oh09-frontend"];
        let runs = units.map(|unit| self.world.show(unit, "InvocationID"));
        runs.into_iter().collect()
    }

    /// The other tenants run as they did, and were never not served.
    fn assert_unnoticed(&self, runs: &[String], probes: &Running) -> Result<()> {
        assert_eq!(self.runs()?, runs);
        let log = probes.log();
        for name in ["ky04", "oh09"] {
            self.world.wait_condition(name, "Ready", "True")?;
            assert!(log.matches(&format!("200 {name}\n")).count() > 10, "{log}");
        }
        let mut missed = log.lines().filter(|line| !line.starts_with("200 "));
        assert_eq!(missed.next(), None);
        Ok(())
    }

    /// Asks the other tenants for their health again and again, directly and
    /// through nginx.
    fn probe(&self) -> Result<Running> {
        let mut asks = String::new();
        for name in ["ky04", "oh09"] {
            let port = &self.world.tenant(name)?["status"]["ports"]["api"];
            let site = format!("-H 'Host: {name}.example.org' http://127.0.0.1/health");
            for of in [format!("http://127.0.0.1:{port}/health"), site] {
                asks += &format!(
                    "curl -s -o /dev/null --max-time 60 -w '%{{http_code}} {name}\\n' {of}\n"
                );
            }
        }
        Ok(self
            .world
            .host
            .spawn(&["sh", "-c", &format!("while :; do\n{asks}sleep 0.05\ndone")])?)
    }
}

#[test]
fn a_hostile_tenant_reaches_nothing() -> Result<()> {
    let stage = Stage::set("hostile")?;
    let (world, host) = (&stage.world, &stage.world.host);
    let runs = stage.runs()?;
    let probes = stage.probe()?;
    let letters = "cd /var/lib/cb; sha256sum tenants/ky04/db/* tenants/ky04/uploads/* backups/ky04/kept/*; \
         stat -c '%n %U %a %h' tenants/ky04/* tenants/ky04/*/*";
    let before = host.sh(letters)?;

    let failed: Vec<String> = attacks::all()
        .filter_map(|attack| Some(format!("{:#}", stage.assert_stopped(attack).err()?)))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));

    // What the kernel enforces only with the controllers of cgroup v2.
    assert_eq!(
        world.show("evil-api", "MemoryMax")?,
        (256 << 20).to_string()
    );
    assert_eq!(world.show("evil-api", "TasksMax")?, "40");
    assert_eq!(world.show("evil-api", "OOMPolicy")?, "kill");

    // In another's name: the journal has it, and knows from whom.
    let told = stage.inside("api", "log ky04-api.service forged")?;
    assert!(told.starts_with("succeeded"), "{told}");
    let uid = host.sh("id -u cb-evil")?;
    world.waits("the journal has the forged line", || {
        let lines = host.sh(&format!("journalctl -q -o cat _UID={uid}"))?;
        Ok(lines.contains("forged"))
    })?;
    assert!(!host.journal("ky04-api").contains("forged"));

    // On another's port: it listens, and what it answers gets nowhere.
    let own = &world.tenant("evil")?["status"]["ports"]["api"].to_string();
    let other = &world.tenant("ky04")?["status"]["ports"]["api"].to_string();
    for (port, is_answered) in [(own, true), (other, false)] {
        let told = stage.inside("api", &format!("listen 127.0.0.2 {port}"))?;
        assert!(told.starts_with("succeeded"), "{told}");
        let url = format!("http://127.0.0.2:{port}/");
        let answer = host.exec(&["curl", "-s", "--connect-timeout", "3", &url])?;
        assert_eq!(answer.stdout.contains("evil"), is_answered, "{answer:?}");
    }

    // In the way of a backup: it ends, and has nothing of others in it.
    for lay in [
        "lay link OWN/db/tenant.duckdb VICTIM/db/tenant.duckdb",
        "lay link OWN/db/tenant.duckdb /etc/shadow",
        "lay fifo OWN/db/tenant.duckdb",
    ] {
        let told = stage.inside("api", lay)?;
        assert!(told.starts_with("succeeded"), "{lay}: {told}");
        let backup = host.exec(&["cbctl", "backup", "create", "evil"])?;
        assert_ne!(backup.code, Some(0), "{lay}: {backup:?}");
        let found = host.sh(&format!(
            "grep -rlE '{LETTER}|^root:' /var/lib/cb/backups/evil /var/lib/cb/tenants/evil || :"
        ));
        assert_eq!(found?, "", "{lay}");
        world.wait_ready("evil")?;
    }

    // Every process of the host reaches a socket whose name is no file: none of
    // the host's own programs may listen on one.
    let listening = "awk '$4 == \"00010000\" && $8 ~ /^@/' /proc/net/unix";
    assert_eq!(host.sh(listening)?, "");

    // The others noticed nothing.
    assert_eq!(host.sh(letters)?, before);
    stage.assert_unnoticed(&runs, &probes)?;

    // Outside, the same attacks work.
    let mut idle = Vec::new();
    for attack in attacks::all().filter(|attack| attack.works_outside) {
        let told = stage.outside(attack.command)?;
        if !told.starts_with("succeeded ") {
            idle.push(format!("{}: {told}", attack.command));
        }
    }
    ensure!(idle.is_empty(), "{}", idle.join("\n"));
    Ok(())
}

#[test]
fn a_service_has_the_score_that_is_promised_and_no_more_filters() -> Result<()> {
    let stage = Stage::set("hostile-score")?;
    let (world, host) = (&stage.world, &stage.world.host);
    let filters = |unit: &str| -> Result<u32> {
        let pid = world.show(unit, "MainPID")?;
        let count =
            format!("awk '/^Seccomp_filters/ {{print $2}}' /proc/{pid}/status /proc/1/status");
        let counts = host.sh(&count)?;
        let counts: Vec<u32> = counts.lines().map(str::parse).collect::<Result<_, _>>()?;
        match counts[..] {
            [of_unit, of_host] => Ok(of_unit - of_host),
            _ => bail!("this kernel does not count filters: {counts:?}"),
        }
    };
    // Ten times the scores that the documentation has.
    for (unit, most) in [
        ("ky04-api", 20),
        ("ky04-frontend", 20),
        ("cb-operator", 50),
        ("cb-network", 34),
    ] {
        let most = format!("--threshold={most}");
        let score = host.exec(&["systemd-analyze", "security", "--no-pager", &most, unit])?;
        println!("{}", score.stdout.lines().last().unwrap_or_default());
        assert_eq!(score.code, Some(0), "{}", score.stdout);
    }
    for unit in ["ky04-api", "ky04-frontend"] {
        let count = filters(unit)?;
        assert!(count <= 19, "{unit} has {count} filters");
    }

    // Each exception lets out what it says, and shows.
    for (exception, command) in [
        ("WritableCode", "code"),
        ("Namespaces", "call unshare_user"),
        ("Netlink", "socket 16 3 0"),
        ("OtherProcesses", "see"),
    ] {
        let told = stage.inside("frontend", command)?;
        assert!(told.starts_with("succeeded"), "{exception}: {told}");
    }
    let told = stage.inside("frontend", "call userfaultfd")?;
    assert!(
        !told.contains("EPERM") || told.starts_with("succeeded"),
        "{told}"
    );
    let status = world.tenant("evil")?["status"]["services"].clone();
    assert_eq!(status[0].get("sandboxExceptions"), None, "{status}");
    let shown = &status[1]["sandboxExceptions"];
    assert_eq!(shown.as_array().context("no exceptions")?.len(), 6);
    let said = host.sh("cbctl validate /etc/cb/manifests/evil.yaml")?;
    assert_eq!(
        said.matches("warning: spec.services[1].sandbox.allow")
            .count(),
        6,
        "{said}"
    );
    Ok(())
}

/// The table in the documentation is what is tried.
#[test]
#[allow(clippy::disallowed_methods, reason = "a file of the checkout")]
fn the_documentation_has_the_attacks() -> Result<()> {
    let file = cb_testhost::cache::checkout().join("docs/security.md");
    let text = std::fs::read_to_string(&file)?;
    let (begin, end) = ("<!-- attacks -->\n", "<!-- /attacks -->");
    let (head, rest) = text
        .split_once(begin)
        .context("no beginning of the table")?;
    let (_, tail) = rest.split_once(end).context("no end of the table")?;
    let wanted = format!("{head}{begin}{}{end}{tail}", attacks::table());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&file, &wanted)?;
    } else {
        assert!(text == wanted, "run this test with UPDATE_GENERATED=1");
    }
    Ok(())
}
