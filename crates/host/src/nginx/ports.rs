//! The ports that nginx's configuration refers to, outside our own sites.
//!
//! Tolerant on purpose: no directive is understood but `include`. Every word
//! that ends in `:PORT` counts, as do the plain numbers of `listen` and `set`.
//! A port too many costs a slot; one too few could give a tenant somebody
//! else's port. Parsed again only when a file or folder that was read changed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cb_core::mark::Owner;

use crate::files::{FileCache, FileError, Stamp};

/// Includes that include themselves end here.
const MAX_FILES: usize = 10_000;

/// The ports, remembered while the files stay as they are.
#[derive(Debug)]
pub struct ReferencedPorts {
    config: PathBuf,
    files: Arc<FileCache>,
    last: Mutex<Option<Read>>,
}

#[derive(Debug, Clone)]
struct Read {
    /// What was looked at and how it was.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    ports: BTreeSet<u16>,
}

impl ReferencedPorts {
    /// Of the configuration that starts in this file.
    #[must_use]
    pub fn new(config: PathBuf, files: Arc<FileCache>) -> Self {
        Self {
            config,
            files,
            last: Mutex::default(),
        }
    }

    /// The ports. Without a configuration there are none.
    ///
    /// # Errors
    /// A file of the configuration cannot be read.
    pub fn get(&self) -> Result<BTreeSet<u16>, FileError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = &*last
            && read.stamps.iter().all(|(path, at)| stamp(path) == *at)
        {
            return Ok(read.ports.clone());
        }
        let mut reader = Reader::new(&self.config, &self.files);
        reader.file(&self.config)?;
        let (stamps, ports) = (reader.stamps, reader.ports);
        let settled =
            |(_, at): &(PathBuf, Option<Stamp>)| at.as_ref().is_none_or(Stamp::is_settled);
        let keep = stamps.iter().all(settled);
        *last = keep.then(|| Read {
            stamps,
            ports: ports.clone(),
        });
        Ok(ports)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    rustix::fs::stat(path).ok().as_ref().map(Stamp::of)
}

struct Reader<'a> {
    /// Tells our own sites without reading them again.
    files: &'a FileCache,
    /// Relative includes are relative to the main file's folder.
    base: PathBuf,
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    ports: BTreeSet<u16>,
}

impl<'a> Reader<'a> {
    fn new(config: &Path, files: &'a FileCache) -> Self {
        Self {
            files,
            base: config.parent().unwrap_or(Path::new("/")).to_owned(),
            stamps: Vec::new(),
            ports: BTreeSet::new(),
        }
    }

    fn file(&mut self, path: &Path) -> Result<(), FileError> {
        if self.stamps.len() > MAX_FILES || self.stamps.iter().any(|(seen, _)| seen == path) {
            return Ok(());
        }
        self.stamps.push((path.to_owned(), stamp(path)));
        let content = match path.metadata() {
            // nginx follows links, so it is their target that is read.
            Ok(meta) if meta.len() <= crate::files::MAX_READ => fs::read(path),
            Ok(_) => return Ok(()),
            Err(error) => Err(error),
        };
        let content = match content {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(FileError::io("read", path, error)),
        };
        if Owner::of(&content).is_some() {
            return Ok(());
        }
        for directive in directives(&String::from_utf8_lossy(&content)) {
            match directive.split_first() {
                Some((name, targets)) if name == "include" => {
                    for target in targets {
                        self.include(target)?;
                    }
                }
                _ => self.ports.extend(ports_of(&directive)),
            }
        }
        Ok(())
    }

    fn include(&mut self, pattern: &str) -> Result<(), FileError> {
        let pattern = self.base.join(pattern);
        let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else {
            return Ok(());
        };
        let Some(name) = name.to_str() else {
            return Ok(());
        };
        for folder in self.folders(folder) {
            if !name.contains(['*', '?']) {
                self.file(&folder.join(name))?;
                continue;
            }
            self.stamps.push((folder.clone(), stamp(&folder)));
            let owned = self.files.owned(&folder, "")?;
            let is_owned = |name: &str| owned.iter().any(|file| file.name == name);
            let mut names: Vec<_> = match fs::read_dir(&folder) {
                Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(FileError::io("read the folder", &folder, error)),
            };
            names.sort();
            for entry in names.iter().filter_map(|entry| entry.to_str()) {
                if matches(name.as_bytes(), entry.as_bytes()) && !is_owned(entry) {
                    self.file(&folder.join(entry))?;
                }
            }
        }
        Ok(())
    }

