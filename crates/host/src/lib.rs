//! The host: what there is on it and how to change it.
//!
//! below, each of which knows one part of a machine. Nothing here decides what
//! should be: that is `cb_core::plan`.

pub mod files;
pub mod health;
mod host;
pub mod releases;
pub mod sockets;
pub mod sysctl;
pub mod systemd;
mod text;
pub mod users;

pub use host::{ActionError, Done, Host, HostError, HostEvent, PortsInUse, Probe};
