//! Which TCP ports are bound, and by whom.
//!
//! One reading of `/proc/net/tcp` and `tcp6` serves all passes that ask at
//! nearly the same time. The proc files and not netlink's sock_diag: they need
//! no crate and no parser of binary messages, and only the listening sockets
//! matter, which the kernel lists first; a host with 2,000 of them is read in a
//! few milliseconds.
//!
//! A port counts as bound by a socket that listens or was bound without
//! connecting yet. Connections of clients do not count: their ports are
//! ephemeral, and a server's accepted connections carry its own port and user.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// User ids by port.
pub type Bound = BTreeMap<u16, BTreeSet<u32>>;

/// Why the sockets cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// A file of the kernel cannot be read.
    #[error("cannot read the host's sockets from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The host's sockets, read once for all who ask together.
#[derive(Debug, Clone)]
pub struct Sockets {
    folder: PathBuf,
    last: Arc<Mutex<Option<Reading>>>,
}

#[derive(Debug)]
struct Reading {
    begun: Instant,
    bound: Arc<Bound>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/proc/net"),
            last: Arc::default(),
        }
    }
}

impl Sockets {
    /// The bound ports, from a reading that began at most `max_age` before this
    /// call.
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub async fn dump(&self, max_age: Duration) -> Result<Arc<Bound>, SocketsError> {
        let asked = Instant::now();
        // Those who wait here for another's reading share it if it began after
        // they asked.
        let mut last = self.last.lock().await;
        if let Some(Reading { begun, bound }) = &*last
            && *begun + max_age >= asked
        {
            return Ok(Arc::clone(bound));
        }
        let begun = Instant::now();
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || read(&folder)).await;
        let bound = Arc::new(read.map_err(|error| SocketsError::Read {
            path: self.folder.clone(),
            source: std::io::Error::other(error),
        })??);
        let shared = Arc::clone(&bound);
        *last = Some(Reading { begun, bound });
        Ok(shared)
    }
}

fn read(folder: &Path) -> Result<Bound, SocketsError> {
    let mut bound = Bound::new();
    for name in ["tcp", "tcp6"] {
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text, &mut bound),
            // A kernel without IPv6.
            Err(error) if name == "tcp6" && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(SocketsError::Read { path, source }),
        }
    }
    Ok(bound)
}

/// The states `CLOSE` (bound, nothing more) and `LISTEN`.
const BINDING: [&str; 2] = ["07", "0A"];

fn parse(text: &str, bound: &mut Bound) {
    for line in text.lines().skip(1) {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid …
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(state)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        let Some(uid) = fields.nth(3).and_then(|uid| uid.parse().ok()) else {
            continue;
        };
        let port = local
            .rsplit_once(':')
            .map(|(_, port)| u16::from_str_radix(port, 16));
        if let Some(Ok(port)) = port
            && port != 0
            && BINDING.contains(&state)
        {
            bound.entry(port).or_default().insert(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listening_socket_is_seen_with_its_user_at_once() {
        let sockets = Sockets::default();
        sockets.dump(Duration::ZERO).await.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let six = std::net::TcpListener::bind("[::1]:0").unwrap();
        let bound = sockets.dump(Duration::ZERO).await.unwrap();
        let me = BTreeSet::from([rustix::process::geteuid().as_raw()]);
        for listener in [&listener, &six] {
            let port = listener.local_addr().unwrap().port();
            assert_eq!(bound.get(&port), Some(&me));
        }
    }

    #[tokio::test]
    async fn a_reading_that_is_young_enough_is_shared() {
        let sockets = Sockets::default();
        let first = sockets.dump(Duration::ZERO).await.unwrap();
        let second = sockets.dump(Duration::from_secs(3600)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let third = sockets.dump(Duration::ZERO).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &third));
    }

    #[test]
    fn connections_do_not_count() {
        let mut bound = Bound::new();
        parse(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20  0: 0100007F:7E2C 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 1\n\
             \x20  1: 0100007F:9C40 0100007F:7E2C 01 00000000:00000000 00:00000000 00000000  1000        0 2\n\
             \x20  2: 0100007F:9C41 0100007F:7E2C 06 00000000:00000000 03:00000D2F 00000000     0        0 0\n\
             nonsense\n",
            &mut bound,
        );
        assert_eq!(bound, BTreeMap::from([(32300, BTreeSet::from([998]))]));
    }
}
