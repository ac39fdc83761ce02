//! Copies on a real S3-compatible server, which runs in the test, and in a
//! folder.

#![allow(
    clippy::disallowed_methods,
    reason = "tests set files up and damage them"
)]

mod both;
mod bucket;
mod fixtures;
mod folder;
mod server;
mod tls;
