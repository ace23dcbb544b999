//! Against the real `git`.

use super::*;
use crate::report::Log;
use crate::report::status::{Context, ContextKind, State};
use crate::source::RepoUrl;
use crate::source::testing::{Behaviour, TestRepo, TestServer, git_in};
use jiff::Timestamp;
use std::path::Path;

fn local(repo: &TestRepo) -> GitNotes {
    let url = RepoUrl::local(repo.path()).unwrap();
    GitNotes::new(GitMirror::open(&url, Path::new("/nonexistent")).unwrap())
}

fn note(revision: &str, second: i64, description: &str) -> Note {
    let context = Context::new("driftless", ContextKind::Health);
    let time = Timestamp::from_second(second).unwrap();
    Note::new(time, &Revision::parse(revision).unwrap(), &context, State::Success, description)
}

fn show(dir: &Path, revision: &str) -> String {
    git_in(dir, &["notes", "--ref=driftless", "show", revision])
}

#[test]
fn git_itself_shows_them() {
    let repo = TestRepo::new();
    let one = repo.commit("one", &[("f", "1")]);
    let notes = local(&repo);
    assert!(notes.read(&Revision::parse(&one).unwrap()).unwrap().is_empty());
    notes.append(&[note(&one, 1, "first")]).unwrap();
    notes.append(&[note(&one, 2, "second"), note(&one, 1, "first")]).unwrap();
    let shown = show(repo.path(), &one);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.starts_with(r#"{"time":"1970-01-01T00:00:01Z","revision":""#), "{shown}");
    assert!(repo.git(&["log", "--notes=driftless"]).contains(r#""description":"second""#));
    let read = notes.read(&Revision::parse(&one).unwrap()).unwrap();
    assert_eq!(read, [note(&one, 1, "first"), note(&one, 2, "second")]);
    repo.git(&["fsck", "--full", "--strict"]);
}

#[test]
fn many_commits_and_every_layout_that_git_makes() {
    let repo = TestRepo::new();
    let commits: Vec<String> = (0..40).map(|i| repo.commit("c", &[("f", &i.to_string())])).collect();
    let notes = local(&repo);
    // A flat entry by git, then ours beside and over it, then git over ours.
    repo.git(&["notes", "--ref=driftless", "add", "-m", "a remark", &commits[0]]);
    let all: Vec<Note> = commits.iter().map(|commit| note(commit, 5, "x")).collect();
    notes.append(&all).unwrap();
    assert!(show(repo.path(), &commits[0]).starts_with("a remark\n{"));
    repo.git(&["notes", "--ref=driftless", "append", "-m", "later", &commits[1]]);
    notes.append(&[note(&commits[1], 6, "y")]).unwrap();
    let text = show(repo.path(), &commits[1]);
    assert!(text.contains("later") && text.lines().filter(|line| line.starts_with('{')).count() == 2, "{text}");
    // `ab/cd/…`, as git lays out very many notes.
    let id = &commits[2];
    let blob = repo.git(&["notes", "--ref=driftless", "list", id]);
    let deep = format!("{}/{}/{}", &id[..2], &id[2..4], &id[4..]);
    let script = format!(
        "export GIT_INDEX_FILE=../index; git read-tree refs/notes/driftless && git update-index --force-remove {}/{} {id} && \
         git update-index --add --cacheinfo 100644,{blob},{deep} && \
         git update-ref refs/notes/driftless $(git commit-tree -p refs/notes/driftless -m deep $(git write-tree))",
        &id[..2],
        &id[2..]
    );
    let done = std::process::Command::new("sh")
        .args(["-c", &script])
        .envs([
            ("GIT_AUTHOR_NAME", "x"),
            ("GIT_AUTHOR_EMAIL", "x@x"),
            ("GIT_COMMITTER_NAME", "x"),
            ("GIT_COMMITTER_EMAIL", "x@x"),
        ])
        .current_dir(repo.path())
        .status();
    assert!(done.unwrap().success());
    let revision = Revision::parse(id).unwrap();
    assert_eq!(notes.read(&revision).unwrap().len(), 1);
    notes.append(&[note(id, 7, "z")]).unwrap();
    assert_eq!(notes.read(&revision).unwrap().len(), 2);
    assert_eq!(show(repo.path(), id).lines().count(), 2);
    assert!(!repo.git(&["ls-tree", "-r", "--name-only", "refs/notes/driftless"]).contains(&deep));
    repo.git(&["fsck", "--full", "--strict"]);
}

#[test]
fn writers_at_once_lose_nothing() {
    let repo = TestRepo::new();
    let commits = [repo.commit("one", &[("f", "1")]), repo.commit("two", &[("f", "2")])];
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let (notes, commits) = (local(&repo), &commits);
            scope.spawn(move || {
                for i in 0..10 {
                    notes.append(&[note(&commits[i % 2], 10, &format!("{writer}-{i}"))]).unwrap();
                }
            });
        }
    });
    let notes = local(&repo);
    for (at, commit) in commits.iter().enumerate() {
        let revision = Revision::parse(commit).unwrap();
        let said: std::collections::BTreeSet<String> =
            notes.read(&revision).unwrap().into_iter().map(|note| note.description).collect();
        assert_eq!(said.len(), 30, "commit {at}: {said:?}");
    }
}

