//! Releases from folders and archives, in temporary folders.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use data_encoding::HEXLOWER;

use super::*;
use crate::systemd::Systemd;
use crate::users::Users;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn release(&self, source: &str) -> Release {
        Release {
            application: "cbapp".parse().unwrap(),
            version: "v1".parse().unwrap(),
            source: serde_json::from_str(source).unwrap(),
            build: None,
            path: self.path("releases/cbapp/v1"),
        }
    }

    fn folder_release(&self) -> Release {
        let source = self.path("source");
        std::fs::create_dir_all(&source).unwrap();
        let json = format!(
            r#"{{"name":"v1","folder":{{"path":"{}"}}}}"#,
            source.display()
        );
        self.release(&json)
    }

    fn archive_release(&self, archive: &[u8]) -> Release {
        use sha2::Digest as _;
        let path = self.path("release.tar.gz");
        std::fs::write(&path, archive).unwrap();
        let sha256 = HEXLOWER.encode(&sha2::Sha256::digest(archive));
        let path = path.display();
        let json = format!(r#"{{"name":"v1","archive":{{"path":"{path}","sha256":"{sha256}"}}}}"#);
        self.release(&json)
    }

    /// Nothing of a refused release is left.
    fn assert_nothing_installed(&self) {
        let left = std::fs::read_dir(self.path("releases/cbapp"));
        assert_eq!(left.map_or(0, Iterator::count), 0);
    }
}

fn workers(place: &Place) -> Workers {
    let users = Arc::new(Users::spawn());
    Workers::new(
        &place.path("state"),
        &place.path("sysusers"),
        Systemd::spawn(),
        users,
    )
}

fn releases(place: &Place) -> Releases {
    Releases::new(workers(place))
}

