//! What the operator itself costs, under the names that Prometheus' own
//! clients use.

use std::fmt;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo as _};

use super::Sheet;

struct Now {
    cpu_seconds: f64,
    started: f64,
    resident: f64,
    open_fds: f64,
    max_fds: f64,
}

/// Processor time, memory and open files of this process.
///
/// # Errors
/// None: it writes to memory.
pub(super) fn process(sheet: &mut Sheet<'_>) -> fmt::Result {
    // Without /proc there is nothing to say.
    let Ok(now) = look() else { return Ok(()) };
    sheet.counter(
        "process_cpu_seconds",
        "Processor time that the operator used, in seconds",
        now.cpu_seconds,
    )?;
    sheet.gauge(
        "process_start_time_seconds",
        "When the operator started, in seconds since 1970",
        now.started,
    )?;
    sheet.gauge(
        "process_resident_memory_bytes",
        "Memory that the operator uses",
        now.resident,
    )?;
    sheet.gauge(
        "process_open_fds",
        "Files and connections that the operator has open",
        now.open_fds,
    )?;
    sheet.gauge(
        "process_max_fds",
        "How many files and connections the operator may have open",
        now.max_fds,
    )
}

fn look() -> ProcResult<Now> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let second = procfs::ticks_per_second() as f64;
    let booted = procfs::boot_time_secs()? as f64;
    Ok(Now {
        cpu_seconds: (stat.utime + stat.stime) as f64 / second,
        started: booted + stat.starttime as f64 / second,
        resident: stat.rss_bytes().get() as f64,
        open_fds: process.fd_count()? as f64,
        max_fds: match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(limit) => limit as f64,
            LimitValue::Unlimited => f64::INFINITY,
        },
    })
}
