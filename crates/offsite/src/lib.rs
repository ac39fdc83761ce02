//! Copies of backups off the host: in a bucket of an S3-compatible object
//! store, or in a folder that another machine's disk is mounted on.
//!
//! A backup on the host is a folder of regular files that does not change any
//! more. Its copy is one object per file, and one with their checksums:
//!
//! ```text
//! [PREFIX/]TENANT/BACKUP/database.duckdb
//! [PREFIX/]TENANT/BACKUP/…             every other file of the backup
//! [PREFIX/]TENANT/BACKUP/SHA256SUMS    as `sha256sum` writes and checks it
//! [PREFIX/]TENANT/BACKUP/backup.yaml   last: a copy that has it is whole
//! ```
//!
//! Guarantees:
//! - A copy has its `backup.yaml` only after every object was read back and its
//!   SHA-256 compared. Taking a copy away begins with its `backup.yaml`.
//! - A copy of another backup under the same name is never replaced.
//! - What is fetched has its name only after its checksums were compared and it
//!   was written to disk.
//! - Memory is bounded by a few parts of [`PART`] bytes, whatever a file's size
//!   (up to 80 GB; parts of larger files grow with them).
//! - Every call can be repeated, and goes on with what an interrupted one left.
//!
//! Assumptions: one call at a time changes the copies of a tenant. Checksums
//! find damage, not forgery: who can write to the destination can change a copy
//! together with its checksums. Nothing is encrypted here.
//!
//! Cancel safety: a call that is dropped leaves a half copy, which the next
//! [`Destination::push`] completes, or the abandoned part of an upload or of a
//! fetched folder, which only takes space (see `docs/backups.md`).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests set files up and look at them"
    )
)]

mod config;
mod copies;
mod destination;
mod error;
mod fetch;
mod folder;
mod push;
mod source;
mod sums;
mod transfer;

pub use config::{Config, Credentials, S3};
pub use copies::{Entry, Expired};
pub use destination::Destination;
pub use error::Error;
pub use fetch::Fetched;
pub use push::Pushed;
pub use transfer::PART;
