//! Hostile text as systemd, a service's own process and a shell see it (law 10).
//!
//! `cb-hostile` puts every text of its list into every field and reads what is
//! rendered by strict readers of its own; here the real programs read it.

mod parsers;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use cb_hostile::list;
use cb_hostile::places;
use cb_hostile::world::{self, Setting};
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
/// arguments and its environment; a shell that reads the `.env` does too.
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
    Ok(())
}
