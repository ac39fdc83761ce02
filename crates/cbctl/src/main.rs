//! `cbctl`: the operator's command line, with kubectl's words, columns and exit
//! codes.
//!
//! Everything goes through the operator's API on its unix socket; `validate` and
//! `explain` need no operator, and `logs` has `journalctl` read. What must not
//! live here: any other talk with systemd, the operator's files, and what a
//! manifest means, which is `cb_core`'s to say.

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
