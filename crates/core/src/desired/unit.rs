//! The text of a service's unit file (systemd.service(5), systemd.exec(5)).
//!
//! Every word is quoted by [`word`]; settings are chosen so that the unit
//! works, and starts at boot, with the operator gone (law 7).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::env::operator_variables;
use super::{Credential, Inputs, Release, credentials, sandbox};
use crate::api::{Application, Service};
use crate::layout::{Layout, user_name};
use crate::mark::Owner;

pub(super) fn text(
    inputs: Inputs<'_>,
    service: &Service,
    port: u16,
    release: &Release,
    secrets: &[Credential],
) -> String {
    let Inputs {
        tenant,
        application,
        host,
        ports,
        ..
    } = inputs;
    let name = &tenant.metadata.name;
    let layout = Layout::new(&host.spec);
    let user = user_name(name);
    let variables = variables(inputs, port, release);
    let mut out = Owner::Tenant(name.to_string()).header();
    let w = &mut out;
    // Writing to a String cannot fail.
    let _ = write!(
        w,
        "\n[Unit]\n\
         Description=Campaign Brain tenant {name}: {} {}\n\
         After=network.target{}\n\
         StartLimitIntervalSec=60\n\
         StartLimitBurst=5\n",
        service.name,
        release.version,
        after(application, service, name.as_str()),
    );
    let _ = write!(
        w,
        "\n[Service]\n\
         Type=exec\n\
         User={user}\n\
         Group={user}\n\
         WorkingDirectory={}\n\
         EnvironmentFile={}\n\
         Environment={}\n",
        release.path.display(),
        layout.env_file(name).display(),
        word(&format!("PORT={port}"), false),
    );
    for (variable, value) in &service.env {
        let value = expand(value.as_str(), &variables);
        let _ = writeln!(
            w,
            "Environment={}",
            word(&format!("{variable}={value}"), false)
        );
    }
    let command = release.path.join(service.command.as_str());
    let _ = write!(
        w,
        "ExecStart={}",
        word(&command.display().to_string(), true)
    );
    for argument in &service.args {
        let _ = write!(w, " {}", word(&expand(argument.as_str(), &variables), true));
    }
    let _ = write!(
        w,
        "\nRestart=always\n\
         RestartSec=2\n\
         TimeoutStopSec=30\n\
         SyslogIdentifier={name}-{}\n",
        service.name,
    );
    w.push_str(&credentials::settings(secrets));
    sandbox::write(w, inputs, service, release);
    let _ = write!(
        w,
        "\n[Install]\nWantedBy=multi-user.target\n\n\
         [X-CampaignBrain]\nTenant={name}\nService={}\nPort={port}\nVersion={}\n",
        service.name, release.version
    );
    if let Some(slot) = ports.slot {
        let _ = writeln!(w, "Slot={slot}");
    }
    out
}

/// The services that come before this one, so that boot keeps the order.
fn after(application: &Application, service: &Service, tenant: &str) -> String {
    let before = application
        .spec
        .services
        .iter()
        .take_while(|other| other.name != service.name);
    before
        .map(|other| format!(" {tenant}-{}.service", other.name))
        .collect()
}

/// What `$(NAME)` can stand for.
fn variables(inputs: Inputs<'_>, port: u16, release: &Release) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> =
        operator_variables(inputs, release).into_iter().collect();
    out.insert("PORT".to_owned(), port.to_string());
    out
}

/// Replaces `$(NAME)` by a variable's value; an unknown name stays as it is,
/// as in a Kubernetes container's `args`.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("$(") {
        out.push_str(&rest[..at]);
        let reference = &rest[at..];
        let known = reference.find(')').and_then(|end| {
            variables
                .get(&reference[2..end])
                .map(|value| (value, &reference[end + 1..]))
        });
        match known {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push_str("$(");
                rest = &reference[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// One word of a unit setting: quoted, `%` doubled so that it is no specifier
/// and, in a command line, `$` doubled so that it is no variable.
fn word(text: &str, command_line: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:+@,".contains(c);
    let quoted = text.is_empty() || !text.chars().all(plain);
    if quoted {
        out.push('"');
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' => out.push_str("%%"),
            '$' if command_line => out.push_str("$$"),
            // Beyond ASCII systemd takes UTF-8 as it is.
            c => out.push(c),
        }
    }
    if quoted {
        out.push('"');
    }
    out
}
