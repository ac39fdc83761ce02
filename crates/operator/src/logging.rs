//! Logs through tracing: as journald fields under systemd, as text otherwise.

use std::os::unix::fs::MetadataExt as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging. `filter` is as in `RUST_LOG`; default `info`.
pub fn start(filter: Option<&str>) {
    let filter = EnvFilter::new(filter.unwrap_or("info"));
    let registry = tracing_subscriber::registry().with(filter);
    if stderr_is_the_journal()
        && let Ok(journald) = tracing_journald::layer()
    {
        registry
            .with(journald.with_field_prefix(Some("CB".to_owned())))
            .init();
        return;
    }
    registry
        .with(fmt::layer().with_writer(std::io::stderr).with_target(false))
        .init();
}

/// systemd says in `JOURNAL_STREAM` which file stderr is when it is connected
/// to the journal (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else {
        return false;
    };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}
