//! `cbctl`: the operator's command line, with kubectl's words, columns and exit
//! codes.
//!
//! Everything goes through the operator's API; `validate`, `explain`, `render`,
//! `init` and `config` need no operator, `logs` has `journalctl` read, and
//! `doctor` looks at the machine. What must not
//! live here: any other talk with systemd, the operator's files, and what a
//! manifest means, which is `cb_core`'s to say.

mod cli;
mod client;
mod commands;
mod complete;
mod config;
#[cfg(test)]
mod docs;
mod error;
mod files;
mod manifests;
mod object;
mod output;
mod resource;
#[cfg(test)]
mod tested;

fn main() -> std::process::ExitCode {
    cli::main()
}
