//! The manifests of a commit, as a reading of the folder would find them.

use std::collections::BTreeMap;
use std::path::Path;

use cb_core::admission::Scan;
use cb_core::manifest::parse;
use cb_core::types::is_sealed_file;
use cb_core::yaml::MAX_BYTES;
use cb_runtime::Filter as _;

use crate::catalog::ManifestFiles;

/// Leaves out what a reading leaves out: hidden files and folders, statuses.
pub(super) fn of_commit(files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let counts = |name: &String| {
        let path = Path::new(name);
        let mut folders = path.ancestors().skip(1);
        ManifestFiles.file(path)
            && folders.all(|folder| folder.as_os_str().is_empty() || ManifestFiles.folder(folder))
    };
    files.into_iter().filter(|(name, _)| counts(name)).collect()
}

/// Parses the files that are manifests.
pub(super) fn scan(files: &BTreeMap<String, Vec<u8>>) -> Scan {
    let read = |(name, content): (&String, &Vec<u8>)| {
        let size = content.len();
        let file = match size > MAX_BYTES {
            true => Err(format!(
                "has {size} bytes; a manifest has at most {MAX_BYTES}"
            )),
            false => Ok(parse(name, content)),
        };
        (name.clone(), file)
    };
    Scan {
        complete: true,
        files: files
            .iter()
            .filter(|(name, _)| !is_sealed_file(name))
            .map(read)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_leaves_out_is_left_out_of_a_commit() {
        let names = [
            "ky04.yaml",
            "eu/de/a.yml",
            ".github/ci.yaml",
            "eu/.x.yaml",
            "ky04.status.yaml",
            ".sops.yaml",
            "ky04.env.age",
            "ky04.sops.yaml",
            "ky04.env",
        ];
        let files = names.map(|name| (name.to_owned(), b"kind: [".to_vec()));
        let kept = of_commit(files.into());
        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        let secrets = ["ky04.env.age", "ky04.sops.yaml"];
        assert_eq!(names, ["eu/de/a.yml", secrets[0], secrets[1], "ky04.yaml"]);
        assert!(!scan(&kept).is_clean());
        let parsed = scan(&kept).files;
        assert!(secrets.iter().all(|name| !parsed.contains_key(*name)));
        let large = BTreeMap::from([("a.yaml".to_owned(), vec![b' '; MAX_BYTES + 1])]);
        assert!(scan(&large).files["a.yaml"].is_err());
    }
}
