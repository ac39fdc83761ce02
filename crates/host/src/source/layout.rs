//! Reads what a fetch laid out. It was written by a user without rights from
//! what a stranger may have committed: nothing in it is taken at its word.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::Path;

use cb_core::api::GitRepository;
use cb_core::source::{Commit, History};
use cb_core::types::{is_sealed_file, shown};

use super::{Content, Fetched};
use crate::releases::tree::open_plain;

/// How much is read of the list of files, and of the files together, in bytes.
const MAX_TREE: u64 = 16 << 20;
const MAX_BLOBS: u64 = 64 << 20;
/// How long a commit's subject and author may be in characters.
const MAX_WORDS: usize = 200;

/// Reads what the script said and laid out in `out`.
pub(super) fn read(git: &GitRepository, said: &[u8], out: &Path) -> Result<Fetched, String> {
    let said = String::from_utf8_lossy(said);
    let mut words: HashMap<&str, &str> = HashMap::new();
    for line in said.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        words.entry(key).or_insert(value);
    }
    let word = |key: &str| words.get(key).copied().unwrap_or_default();
    let id = word("commit");
    let id = id
        .parse()
        .map_err(|_| format!("git names the commit `{}`, which is no SHA-1", shown(id)))?;
    let history = match word("history") {
        "first" => History::First,
        "forward" => History::Forward,
        _ => History::Lost,
    };
    let unsigned = words.get("signature").map(|found| {
        let found = match *found {
            "N" => "is not signed",
            _ => "has a signature that is not by a listed key",
        };
        let signers = git
            .verify
            .as_ref()
            .map(|of| of.allowed_signers_file.as_str());
        let signers = signers.unwrap_or_default();
        format!("{id} {found}; {signers} lists the keys")
    });
    let content = match words.contains_key("no") {
        true => {
            let path = git.in_repository("");
            Some(Content {
                odd: vec![format!("{path}: there is no such folder in {id}")],
                ..Content::default()
            })
        }
        false if out.join("tree").exists() => Some(content(git, out)?),
        false => None,
    };
    Ok(Fetched {
        commit: Commit {
            id,
            subject: plain(word("subject")),
            author: plain(word("author")),
        },
        history,
        unsigned,
        content,
    })
}

/// Words of a stranger, made fit for a line of text.
fn plain(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.take(MAX_WORDS).collect()
}

fn content(git: &GitRepository, out: &Path) -> Result<Content, String> {
    let tree = read_all(&out.join("tree"), MAX_TREE)?;
    let mut blobs = blobs(&read_all(&out.join("blobs"), MAX_BLOBS)?)?;
    let mut wanted = BTreeMap::new();
    let mut odd = Vec::new();
    for entry in tree
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
    {
        let tab = entry.iter().position(|byte| *byte == b'\t');
        let Some((facts, name)) = tab.map(|tab| (&entry[..tab], &entry[tab + 1..])) else {
            return Err("the list of files is broken".to_owned());
        };
        let facts = String::from_utf8_lossy(facts);
        let mut facts = facts.split(' ');
        let (mode, id) = (facts.next().unwrap_or_default(), facts.nth(1));
        let Ok(name) = std::str::from_utf8(name) else {
            let name = shown(&String::from_utf8_lossy(name));
            odd.push(format!(
                "{}: the name is not UTF-8",
                git.in_repository(&name)
            ));
            continue;
        };
        let path = git.in_repository(&shown(name));
        if name.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            odd.push(format!("{path}: the name leads out of the folder"));
            continue;
        }
        match mode {
            "100644" | "100755" => {
                let yaml = [".yaml", ".yml"].iter().any(|end| name.ends_with(end));
                if yaml || is_sealed_file(name) {
                    wanted.insert(name.to_owned(), id.unwrap_or_default().to_owned());
                }
            }
            "120000" => odd.push(format!(
                "{path}: is a symbolic link, and links are not followed; put a file in its place"
            )),
            "160000" => odd.push(format!(
                "{path}: is a submodule, and submodules are not fetched; put its files in its place"
            )),
            mode => odd.push(format!("{path}: has the mode {}", shown(mode))),
        }
    }
    let mut files = BTreeMap::new();
    let mut uses: HashMap<String, usize> = HashMap::new();
    for id in wanted.values() {
        *uses.entry(id.clone()).or_default() += 1;
    }
    for (name, id) in wanted {
        let left = uses.entry(id.clone()).or_default();
        *left -= 1;
        // Several files may have the same content.
        let content = match *left {
            0 => blobs.remove(&id),
            _ => blobs.get(&id).cloned(),
        };
        let content =
            content.ok_or_else(|| format!("the content of {} is missing", shown(&name)))?;
        files.insert(name, content);
    }
    Ok(Content { files, odd })
}

