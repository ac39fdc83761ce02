//! The database helper: everything that is done to a tenant's DuckDB file from
//! outside its application.
//!
//! The operator never opens such a file itself (law 9). It runs `cb-duckdb`
//! under the tenant's own user, in a sandbox, with limits in time and memory.
//! One run does one thing: it prints one JSON document on stdout and ends with
//! an exit code of [`error::Code`]; with `--progress`, lines of JSON on stderr
//! say how far it is.
//!
//! [`cli`] reads the command line, [`commands`] runs one command, [`open`] is
//! the only way to a connection, [`error`] holds what can go wrong.
//!
//! The documents (paths are absolute, sizes are bytes):
//!
//! | command | document |
//! |---|---|
//! | `create` | `file bytes header{storageVersion duckdbVersion}` |
//! | `info` | `file bytes walBytes header locked tables[{schema name rows}]`; `tables` is `null` while another process writes |
//! | `schema-version` | `file table recorded schemaVersion applied[{version name sha256}]` |
//! | `migrate` | `from to dryRun migrations[{version name file sha256}] adoptedChecksums checkpointed checkpointError` |
//! | `check-migrations` | `folder migrations[{version name file sha256}] top`, with `--at` also `at pending[file]` |
//! | `checkpoint` | `file bytesBefore walBytesBefore bytes walBytes`, with `--table` also `schemaVersion`, `null` without the table |
//! | `backup` | `file backup{file bytes sha256} sidecars[{file bytes sha256}] walBytes reflink header`, with `--verify` also `content`, with `--table` also `schemaVersion` |
//! | `verify` | `backup{file bytes sha256} content comparedWith` |
//! | `digest` | `file content{digest definitions rows tables[{schema name rows digest}]}` |
//! | `restore` | `backup restored{file bytes sha256} sidecars[{file bytes sha256}] aside[file] header` |
//! | `quarantine` | `file kept[{file bytes sha256}] added` |
//! | any failure | `error{kind message detail hint applied transactionLimit}` |
//!
//! Progress lines: `{event: planned, from, to, pending}`, `{event: started |
//! applied, migration}`, `{event: copied, file}`, `{event: read, file, rows}`,
//! `{event: kept, files}`.
//!
//! What must not live here: which tenant, which release, when to back up, what
//! to do about a failure. That is the operator's. Nothing here deletes a database
//! or a WAL: [`restore`] alone replaces them, and keeps what it replaces.

mod aside;
mod backup;
mod cli;
mod commands;
mod copy;
mod digest;
pub mod error;
mod files;
mod header;
mod limits;
mod migrate;
mod migrations;
mod open;
mod progress;
mod restore;
mod statements;
mod verify;
mod wal;

pub use cli::run;
