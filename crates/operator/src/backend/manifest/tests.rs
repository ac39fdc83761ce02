//! The edit of a real file: what changes, what stays, and what is refused.

use std::collections::BTreeMap;

use super::*;

const KY04: &str = "\
# the first\r
apiVersion: campaignbrain.io/v1alpha1\r
kind: Tenant\r
metadata: {name: ky04}   # Häuser\r
spec:\r
  # which one\r
  version: v0.2.0   # pinned\r
  application: cbapp\r
";

const OH01: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Tenant
metadata: {name: oh01}
spec: {application: cbapp, version: v0.2.0}
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            std::fs::write(folder.0.path().join(name), text).unwrap();
        }
        folder
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// What the catalog would have read.
    fn scan(&self) -> Manifests {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let files: BTreeMap<_, _> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let file = parse(&name, &std::fs::read(&path).unwrap());
                (name, Ok(file))
            })
            .collect();
        Manifests {
            complete: true,
            files,
        }
    }

    fn edit(&self, manifests: &Manifests, tenant: &str) -> Result<Edit, String> {
        let (tenant, version) = (tenant.parse().unwrap(), "v0.3.0".parse().unwrap());
        let change = Change {
            tenant: &tenant,
            version: &version,
            last: "ky04.yaml",
        };
        let edit = Edit::of(self.0.path(), manifests, change);
        edit.map_err(|problem| {
            assert_eq!(problem.kind, ProblemKind::ManifestConflict);
            let folder = self.0.path().display().to_string();
            problem.detail.replace(&folder, "[folder]")
        })
    }
}

#[test]
fn the_version_changes_and_nothing_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let marked = format!("\u{feff}{KY04}---\n{OH01}");
    let folder = Folder::new(&[("both.yaml", &marked)]);
    let path = folder.0.path().join("both.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let edit = folder.edit(&folder.scan(), "ky04").unwrap();
    assert_eq!(edit.object.name(), "ky04");
    assert_eq!(folder.read("both.yaml"), marked, "it is not written yet");
    edit.write().unwrap();
    let expected = marked.replacen("v0.2.0", "v0.3.0", 1);
    assert_eq!(folder.read("both.yaml"), expected);
    // The other document, from the file as it is now.
    let edit = folder.edit(&folder.scan(), "oh01").unwrap();
    edit.write().unwrap();
    assert_eq!(folder.read("both.yaml"), marked.replace("v0.2.0", "v0.3.0"));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

/// Law 12: what would be right is said, with the file.
#[test]
fn what_cannot_be_edited_says_what_to_commit_where() {
    let aliased = OH01.replace("version: v0.2.0", "env: {A: &v v0.2.0}, version: *v");
    let anchored = OH01.replace("version: v0.2.0", "version: &v v0.2.0, env: {A: *v}");
    let broken = OH01.replace("version", "versoin");
    let elsewhere = Folder::new(&[]);
    let said = [
        Folder::new(&[("a.yaml", &aliased)]),
        Folder::new(&[("a.yaml", &anchored)]),
        Folder::new(&[("a.yaml", &broken)]),
        Folder::new(&[("a.yaml", OH01), ("b.yaml", OH01)]),
        elsewhere,
    ]
    .map(|folder| folder.edit(&folder.scan(), "oh01").unwrap_err());
    insta::assert_snapshot!(said.join("\n"));
}

/// Law 5: a person's change is never lost.
#[test]
fn a_file_that_was_changed_meanwhile_is_left_alone() {
    let folder = Folder::new(&[("a.yaml", OH01)]);
    let scan = folder.scan();
    let edit = folder.edit(&scan, "oh01").unwrap();
    let newer = format!("# mine\n{OH01}");
    std::fs::write(
        folder.0.path().join("a.yaml"),
        newer.replace("v0.2.0", "v0.2.1"),
    )
    .unwrap();
    let refused = edit.write().unwrap_err();
    assert_eq!(refused.kind, ProblemKind::ManifestConflict);
    assert!(refused.detail.contains("changed meanwhile"), "{refused}");
    assert!(folder.edit(&scan, "oh01").unwrap_err().contains("just now"));
    assert!(folder.read("a.yaml").starts_with("# mine\n"));
}
