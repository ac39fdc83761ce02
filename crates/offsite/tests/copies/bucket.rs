//! What holds for a bucket as the destination.

use std::fs;

use cb_offsite::{Config, Credentials, Destination, Error, Pushed, S3};
use tokio::net::TcpSocket;

use crate::fixtures::{DATABASE, backup, contents, id, large_backup, names, size, tenant};
use crate::server::{Fault, KEY_ID, SECRET, Server, settings};

#[tokio::test]
async fn a_large_file_is_sent_in_parts_and_small_ones_whole() {
    let server = Server::start().await;
    let source = large_backup();
    let destination = server.destination();
    let (ky, one) = (tenant("ky04"), id("one"));
    let pushed = destination.push(&ky, &one, source.path());
    pushed.await.unwrap();
    assert_eq!(server.count("partNumber="), 3);
    // Nothing of the uploads is left in the server.
    let left = names(server.file("..").as_path());
    assert!(left.iter().all(|name| !name.contains("upload")), "{left:?}");
    // A whole copy costs a listing and the two small objects.
    destination
        .push(&tenant("ky04"), &id("one"), source.path())
        .await
        .unwrap();
    assert_eq!(server.count(""), 3);
}

#[tokio::test]
async fn a_copy_whose_sending_was_killed_is_none_and_is_completed() {
    let source = large_backup();
    let (ky, one) = (tenant("ky04"), id("one"));
    // One write begins the database's upload, three are its parts, one ends
    // it. Then come the log, the `env`, the checksums and the description.
    for (writes, kept) in [
        (0, 0),
        (2, 0),
        (5, DATABASE),
        (8, size(source.path()) as usize),
    ] {
        let server = Server::start().await;
        let destination = server.destination();
        server.set_fault(Fault::WritesHangAfter(writes));
        let folder = source.path().to_owned();
        let (for_ky, for_one) = (ky.clone(), one.clone());
        let sending =
            tokio::spawn(async move { destination.push(&for_ky, &for_one, &folder).await });
        server.hangs().await;
        sending.abort();
        assert!(sending.await.unwrap_err().is_cancelled());
        server.set_fault(Fault::None);

        let destination = server.destination();
        assert!(destination.list(&ky).await.unwrap().is_empty(), "{writes}");
        let place = tempfile::tempdir().unwrap();
        let into = place.path().join("restored");
        let error = destination.fetch(&ky, &one, &into).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{writes}: {error}");

        let pushed = destination.push(&ky, &one, source.path()).await.unwrap();
        let description = fs::metadata(source.path().join("backup.yaml"))
            .unwrap()
            .len();
        let missing = match writes {
            8 => description,
            _ => size(source.path()) - kept as u64,
        };
        assert_eq!(pushed, Pushed::Copied { bytes: missing }, "{writes}");
        destination.fetch(&ky, &one, &into).await.unwrap();
        assert_eq!(contents(&into), contents(source.path()), "{writes}");
    }
}

#[tokio::test]
async fn what_the_server_stores_wrong_never_counts_as_a_copy() {
    let server = Server::start().await;
    let source = large_backup();
    let (ky, one) = (tenant("ky04"), id("one"));
    let destination = server.destination();
    server.set_fault(Fault::StoresWrong);
    let error = destination
        .push(&ky, &one, source.path())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(destination.list(&ky).await.unwrap().is_empty());
    assert!(!server.file("host-1/ky04/one/database.duckdb").exists());
    server.set_fault(Fault::None);
    let pushed = destination.push(&ky, &one, source.path()).await.unwrap();
    assert!(matches!(pushed, Pushed::Copied { .. }));
}

