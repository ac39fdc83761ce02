//! What holds for every kind of destination.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cb_offsite::{Config, Destination, Error, Expired, Pushed};

use crate::fixtures::{
    backup, closed_folder, contents, flip, id, large_backup, names, size, tenant,
};
use crate::server::Server;

/// A destination of each kind, with the folder that its copies are in.
struct Kinds {
    server: Server,
    folder: tempfile::TempDir,
}

impl Kinds {
    async fn start() -> Self {
        Self {
            server: Server::start().await,
            folder: closed_folder(),
        }
    }

    fn all(&self) -> [(Destination, PathBuf); 2] {
        let path = self.folder.path().to_owned();
        let folder = Destination::new(&Config::Folder { path: path.clone() }).unwrap();
        [
            (self.server.destination(), self.server.file("host-1")),
            (folder, path),
        ]
    }
}

#[tokio::test]
async fn a_copy_comes_back_as_it_was() {
    let kinds = Kinds::start().await;
    for (destination, stored) in kinds.all() {
        let (ky, first) = (tenant("ky04"), id("20261124t213000z"));
        let source = large_backup();
        let bytes = size(source.path());
        let pushed = destination.push(&ky, &first, source.path()).await.unwrap();
        assert_eq!(pushed, Pushed::Copied { bytes });

        let copy = stored.join("ky04/20261124t213000z");
        let mut expected = names(source.path());
        expected.insert(0, "SHA256SUMS".to_owned());
        assert_eq!(names(&copy), expected);
        // A person needs nothing of ours to check a copy.
        let checked = std::process::Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(&copy)
            .status();
        assert!(checked.unwrap().success());

        let listed = destination.list(&ky).await.unwrap();
        let sums = fs::metadata(copy.join("SHA256SUMS")).unwrap().len();
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].id, listed[0].bytes), (&first, bytes + sums));
        let modified = fs::metadata(copy.join("backup.yaml")).unwrap().modified();
        let modified = jiff::Timestamp::try_from(modified.unwrap()).unwrap();
        assert_eq!(listed[0].copied.as_second(), modified.as_second());

        let again = destination.push(&ky, &first, source.path()).await.unwrap();
        assert_eq!(again, Pushed::AlreadyThere);

        let place = tempfile::tempdir().unwrap();
        let into = place.path().join("restored");
        let fetched = destination.fetch(&ky, &first, &into).await.unwrap();
        assert_eq!(fetched.bytes, bytes);
        assert_eq!(contents(&into), contents(source.path()));
        assert_eq!(names(place.path()), ["restored"]);
        assert_modes(&into);

        let error = destination.fetch(&ky, &first, &into).await.unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error}");
        assert_eq!(contents(&into), contents(source.path()));
    }
}

/// A fetched backup holds secrets.
fn assert_modes(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(folder), 0o700);
    for name in names(folder) {
        assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_copy_of_another_backup_is_never_replaced() {
    let kinds = Kinds::start().await;
    for (destination, stored) in kinds.all() {
        let (ky, first) = (tenant("ky04"), id("one"));
        let (ours, theirs) = (backup(1), backup(2));
        destination.push(&ky, &first, theirs.path()).await.unwrap();
        let before = contents(&stored.join("ky04/one"));
        let error = destination
            .push(&ky, &first, ours.path())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Different { .. }), "{error}");
        assert!(!error.is_transient());
        assert_eq!(contents(&stored.join("ky04/one")), before);
    }
}

