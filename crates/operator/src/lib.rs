//! The operator daemon: it watches a folder of manifests and keeps this host
//! equal to them.
//!
//! ```text
//! manifests ─▶ catalog ─▶ state ─▶ controller ─▶ tenant::Engine ─▶ host
//!                  ▲                   ▲               │
//!                 api              host events         └─▶ status files
//! ```
//!
//! Everything here is wiring: what has to be done is decided in `cb_core`,
//! done in `cb_host`, and repeated by `cb_runtime`.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests set files up and look at them"
    )
)]

pub mod access;
pub mod acme;
pub mod alerts;
pub mod api;
mod backend;
pub mod catalog;
pub mod cli;
pub mod controller;
pub mod daemon;
pub mod disk;
pub mod events;
pub mod ledger;
pub mod lock;
pub mod logging;
pub mod metrics;
pub mod named_files;
pub mod offsite;
pub mod recorder;
pub mod records;
pub mod recover;
pub mod release_gc;
pub mod rollouts;
pub mod source;
pub mod state;
pub mod status_file;
pub mod tenant;
pub mod upkeep;
mod workers;
mod yaml_folder;

/// The time, as it is written in objects: RFC 3339 in UTC, to the second.
#[must_use]
pub fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
