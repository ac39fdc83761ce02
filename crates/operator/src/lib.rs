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

pub mod ledger;
pub mod lock;
pub mod logging;
pub mod state;
pub mod status_file;
pub mod tenant;
