//! The operator daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    cb_operator::cli::main()
}
