//! The files of a host in memory.
//!
//! As on a disk: a file needs its folder, replacing is atomic, and a folder is
//! moved with all that is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cb_core::digest;
use cb_core::mark::Owner;
use cb_core::observed::PathState;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Its content.
        content: String,
        /// Permission bits.
        mode: u32,
        /// The owning user id.
        uid: u32,
        /// The owning group id.
        gid: u32,
    },
    /// A folder.
    Folder {
        /// Permission bits.
        mode: u32,
        /// The owning user id.
        uid: u32,
        /// The owning group id.
        gid: u32,
    },
    /// A symbolic link and where it points.
    Link(PathBuf),
}

impl Node {
    /// A file of root.
    #[must_use]
    pub fn file(content: &str, mode: u32) -> Self {
        Node::File {
            content: content.to_owned(),
            mode,
            uid: 0,
            gid: 0,
        }
    }

    /// The content, if it is a file.
    #[must_use]
    pub fn content(&self) -> Option<&str> {
        match self {
            Node::File { content, .. } => Some(content),
            _ => None,
        }
    }

    pub(super) fn state(&self) -> PathState {
        match self {
            Node::File {
                content,
                mode,
                uid,
                gid,
            } => PathState::File {
                digest: digest::of_content(content.as_bytes()),
                owner: Owner::of(content.as_bytes()),
                mode: *mode,
                uid: *uid,
                gid: *gid,
            },
            Node::Folder { mode, uid, gid } => PathState::Folder {
                mode: *mode,
                uid: *uid,
                gid: *gid,
            },
            Node::Link(target) => PathState::Link(target.clone()),
        }
    }
}

/// All files and folders, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Disk(pub(super) BTreeMap<PathBuf, Node>);

impl Disk {
    pub(super) fn get(&self, path: &Path) -> Option<&Node> {
        self.0.get(path)
    }

    pub(super) fn content(&self, path: &Path) -> Option<&str> {
        self.get(path)?.content()
    }

    pub(super) fn is_folder(&self, path: &Path) -> bool {
        matches!(self.get(path), Some(Node::Folder { .. }))
    }

    /// Makes a folder of root and those above it, as `mkdir -p`.
    pub(super) fn make_folders(&mut self, path: &Path) {
        for folder in path.ancestors() {
            let folder_of_root = Node::Folder {
                mode: 0o755,
                uid: 0,
                gid: 0,
            };
            self.0.entry(folder.to_owned()).or_insert(folder_of_root);
        }
    }

    /// Writes a file, replacing a file or link that is there.
    pub(super) fn write(&mut self, path: &Path, node: Node) -> Result<(), String> {
        let shown = path.display();
        let parent = path.parent().ok_or_else(|| format!("{shown} is no file"))?;
        if !self.is_folder(parent) {
            return Err(format!(
                "cannot write {shown}: there is no folder {}",
                parent.display()
            ));
        }
        if self.is_folder(path) {
            return Err(format!("cannot write {shown}: a folder is in its place"));
        }
        self.0.insert(path.to_owned(), node);
        Ok(())
    }

    /// Removes what is at a path, with all that is in it.
    pub(super) fn remove(&mut self, path: &Path) {
        self.0.retain(|at, _| !at.starts_with(path));
    }

    /// Moves what is at a path, with all that is in it.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        let moved: Vec<PathBuf> = self
            .0
            .keys()
            .filter(|at| at.starts_with(from))
            .cloned()
            .collect();
        for at in moved {
            if let (Some(node), Ok(rest)) = (self.0.remove(&at), at.strip_prefix(from)) {
                // `join` with an empty path would add a slash.
                let target = if rest.as_os_str().is_empty() {
                    to.to_owned()
                } else {
                    to.join(rest)
                };
                self.0.insert(target, node);
            }
        }
    }

    /// The files directly in a folder whose names end so, by path.
    pub(super) fn files_in<'a>(
        &'a self,
        folder: &'a Path,
        end: &'a str,
    ) -> impl Iterator<Item = (&'a Path, &'a str)> {
        self.0.iter().filter_map(move |(path, node)| {
            let here = path.parent() == Some(folder) && path.to_str()?.ends_with(end);
            here.then_some((path.as_path(), node.content()?))
        })
    }
}
