//! The pure part of the operator: what the objects are, what they mean for a
//! host, and what has to be done to get there.
//!
//! Data flows one way: manifests ([`manifest`]) become objects ([`api`]), and
//! [`admission`] decides which of them take effect; an object with its
//! Application and Host becomes a [`desired::Desired`] state with the text of
//! every file; that, what was seen on the host ([`observed`]) and what was
//! recorded earlier ([`record`]) become a [`plan::Plan`]. An empty plan means
//! converged. What was planned, done and seen becomes a [`status`].
//!
//! Nothing here does I/O, reads a clock or spawns: the same inputs give the
//! same plan, so `cbctl diff` and the operator cannot disagree. A check of the
//! dependency tree (`cargo xtask test`) holds this.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests set files up and look at them"
    )
)]

pub mod access;
pub mod acme;
pub mod admission;
pub mod adopt;
pub mod alert;
pub mod api;
pub mod backup;
pub mod certificate;
pub mod database;
pub mod desired;
pub mod digest;
pub mod disk;
pub mod documented;
pub mod drift;
pub mod elapsed;
pub mod event;
pub mod layout;
pub mod manifest;
pub mod mark;
pub mod network;
pub mod observed;
pub mod operation;
pub mod patch;
pub mod plan;
pub mod ports;
pub mod record;
pub mod releases;
pub mod rollout;
pub mod schema;
pub mod secret;
pub mod selector;
pub mod source;
pub mod status;
pub mod types;
pub mod yaml;
