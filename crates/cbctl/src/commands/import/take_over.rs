//! Taking tenants over: their secrets into files, their manifests to the
//! operator, one after the other.

use std::time::Duration;

use cb_core::api::Kind;
use serde_json::Value;

use super::describe::{Imported, ImportedTenant};
use super::judge::Cost;
use crate::cli::{Context, Done};
use crate::commands::wait::{self, Condition, Target};
use crate::error::{CommandError, plain};
use crate::files;
use crate::object::full_name;
use crate::output::{Format, document};

/// How long a tenant may take to be ready.
const PATIENCE: Duration = Duration::from_secs(300);

/// Takes the tenants over. One that fails stops the ones after it.
pub(super) async fn all(
    imported: &Imported,
    wanted: &[&ImportedTenant],
    context: &Context,
) -> Done {
    for tenant in wanted {
        if let Cost::InTheWay(why) = &tenant.cost {
            let message = format!("{} cannot be taken over: {}", tenant.name, why.join("; "));
            let error = CommandError::failed(message);
            return Err(match &tenant.script {
                Ok(_) => error.hint(format!(
                    "`cbctl import --script {}`, with the same options, prints the commands that do it",
                    tenant.name
                )),
                Err(_) => error,
            });
        }
    }
    if wanted.is_empty() {
        return Err(CommandError::failed(
            "there is no tenant that can be taken over",
        ));
    }
    if let Some(application) = &imported.application {
        let name = application["metadata"]["name"].as_str().unwrap_or_default();
        put(Kind::Application, name, application, context).await?;
        let full = full_name(Kind::Application, name);
        context.ui.line(&format!("{full} created"));
    }
    for tenant in wanted {
        one(tenant, context).await?;
    }
    Ok(0)
}

async fn one(tenant: &ImportedTenant, context: &Context) -> Result<(), CommandError> {
    for (path, value) in &tenant.secrets {
        files::write(path, &format!("{value}\n"), 0o600).map_err(|error| {
            CommandError::failed(format!(
                "cannot write {}: {}",
                path.display(),
                plain(&error)
            ))
            .hint("run it as root on the host")
        })?;
    }
    let name = tenant.name.as_str();
    let generation = put(Kind::Tenant, name, &tenant.consenting(), context).await?;
    let ready: Condition = "Ready".parse().map_err(CommandError::failed)?;
    let target = Target {
        name: name.to_owned(),
        generation,
        placed: false,
    };
    if !wait::until_met(context, vec![target], &ready, PATIENCE).await? {
        return Err(CommandError::failed(format!("{name} is not ready yet"))
            .hint(format!("`cbctl describe tenant {name}` tells why")));
    }
    // The consent was for once.
    put(Kind::Tenant, name, &tenant.manifest, context).await?;
    let cost = match tenant.cost {
        Cost::Nothing => "no service was restarted",
        _ => "its services were restarted",
    };
    let full = full_name(Kind::Tenant, name);
    context.ui.line(&format!("{full} adopted; {cost}"));
    Ok(())
}

/// Returns the generation.
async fn put(
    kind: Kind,
    name: &str,
    object: &Value,
    context: &Context,
) -> Result<u64, CommandError> {
    let text = document(object, Format::Yaml)?;
    let written = context.client.put((kind, name), &text, false).await?;
    Ok(written.object.generation())
}
