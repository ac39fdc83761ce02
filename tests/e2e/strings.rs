//! Hostile text as systemd, nginx and a service's own process see it (law 10).
//!
//! `cb-hostile` puts every text of its list into every field and reads what is
//! rendered by strict readers of its own; here the real programs read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use cb_hostile::places;
use cb_hostile::world::{self, Setting};
use cb_hostile::{list, site};
use serde_json::json;

use crate::world::World;

/// The texts of the list that a field takes.
fn taken(place: &str) -> Vec<String> {
    let mut places = places::all().into_iter();
    let place = places.find(|found| found.to_string() == place);
    let setting = place.and_then(Setting::of).expect("there is such a place");
    let mut texts = list::all();
    texts.retain(|text| world::read(&setting.manifest(text)).is_ok());
    texts
}

/// Variables with these values.
fn variables(start: char, values: &[String]) -> BTreeMap<String, String> {
    let each = values.iter().enumerate();
    each.map(|(n, value)| (format!("{start}{n}"), value.clone()))
        .collect()
}

/// What the variables of a process or of `env -0` are.
fn environment(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let each = text.split('\0').filter_map(|one| one.split_once('='));
    each.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Law 10: a service gets every text that a field takes, to the letter, as its
/// arguments and its environment; a shell that reads the `.env` does too; and
/// all that can be rendered means nothing else to systemd and nginx.
#[test]
fn hostile_text_stays_what_it_is() -> Result<()> {
    let world = World::installed("strings")?;
    let (env, service_env) = (
        variables('S', &taken("Tenant spec.env{}")),
        variables('E', &taken("Application spec.services[].env{}")),
    );
    // `$(NAME)` stands for a variable there, and is tested elsewhere.
    let mut args = taken("Application spec.services[].args[]");
    args.retain(|arg| !arg.contains("$("));
    ensure!(
        args.len() > 150 && env.len() > 150,
        "{} {}",
        args.len(),
        env.len()
    );
    let service_env: BTreeMap<_, _> = service_env
        .into_iter()
        .filter(|(_, value)| !value.contains("$("))
        .collect();
    let name = "it's \"both\" %n $HOME \\ `id` ; # ${x} \u{2066}k\u{443}04";
    let all_args: Vec<&str> = ["$(PORT)", "$(CB_DISPLAY_NAME)"]
        .into_iter()
        .chain(args.iter().map(String::as_str))
        .collect();
    let application = json!({
        "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "tiny"},
        "spec": {
            "versions": [{"name": "v1", "folder": {"path": "/srv/tiny/v1"}}],
            "services": [{
                "name": "api", "command": "bin/tinyapp", "args": all_args, "portOffset": 1,
                "env": service_env, "healthCheck": {"path": "/health"},
            }],
            "routes": [{"path": "/", "service": "api"}],
        },
    });
    let tenant = json!({
        "apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
        "metadata": {"name": "ky04", "annotations": {"note": name}},
        "spec": {
            "application": "tiny", "version": "v1", "displayName": name,
            "domains": ["ky04.example.org"], "env": env,
        },
    });
    world.put("tiny.yaml", &world::manifest(&application))?;
    world.put("ky04.yaml", &world::manifest(&tenant))?;
    world.start()?;
    world.wait_ready("ky04")?;

    let pid = world.show("ky04-api", "MainPID")?;
    let command = world.host.read(&format!("/proc/{pid}/cmdline"))?;
    let command = String::from_utf8(command).context("the command line")?;
    let words = command
        .strip_suffix('\0')
        .context("its last argument ends")?;
    let words: Vec<&str> = words.split('\0').collect();
    ensure!(words.len() == args.len() + 3, "{words:?}");
    assert_eq!(words[2], name);
    for (found, wanted) in words[3..].iter().zip(&args) {
        assert_eq!(found, wanted);
    }
    let found = environment(&world.host.read(&format!("/proc/{pid}/environ"))?);
    for (variable, value) in env.iter().chain(&service_env) {
        assert_eq!(found.get(variable), Some(value), "{variable}");
    }
    assert_eq!(found["CB_DISPLAY_NAME"], name);
    // As an administrator would, to run a program with a tenant's environment.
    let read = "set -a; . /etc/cb/tenants/ky04/.env; env -0";
    let read = world.host.command("sh").args(["-c", read]).output()?;
    let found = environment(&read.stdout);
    for (variable, value) in &env {
        assert_eq!(found.get(variable), Some(value), "{variable} in a shell");
    }

    let all = rendered();
    units_mean_nothing_else(&world, &all)?;
    sites_mean_nothing_else(&world, &all)
}

/// What is rendered with each text in each field, and with harmless text in the
/// same field: units and sites, each once.
fn rendered() -> Vec<Rendered> {
    let (list, mut seen, mut out) = (list::all(), BTreeSet::new(), Vec::new());
    for setting in places::all().into_iter().filter_map(Setting::of) {
        let files = |text: &str| {
            let object = world::read(&setting.manifest(text)).ok()?;
            let files = world::files(&object, "secret").ok()?;
            // One of its units is enough: all are rendered alike.
            let is_one = |text: &str| text.contains("\nserver {") || text.contains("PORT=32300\n");
            let texts = files.into_iter().map(|(_, text)| text);
            Some(texts.filter(|text| is_one(text)).collect::<Vec<_>>())
        };
        let Some(harmless) = files(setting.sample) else {
            continue;
        };
        // What does not show needs no look; `cb-hostile` has tested it.
        if !harmless.iter().any(|file| file.contains(setting.sample)) {
            continue;
        }
        for text in &list {
            for (file, harmless) in files(text).into_iter().flatten().zip(&harmless) {
                if file != *harmless && seen.insert(file.clone()) {
                    out.push(Rendered {
                        what: format!("{} with {text:?}", setting.place),
                        sample: setting.sample,
                        file,
                        harmless: harmless.clone(),
                    });
                }
            }
        }
    }
    out
}

struct Rendered {
    what: String,
    sample: &'static str,
    file: String,
    harmless: String,
}

impl Rendered {
    fn is_site(&self) -> bool {
        self.file.contains("\nserver {")
    }
}

/// systemd takes every unit without a word, and what it has understood differs
/// from the harmless unit only where the harmless text is.
fn units_mean_nothing_else(world: &World, all: &[Rendered]) -> Result<()> {
    let units: Vec<&Rendered> = all.iter().filter(|one| !one.is_site()).collect();
    ensure!(units.len() > 300, "only {} units differ", units.len());
    let mut all = String::new();
    for (n, unit) in units.iter().enumerate() {
        // No text of a unit has a control character.
        write!(all, "\u{1}hostile-{n}.service\n{}", unit.file)?;
        write!(all, "\u{1}harmless-{n}.service\n{}", unit.harmless)?;
    }
    let unpack = "local $/; for (split /\\x01/, <STDIN>) { next unless length;\n\
                  my ($name, $text) = split /\\n/, $_, 2;\n\
                  open my $file, '>', \"/run/systemd/system/$name\" or die; print $file $text }";
    let done = world
        .host
        .exec_with(&["perl", "-e", unpack], all.as_bytes())?;
    ensure!(done.code == Some(0), "{}", done.stderr);
    world.host.sh("systemctl daemon-reload")?;
    let names = |start: &str| -> String {
        let each = (0..units.len()).map(|n| format!(" {start}-{n}.service"));
        each.collect()
    };
    let show = |start: &str| -> Result<Vec<BTreeMap<String, String>>> {
        let text = world.host.sh(&format!("systemctl show {}", names(start)))?;
        let blocks = text.split("\n\n").map(|block| {
            let lines = block.lines().filter_map(|line| line.split_once('='));
            lines.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
        });
        Ok(blocks.collect())
    };
    let (hostile, harmless) = (show("hostile")?, show("harmless")?);
    ensure!(hostile.len() == units.len() && harmless.len() == units.len());
    for ((unit, found), wanted) in units.iter().zip(&hostile).zip(&harmless) {
        assert_eq!(found["LoadState"], "loaded", "{}", unit.what);
        assert!(found.keys().eq(wanted.keys()), "{}", unit.what);
        for (key, value) in found {
            let of_its_own = ["Id", "Names", "FragmentPath"].contains(&key.as_str());
            // systemd shows sets of units in any order.
            let words = |text: &str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
            let same = words(value) == words(&wanted[key]) || wanted[key].contains(unit.sample);
            assert!(same || of_its_own, "{}: {key}={value}", unit.what);
        }
    }
    let said = world
        .host
        .sh("journalctl --no-pager -o cat _PID=1 | grep -E '(hostile|harmless)-[0-9]+' || true")?;
    ensure!(said.is_empty(), "systemd says: {said}");
    world.host.sh(
        "rm /run/systemd/system/hostile-* /run/systemd/system/harmless-*; systemctl daemon-reload",
    )?;
    Ok(())
}

/// nginx takes every site, and has what was written in its configuration.
fn sites_mean_nothing_else(world: &World, all: &[Rendered]) -> Result<()> {
    let sites: Vec<&Rendered> = all.iter().filter(|one| one.is_site()).collect();
    ensure!(!sites.is_empty());
    for site in sites {
        world.host.push(
            site.file.as_bytes(),
            "/etc/nginx/conf.d/cb-strings.conf",
            0o644,
        )?;
        let loaded = world.host.sh("nginx -q -T");
        let loaded = loaded.with_context(|| site.what.clone())?;
        let start = "# configuration file /etc/nginx/conf.d/cb-strings.conf:\n";
        let (_, loaded) = loaded.split_once(start).context("it is not included")?;
        let (loaded, _) = loaded
            .split_once("# configuration file")
            .unwrap_or((loaded, ""));
        let read = |text: &str| site::read(text).map_err(anyhow::Error::msg);
        assert_eq!(read(loaded)?, read(&site.file)?, "{}", site.what);
    }
    world.host.sh("rm /etc/nginx/conf.d/cb-strings.conf")?;
    Ok(())
}
