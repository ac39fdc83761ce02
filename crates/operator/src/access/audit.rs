//! The log of changes: who did what, from where, and what came of it.
//!
//! One JSON document a line, appended and synced before the answer is given. A
//! file that grows large is set aside under a number; the oldest goes. Law 11:
//! no body and no secret is in it. It is read backwards, from the newest file on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cb_host::files::{self, FileSpec};
use serde::{Deserialize, Serialize};

/// How large a file becomes, in bytes.
const MAX_BYTES: u64 = 10 << 20;
/// How many earlier files are kept.
const KEPT: u32 = 9;

/// One change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was answered (RFC 3339, UTC).
    pub time: String,
    /// Who: `token:NAME`, `user:NAME`, or `anonymous`.
    pub user: String,
    /// From where: an address, or the process at the other end of the socket.
    pub from: String,
    /// What kind of request.
    pub method: String,
    /// To which path.
    pub path: String,
    /// The object's name, where the path does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The status code of the answer.
    pub code: u16,
    /// What was done: `created`, `configured`, `unchanged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// The log.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    most: u64,
    file: Mutex<Option<File>>,
}

impl Audit {
    /// The log in this folder, which is made.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        Self::with_limit(folder, MAX_BYTES)
    }

    fn with_limit(folder: &Path, most: u64) -> anyhow::Result<Self> {
        files::ensure_dir(folder, FileSpec::own(0o700))?;
        Ok(Self(Arc::new(Inner {
            path: folder.join("audit.log"),
            most,
            file: Mutex::default(),
        })))
    }

    /// Adds an entry; it is on disk when this returns. A log that cannot be
    /// written keeps nobody from working: the journal says so.
    pub async fn add(&self, entry: Entry) {
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || inner.add(&entry)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("the audit log cannot be written: {error}"),
            Err(error) => tracing::error!("the audit log cannot be written: {error}"),
        }
    }

    /// The newest entries that are wanted, the oldest of them first, and no
    /// more than so many.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn read(
        &self,
        most: usize,
        wanted: impl Fn(&Entry) -> bool + Send + 'static,
    ) -> io::Result<Vec<Entry>> {
        let inner = Arc::clone(&self.0);
        let read = move || inner.newest(most, &wanted);
        tokio::task::spawn_blocking(read)
            .await
            .map_err(io::Error::other)?
    }
}

impl Inner {
    fn newest(&self, most: usize, wanted: &dyn Fn(&Entry) -> bool) -> io::Result<Vec<Entry>> {
        // No file is set aside meanwhile.
        let _turn = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for number in 0..=KEPT {
            let bytes = match std::fs::read(self.numbered(number)) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            // A line that a crash has cut off is no entry.
            let lines = bytes.rsplit(|byte| *byte == b'\n');
            let entries = lines.filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
            found.extend(
                entries
                    .filter(|entry| wanted(entry))
                    .take(most - found.len()),
            );
            if found.len() == most {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }

    /// The file that is written, and the earlier ones.
    fn numbered(&self, number: u32) -> PathBuf {
        match number {
            0 => self.path.clone(),
            number => self.path.with_extension(format!("log.{number}")),
        }
    }

    fn add(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut open = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = match open.take() {
            Some(file) => file,
            None => self.opened()?,
        };
        if file.metadata()?.len() + line.len() as u64 > self.most {
            drop(file);
            self.rotate()?;
            file = self.opened()?;
        }
        file.write_all(&line)?;
        file.sync_data()?;
        *open = Some(file);
        Ok(())
    }

    fn opened(&self) -> io::Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the lines are on disk; a name that is lost in a crash loses none"
    )]
    fn rotate(&self) -> io::Result<()> {
        for number in (0..KEPT).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn entry(path: &str) -> Entry {
        Entry {
            time: "2026-03-04T12:00:00Z".into(),
            user: "token:ci".into(),
            from: "127.0.0.1:5000".into(),
            method: "PATCH".into(),
            path: path.into(),
            name: None,
            code: 200,
            result: Some("configured".into()),
        }
    }

    #[tokio::test]
    async fn the_newest_entries_are_read_over_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::with_limit(folder.path(), 400).unwrap();
        for number in 0..9 {
            audit.add(entry(&format!("/{number}"))).await;
        }
        // A crash has cut this one off.
        let newest = folder.path().join("audit.log");
        let mut text = std::fs::read(&newest).unwrap();
        text.extend(b"{\"time\":");
        files::write(&newest, &text, FileSpec::own(0o600)).unwrap();
        let read = async |most| -> Vec<String> {
            let odd = |entry: &Entry| entry.path != "/4";
            let found = audit.read(most, odd).await.unwrap();
            found.into_iter().map(|entry| entry.path).collect()
        };
        assert_eq!(read(3).await, ["/6", "/7", "/8"]);
        assert_eq!(read(6).await, ["/2", "/3", "/5", "/6", "/7", "/8"]);
        assert_eq!(read(100).await.len(), 8);
    }

    #[tokio::test]
    async fn every_entry_is_a_line_and_old_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::with_limit(folder.path(), 400).unwrap();
        for number in 0..40 {
            audit.add(entry(&format!("/{number}"))).await;
        }
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1 + KEPT as usize);
        let newest = folder.path().join("audit.log");
        let mode = std::fs::metadata(&newest).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&newest).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["path"], "/39");
        // Another process's file goes on.
        Audit::with_limit(folder.path(), 4000)
            .unwrap()
            .add(entry("/x"))
            .await;
        assert!(std::fs::read_to_string(&newest).unwrap().starts_with(&text));
    }
}
