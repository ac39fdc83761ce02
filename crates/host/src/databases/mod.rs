//! Work on tenants' databases, and their backups.
//!
//! A database is opened by a program that runs as the tenant's user in a
//! sandboxed transient unit ([`crate::systemd::Transient`]); this process only
//! moves whole files, and only out of folders that no tenant can reach at that
//! time (law 9). The folder of a tenant's backups is described in
//! `docs/backups.md`; [`store`] reads and changes it.

mod store;

pub(crate) use store::{delete, list};
