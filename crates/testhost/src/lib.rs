//! A throwaway host for tests: real systemd, D-Bus and nginx, booted with
//! systemd-nspawn in less than a second, with a network of its own.
//!
//! ```no_run
//! use cb_testhost::{Options, TestHost};
//!
//! let host = TestHost::boot(Options::new("example"))?;
//! assert_eq!(host.sh("systemctl is-active nginx")?, "active\n");
//! # Ok::<(), cb_testhost::HostError>(())
//! ```
//!
//! Data flow: [`rootfs`] builds the root file system once and keeps it in the
//! cache folder ([`cache`]); [`slots`](mod@slots) limits how many hosts run at a time;
//! [`machine`](mod@machine) boots one with a writable layer over the shared root file
//! system, a PID namespace and a cgroup of its own; `keep.sh` ends it, its services
//! a few at a time; [`TestHost`] runs commands inside. Nothing outlives the
//! process that booted it by more than that takes, however it ends.
//!
//! Knows nothing of the operator: it offers a host, and tests do the rest.
//! Needs root, debootstrap, systemd-nspawn and util-linux.

#![allow(
    clippy::disallowed_methods,
    reason = "everything of a test host is thrown away"
)]

pub mod cache;
pub mod rootfs;

mod cgroup;
mod error;
mod host;
mod machine;
mod process;
mod running;
mod slots;

pub use error::HostError;
pub use host::{Options, Output, Response, TestHost};
pub use running::Running;