    /// The folders of a pattern with a pattern in the folder's name too, as in
    /// `sites/*/nginx.conf`; one level is enough for any host seen.
    fn folders(&mut self, folder: &Path) -> Vec<PathBuf> {
        let parts = (
            folder.parent(),
            folder.file_name().and_then(|name| name.to_str()),
        );
        let (Some(above), Some(name)) = parts else {
            return vec![folder.to_owned()];
        };
        if !name.contains(['*', '?']) {
            return vec![folder.to_owned()];
        }
        self.stamps.push((above.to_owned(), stamp(above)));
        let Ok(entries) = fs::read_dir(above) else {
            return Vec::new();
        };
        let entries = entries.flatten().map(|entry| entry.file_name());
        entries
            .filter(|entry| matches(name.as_bytes(), entry.as_encoded_bytes()))
            .map(|entry| above.join(entry))
            .collect()
    }
}

/// A file name against a pattern of `*` and `?`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    fn rest(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', after)), _) if rest(after, name) => true,
            (Some((b'*', _)), Some((_, name))) => rest(pattern, name),
            (Some((b'?', pattern)), Some((_, name))) => rest(pattern, name),
            (Some((a, pattern)), Some((b, name))) if a == b => rest(pattern, name),
            _ => false,
        }
    }
    rest(pattern, name)
}

/// The words of each directive.
fn directives(text: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_empty() => drop(chars.by_ref().find(|c| *c == '\n')),
            '"' | '\'' if word.is_empty() => {
                while let Some(inner) = chars.next().filter(|inner| *inner != c) {
                    match inner {
                        '\\' => word.extend(chars.next()),
                        inner => word.push(inner),
                    }
                }
                words.push(std::mem::take(&mut word));
            }
            c if c.is_whitespace() || matches!(c, ';' | '{' | '}') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                if !c.is_whitespace() && !words.is_empty() {
                    all.push(std::mem::take(&mut words));
                }
            }
            c => word.push(c),
        }
    }
    all
}

fn ports_of(directive: &[String]) -> Vec<u16> {
    let numbers = matches!(directive[0].as_str(), "listen" | "set");
    let words = directive.iter().skip(1);
    let port = |word: &String| {
        let text = match word.rsplit_once(':') {
            // `127.0.0.1:3000`, `http://127.0.0.1:3000/x`
            Some((_, after)) => after.split(['/', '$', '?']).next().unwrap_or(""),
            None if numbers => word,
            None => return None,
        };
        text.parse().ok().filter(|port| *port != 0)
    };
    words.filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn ports_are_found_wherever_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(
            root,
            "nginx.conf",
            r#"
            user www-data; # proxy_pass http://127.0.0.1:1111;
            http {
                log_format main '$remote_addr [$time_local] "$request"';
                include mime.types;
                include conf.d/*.conf;
                include sites/*/site.conf;
                include nginx.conf;
                upstream app { server 127.0.0.1:3001 weight=5; server [::1]:3002; }
            }"#,
        );
        write(
            root,
            "conf.d/other.conf",
            r#"server { listen 8080 default_server; listen [::]:8081; listen unix:/run/x.sock;
                set $port 3003; location / { proxy_pass "http://127.0.0.1:3004/x/"; } }"#,
        );
        write(root, "conf.d/ignored.txt", "server { listen 9; }");
        write(
            root,
            "sites/a/site.conf",
            "server { listen 127.0.0.1:8082; }",
        );
        let mark = Owner::Tenant("ky04".to_owned()).header();
        let ours = format!("{mark}server {{ proxy_pass http://127.0.0.1:32300; }}");
        write(root, "conf.d/cb-ky04.conf", &ours);
        let ports = ReferencedPorts::new(root.join("nginx.conf"), Arc::default());
        let expected = BTreeSet::from([3001, 3002, 3003, 3004, 8080, 8081, 8082]);
        assert_eq!(ports.get().unwrap(), expected);
        // A new file is seen at once.
        write(root, "conf.d/new.conf", "server { listen 8083; }");
        assert!(ports.get().unwrap().contains(&8083));
        fs::remove_file(root.join("conf.d/new.conf")).unwrap();
        assert_eq!(ports.get().unwrap(), expected);
    }

    #[test]
    fn no_nginx_no_ports() {
        let ports = ReferencedPorts::new(PathBuf::from("/nonexistent/nginx.conf"), Arc::default());
        assert_eq!(ports.get().unwrap(), BTreeSet::new());
    }

    #[test]
    fn patterns_are_the_shells() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".a.conf", false),
            ("*.conf", "a.conf.bak", false),
            ("a?c*", "abcdef", true),
            ("*", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn broken_text_is_no_reason_to_stop() {
        assert_eq!(directives("a { b \"c; d").len(), 1);
        assert_eq!(directives("}}};;;{").len(), 0);
    }
}
