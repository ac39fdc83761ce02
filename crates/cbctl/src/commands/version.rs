//! `cbctl version`: the versions of both sides.

use serde_json::{Value, json};

use crate::cli::{Context, Done};
use crate::output::{Format, document, one_line};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only cbctl's own; needs no operator
    #[arg(long)]
    client: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let own = concat!("v", env!("CARGO_PKG_VERSION"));
    let mut server = None;
    let mut failure = None;
    if !args.client {
        match context.client.version().await {
            Ok(version) => server = Some(version),
            // The own version is true all the same.
            Err(error) => failure = Some(error),
        }
    }
    if let Some(format) = context.output {
        let mut versions = json!({"clientVersion": {"gitVersion": own}});
        if let Some(server) = server {
            versions["serverVersion"] = server;
        }
        context.ui.print(&document(&versions, format)?);
    } else {
        context.ui.line(&format!("Client Version: {own}"));
        if let Some(version) = server.as_ref().map(git_version) {
            context
                .ui
                .line(&format!("Server Version: {}", one_line(version)));
        }
    }
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(0),
    }
}

fn git_version(version: &Value) -> &str {
    version["gitVersion"].as_str().unwrap_or("unknown")
}