/// An entry of an archive: name, type, link target, mode. The name is written
/// raw, because the tar crate would refuse the hostile ones.
fn tar(entries: &[(&str, tar::EntryType, &str, u32)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, target, mode) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        let content: &[u8] = if *kind == tar::EntryType::Regular {
            b"hello"
        } else {
            b""
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;
const LINK: tar::EntryType = tar::EntryType::Symlink;

#[tokio::test]
async fn a_folder_becomes_a_release_that_nobody_can_write_to() {
    let place = Place::new();
    let release = place.folder_release();
    std::fs::create_dir(place.path("source/bin")).unwrap();
    std::fs::write(place.path("source/bin/app"), "#!").unwrap();
    let executable = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(place.path("source/bin/app"), executable).unwrap();
    std::fs::write(place.path("source/readme"), "x").unwrap();
    symlink("app", place.path("source/bin/link")).unwrap();
    releases(&place).install(&release).await.unwrap();
    assert!(Releases::is_installed(&release.path));
    let inside = |name: &str| release.path.join(name);
    assert_eq!(mode(&release.path), 0o555);
    assert_eq!(mode(&inside("bin")), 0o555);
    assert_eq!(mode(&inside("bin/app")), 0o555);
    assert_eq!(mode(&inside("readme")), 0o444);
    assert_eq!(
        std::fs::read_link(inside("bin/link")).unwrap(),
        Path::new("app")
    );
    let json = std::fs::read(inside(MANIFEST)).unwrap();
    let manifest: Manifest = serde_json::from_slice(&json).unwrap();
    assert_eq!(manifest.version, "v1");
}

#[tokio::test]
async fn an_archive_with_one_top_folder_loses_it() {
    let archive = tar(&[
        ("./cbapp-v1/", DIR, "", 0o755),
        ("./cbapp-v1/bin/app", FILE, "", 0o755),
        ("./cbapp-v1/bin/link", LINK, "../bin/app", 0o777),
    ]);
    for archive in [gzip(&archive), archive] {
        let place = Place::new();
        let release = place.archive_release(&archive);
        releases(&place).install(&release).await.unwrap();
        let app = release.path.join("bin/app");
        assert_eq!(std::fs::read(&app).unwrap(), b"hello");
        assert_eq!(mode(&app), 0o555);
    }
}

#[tokio::test]
async fn an_archive_with_several_top_entries_stays_as_it_is() {
    let place = Place::new();
    let archive = tar(&[("bin/app", FILE, "", 0o755), ("readme", FILE, "", 0o644)]);
    let release = place.archive_release(&archive);
    releases(&place).install(&release).await.unwrap();
    assert!(release.path.join("bin/app").is_file());
    assert!(release.path.join("readme").is_file());
}

/// Law 10.
#[tokio::test]
async fn hostile_entries_are_refused_by_name_and_nothing_is_left() {
    let device = tar::EntryType::Char;
    let hard = tar::EntryType::Link;
    for (entry, kind, target, mode) in [
        ("/etc/cron.d/x", FILE, "", 0o644),
        ("../x", FILE, "", 0o644),
        ("a/../../x", FILE, "", 0o644),
        ("abs", LINK, "/etc/passwd", 0o777),
        ("up", LINK, "../../x", 0o777),
        ("sneaky", LINK, "bin/../../x", 0o777),
        ("null", device, "", 0o666),
        ("hard", hard, "/etc/passwd", 0o644),
        ("suid", FILE, "", 0o4755),
        (".cb-release.json", FILE, "", 0o644),
    ] {
        let place = Place::new();
        let archive = tar(&[("bin/app", FILE, "", 0o755), (entry, kind, target, mode)]);
        let release = place.archive_release(&archive);
        let error = releases(&place).install(&release).await.unwrap_err();
        let named = error.to_string().contains(&format!("`{entry}`"));
        assert!(
            named && matches!(error, ReleaseError::Hostile { .. }),
            "{error}"
        );
        place.assert_nothing_installed();
    }
}

/// Law 10: a file written "through" a link of the same archive.
#[tokio::test]
async fn nothing_is_written_through_a_link() {
    let place = Place::new();
    let archive = tar(&[
        ("bin", LINK, "lib", 0o777),
        ("lib/x", FILE, "", 0o644),
        ("bin/x", FILE, "", 0o644),
    ]);
    let release = place.archive_release(&archive);
    assert!(releases(&place).install(&release).await.is_err());
    place.assert_nothing_installed();
}

#[tokio::test]
async fn a_wrong_checksum_names_both() {
    let place = Place::new();
    let release = place.archive_release(&tar(&[("a", FILE, "", 0o644)]));
    let changed = tar(&[("b", FILE, "", 0o644)]);
    std::fs::write(place.path("release.tar.gz"), changed).unwrap();
    let error = releases(&place).install(&release).await.unwrap_err();
    let ReleaseError::Checksum {
        expected, found, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_ne!(expected, found);
    place.assert_nothing_installed();
}

#[tokio::test]
async fn what_is_too_large_or_cut_off_is_refused() {
    let place = Place::new();
    let release = place.archive_release(&tar(&[("a", FILE, "", 0o644), ("b", FILE, "", 0o644)]));
    for limits in [(7, 100), (100, 1)] {
        let (bytes, entries) = limits;
        let releases = Releases::with_limits(workers(&place), Limits { bytes, entries });
        let error = releases.install(&release).await.unwrap_err();
        assert!(matches!(error, ReleaseError::TooLarge { .. }), "{error}");
        place.assert_nothing_installed();
    }
    let whole = gzip(&tar(&[("a", FILE, "", 0o644)]));
    let release = place.archive_release(&whole[..whole.len() / 2]);
    assert!(releases(&place).install(&release).await.is_err());
    place.assert_nothing_installed();
}

#[tokio::test]
async fn many_who_ask_get_one_release() {
    let place = Place::new();
    let release = place.archive_release(&tar(&[("a", FILE, "", 0o644)]));
    let releases = releases(&place);
    let all = (0..20).map(|_| releases.install(&release));
    for result in futures::future::join_all(all).await {
        result.unwrap();
    }
    assert_eq!(
        std::fs::read_dir(place.path("releases/cbapp"))
            .unwrap()
            .count(),
        1
    );
}

/// Law 5.
#[tokio::test]
async fn what_a_killed_process_left_is_removed() {
    let place = Place::new();
    let left = place.path(&format!("releases/cbapp/{}1-2", tree::TEMPORARY));
    std::fs::create_dir_all(left.join("bin")).unwrap();
    std::fs::create_dir_all(place.path("releases/cbapp/v0")).unwrap();
    remove_abandoned(&place.path("releases")).unwrap();
    assert!(!left.exists());
    assert!(place.path("releases/cbapp/v0").exists());
}

#[tokio::test]
async fn a_missing_source_is_named() {
    let place = Place::new();
    let release = place.folder_release();
    std::fs::remove_dir(place.path("source")).unwrap();
    let error = releases(&place).install(&release).await.unwrap_err();
    assert!(error.to_string().contains("/source"), "{error}");
    place.assert_nothing_installed();
}

/// Law 8: a full disk is told in the same words each time, of the place that
/// the release was for.
#[tokio::test]
async fn a_full_disk_is_told_in_the_same_words_each_time() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let place = Place::new();
    let release = place.folder_release();
    std::fs::write(place.path("source/large"), vec![0; 1 << 20]).unwrap();
    let folder = place.path("releases");
    std::fs::create_dir_all(&folder).unwrap();
    let options = c"size=64k";
    mount("tmpfs", &folder, "tmpfs", MountFlags::empty(), options)
        .expect("the tests run as root and can mount");
    let first = releases(&place).install(&release).await;
    let second = releases(&place).install(&release).await;
    unmount(&folder, UnmountFlags::DETACH).unwrap();
    let (first, second) = (first.unwrap_err(), second.unwrap_err());
    assert!(matches!(&first, ReleaseError::File(error) if error.is_no_space()));
    let wanted = release.path.join("large").display().to_string();
    assert!(first.to_string().contains(&wanted), "{first}");
    assert_eq!(first.to_string(), second.to_string());
}

/// What differs, as a person is told.
fn differences(releases: &Releases, release: &Release) -> Vec<String> {
    let found = releases.differences(&release.path);
    found.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_was_changed_in_a_release_is_told_by_name() {
    let place = Place::new();
    let release = place.folder_release();
    for name in ["bin/app", "bin/other", "lib/a/b", "lib/a/c", "readme"] {
        let path = place.path("source").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    symlink("app", place.path("source/bin/link")).unwrap();
    let releases = releases(&place);
    releases.install(&release).await.unwrap();
    assert_eq!(differences(&releases, &release), [""; 0]);

    let inside = |name: &str| release.path.join(name);
    let permissions = |mode| std::fs::Permissions::from_mode(mode);
    // The same length and time: the inode's own time tells.
    let meta = inside("bin/app").metadata().unwrap();
    std::fs::write(inside("bin/app"), "bin/APP").unwrap();
    let file = std::fs::File::options()
        .append(true)
        .open(inside("bin/app"))
        .unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    std::fs::set_permissions(inside("bin/other"), permissions(0o777)).unwrap();
    std::os::unix::fs::chown(inside("readme"), Some(1234), None).unwrap();
    std::fs::remove_dir_all(inside("lib/a")).unwrap();
    std::fs::write(inside("lib/new"), "").unwrap();
    std::fs::remove_file(inside("bin/link")).unwrap();
    symlink("other", inside("bin/link")).unwrap();
    std::fs::set_permissions(&release.path, permissions(0o755)).unwrap();
    assert_eq!(
        differences(&releases, &release),
        [
            "the release has mode 755 instead of 555",
            "`bin/app` has another content",
            "`bin/link` has another content",
            "`bin/other` has mode 777 instead of 444",
            "`lib/a` is gone",
            "`lib/new` was added",
            "`readme` belongs to 1234:0 instead of root",
        ]
    );
    // To install it again puts it right, and leaves nothing of the other.
    releases.install(&release).await.unwrap();
    assert_eq!(differences(&releases, &release), [""; 0]);
    assert_eq!(std::fs::read(inside("bin/app")).unwrap(), b"bin/app");
    let names = std::fs::read_dir(place.path("releases/cbapp")).unwrap();
    assert_eq!(names.count(), 1);
    std::fs::remove_file(inside(SUMS)).unwrap();
    assert_eq!(
        differences(&releases, &release),
        ["`.cb-release.sums` is gone"]
    );
    std::fs::remove_dir_all(&release.path).unwrap();
    assert_eq!(differences(&releases, &release), ["the release is gone"]);
}

/// A file that was touched is read once and remembered; one that was not is
/// never read.
#[tokio::test]
async fn only_files_that_were_touched_are_read() {
    let place = Place::new();
    let release = place.folder_release();
    std::fs::write(place.path("source/a"), "a").unwrap();
    std::fs::write(place.path("source/b"), "b").unwrap();
    let releases = releases(&place);
    releases.install(&release).await.unwrap();
    let read = || {
        assert_eq!(differences(&releases, &release), [""; 0]);
        releases.inner.verified.read()
    };
    assert_eq!(read(), 0);
    let path = release.path.join("a");
    std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
    assert_eq!(read(), 1);
    assert_eq!(read(), 1);
    std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
    assert_eq!(read(), 2);
}
