//! `cb-duckdb`: the command line in, one JSON document and an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    cb_duckdb::run()
}
