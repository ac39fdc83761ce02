//! `cb-duckdb` as it is run: as a user that is not root, on real files.

#![allow(
    clippy::disallowed_methods,
    reason = "a test writes its own throwaway files"
)]

mod backups;
mod damage;
mod files;
mod limits;
mod migrations;
mod restore;
mod world;