/// The output of `git cat-file --batch`: `ID blob SIZE`, a line feed, the
/// content, a line feed.
fn blobs(mut rest: &[u8]) -> Result<HashMap<String, Vec<u8>>, String> {
    let broken = || "the content of the files is broken".to_owned();
    let mut out = HashMap::new();
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(broken)?;
        let head = String::from_utf8_lossy(&rest[..end]);
        let mut head = head.split(' ');
        let (id, size) = (head.next().unwrap_or_default(), head.nth(1));
        let size: usize = size.and_then(|size| size.parse().ok()).ok_or_else(broken)?;
        let content = rest.get(end + 1..).and_then(|rest| rest.get(..size));
        out.insert(id.to_owned(), content.ok_or_else(broken)?.to_vec());
        rest = rest.get(end + 2 + size..).ok_or_else(broken)?;
    }
    Ok(out)
}

fn read_all(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = open_plain(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut content = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut content);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if content.len() as u64 > limit {
        return Err(format!(
            "the manifests have more than {} MiB; put what is none into another folder",
            limit >> 20
        ));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git() -> GitRepository {
        serde_yaml::from_str("{repository: /srv/fleet}").unwrap()
    }

    fn content_of(tree: &[u8], blobs: &[u8]) -> Result<Content, String> {
        let out = tempfile::tempdir().unwrap();
        std::fs::write(out.path().join("tree"), tree).unwrap();
        std::fs::write(out.path().join("blobs"), blobs).unwrap();
        content(&git(), out.path())
    }

    /// Law 10: names and kinds that a stranger made up reach no file.
    #[test]
    fn nothing_leads_out_and_nothing_odd_is_taken() {
        let tree = b"100644 blob a1\ta.yaml\x00100644 blob a1\t../../etc/b.yaml\x00\
                     120000 blob a2\tlink.yaml\x00160000 commit a3\tsub\x00100644 blob a4\tREADME\x00\
                     100755 blob a1\tx/b.yml\x00100644 blob a1\tx/s.age\x00100644 blob a1\t\xff.yaml\x00";
        let found = content_of(tree, b"a1 blob 3\nk:\n\n").unwrap();
        let names: Vec<_> = found.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["a.yaml", "x/b.yml", "x/s.age"]);
        assert_eq!(found.files["x/b.yml"], b"k:\n");
        let starts = [
            "../../etc/b.yaml: the name leads",
            "link.yaml: is a symbolic link",
            "sub: is a submodule",
        ];
        for (line, start) in found.odd.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
        assert_eq!(found.odd.len(), 4, "{:?}", found.odd);
    }

    #[test]
    fn what_is_cut_off_is_no_content() {
        for blobs in [&b"a1 blob 30\nk:\n"[..], b"a1 missing\n", b"a1 blob 3", b""] {
            assert!(content_of(b"100644 blob a1\ta.yaml\0", blobs).is_err());
        }
        assert!(content_of(b"no tab\0", b"").is_err());
        assert!(read(&git(), b"commit HEAD\n", Path::new("/nonexistent")).is_err());
    }
}
