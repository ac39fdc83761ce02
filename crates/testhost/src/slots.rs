//! How many hosts run at a time, over all processes of this user.
//!
//! A slot is a lock on a file; the kernel gives it back however its process
//! ends. A test that needs several hosts takes all its slots in one go, behind
//! a queue: two tests that each hold one and wait for another would wait for
//! ever.

use std::env;
use std::fs::{self, File, TryLockError};
use std::thread;
use std::time::Duration;

use crate::{HostError, cache};

/// For 2 to 4 processors; `CB_TESTHOST_SLOTS` says otherwise.
const DEFAULT_SLOTS: usize = 4;

/// A lock on any one of several files has no event to wait for.
const POLL: Duration = Duration::from_millis(25);

/// The right to run one host, until dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _lock: File,
}

/// Waits for `count` slots. More than there are count as all there are, and
/// the hosts beyond share the last one.
pub(crate) fn take(count: usize) -> Result<Vec<Slot>, HostError> {
    let folder = cache::dir()?.join("slots");
    fs::create_dir_all(&folder).map_err(HostError::file("create", &folder))?;
    let open = |name: &str| {
        let path = folder.join(name);
        File::create(&path).map_err(HostError::file("create", path))
    };
    let total = env::var("CB_TESTHOST_SLOTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|slots| *slots > 0)
        .unwrap_or(DEFAULT_SLOTS);

    let queue = open("queue")?;
    queue.lock().map_err(HostError::file("lock", &folder))?;
    let mut taken = Vec::new();
    while taken.len() < count.min(total) {
        for number in 0..total {
            let file = open(&format!("slot-{number}"))?;
            match file.try_lock() {
                Ok(()) => taken.push(Slot { _lock: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(HostError::file("lock", &folder)(error));
                }
            }
            if taken.len() == count.min(total) {
                return Ok(taken);
            }
        }
        thread::sleep(POLL);
    }
    Ok(taken)
}
