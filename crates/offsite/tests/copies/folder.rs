//! What holds for a folder as the destination.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use cb_offsite::{Config, Destination, Error, Pushed};

use crate::fixtures::{backup, closed_folder, id, names, size, tenant};

#[tokio::test]
async fn a_folder_that_went_away_is_not_made_anew() {
    let outer = closed_folder();
    let path = outer.path().join("mount");
    let config = Config::Folder { path: path.clone() };
    let error = Destination::new(&config).unwrap_err();
    assert!(matches!(error, Error::NoDestination { .. }), "{error}");

    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let destination = Destination::new(&config).unwrap();
    fs::remove_dir(&path).unwrap();
    let source = backup(1);
    let (ky, one) = (tenant("ky04"), id("one"));
    let pushed = destination.push(&ky, &one, source.path());
    let error = pushed.await.unwrap_err();
    assert!(matches!(error, Error::NoDestination { .. }), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_folder_that_others_can_look_into_is_refused() {
    let folder = closed_folder();
    let config = Config::Folder {
        path: folder.path().to_owned(),
    };
    for (mode, fine) in [
        (0o700, true),
        (0o750, true),
        (0o755, false),
        (0o770, false),
        (0o701, false),
    ] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        match Destination::new(&config) {
            Ok(_) => assert!(fine, "{mode:o}"),
            Err(error) => {
                assert!(!fine, "{mode:o}: {error}");
                assert!(matches!(
                    error,
                    Error::Settings {
                        field: "folder",
                        ..
                    }
                ));
            }
        }
    }
}

#[tokio::test]
async fn what_an_interrupted_upload_left_is_taken_away() {
    let folder = closed_folder();
    let path = folder.path().to_owned();
    let destination = Destination::new(&Config::Folder { path }).unwrap();
    let ky = tenant("ky04");
    let source = backup(1);

    // A process that is killed in an upload leaves a file of this kind.
    let copy = folder.path().join("ky04/one");
    fs::create_dir_all(&copy).unwrap();
    fs::write(copy.join("database.duckdb#1"), "half").unwrap();
    fs::copy(source.path().join("env"), copy.join("env")).unwrap();
    assert!(destination.list(&ky).await.unwrap().is_empty());
    let pushed = destination
        .push(&ky, &id("one"), source.path())
        .await
        .unwrap();
    let there = fs::metadata(source.path().join("env")).unwrap().len();
    let bytes = size(source.path()) - there;
    assert_eq!(pushed, Pushed::Copied { bytes });
    assert!(names(&copy).iter().all(|name| !name.contains('#')));

    // One that has no object yet expires as any half copy.
    let copy = folder.path().join("ky04/two");
    fs::create_dir_all(&copy).unwrap();
    fs::write(copy.join("database.duckdb#1"), "half").unwrap();
    let expired = destination.expire(&ky, &[id("one")].into()).await.unwrap();
    assert_eq!(expired.deleted, [id("two")]);
    assert!(!copy.exists());
}

#[tokio::test]
async fn what_an_interrupted_fetch_left_is_replaced() {
    let folder = closed_folder();
    let path = folder.path().to_owned();
    let destination = Destination::new(&Config::Folder { path }).unwrap();
    let source = backup(1);
    let (ky, one) = (tenant("ky04"), id("one"));
    destination.push(&ky, &one, source.path()).await.unwrap();

    let place = tempfile::tempdir().unwrap();
    let left = place.path().join(".cb-fetch-restored");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("env"), "half").unwrap();
    fs::write(left.join("other"), "half").unwrap();
    let into = place.path().join("restored");
    destination.fetch(&ky, &one, &into).await.unwrap();
    assert_eq!(names(place.path()), ["restored"]);
    assert_eq!(names(&into), names(source.path()));
}
