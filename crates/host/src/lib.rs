//! The host: what there is on it and how to change it.
//!
//! [`Host`] is the interface; [`SystemHost`] implements it with the drivers
//! below, each of which knows one part of a machine. Nothing here decides what
//! should be: that is `cb_core::plan`.

// Tests set the scene with plain writes.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod actors;
pub mod certificates;
mod counts;
mod databases;
mod disk;
pub mod files;
pub mod health;
mod host;
pub mod memory;
pub mod nftables;
pub mod nginx;
pub mod releases;
mod retry;
pub mod secrets;
pub mod sockets;
pub mod source;
pub mod sysctl;
mod system;
pub mod systemd;
mod text;
pub mod usage;
pub mod users;

pub use counts::{Counts, Tally, Tests};
pub use host::{
    ActionError, DiskQuery, Done, Host, HostDrift, HostError, HostEvent, PortsInUse, Probe,
};
pub use system::SystemHost;
