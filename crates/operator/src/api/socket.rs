//! The unix socket: bound so that at no time anyone else can use it, and so
//! that no other program's socket is taken away.
//!
//! The socket is made under another name, gets its mode and group before it
//! listens, and is renamed when it works. So a client finds either no socket
//! or one that answers.

use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};

use crate::lock::Lock;

/// The socket's name in the runtime folder.
const NAME: &str = "operator.sock";
/// How many clients may wait to be let in.
const BACKLOG: i32 = 128;

/// The API's socket. Dropped, its file is removed.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file.
    id: (u64, u64),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Someone else serves there.
    #[error("another program listens on {0}; stop it first")]
    InUse(PathBuf),
    /// Something is there that is no socket.
    #[error("{0} is in the way: it is not a socket; remove it")]
    InTheWay(PathBuf),
    /// The folder is no place for the socket of a program that runs as root.
    #[error("the folder {0} must be a folder of the operator's user that no other can write to")]
    Folder(PathBuf),
    /// There is no such group.
    #[error("the group `{0}` of the Host's `api.group` is not in /etc/group; create it")]
    NoGroup(String),
    /// The system refused.
    #[error("cannot {what} {path}")]
    System {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Socket {
    /// Binds `operator.sock` in this folder for root and the members of
    /// `group`. The lock says that no other operator can be about to do so;
    /// hold it as long as the socket.
    ///
    /// # Errors
    /// There is no socket then, and what was there before is still there.
    pub async fn bind(folder: &Path, group: Option<&str>, _lock: &Lock) -> Result<Self, BindError> {
        let gid = group.map(group_id).transpose()?;
        make_folder(folder)?;
        let path = folder.join(NAME);
        refuse_foreign(&path).await?;
        let new = folder.join(format!(".{NAME}.new"));
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(system("remove", &new)(error));
            }
            _ => {}
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a socket has no content that could be lost"
        )]
        let bound = bind_at(&new, gid).and_then(|listener| {
            let meta = std::fs::symlink_metadata(&new).map_err(system("look at", &new))?;
            std::fs::rename(&new, &path).map_err(system("make", &path))?;
            Ok((listener, (meta.dev(), meta.ino())))
        });
        if bound.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        let (listener, id) = bound?;
        Ok(Self { listener, path, id })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id);
        if ours {
            // What is left is found to be stale at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn system<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> BindError + 'a {
    move |source| BindError::System {
        what,
        path: path.to_owned(),
        source,
    }
}

fn make_folder(folder: &Path) -> Result<(), BindError> {
    match std::fs::DirBuilder::new().mode(0o755).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(system("make the folder", folder)(error));
        }
        _ => {}
    }
    let meta = std::fs::symlink_metadata(folder).map_err(system("look at", folder))?;
    let ours = meta.uid() == rustix::process::geteuid().as_raw();
    if !meta.is_dir() || !ours || meta.mode() & 0o022 != 0 {
        return Err(BindError::Folder(folder.to_owned()));
    }
    Ok(())
}

/// A socket that nobody answers on is left over and may be replaced.
async fn refuse_foreign(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => return Err(BindError::InTheWay(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at", path)(error)),
    }
    match tokio::time::timeout(Duration::from_secs(1), UnixStream::connect(path)).await {
        Ok(Err(error))
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        // A full queue is someone's too.
        Ok(Ok(_)) | Err(_) => Err(BindError::InUse(path.to_owned())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::InUse(path.to_owned()))
        }
        Ok(Err(error)) => Err(system("connect to", path)(error)),
    }
}

fn bind_at(path: &Path, gid: Option<u32>) -> Result<UnixListener, BindError> {
    let failed = |error: rustix::io::Errno| system("make", path)(error.into());
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(failed)?;
    rustix::net::bind(&socket, &address).map_err(failed)?;
    // Not listening yet: whoever connects now is refused.
    if let Some(gid) = gid {
        std::os::unix::fs::lchown(path, None, Some(gid))
            .map_err(system("set the group of", path))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .map_err(system("set the mode of", path))?;
    rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
    UnixListener::from_std(socket.into()).map_err(system("listen on", path))
}

/// A group of this machine. Groups that come from elsewhere (LDAP) are not
/// asked for: the socket must not wait for a network.
fn group_id(name: &str) -> Result<u32, BindError> {
    let file = Path::new("/etc/group");
    let text = std::fs::read_to_string(file).map_err(system("read", file))?;
    find_group(&text, name).ok_or_else(|| BindError::NoGroup(name.to_owned()))
}

fn find_group(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1))??
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder() -> (tempfile::TempDir, Lock) {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(&folder.path().join("lock")).unwrap();
        (folder, lock)
    }

    #[tokio::test]
    async fn the_socket_is_for_its_group_alone_and_goes_when_it_is_closed() {
        let (folder, lock) = folder();
        let run = folder.path().join("run");
        let socket = Socket::bind(&run, Some("root"), &lock).await.unwrap();
        let meta = fs::symlink_metadata(socket.path()).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.mode() & 0o777, 0o660);
        assert_eq!(fs::metadata(&run).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(&run).unwrap().count(), 1);
        drop(socket);
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let (folder, lock) = folder();
        let run = folder.path().join("run");
        let first = Socket::bind(&run, None, &lock).await.unwrap();
        let error = Socket::bind(&run, None, &lock).await.unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        assert!(UnixStream::connect(first.path()).await.is_ok());
        drop(first);
        // As a kill leaves it: the file is there and nobody listens.
        drop(std::os::unix::net::UnixListener::bind(run.join(NAME)).unwrap());
        assert!(run.join(NAME).exists());
        let second = Socket::bind(&run, None, &lock).await.unwrap();
        assert!(UnixStream::connect(second.path()).await.is_ok());
    }

    /// Law 3: hands off what is not ours.
    #[tokio::test]
    #[allow(clippy::disallowed_methods, reason = "a test's file")]
    async fn nothing_else_is_removed() {
        let (folder, lock) = folder();
        let file = folder.path().join(NAME);
        fs::write(&file, "mine").unwrap();
        let error = Socket::bind(folder.path(), None, &lock).await.unwrap_err();
        assert!(matches!(error, BindError::InTheWay(_)), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/null", &file).unwrap();
        let error = Socket::bind(folder.path(), None, &lock).await.unwrap_err();
        assert!(matches!(error, BindError::InTheWay(_)), "{error}");
    }

    #[tokio::test]
    async fn a_folder_that_others_can_write_to_is_refused() {
        let (folder, lock) = folder();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Socket::bind(folder.path(), None, &lock).await.unwrap_err();
        assert!(matches!(error, BindError::Folder(_)), "{error}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        let error = Socket::bind(&link, None, &lock).await.unwrap_err();
        assert!(matches!(error, BindError::Folder(_)), "{error}");
    }

    #[tokio::test]
    async fn a_group_that_is_not_there_is_named() {
        let (folder, lock) = folder();
        let error = Socket::bind(folder.path(), Some("no-such-group"), &lock)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no-such-group"), "{error}");
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let text = "root:x:0:\nadm:x:4:ann,bob\nbroken\n";
        assert_eq!(find_group(text, "adm"), Some(4));
        assert_eq!(find_group(text, "ad"), None);
        assert_eq!(find_group(text, "broken"), None);
    }
}
