//! The text of a tenant's `.env` file, as systemd reads it
//! (`EnvironmentFile=` in systemd.exec(5)) and common dotenv readers do.

use std::path::Path;

use super::{Inputs, Release};
use crate::layout::Layout;
use crate::mark::Owner;
use crate::observed::i360_of;
use crate::types::{EnvName, EnvValue};

/// Variables that the operator sets in every tenant's environment, beside
/// `CB_…_PORT` for each service ([`port_variable`]).
pub const OPERATOR_VARIABLES: [&str; 9] = [
    "CB_TENANT",
    "CB_DISPLAY_NAME",
    "CB_VERSION",
    "CB_RELEASE_DIR",
    "CB_DATABASE_PATH",
    "CB_UPLOADS_DIR",
    "OLLAMA_URL",
    "I360_DATABASE_PATH",
    "PORT",
];

/// The variable that holds the port of a service: `CB_API_PORT` for `api`.
#[must_use]
pub fn port_variable(service: &str) -> String {
    format!("CB_{}_PORT", service.to_ascii_uppercase().replace('-', "_"))
}

/// The operator's own variables of a tenant, without secrets.
pub(super) fn operator_variables(inputs: Inputs<'_>, release: &Release) -> Vec<(String, String)> {
    let Inputs {
        tenant,
        application,
        host,
        ports,
        ..
    } = inputs;
    let name = &tenant.metadata.name;
    let layout = Layout::new(&host.spec);
    let shown = |path: &Path| path.display().to_string();
    let display_name = tenant
        .spec
        .display_name
        .as_ref()
        .map_or(name.as_str(), EnvValue::as_str);
    let database = layout
        .database(name)
        .join(application.spec.database_file.as_str());
    let mut out = vec![
        ("CB_TENANT".to_owned(), name.to_string()),
        ("CB_DISPLAY_NAME".to_owned(), display_name.to_owned()),
        ("CB_VERSION".to_owned(), release.version.to_string()),
        ("CB_RELEASE_DIR".to_owned(), shown(&release.path)),
        ("CB_DATABASE_PATH".to_owned(), shown(&database)),
        ("CB_UPLOADS_DIR".to_owned(), shown(&layout.uploads(name))),
    ];
    for service in &application.spec.services {
        if let Some(port) = ports.by_service.get(&service.name) {
            out.push((port_variable(service.name.as_str()), port.to_string()));
        }
    }
    if let Some(ollama) = &host.spec.shared_services.ollama {
        out.push(("OLLAMA_URL".to_owned(), ollama.url.to_string()));
    }
    if let Some(path) = i360_of(tenant, host) {
        out.push(("I360_DATABASE_PATH".to_owned(), path.to_owned()));
    }
    out
}

/// The text of a tenant's `.env` without its secrets.
pub(super) fn text(inputs: Inputs<'_>, release: &Release) -> String {
    let tenant = inputs.tenant;
    let mut out = Owner::Tenant(tenant.metadata.name.to_string()).header();
    for (name, value) in operator_variables(inputs, release) {
        line(&mut out, &name, &value);
    }
    for (name, value) in &tenant.spec.env {
        line(&mut out, name.as_str(), value.as_str());
    }
    out
}

/// The text with secrets added to it.
pub(super) fn with_secrets(mut text: String, secrets: &[(EnvName, String)]) -> String {
    for (name, value) in secrets {
        line(&mut text, name.as_str(), value);
    }
    text
}

fn line(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push('=');
    quote(out, value);
    out.push('\n');
}

/// Within double quotes systemd and shells take a backslash before these
/// characters away and everything else as it is.
fn quote(out: &mut String, value: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+@,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '`' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}
