//! `cbctl kubeconfig`: a file with which kubectl, and whatever else speaks to
//! Kubernetes, reaches the operator.

use serde_json::json;

use super::token::Grant;
use crate::cli::{Context, Done};
use crate::error::CommandError;
use crate::output::{Format, document};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    about = "Make a token and print a kubeconfig with it, for kubectl",
    after_help = "The file lets in whoever has it: keep it from others. `cbctl token revoke NAME`
ends it. The operator must be told to listen: `spec.api.listen` of the Host.

Examples:
  cbctl kubeconfig ann --role edit --expires 30d > ~/.kube/operator
  kubectl --kubeconfig ~/.kube/operator get tenants
  ssh -L 9644:127.0.0.1:9644 web1    # then the same file is good here"
)]
pub(crate) struct Args {
    /// The name of the token that is made
    name: String,
    #[command(flatten)]
    grant: Grant,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, context: &Context) -> Done {
    Format::among(context.output, &[Format::Yaml, Format::Json])?;
    let remote = context.client.remote().await?;
    // Before a token is made that would be good for nothing.
    let Some(server) = remote.server else {
        return Err(CommandError::failed(
            "the operator does not listen on TCP; set spec.api.listen in the Host, for example to 127.0.0.1:9644, and restart it".to_owned(),
        ));
    };
    let made = context
        .client
        .create_token(&args.grant.named(&args.name))
        .await?;
    let name = "cb-operator";
    let authority = base64(remote.certificate_authority.as_bytes());
    let cluster = json!({"server": server, "certificate-authority-data": authority});
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": made.token.name, "user": {"token": made.secret}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": made.token.name}}],
        "current-context": name,
    });
    let format = context.output.unwrap_or(Format::Yaml);
    context.ui.print(&document(&config, format)?);
    Ok(0)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
