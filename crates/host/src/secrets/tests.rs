//! Reading secrets from a folder, without systemd.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use ::age::x25519;

use super::age::tests::{encrypt, file_of};
use super::*;

/// A folder with manifests and a key in it.
struct Place {
    folder: tempfile::TempDir,
    key: x25519::Identity,
    secrets: Secrets,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("manifests/eu")).unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let mut spec = HostSpec::default();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().parse().unwrap();
        spec.paths.manifests = path("manifests");
        spec.paths.state = path("state");
        spec.secrets.age_identity_file = path("age.key");
        let key = x25519::Identity::generate();
        let secrets = Secrets::start(&spec, Systemd::spawn()).unwrap();
        let place = Self {
            folder,
            key,
            secrets,
        };
        place.put("age.key", file_of(&place.key).as_bytes(), 0o600);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, content: &[u8], mode: u32) {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What is read of one source of a tenant whose manifest is `eu/ky04.yaml`.
    async fn read(&self, source: SecretSource) -> Result<Vec<u8>, String> {
        let scope = Scope {
            tenant: "ky04".parse().unwrap(),
            user: String::new(),
            paths: [].into(),
            units: [].into(),
            release: None,
            secrets: [source.clone()].into(),
            manifest_folder: "eu".into(),
            credentials: PathBuf::new(),
            certificate: None,
            i360: None,
            adopt: BTreeSet::new(),
        };
        match self.secrets.open(&scope).await.remove(&source).unwrap()? {
            Opened::Content(value) => Ok(value.reveal().to_vec()),
            other => panic!("{other:?}"),
        }
    }

    async fn age(&self, file: &str) -> Result<Vec<u8>, String> {
        self.read(SecretSource::Age(file.parse().unwrap())).await
    }
}

/// Law 11.
#[tokio::test]
async fn a_file_of_the_host_is_read_as_it_is_if_root_alone_can_read_it() {
    let place = Place::new();
    let read = || place.read(SecretSource::File(place.path("s")));
    place.put("s", b"hush\n\xff", 0o600);
    assert_eq!(read().await.unwrap(), b"hush\n\xff");
    place.put("s", b"other", 0o600);
    assert_eq!(read().await.unwrap(), b"other");
    for mode in [0o644, 0o640, 0o620, 0o602] {
        place.put("s", b"hush", mode);
        let error = read().await.unwrap_err();
        assert!(error.contains("others than root"), "{mode:o}: {error}");
    }
    std::fs::remove_file(place.path("s")).unwrap();
    assert!(read().await.unwrap_err().contains("cannot read"));
    symlink("/etc/passwd", place.path("s")).unwrap();
    assert!(read().await.unwrap_err().contains("a symbolic link"));
    let folder = place.read(SecretSource::File(place.path("manifests")));
    assert!(folder.await.unwrap_err().contains("no regular file"));
}

#[tokio::test]
async fn a_file_beside_the_manifest_is_decrypted_with_the_hosts_key() {
    let place = Place::new();
    place.put(
        "manifests/eu/a.age",
        &encrypt(&place.key, b"one", true),
        0o644,
    );
    assert_eq!(place.age("a.age").await.unwrap(), b"one");
    place.put(
        "manifests/eu/a.age",
        &encrypt(&place.key, b"two", false),
        0o644,
    );
    assert_eq!(place.age("a.age").await.unwrap(), b"two");
    // A new key is taken up, and an old one forgotten.
    let other = x25519::Identity::generate();
    place.put("age.key", file_of(&other).as_bytes(), 0o600);
    let error = place.age("a.age").await.unwrap_err();
    assert!(
        error.contains("manifests/eu/a.age: it is encrypted for other keys"),
        "{error}"
    );
    for (mode, content, word) in [
        (0o640, file_of(&place.key), "others than root"),
        (
            0o600,
            "AGE-SECRET-KEY-1HUNTER2".to_owned(),
            "something else",
        ),
    ] {
        place.put("age.key", content.as_bytes(), mode);
        let error = place.age("a.age").await.unwrap_err();
        assert!(error.contains(word) && error.contains("age.key"), "{error}");
        assert!(!error.contains("HUNTER2"), "{error}");
    }
    std::fs::remove_file(place.path("age.key")).unwrap();
    let error = place.age("a.age").await.unwrap_err();
    assert!(error.contains("age-keygen -o"), "{error}");
}

/// Law 10: a repository of manifests leads nowhere else.
#[tokio::test]
async fn nothing_outside_of_the_manifests_is_read() {
    let place = Place::new();
    place.put("outside.age", &encrypt(&place.key, b"hush", false), 0o644);
    symlink(
        place.path("outside.age"),
        place.path("manifests/eu/link.age"),
    )
    .unwrap();
    symlink(place.folder.path(), place.path("manifests/eu/up")).unwrap();
    for file in ["link.age", "up/outside.age"] {
        let error = place.age(file).await.unwrap_err();
        assert!(error.contains("a symbolic link"), "{file}: {error}");
    }
    assert!(
        place
            .age("none.age")
            .await
            .unwrap_err()
            .contains("cannot read")
    );
}

/// The key is made once and kept.
#[test]
fn fingerprints_stay_the_same_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let of = || {
        let key = fingerprint_key(&path).unwrap();
        SecretValue::new("1234", &key).fingerprint().to_owned()
    };
    assert_eq!(of(), of());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, "short").unwrap();
    assert!(
        fingerprint_key(&path)
            .unwrap_err()
            .0
            .contains("instead of 32")
    );
}
