use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::admission::{KnownApplication, KnownTenant};
use crate::manifest::{AnyObject, parse};

const APPLICATION: &str = "apiVersion: campaignbrain.io/v1alpha1\nkind: Application\n\
    metadata: {name: app}\nspec:\n  versions: [{name: v1, folder: {path: /srv/app}}]\n  \
    services: [{name: api, command: bin/api, portOffset: 1}]\n";

fn tenant(name: &str, domain: &str) -> String {
    format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec:\n  \
         application: app\n  version: v1\n  domains: [{domain}]\n"
    )
}

fn scan(files: &[(&str, String)]) -> Scan {
    let mut all = vec![("app.yaml", APPLICATION.to_owned())];
    all.extend(files.iter().cloned());
    let read = |(path, text): (&str, String)| (path.to_owned(), Ok(parse(path, text.as_bytes())));
    Scan {
        complete: true,
        files: all.into_iter().map(read).collect(),
    }
}

fn known(manifests: &Scan) -> Known {
    let mut known = Known::default();
    for (path, file) in &manifests.files {
        for document in &file.as_ref().unwrap().documents {
            match document.object.clone().unwrap() {
                AnyObject::Tenant(tenant) => {
                    let of = KnownTenant {
                        tenant: Arc::clone(&tenant),
                        file: path.clone(),
                        active: true,
                        runs: BTreeSet::new(),
                        missing_since: None,
                    };
                    known.tenants.insert(tenant.metadata.name.clone(), of);
                }
                AnyObject::Application(application) => {
                    let name = application.metadata.name.clone();
                    let file = path.clone();
                    known
                        .applications
                        .insert(name, KnownApplication { application, file });
                }
                AnyObject::Host(_) => {}
            }
        }
    }
    known
}

fn git() -> GitRepository {
    serde_yaml::from_str("{repository: /srv/fleet, path: hosts/web1}").unwrap()
}

fn host() -> Host {
    let text = "{apiVersion: campaignbrain.io/v1alpha1, kind: Host, metadata: {name: web1}, \
                spec: {prune: {maxPercent: 34}}}";
    serde_yaml::from_str(text).unwrap()
}

fn id(letter: char) -> CommitId {
    letter.to_string().repeat(40).parse().unwrap()
}

fn status(accepted: Option<char>) -> SourceStatus {
    let commit = Commit {
        id: id('a'),
        subject: "first".into(),
        author: String::new(),
    };
    SourceStatus {
        applied: Some(Applied {
            commit,
            at: String::new(),
        }),
        accepted: accepted.map(id),
        ..SourceStatus::new(&git())
    }
}

/// What becomes of commit `b` after one with three tenants.
fn judged(after: &Scan, history: History, accepted: Option<char>) -> Verdict {
    judged_with(after, history, accepted, (None, &[]))
}

fn judged_with(
    after: &Scan,
    history: History,
    accepted: Option<char>,
    (unsigned, odd): (Option<&str>, &[String]),
) -> Verdict {
    let tip = Tip {
        commit: &id('b'),
        history,
        unsigned,
        odd,
        manifests: after,
    };
    let known = known(&three());
    judge((&known, &host()), &git(), tip, &status(accepted), 0)
}

fn three() -> Scan {
    scan(&[
        ("ky04.yaml", tenant("ky04", "ky04.example.org")),
        ("oh09.yaml", tenant("oh09", "oh09.example.org")),
        ("tx28.yaml", tenant("tx28", "tx28.example.org")),
    ])
}

fn names(names: &[&str]) -> Vec<TenantName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn applied(delete: &[&str]) -> Verdict {
    Verdict::Apply {
        delete: names(delete),
    }
}

fn refused(verdict: Verdict) -> (Why, String) {
    match verdict {
        Verdict::Refuse { why, messages } => (why, messages.join("\n")),
        Verdict::Apply { .. } => panic!("it takes effect"),
    }
}

#[test]
fn a_good_commit_takes_effect() {
    let more = scan(&[
        ("moved/ky04.yaml", tenant("ky04", "ky04.example.org")),
        ("oh09.yaml", tenant("oh09", "new.example.org")),
        ("tx28.yaml", tenant("tx28", "tx28.example.org")),
        ("wy01.yaml", tenant("wy01", "wy01.example.org")),
    ]);
    assert_eq!(judged(&more, History::Forward, None), applied(&[]));
    assert_eq!(judged(&more, History::First, None), applied(&[]));
}

