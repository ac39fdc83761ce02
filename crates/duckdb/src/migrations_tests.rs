//! What follows from files and records, without a database.

#![allow(
    clippy::disallowed_methods,
    reason = "a test writes its own throwaway files"
)]

use super::*;

fn file(version: i64, name: &str, sql: &str) -> Migration {
    Migration {
        version,
        name: name.to_owned(),
        file: format!("{version:04}_{name}.sql"),
        sha256: format!("hash of {sql}"),
        sql: sql.to_owned(),
    }
}

fn applied(file: &Migration) -> Applied {
    Applied {
        version: file.version,
        name: file.name.clone(),
        sha256: Some(file.sha256.clone()),
    }
}

fn three() -> Vec<Migration> {
    vec![
        file(1, "a", "SELECT 1"),
        file(2, "b", "SELECT 2"),
        file(3, "c", "SELECT 3"),
    ]
}

#[test]
fn what_is_not_recorded_is_pending_up_to_the_target() {
    let files = three();
    let plan_all = plan(&files, &[applied(&files[0])], None).unwrap();
    assert_eq!((plan_all.from, plan_all.to), (1, 3));
    assert_eq!(plan_all.pending, files[1..]);
    assert!(plan_all.adopt.is_empty());

    let plan_some = plan(&files, &[], Some(2)).unwrap();
    assert_eq!(plan_some.pending, files[..2]);

    let all: Vec<Applied> = files.iter().map(applied).collect();
    let nothing = plan(&files, &all, Some(3)).unwrap();
    assert_eq!((nothing.from, nothing.to), (3, 3));
    assert!(nothing.pending.is_empty());
}

#[test]
fn a_record_without_a_checksum_is_given_one() {
    let files = three();
    let mut record = applied(&files[0]);
    record.sha256 = None;
    assert_eq!(plan(&files, &[record], None).unwrap().adopt, files[..1]);
}

#[test]
fn contradictions_are_refused_by_file_name() {
    let files = three();
    let one = applied(&files[0]);
    let edited = Applied {
        sha256: Some("other".to_owned()),
        ..one.clone()
    };
    let renamed = Applied {
        name: "z".to_owned(),
        ..one.clone()
    };
    let all: Vec<Applied> = files.iter().map(applied).collect();
    let late = [one.clone(), all[2].clone()];
    let commit = [files[0].clone(), file(2, "b", "SELECT 1;\nCOMMIT;")];
    let cases: [(Result<Plan, Refused>, &str); 7] = [
        (plan(&files, &[edited], None), "0001_a.sql was edited"),
        (plan(&files, &[renamed], None), "under the name 0001_z.sql"),
        (plan(&files[..2], &all, None), "0003_c.sql was applied"),
        (plan(&files, &late, None), "0002_b.sql comes too late"),
        (plan(&files, &all, Some(2)), "no way back to 2"),
        (plan(&files, &all, Some(4)), "no migration 4"),
        (
            plan(&commit, &[one], None),
            "0002_b.sql, line 2: a migration cannot have the statement COMMIT",
        ),
    ];
    for (result, words) in cases {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_is_pending_is_known_without_the_database() {
    let folder = Path::new("/m");
    let files = vec![file(1, "a", "COMMIT"), file(3, "c", "SELECT 3")];
    // What was applied is not run again, so it may be what it likes.
    assert_eq!(pending(&files, folder, 1).unwrap(), &files[1..]);
    assert_eq!(pending(&files, folder, 3).unwrap(), []);
    for (at, words) in [
        (0, "0001_a.sql, line 1"),
        (2, "/m has no migration of that number"),
        (
            4,
            "ahead of the release: it is at version 4, and /m has migrations up to 3",
        ),
    ] {
        let error = pending(&files, folder, at).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_folder_is_read_in_order_and_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    assert!(matches!(
        load(folder.path()),
        Err(Error::Refused(Refused::None { .. }))
    ));
    put("0002_b.sql", b"SELECT 2");
    put("0001_a.sql", b"SELECT 1");
    put("README", b"not SQL");
    let names: Vec<String> = load(folder.path())
        .unwrap()
        .into_iter()
        .map(|migration| migration.file)
        .collect();
    assert_eq!(names, ["0001_a.sql", "0002_b.sql"]);

    put("0002_c.sql", b"SELECT 2");
    let error = load(folder.path()).unwrap_err().to_string();
    assert_eq!(error, "0002_b.sql and 0002_c.sql have the same number");
    fs::remove_file(folder.path().join("0002_c.sql")).unwrap();

    put("0003_x.sql", b"\xff");
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("0003_x.sql is not UTF-8 text"), "{error}");
    fs::remove_file(folder.path().join("0003_x.sql")).unwrap();

    for wrong in [
        "3_x.sql",
        "0000_x.sql",
        "0003_.sql",
        "0003.sql",
        "+003_x.sql",
    ] {
        put(wrong, b"SELECT 1");
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
        fs::remove_file(folder.path().join(wrong)).unwrap();
    }
}
