//! `cbctl completion`: what a shell runs to complete words, with the names that
//! the operator knows.

use clap_complete::env::Shells;

use crate::cli::{Context, Done};
use crate::error::CommandError;

/// What the shell's script sets to ask for completions.
const VARIABLE: &str = "COMPLETE";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The names of tenants and other objects are asked of the operator as you type.

Examples:
  source <(cbctl completion bash)                                     # in ~/.bashrc
  source <(cbctl completion zsh)                                      # in ~/.zshrc
  cbctl completion fish >~/.config/fish/completions/cbctl.fish"
)]
pub(crate) struct Args {
    /// The shell: bash, zsh, fish, elvish or powershell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let shells = Shells::builtins();
    let failed = |why: String| CommandError::failed(format!("cannot write the script: {why}"));
    let shell = shells
        .completer(&args.shell)
        .ok_or_else(|| failed(format!("there is none for {}", args.shell)))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "cbctl", "cbctl", "cbctl", &mut script)
        .map_err(|error| failed(error.to_string()))?;
    context.ui.print(&String::from_utf8_lossy(&script));
    Ok(0)
}
