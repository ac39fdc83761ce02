//! `cbctl api-resources`: the kinds of objects that the operator serves.

use serde_json::Value;

use crate::cli::{Context, Done};
use crate::output::Format;
use crate::output::table::Table;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cbctl api-resources
  cbctl api-resources -o wide")]
pub(crate) struct Args {
    /// Leave out the headers
    #[arg(long)]
    no_headers: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Wide, Format::Name])?;
    let wide = context.output == Some(Format::Wide);
    let mut headers = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
    if wide {
        headers.extend(["VERBS", "CATEGORIES"]);
    }
    let mut table = Table::new(headers);
    for version in context.client.groups().await? {
        let list = context.client.resources(&version).await?;
        let resources = list["resources"].as_array();
        for resource in resources.into_iter().flatten() {
            let name = text(resource, "name");
            // `tenants/status` is a part of another.
            if name.contains('/') {
                continue;
            }
            if context.output == Some(Format::Name) {
                let group = version.split('/').next().unwrap_or_default();
                context.ui.line(&format!("{name}.{group}"));
                continue;
            }
            let mut row = vec![
                name.to_owned(),
                joined(resource, "shortNames"),
                version.clone(),
                resource["namespaced"]
                    .as_bool()
                    .unwrap_or(false)
                    .to_string(),
                text(resource, "kind").to_owned(),
            ];
            if wide {
                row.extend([joined(resource, "verbs"), joined(resource, "categories")]);
            }
            table.row(row);
        }
    }
    if context.output != Some(Format::Name) {
        context.ui.print(&table.render(!args.no_headers));
    }
    Ok(0)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn joined(of: &Value, key: &str) -> String {
    let texts = of[key].as_array().into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(Value::as_str).collect();
    texts.join(",")
}
