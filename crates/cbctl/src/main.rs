//! `cbctl`: the operator's command line, with kubectl's words, columns and exit
//! codes.
//!
//! Everything goes through the operator's API on its unix socket; `validate`
//! needs no operator. What must not live here: systemd, the operator's files,
//! and what a manifest means, which is `cb_core`'s to say.

mod cli;
mod client;
mod commands;
mod error;
mod manifests;
mod object;
mod output;
mod resource;

fn main() -> std::process::ExitCode {
    cli::main()
}