/// Law 12: nothing of a commit with an error takes effect, and every error is
/// told with its place in the repository.
#[test]
fn one_error_refuses_the_commit() {
    let mut bad = three();
    let text = tenant("ky04", "ky04.example.org").replace("version", "versoin");
    bad.files
        .insert("ky04.yaml".into(), Ok(parse("ky04.yaml", text.as_bytes())));
    let twice = parse("b.yaml", tenant("wy01", "oh09.example.org").as_bytes());
    bad.files.insert("b.yaml".into(), Ok(twice));
    let (why, messages) = refused(judged(&bad, History::Forward, Some('b')));
    assert_eq!(why, Why::Invalid);
    assert!(
        messages.contains("hosts/web1/ky04.yaml:6:3: "),
        "{messages}"
    );
    assert!(messages.contains("hosts/web1/b.yaml:7:"), "{messages}");
    let odd = ["hosts/web1/link: is a symbolic link".to_owned()];
    let found = judged_with(&three(), History::Forward, None, (None, &odd));
    let (_, messages) = refused(found);
    assert!(messages.starts_with("hosts/web1/link: is a symbolic link"));
}

/// A renamed tenant has the domain of its old self, which goes in the same
/// commit.
#[test]
fn a_tenant_is_renamed_in_one_commit() {
    let renamed = scan(&[
        ("ky05.yaml", tenant("ky05", "ky04.example.org")),
        ("oh09.yaml", tenant("oh09", "oh09.example.org")),
        ("tx28.yaml", tenant("tx28", "tx28.example.org")),
    ]);
    assert_eq!(judged(&renamed, History::Forward, None), applied(&[]));
}

/// Law 2: what removes many waits for a person, who then names them.
#[test]
fn many_go_only_when_a_person_accepts_it() {
    let one = scan(&[("ky04.yaml", tenant("ky04", "ky04.example.org"))]);
    let (why, messages) = refused(judged(&one, History::Forward, None));
    assert_eq!(why, Why::TooManyRemoved);
    assert!(messages.contains("removes oh09, tx28"), "{messages}");
    assert!(messages.contains("at most 1 of 3"), "{messages}");
    // That another commit was accepted means nothing.
    refused(judged(&one, History::Forward, Some('c')));
    let accepted = judged(&one, History::Forward, Some('b'));
    assert_eq!(accepted, applied(&["oh09", "tx28"]));
    let none = Scan {
        complete: true,
        files: BTreeMap::new(),
    };
    let (_, messages) = refused(judged(&none, History::Forward, None));
    assert!(messages.contains("no manifest at all"), "{messages}");
}

#[test]
fn a_lost_history_waits_and_tells_what_else_it_does() {
    let (why, messages) = refused(judged(&three(), History::Lost, None));
    assert_eq!(why, Why::HistoryLost);
    assert!(messages.contains(id('a').as_str()), "{messages}");
    assert_eq!(judged(&three(), History::Lost, Some('b')), applied(&[]));
    let one = scan(&[("ky04.yaml", tenant("ky04", "ky04.example.org"))]);
    let (why, messages) = refused(judged(&one, History::Lost, None));
    assert_eq!(why, Why::HistoryLost);
    assert!(messages.contains("removes oh09, tx28"), "{messages}");
}

#[test]
fn nobody_accepts_an_unsigned_commit() {
    let unsigned = (Some("it is not signed"), &[][..]);
    let found = judged_with(&three(), History::Forward, Some('b'), unsigned);
    assert_eq!(refused(found).0, Why::Unsigned);
    assert!(!Why::Unsigned.is_acceptable() && !Why::Invalid.is_acceptable());
}

#[test]
fn the_status_of_another_branch_says_nothing() {
    let mut other = git();
    assert!(status(None).is_of(&other));
    other.reference = "next".parse().unwrap();
    assert!(!status(None).is_of(&other));
    assert_eq!(SourceStatus::new(&other).word(), "Starting");
    assert_eq!(status(None).word(), "Current");
}