#[test]
fn a_rewritten_branch_a_gc_and_a_lock_left_behind() {
    let repo = TestRepo::new();
    let one = repo.commit("one", &[("f", "1")]);
    let notes = local(&repo);
    notes.append(&[note(&one, 1, "x")]).unwrap();
    repo.git(&["commit", "-q", "--amend", "-m", "other"]);
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    repo.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(notes.read(&Revision::parse(&one).unwrap()).unwrap().len(), 1);
    let lock = repo.path().join(".git/refs/notes/driftless.lock");
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let file = std::fs::File::create(&lock).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(120)).unwrap();
    notes.append(&[note(&one, 2, "y")]).unwrap();
    assert_eq!(notes.read(&Revision::parse(&one).unwrap()).unwrap().len(), 2);
}

#[test]
fn a_status_takes_milliseconds() {
    let repo = TestRepo::new();
    let one = repo.commit("one", &[("f", "1")]);
    let notes = local(&repo);
    let start = Instant::now();
    for i in 0..50 {
        notes.append(&[note(&one, i, "x")]).unwrap();
    }
    let each = start.elapsed() / 50;
    assert!({
        println!("{each:?} for one status");
        each < Duration::from_millis(100)
    });
}

#[test]
fn the_log() {
    let repo = TestRepo::new();
    let one = repo.commit("one", &[("f", "1")]);
    let two = repo.commit("two", &[("f", "2")]);
    let notes = local(&repo);
    notes.append(&[note(&one, 1, "x")]).unwrap();
    let log = Log::read(&notes.mirror, None, &Revision::parse(&two).unwrap(), 5).unwrap();
    let json = serde_json::to_value(&log).unwrap();
    assert_eq!(json["commits"][0], serde_json::json!({"revision": two, "subject": "two", "statuses": []}));
    assert_eq!(json["commits"][1]["statuses"][0]["context"], "driftless/health");
}

struct Host {
    repo: TestRepo,
    server: TestServer,
    caches: [tempfile::TempDir; 2],
    address: String,
}

impl Host {
    fn new() -> Self {
        let repo = TestRepo::new();
        let (server, address) = TestServer::for_repo(&repo);
        Self { repo, server, caches: [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()], address }
    }

    fn notes(&self, cache: usize) -> GitNotes {
        GitNotes::new(GitMirror::open(&RepoUrl::parse(&self.address).unwrap(), self.caches[cache].path()).unwrap())
    }
}

#[test]
fn notes_of_a_remote_are_merged_and_pushed() {
    let host = Host::new();
    let one = host.repo.commit("one", &[("f", "1")]);
    let revision = Revision::parse(&one).unwrap();
    let (here, there) = (host.notes(0), host.notes(1));
    here.append(&[note(&one, 1, "a")]).unwrap();
    assert_eq!(show(host.repo.path(), &one).lines().count(), 1);
    there.append(&[note(&one, 2, "b")]).unwrap();
    host.repo.git(&["notes", "--ref=driftless", "append", "-m", "by hand", &one]);
    here.append(&[note(&one, 3, "c")]).unwrap();
    let said: Vec<String> = here.read(&revision).unwrap().into_iter().map(|note| note.description).collect();
    assert_eq!(said, ["a", "b", "c"]);
    assert!(show(host.repo.path(), &one).contains("by hand"));
    assert_eq!(there.read(&revision).unwrap().len(), 2);
    there.refresh().unwrap();
    assert_eq!(there.read(&revision).unwrap().len(), 3);
}

#[test]
fn what_was_not_pushed_yet_survives_fetches_and_is_pushed_later() {
    let host = Host::new();
    let one = host.repo.commit("one", &[("f", "1")]);
    let (here, there) = (host.notes(0), host.notes(1));
    here.append(&[note(&one, 1, "a")]).unwrap();
    host.repo.git(&["config", "http.receivepack", "false"]);
    let refused = here.append(&[note(&one, 2, "unpushed")]).unwrap_err();
    assert!(matches!(refused, GitError::Unauthorized { status: 403, .. }), "{refused:?}");
    here.mirror.fetch(None).unwrap();
    here.mirror.resolve("main").unwrap();
    here.refresh().unwrap();
    host.repo.git(&["config", "http.receivepack", "true"]);
    there.append(&[note(&one, 3, "meanwhile")]).unwrap();
    here.append(&[note(&one, 4, "d")]).unwrap();
    let text = show(host.repo.path(), &one);
    for word in ["a", "unpushed", "meanwhile", "d"] {
        assert!(text.contains(&format!(r#""description":"{word}""#)), "{word} in {text}");
    }
    host.server.set(Behaviour { status: Some(503), ..Behaviour::default() });
    let error = here.send(&note(&one, 5, "e")).unwrap_err();
    assert_eq!((error.permanent, error.retry_after), (false, Some(Duration::from_secs(7))));
}

#[test]
fn pushers_at_once_lose_nothing() {
    let host = Host::new();
    let one = host.repo.commit("one", &[("f", "1")]);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (notes, one) = (host.notes(writer), &one);
            scope.spawn(move || {
                for i in 0..4 {
                    notes.append(&[note(one, 1, &format!("{writer}-{i}"))]).unwrap();
                }
            });
        }
    });
    assert_eq!(local(&host.repo).read(&Revision::parse(&one).unwrap()).unwrap().len(), 8);
}
