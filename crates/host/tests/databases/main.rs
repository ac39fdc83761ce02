//! Work on tenants' databases on real hosts: systemd, users, DuckDB.

#![allow(
    clippy::disallowed_methods,
    reason = "the host is thrown away after the test"
)]

mod damage;
mod jobs;
mod kills;
mod limits;
#[path = "../support/mod.rs"]
mod support;
mod tricks;
mod units;
mod world;