#[tokio::test]
async fn damage_is_noticed_at_fetch_and_leaves_nothing_behind() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("a changed byte", |copy| flip(&copy.join("database.duckdb"))),
        ("a changed description", |copy| {
            flip(&copy.join("backup.yaml"))
        }),
        ("a lost file", |copy| {
            fs::remove_file(copy.join("env")).unwrap()
        }),
        ("a cut file", |copy| {
            fs::write(copy.join("env"), "SECR").unwrap()
        }),
        ("lost checksums", |copy| {
            fs::remove_file(copy.join("SHA256SUMS")).unwrap()
        }),
        ("a name that leaves the folder", |copy| {
            let sums = fs::read_to_string(copy.join("SHA256SUMS")).unwrap();
            let sums = sums.replace("  env\n", "  ../env\n");
            fs::write(copy.join("SHA256SUMS"), sums).unwrap();
        }),
    ];
    let kinds = Kinds::start().await;
    for (destination, stored) in kinds.all() {
        let ky = tenant("ky04");
        for (number, (what, damage)) in damages.iter().enumerate() {
            let copied = id(&format!("b{number}"));
            let source = backup(1);
            destination.push(&ky, &copied, source.path()).await.unwrap();
            damage(&stored.join(format!("ky04/b{number}")));
            let place = tempfile::tempdir().unwrap();
            let into = place.path().join("restored");
            let error = destination.fetch(&ky, &copied, &into).await.unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{what}: {error}");
            assert!(!error.is_transient(), "{what}");
            assert!(names(place.path()).is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_damaged_copy_is_made_whole_by_the_next_push() {
    let kinds = Kinds::start().await;
    for (destination, stored) in kinds.all() {
        let (ky, first) = (tenant("ky04"), id("one"));
        let source = backup(1);
        destination.push(&ky, &first, source.path()).await.unwrap();
        let copy = stored.join("ky04/one");
        let whole = contents(&copy);
        for name in ["env", "database.duckdb", "backup.yaml", "SHA256SUMS"] {
            fs::remove_file(copy.join(name)).unwrap();
            let pushed = destination.push(&ky, &first, source.path()).await.unwrap();
            assert!(matches!(pushed, Pushed::Copied { .. }), "{name}");
            assert_eq!(contents(&copy), whole, "{name}");
        }
    }
}

#[tokio::test]
async fn deleting_takes_one_copy_and_can_be_repeated() {
    let kinds = Kinds::start().await;
    for (destination, stored) in kinds.all() {
        let source = backup(1);
        let (one, two) = (id("one"), id("two"));
        // `ky0` begins the name of `ky04`, and `one` that of `one-more`.
        for (name, copied) in [("ky0", &one), ("ky04", &one), ("ky0", &two)] {
            let name = tenant(name);
            destination
                .push(&name, copied, source.path())
                .await
                .unwrap();
        }
        let more = id("one-more");
        destination
            .push(&tenant("ky0"), &more, source.path())
            .await
            .unwrap();
        assert!(destination.delete(&tenant("ky0"), &one).await.unwrap());
        assert!(!destination.delete(&tenant("ky0"), &one).await.unwrap());
        let ids = |entries: Vec<cb_offsite::Entry>| -> Vec<String> {
            entries.into_iter().map(|e| e.id.to_string()).collect()
        };
        let left = destination.list(&tenant("ky0")).await.unwrap();
        assert_eq!(ids(left), ["one-more", "two"]);
        let others = destination.list(&tenant("ky04")).await.unwrap();
        assert_eq!(ids(others), ["one"]);
        assert!(names(&stored.join("ky0/one")).is_empty());
        let into = source.path().join("restored");
        let error = destination
            .fetch(&tenant("ky0"), &one, &into)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
}

#[tokio::test]
async fn expiring_keeps_what_is_named_and_the_last_whole_copy() {
    let kinds = Kinds::start().await;
    for (destination, stored) in kinds.all() {
        let ky = tenant("ky04");
        let source = backup(1);
        for copied in ["a", "b", "c"] {
            destination
                .push(&ky, &id(copied), source.path())
                .await
                .unwrap();
        }
        // A half copy is no copy to count on, and somebody else's file not ours.
        fs::remove_file(stored.join("ky04/c/backup.yaml")).unwrap();
        fs::write(stored.join("ky04/notes"), "somebody's").unwrap();

        let keep = BTreeSet::from([id("a"), id("z")]);
        let expired = destination.expire(&ky, &keep).await.unwrap();
        let expected = Expired {
            deleted: vec![id("b"), id("c")],
            spared: None,
        };
        assert_eq!(expired, expected);
        let expired = destination.expire(&ky, &keep).await.unwrap();
        assert_eq!(expired, Expired::default());

        destination
            .push(&ky, &id("d"), source.path())
            .await
            .unwrap();
        let expired = destination.expire(&ky, &BTreeSet::new()).await.unwrap();
        let expected = Expired {
            deleted: vec![id("a")],
            spared: Some(id("d")),
        };
        assert_eq!(expired, expected);
        let left = destination.list(&ky).await.unwrap();
        assert_eq!(left.len(), 1);
        assert!(stored.join("ky04/notes").exists());
        assert!(destination.list(&tenant("ky0")).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_is_not_a_backup_is_refused_before_anything_is_sent() {
    type Spoil = fn(&Path);
    let spoils: [(&str, Spoil); 6] = [
        ("no description", |folder| {
            fs::remove_file(folder.join("backup.yaml")).unwrap()
        }),
        ("a name with a space", |folder| {
            fs::write(folder.join("a b"), "").unwrap()
        }),
        ("a hidden name", |folder| {
            fs::write(folder.join(".env"), "").unwrap()
        }),
        ("a name of ours", |folder| {
            fs::write(folder.join("SHA256SUMS"), "").unwrap()
        }),
        ("a folder", |folder| {
            fs::create_dir(folder.join("more")).unwrap()
        }),
        ("a name that is no text", |folder| {
            use std::os::unix::ffi::OsStrExt as _;
            let name = std::ffi::OsStr::from_bytes(b"\xff");
            fs::write(folder.join(name), "").unwrap();
        }),
    ];
    let kinds = Kinds::start().await;
    for (destination, stored) in kinds.all() {
        for (what, spoil) in spoils {
            let source = backup(1);
            spoil(source.path());
            let (ky, one) = (tenant("ky04"), id("one"));
            let pushed = destination.push(&ky, &one, source.path());
            let error = pushed.await.unwrap_err();
            assert!(matches!(error, Error::NotABackup { .. }), "{what}: {error}");
        }
        let source = backup(1);
        std::os::unix::fs::symlink("/etc/passwd", source.path().join("link")).unwrap();
        let (ky, one) = (tenant("ky04"), id("one"));
        let pushed = destination.push(&ky, &one, source.path());
        let error = pushed.await.unwrap_err();
        assert!(matches!(error, Error::Local { .. }), "{error}");
        assert!(names(&stored).is_empty());
    }
}
