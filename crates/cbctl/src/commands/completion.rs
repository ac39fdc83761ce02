//! `cbctl completion`: a shell's completion script.

use clap_complete::Shell;

use crate::cli::{Context, Done};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  source <(cbctl completion bash)")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context, command: &mut clap::Command) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "cbctl", &mut script);
    context.ui.print(&String::from_utf8_lossy(&script));
    Ok(0)
}