#[tokio::test]
async fn wrong_credentials_are_named_and_not_shown() {
    let server = Server::start().await;
    let source = backup(1);
    let wrong = "the-wrong-secret-secret";
    for content in [format!("{KEY_ID}\n{wrong}"), format!("AKIAOTHER\n{SECRET}")] {
        let s3 = S3 {
            credentials: Credentials::parse(&content).unwrap(),
            ..server.settings()
        };
        let config = Config::S3(s3);
        let destination = Destination::new(&config).unwrap();
        let (ky, one) = (tenant("ky04"), id("one"));
        let pushed = destination.push(&ky, &one, source.path());
        let error = pushed.await.unwrap_err();
        assert!(matches!(error, Error::Credentials { .. }), "{error}");
        assert!(!error.is_transient());
        for shown in [
            error.to_string(),
            format!("{error:?} {config:?} {destination:?}"),
        ] {
            assert!(!shown.contains(wrong) && !shown.contains(SECRET), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_named_by_every_call() {
    let server = Server::start().await;
    let source = backup(1);
    let s3 = S3 {
        bucket: "elsewhere".parse().unwrap(),
        ..server.settings()
    };
    let destination = Destination::new(&Config::S3(s3)).unwrap();
    let (ky, one) = (tenant("ky04"), id("one"));
    let into = source.path().join("restored");
    let errors = [
        destination
            .push(&ky, &one, source.path())
            .await
            .unwrap_err(),
        destination.list(&ky).await.unwrap_err(),
        destination.fetch(&ky, &one, &into).await.unwrap_err(),
        destination.delete(&ky, &one).await.unwrap_err(),
        destination
            .expire(&ky, &[one.clone()].into())
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::NoDestination { .. }), "{error}");
        assert!(error.to_string().contains("elsewhere") && !error.is_transient());
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_one_to_try_later() {
    // The port is taken and nobody listens on it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let s3 = settings(&format!("http://{address}"));
    let destination = Destination::new(&Config::S3(s3)).unwrap();
    let source = backup(1);
    let (ky, one) = (tenant("ky04"), id("one"));
    let error = destination
        .push(&ky, &one, source.path())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(
        error.is_transient() && error.to_string().contains("refused"),
        "{error}"
    );

    let server = Server::start_on(socket.listen(64).unwrap(), None);
    let pushed = destination.push(&ky, &one, source.path()).await.unwrap();
    assert!(matches!(pushed, Pushed::Copied { .. }));
    assert!(server.file("host-1/ky04/one/backup.yaml").exists());
}

#[tokio::test]
async fn failures_of_the_server_are_told_apart() {
    let server = Server::start().await;
    let source = large_backup();
    let (ky, one) = (tenant("ky04"), id("one"));
    let destination = server.destination();
    let faults = [
        (Fault::Status(503), true, "503 AsTheTestWants"),
        (Fault::Status(429), true, "429 AsTheTestWants"),
        (Fault::Status(500), true, "500 AsTheTestWants"),
        (Fault::Disconnect, true, ""),
        (Fault::WritesFailAfter(3), true, "503 AsTheTestWants"),
        (Fault::Status(400), false, "400 AsTheTestWants"),
        (Fault::Status(403), false, "403 AsTheTestWants"),
        (Fault::Status(301), false, "correct the region"),
    ];
    for (fault, transient, said) in faults {
        server.set_fault(fault);
        let error = destination
            .push(&ky, &one, source.path())
            .await
            .unwrap_err();
        assert_eq!(error.is_transient(), transient, "{fault:?}: {error}");
        assert!(error.to_string().contains(said), "{fault:?}: {error}");
        // The rest of the answer is not repeated.
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
        server.set_fault(Fault::None);
        assert!(destination.list(&ky).await.unwrap().is_empty());
    }
    destination.push(&ky, &one, source.path()).await.unwrap();
}

#[tokio::test]
async fn keys_stay_below_the_prefix() {
    let server = Server::start().await;
    let source = backup(1);
    server
        .destination()
        .push(&tenant("ky04"), &id("one"), source.path())
        .await
        .unwrap();
    assert_eq!(names(&server.file("")), ["host-1"]);
    assert_eq!(names(&server.file("host-1")), ["ky04"]);
    let s3 = S3 {
        prefix: None,
        ..server.settings()
    };
    let bare = Destination::new(&Config::S3(s3)).unwrap();
    bare.push(&tenant("ky04"), &id("one"), source.path())
        .await
        .unwrap();
    assert_eq!(names(&server.file("")), ["host-1", "ky04"]);
    // What would leave it has no type to be given as.
    for hostile in [
        "..",
        "../ky05",
        "ky04/..",
        "/ky04",
        "ky04/one",
        "",
        "ky04\0",
        "ky04%2f..",
    ] {
        assert!(
            hostile.parse::<cb_core::types::TenantName>().is_err(),
            "{hostile:?}"
        );
        assert!(
            hostile.parse::<cb_core::types::BackupId>().is_err(),
            "{hostile:?}"
        );
        assert!(
            hostile.parse::<cb_core::types::ObjectName>().is_err(),
            "{hostile:?}"
        );
    }
}
