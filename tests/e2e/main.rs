//! Tests on real hosts: systemd, D-Bus, nginx and the built programs.
//!
//! `cargo xtask test` builds what they run; each test boots hosts of its own.
//! A test belongs here only if a library test cannot prove the same, and names
//! the law that it holds.

mod absence;
mod access;
mod alerts;
mod cbctl;
mod cbctl_changes;
mod commands;
mod crash;
mod drift;
mod errors;
mod example;
mod faults;
mod hostile;
mod import;
mod input;
mod kubectl;
mod kubers;
mod life;
mod limits;
mod looks;
mod metrics;
mod network;
mod odd;
mod offsite;
mod options;
mod ownership;
mod ports;
mod quota;
mod releases;
mod requests;
mod rollout;
mod secrets;
mod site;
mod smoke;
mod source;
mod strings;
mod tls;
mod truth;
mod upgrade;
mod who;
mod world;
