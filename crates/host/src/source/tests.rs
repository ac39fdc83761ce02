//! The scripts against repositories in temporary folders.

use std::process::{Command, Output};

use super::*;

/// A person's clone, the repository on the server, and the operator's mirror.
struct Place {
    root: tempfile::TempDir,
    git: GitRepository,
}

impl Place {
    fn new(more: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let server = root.path().join("server");
        let text = format!("{{repository: {}, {more}}}", server.display());
        let place = Self {
            git: serde_yaml::from_str(&text).unwrap(),
            root,
        };
        place.sh(
            "mkdir mirror secrets; git init -q --bare -b main server; git clone -q server person 2>/dev/null\n\
             cd person; git checkout -q -b main; git config user.email dev@example.org; git config user.name dev",
        );
        place.commit("ky04.yaml", "one");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn sh(&self, script: &str) -> String {
        let output = Command::new("sh")
            .args(["-euc", script])
            .current_dir(self.root.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {complaint}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits a file with this text and pushes it.
    fn commit(&self, file: &str, text: &str) -> CommitId {
        let script = format!(
            "cd person; mkdir -p $(dirname {file}); echo '{text}' >{file}; git add .; git commit -qm '{text}'\n\
             git push -q origin HEAD:main; git rev-parse HEAD"
        );
        self.sh(&script).parse().unwrap()
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let text = format!("{HEAD}{COMMON}{script}");
        let mut command = Command::new("sh");
        command
            .args(["-euc", &text, "cb_source"])
            .args([self.git.repository.as_str(), self.git.reference.as_str()])
            .args(arguments)
            .current_dir(self.path("mirror"))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("CREDENTIALS_DIRECTORY", self.path("secrets"))
            .env("GIT_AUTHOR_NAME", "cb-operator")
            .env("GIT_AUTHOR_EMAIL", "cb-operator@web1")
            .env("GIT_COMMITTER_NAME", "cb-operator")
            .env("GIT_COMMITTER_EMAIL", "cb-operator@web1")
            .envs(environment(&self.git, &self.path("mirror")));
        command.output().unwrap()
    }

    fn fetch(&self, ask: Ask<'_>) -> Result<Fetched, String> {
        let path = self.git.path.as_ref().map_or("", |path| path.as_str());
        let output = self.run(FETCH, &[path, text(ask.applied), text(ask.skip)]);
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        layout::read(&self.git, &output.stdout, &self.path("mirror/out"))
    }

    fn newest(&self) -> Fetched {
        self.fetch(Ask::default()).unwrap()
    }

    fn push(
        &self,
        file: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<String, String> {
        let folder = self.path("mirror/in");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("message"), "by the operator").unwrap();
        for (name, text) in [("before", before), ("after", after)] {
            match text {
                Some(text) => std::fs::write(folder.join(name), format!("{text}\n")).unwrap(),
                None => drop(std::fs::remove_file(folder.join(name))),
            }
        }
        let output = self.run(PUSH, &[file]);
        match output.status.code() {
            Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
            Some(CHANGED) => Err("changed".into()),
            _ => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }
}

fn files(fetched: &Fetched) -> Vec<(&str, &str)> {
    let content = fetched.content.as_ref().unwrap();
    let text = |bytes| std::str::from_utf8(bytes).unwrap().trim();
    let all = content.files.iter();
    all.map(|(name, bytes)| (name.as_str(), text(bytes.as_slice())))
        .collect()
}

#[test]
fn a_branch_is_followed() {
    let place = Place::new("");
    let first = place.newest();
    assert_eq!(
        (first.history, files(&first)),
        (History::First, vec![("ky04.yaml", "one")])
    );
    assert_eq!(
        (first.commit.subject.as_str(), first.commit.author.as_str()),
        ("one", "dev")
    );
    place.sh("cd person; echo x >README; ln -s README link");
    let second = place.commit("hosts/oh09.yml", "two");
    let id = &first.commit.id;
    let ask = Ask {
        applied: Some(id),
        skip: Some(id),
    };
    let found = place.fetch(ask).unwrap();
    assert_eq!(
        (&found.commit.id, found.history),
        (&second, History::Forward)
    );
    assert_eq!(
        files(&found),
        [("hosts/oh09.yml", "two"), ("ky04.yaml", "one")]
    );
    let odd = &found.content.unwrap().odd;
    assert!(
        odd.len() == 1 && odd[0].starts_with("link: is a symbolic link"),
        "{odd:?}"
    );
    let again = Ask {
        applied: Some(&second),
        skip: Some(&second),
    };
    let again = place.fetch(again).unwrap();
    assert_eq!((again.history, again.content), (History::Forward, None));
    // The mirror is a cache.
    place.sh("rm -r mirror/mirror/objects");
    assert_eq!(place.newest().commit.id, second);
}

#[test]
fn a_folder_and_a_tag_are_followed() {
    let mut place = Place::new("ref: stable, path: hosts/web1");
    assert!(
        place
            .fetch(Ask::default())
            .unwrap_err()
            .contains("there is no branch or tag stable")
    );
    place.sh("cd person; git tag -a -m one stable; git push -q origin stable");
    let content = place.newest().content.unwrap();
    assert!(
        content.odd[0].starts_with("hosts/web1/: there is no such folder"),
        "{content:?}"
    );
    place.commit("hosts/web1/ky04.yaml", "two");
    place.sh("cd person; git tag -f -a -m two stable >/dev/null; git push -qf origin stable");
    assert_eq!(files(&place.newest()), [("ky04.yaml", "two")]);
    place.sh("cd person; git push -q origin HEAD:refs/heads/stable");
    assert!(
        place
            .fetch(Ask::default())
            .unwrap_err()
            .contains("is a branch and a tag")
    );
    place.git.reference = "main".parse().unwrap();
    assert_eq!(files(&place.newest()), [("ky04.yaml", "two")]);
}

#[test]
fn a_rewritten_and_a_rewound_history_is_seen() {
    let place = Place::new("");
    let first = place.newest().commit.id;
    let second = place.commit("ky04.yaml", "two");
    let history = |applied| {
        let ask = Ask {
            applied: Some(applied),
            skip: None,
        };
        place.fetch(ask).unwrap().history
    };
    assert_eq!(history(&second), History::Forward);
    place.sh("cd person; git push -qf origin HEAD~1:main");
    assert_eq!(history(&second), History::Lost);
    place.sh("cd person; git reset -q --hard HEAD~1; git commit -q --amend -m other; git push -qf origin HEAD:main");
    assert_eq!(history(&second), History::Lost);
    assert_eq!(history(&first), History::Lost);
    // A mirror that never had the applied commit.
    place.sh("rm -r mirror/mirror");
    assert_eq!(history(&second), History::Lost);
}

#[test]
fn only_a_listed_key_signs() {
    let place = Place::new("verify: {allowedSignersFile: /etc/cb/signers}");
    place.sh(
        "for k in listed other; do ssh-keygen -q -t ed25519 -N '' -f $k; done\n\
         echo \"dev@example.org $(cat listed.pub)\" >secrets/signers\n\
         cd person; git config gpg.format ssh; git config user.signingkey $PWD/../listed",
    );
    let why = place.newest().unsigned.unwrap();
    assert!(why.contains("is not signed; /etc/cb/signers"), "{why}");
    place.sh("cd person; git config commit.gpgsign true");
    place.commit("ky04.yaml", "two");
    assert_eq!(place.newest().unsigned, None);
    place.sh("cd person; git config user.signingkey $PWD/../other");
    place.commit("ky04.yaml", "three");
    let why = place.newest().unsigned.unwrap();
    assert!(why.contains("not by a listed key"), "{why}");
    // One that is listed, over something else.
    place.sh(
        "cd person; git config user.signingkey $PWD/../listed; git commit -q --amend --no-edit\n\
         git cat-file commit HEAD | sed 's/^three$/four/' >../forged\n\
         git push -qf origin $(git hash-object -t commit -w ../forged):main",
    );
    assert!(place.newest().unsigned.is_some());
}

#[test]
fn a_change_is_pushed_on_top_of_what_others_did() {
    let place = Place::new("");
    place.newest();
    // Somebody else was faster, with another file.
    place.commit("oh09.yaml", "else");
    place
        .push("ky04.yaml", Some("one"), Some("by api"))
        .unwrap();
    place.push("eu/tx28.yaml", None, Some("new")).unwrap();
    place.push("oh09.yaml", Some("else"), None).unwrap();
    let found = place.newest();
    assert_eq!(
        files(&found),
        [("eu/tx28.yaml", "new"), ("ky04.yaml", "by api")]
    );
    assert_eq!(found.commit.author, "cb-operator");
    let log = place.sh("git -C server log --format=%s main");
    assert_eq!(log.lines().count(), 5, "{log}");
    // With the same file.
    assert_eq!(
        place.push("ky04.yaml", Some("one"), Some("x")),
        Err("changed".into())
    );
    assert_eq!(
        place.push("ky04.yaml", None, Some("x")),
        Err("changed".into())
    );
    assert_eq!(place.newest().commit, found.commit);
}

/// Somebody pushes between the fetch and the push: the change is made again.
#[test]
fn a_lost_race_is_run_again() {
    let place = Place::new("");
    place.sh(
        "cd person; echo else >oh09.yaml; git add .; git commit -qm else; cd ..\n\
         printf '#!/bin/sh\\n[ -e ../raced ] && exit 0\\ntouch ../raced\\nunset GIT_DIR GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY\\n\
             git -C ../person push -q origin HEAD:main\\nexit 1\\n' >server/hooks/pre-receive\n\
         chmod 755 server/hooks/pre-receive",
    );
    place
        .push("ky04.yaml", Some("one"), Some("by api"))
        .unwrap();
    assert_eq!(
        files(&place.newest()),
        [("ky04.yaml", "by api"), ("oh09.yaml", "else")]
    );
    // A server that never takes it is not asked for ever.
    place.sh("printf '#!/bin/sh\\necho the branch is protected >&2\\nexit 1\\n' >server/hooks/pre-receive");
    let why = place
        .push("ky04.yaml", Some("by api"), Some("x"))
        .unwrap_err();
    assert!(why.contains("the branch is protected"), "{why}");
}

#[test]
fn a_tag_is_not_committed_to() {
    let place = Place::new("ref: v1");
    place.sh("cd person; git tag v1; git push -q origin v1");
    let why = place
        .push("ky04.yaml", Some("one"), Some("two"))
        .unwrap_err();
    assert!(why.contains("v1 is a tag"), "{why}");
}

/// Law 11: a file that others can read is no secret, and git is told the token
/// by a pipe alone.
#[test]
fn secrets_are_secret() {
    let place = Place::new("");
    let token = place.path("secrets/token");
    std::fs::write(&token, "hunter2\n").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let why = check_credential(&token, true).unwrap_err().to_string();
    assert!(
        why.contains("chmod 600") && !why.contains("hunter2"),
        "{why}"
    );
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    check_credential(&token, true).unwrap();
    let why = check_credential(&place.path("none"), false).unwrap_err();
    assert!(
        why.to_string().contains("cannot read") && why.to_string().contains("none"),
        "{why}"
    );
    let ask = "rm -rf out; mkdir out\nprintf 'protocol=https\\nhost=example.org\\n\\n' | git credential fill";
    let filled = |content: &str| {
        std::fs::write(&token, content).unwrap();
        let output = place.run(ask, &[]);
        String::from_utf8(output.stdout).unwrap()
    };
    for content in ["hunter2", "hunter2\n"] {
        let told = filled(content);
        assert!(told.contains("username=git\npassword=hunter2\n"), "{told}");
    }
    let told = filled("deploy\nhunter2\n");
    assert!(
        told.contains("username=deploy\npassword=hunter2\n"),
        "{told}"
    );
}
