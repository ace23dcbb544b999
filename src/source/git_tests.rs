//! Against repositories made by the real `git`, in place and over HTTP.

use super::*;
use crate::source::merge::Merged;
use crate::source::testing::{Behaviour, TestRepo, TestServer, git_in};
use crate::source::tree::Entry;
use crate::source::url::Auth;
use std::ffi::OsStr;
use std::fs;
use std::time::Instant;

fn local(repo: &TestRepo) -> GitMirror {
    GitMirror::open(&RepoUrl::local(repo.path()).unwrap(), Path::new("/nonexistent")).unwrap()
}

struct Remote {
    server: TestServer,
    address: String,
    cache: tempfile::TempDir,
}

impl Remote {
    fn new(repo: &TestRepo) -> Self {
        let (server, address) = TestServer::for_repo(repo);
        Self { server, address, cache: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> GitMirror {
        self.open_at(&self.address, GitOptions::default())
    }

    fn open_at(&self, address: &str, options: GitOptions) -> GitMirror {
        GitMirror::open_with(&RepoUrl::parse(address).unwrap(), self.cache.path(), options).unwrap()
    }
}

fn text(tree: &SourceTree, path: &str) -> String {
    String::from_utf8_lossy(tree.file(path).unwrap()).into_owned()
}

/// Runs the same checks on a repository read in place and on one behind HTTP.
fn both(check: impl Fn(&TestRepo, &GitMirror)) {
    let repo = TestRepo::new();
    check(&repo, &local(&repo));
    let repo = TestRepo::new();
    check(&repo, &Remote::new(&repo).open());
}

#[test]
fn push_force_push_and_rewritten_history() {
    both(|repo, mirror| {
        let one = repo.commit("one", &[("web/a.yaml", "a: 1")]);
        let first = mirror.fetch(None).unwrap();
        assert_eq!(
            (first.branch.as_deref(), first.revision.as_str(), first.forced),
            (Some("main"), one.as_str(), false)
        );
        let two = repo.commit("two", &[("web/a.yaml", "a: 2")]);
        let second = mirror.fetch(Some("main")).unwrap();
        assert_eq!((second.revision.as_str(), second.forced), (two.as_str(), false));
        assert_eq!(mirror.fetch(Some("main")).unwrap(), second);
        repo.git(&["commit", "-q", "--amend", "-m", "two, better"]);
        let amended = mirror.fetch(Some("main")).unwrap();
        assert!(amended.forced && amended.revision != second.revision);
        repo.git(&["reset", "-q", "--hard", &one]);
        assert!(mirror.fetch(Some("main")).unwrap().forced);
        repo.git(&["checkout", "-q", "--orphan", "fresh"]);
        repo.commit("unrelated", &[("b", "b")]);
        repo.git(&["branch", "-f", "main", "fresh"]);
        let unrelated = mirror.fetch(Some("main")).unwrap();
        assert!(unrelated.forced);
        assert_eq!(mirror.ls_remote_head(Some("main")).unwrap().revision, unrelated.revision);
        // What was read before the rewrite can still be read.
        assert_eq!(text(&mirror.tree(&second.revision, None).unwrap(), "web/a.yaml"), "a: 2");
    });
}

#[test]
fn a_missing_branch_is_an_error_with_the_others_named() {
    both(|repo, mirror| {
        assert!(matches!(mirror.ls_remote_head(None), Err(GitError::EmptyRepository { .. })));
        assert!(matches!(mirror.fetch(Some("main")), Err(GitError::EmptyRepository { .. })));
        repo.commit("one", &[("f", "1")]);
        repo.git(&["branch", "prod"]);
        mirror.fetch(Some("prod")).unwrap();
        repo.git(&["branch", "-D", "prod"]);
        for result in [mirror.ls_remote_head(Some("prod")).map(drop), mirror.fetch(Some("prod")).map(drop)] {
            match result {
                Err(GitError::BranchNotFound { branch, existing, .. }) => {
                    assert_eq!((branch.as_str(), existing.as_slice()), ("prod", ["main".to_owned()].as_slice()));
                }
                other => panic!("{other:?}"),
            }
        }
        // A name that git refuses, and HEAD at a branch without commits.
        assert!(matches!(mirror.fetch(Some("no..way")), Err(GitError::BranchNotFound { .. })));
        repo.git(&["symbolic-ref", "HEAD", "refs/heads/nothing"]);
        assert!(matches!(mirror.fetch(None), Err(GitError::BranchNotFound { .. })));
    });
}

#[test]
fn a_branch_replaced_by_a_directory_of_branches() {
    both(|repo, mirror| {
        repo.commit("one", &[("f", "1")]);
        repo.git(&["branch", "a"]);
        mirror.fetch(Some("a")).unwrap();
        repo.git(&["branch", "-D", "a"]);
        repo.git(&["branch", "a/b"]);
        mirror.fetch(Some("a/b")).unwrap();
    });
}

#[test]
fn packed_references_and_gc_in_between() {
    both(|repo, mirror| {
        let one = repo.commit("one", &[("f", "1")]);
        mirror.fetch(None).unwrap();
        repo.git(&["pack-refs", "--all"]);
        repo.git(&["gc", "-q", "--prune=now"]);
        assert_eq!(mirror.fetch(None).unwrap().revision.as_str(), one);
        let two = repo.commit("two", &[("f", "2")]);
        repo.git(&["repack", "-q", "-a", "-d"]);
        let head = mirror.fetch(None).unwrap();
        assert_eq!(head.revision.as_str(), two);
        assert_eq!(text(&mirror.tree(&head.revision, None).unwrap(), "f"), "2");
    });
}

#[test]
fn what_a_person_types_for_a_revision() {
    both(|repo, mirror| {
        let one = repo.commit("one", &[("f", "1")]);
        repo.git(&["tag", "light"]);
        repo.git(&["tag", "-a", "v1.0", "-m", "annotated"]);
        let two = repo.commit("two", &[("f", "2")]);
        repo.git(&["branch", "feature/x", "HEAD~1"]);
        repo.git(&["update-ref", "refs/pull/5/head", &one]);
        let cases = [
            ("HEAD", &two),
            ("@", &two),
            ("main", &two),
            ("refs/heads/main", &two),
            ("v1.0", &one),
            ("refs/tags/v1.0", &one),
            ("light", &one),
            ("main~1", &one),
            ("HEAD^", &one),
            ("feature/x", &one),
            ("refs/pull/5/head", &one),
            (one.as_str(), &one),
            (&one[..9], &one),
            (&two[..7].to_ascii_uppercase(), &two),
        ];
        for (spec, expected) in cases {
            assert_eq!(mirror.resolve(spec).map(|r| r.to_string()), Ok(expected.clone()), "{spec}");
        }
        if mirror.local_path().is_none() {
            assert_eq!(mirror.resolve("origin/feature/x").unwrap().as_str(), one);
        }
        for spec in ["nothing", "", "main~9", "HEAD:f", "main^{tree}", "@{-1}", ":/one", "a b", "../x", "v1.0^{blob}"] {
            assert!(matches!(mirror.resolve(spec), Err(GitError::RevisionNotFound { .. })), "{spec:?}");
        }
        assert!(matches!(mirror.resolve(&"ab".repeat(20)), Err(GitError::RevisionNotFound { .. })));
    });
}

#[test]
fn a_tag_that_moved_and_a_new_default_branch() {
    both(|repo, mirror| {
        let one = repo.commit("one", &[("f", "1")]);
        repo.git(&["tag", "live"]);
        assert_eq!(mirror.resolve("live").unwrap().as_str(), one);
        let two = repo.commit("two", &[("f", "2")]);
        repo.git(&["tag", "-f", "live"]);
        assert_eq!(mirror.resolve("live").unwrap().as_str(), two);
        repo.git(&["checkout", "-q", "-b", "trunk"]);
        let three = repo.commit("three", &[("f", "3")]);
        assert_eq!(mirror.resolve("HEAD").unwrap().as_str(), three);
        assert_eq!(mirror.fetch(None).unwrap().branch.as_deref(), Some("trunk"));
    });
}

#[test]
fn the_tree_with_links_submodules_and_odd_names() {
    both(|repo, mirror| {
        let module = TestRepo::new();
        let inner = module.commit("m", &[("m", "m")]);
        repo.write("web/grüße/ñ.yaml", "a: 1");
        repo.write("web/with space.yaml", "b: 2");
        repo.write("empty", "");
        std::os::unix::fs::symlink("../web/with space.yaml", repo.path().join("web/link.yaml")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", repo.path().join("out")).unwrap();
        {
            use std::os::unix::ffi::OsStrExt;
            fs::write(repo.path().join(OsStr::from_bytes(b"latin\xe9.txt")), "x").unwrap();
        }
        repo.git(&["add", "-A"]);
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{inner},vendor/module")]);
        repo.git(&["commit", "-q", "-m", "all"]);
        let head = mirror.fetch(None).unwrap().revision;
        let tree = mirror.tree(&head, None).unwrap();
        assert_eq!(text(&tree, "web/grüße/ñ.yaml"), "a: 1");
        assert_eq!(text(&tree, "web/../web/with space.yaml"), "b: 2");
        assert_eq!(tree.entry("web/link.yaml"), Some(&Entry::Symlink("../web/with space.yaml".into())));
        assert_eq!(text(&tree, "web/link.yaml"), "b: 2");
        assert_eq!(tree.entry("vendor/module"), Some(&Entry::Submodule));
        assert!(tree.file("out").is_err());
        assert!(tree.entry("latin\u{fffd}.txt").is_some());
        let web = mirror.tree(&head, Some("/web/")).unwrap();
        assert!(web.entry("empty").is_none() && web.entry("web/with space.yaml").is_some());
        for path in ["nothing", "empty", "web/link.yaml", ".."] {
            match mirror.tree(&head, Some(path)) {
                Err(GitError::PathNotFound { existing, .. }) => assert_eq!(existing, ["vendor", "web"]),
                other => panic!("{path}: {other:?}"),
            }
        }
    });
}

#[test]
fn an_lfs_pointer_is_not_a_manifest() {
    both(|repo, mirror| {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        repo.commit("one", &[("data.bin", pointer), ("a.yaml", "a: 1")]);
        let one = mirror.fetch(None).unwrap().revision;
        assert!(mirror.tree(&one, None).is_ok());
        repo.commit("two", &[("web/big.YAML", pointer)]);
        let two = mirror.fetch(None).unwrap().revision;
        assert_eq!(mirror.tree(&two, None), Err(GitError::LfsPointer { path: "web/big.YAML".into() }));
    });
}

#[test]
fn big_trees_and_trees_made_to_explode() {
    let repo = TestRepo::new();
    for i in 0..3000 {
        repo.write(&format!("d{}/f{i}.yaml", i % 50), &format!("n: {i}"));
    }
    let revision = Revision::parse(&repo.commit("many", &[])).unwrap();
    let mirror = local(&repo);
    assert_eq!(mirror.tree(&revision, None).unwrap().entries.len(), 3000);
    // Eight levels, each with sixteen times the level below: 16^8 files out of a few objects.
    let blob = repo.git(&["rev-parse", "HEAD:d0/f0.yaml"]);
    let mut below = ("100644 blob", blob);
    for _ in 0..8 {
        let listing: String = (0..16).map(|i| format!("{} {}\tn{i}\n", below.0, below.1)).collect();
        repo.write("../listing", &listing);
        let tree = std::process::Command::new("sh")
            .args(["-c", "git mktree < ../listing"])
            .current_dir(repo.path())
            .output()
            .unwrap();
        below = ("040000 tree", String::from_utf8(tree.stdout).unwrap().trim().to_owned());
    }
    let bomb = Revision::parse(&repo.git(&["commit-tree", &below.1, "-m", "bomb"])).unwrap();
    assert!(matches!(mirror.tree(&bomb, None), Err(GitError::Tree(crate::source::TreeError::TooManyEntries))));
}

#[test]
fn logs_and_ancestors() {
    both(|repo, mirror| {
        let one = repo.commit("one", &[("f", "1")]);
        let two = repo.commit("two\n\nwith a body", &[("f", "2")]);
        let head = mirror.fetch(None).unwrap().revision;
        let log = mirror.commits(&head, 10).unwrap();
        let shown: Vec<_> = log.iter().map(|c| (c.revision.as_str(), c.subject.as_str(), c.author.as_str())).collect();
        assert_eq!(shown, [(two.as_str(), "two", "Ann Author"), (one.as_str(), "one", "Ann Author")]);
        assert_eq!(mirror.commits(&head, 1).unwrap().len(), 1);
        let one = Revision::parse(&one).unwrap();
        assert!(mirror.is_ancestor(&one, &head).unwrap() && !mirror.is_ancestor(&head, &one).unwrap());
        assert_eq!(mirror.commit(&one).unwrap().subject, "one");
    });
}

/// What Git calls a rename is one, and nothing else is.
#[test]
fn renames_are_those_that_git_sees() {
    both(|repo, mirror| {
        let map = |name: &str, data: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: shop\ndata:\n  key: {data}\n"
            )
        };
        let (ca, zzz) = (map("ca", &"q".repeat(120)), map("zzz", &"r".repeat(120)));
        repo.commit("start", &[("extra/ca.yaml", &ca), ("web/a.yaml", "1\n2\n3\n4\n5\n6\n7\n8\n")]);
        repo.git(&["checkout", "-q", "-b", "pr"]);
        repo.git(&["rm", "-q", "extra/ca.yaml"]);
        repo.commit("the same, and another one", &[("nn/zzz.yaml", &zzz)]);
        repo.git(&["checkout", "-q", "main"]);
        repo.git(&["rm", "-q", "extra/ca.yaml"]);
        repo.commit("ca goes", &[("b.yaml", "b")]);
        let merged = |head: &str| {
            let (base, head) = (mirror.resolve("main").unwrap(), mirror.resolve(head).unwrap());
            mirror.merge(&base, &head, None).unwrap().merged
        };
        match merged("pr") {
            Merged::Clean(tree) => assert_eq!(text(&tree, "nn/zzz.yaml"), zzz),
            conflicts @ Merged::Conflicts(_) => panic!("{conflicts:?}"),
        }
        for (branch, last) in [("moved", "8\n"), ("changed", "eight\n")] {
            repo.git(&["checkout", "-q", "-b", branch, "pr"]);
            repo.git(&["rm", "-q", "web/a.yaml"]);
            let text = format!("1\n2\n3\n4\n5\n6\n7\n{last}");
            repo.commit("moves it", &[("web/moved.yaml", &text)]);
        }
        repo.git(&["checkout", "-q", "main"]);
        repo.commit("edits it", &[("web/a.yaml", "one\n2\n3\n4\n5\n6\n7\n8\n")]);
        match merged("moved") {
            Merged::Clean(tree) => assert_eq!(text(&tree, "web/moved.yaml"), "one\n2\n3\n4\n5\n6\n7\n8\n"),
            conflicts @ Merged::Conflicts(_) => panic!("{conflicts:?}"),
        }
        match merged("changed") {
            Merged::Clean(tree) => assert_eq!(text(&tree, "web/moved.yaml"), "one\n2\n3\n4\n5\n6\n7\neight\n"),
            conflicts @ Merged::Conflicts(_) => panic!("{conflicts:?}"),
        }
    });
}

#[test]
fn a_pull_request_merged_in_memory() {
    both(|repo, mirror| {
        repo.commit("start", &[("a.yaml", "1\n2\n3\n4\n5\n6\n7\n8\n"), ("b.yaml", "b")]);
        repo.git(&["checkout", "-q", "-b", "pr"]);
        repo.commit("pr", &[("a.yaml", "1\n2\n3\n4\n5\n6\n7\neight\n"), ("new/c.yaml", "c")]);
        repo.git(&["checkout", "-q", "main"]);
        repo.commit("moved on", &[("a.yaml", "one\n2\n3\n4\n5\n6\n7\n8\n")]);
        let objects = || repo.git(&["count-objects"]);
        let (base, head) = (mirror.resolve("main").unwrap(), mirror.resolve("pr").unwrap());
        let before = objects();
        let merge = mirror.merge(&base, &head, None).unwrap();
        assert_eq!(merge.ancestor, mirror.merge_base(&base, &head).unwrap());
        match merge.merged {
            Merged::Clean(tree) => {
                assert_eq!(text(&tree, "a.yaml"), "one\n2\n3\n4\n5\n6\n7\neight\n");
                assert_eq!((text(&tree, "b.yaml"), text(&tree, "new/c.yaml")), ("b".into(), "c".into()));
                assert_eq!(tree.revision, head);
            }
            conflicts @ Merged::Conflicts(_) => panic!("{conflicts:?}"),
        }
        assert_eq!(objects(), before, "a merge writes nothing");
        repo.commit("clash", &[("a.yaml", "1\n2\n3\n4\n5\n6\n7\n8 here\n")]);
        let base = mirror.resolve("main").unwrap();
        let merge = mirror.merge(&base, &head, None).unwrap();
        assert_eq!(merge.merged, Merged::Conflicts(vec!["a.yaml".into()]));
    });
}

#[test]
fn a_local_push_is_seen_at_once() {
    let repo = TestRepo::new();
    repo.commit("one", &[("f", "1")]);
    let mirror = local(&repo);
    mirror.fetch(None).unwrap();
    let two = repo.commit("two", &[("f", "2")]);
    let start = Instant::now();
    let head = mirror.fetch(None).unwrap();
    assert_eq!((head.revision.as_str(), start.elapsed() < Duration::from_secs(1)), (two.as_str(), true));
}

#[test]
fn directories_that_are_no_repository() {
    let repo = TestRepo::new();
    repo.commit("one", &[("web/f", "1")]);
    let open = |path: &Path| GitMirror::open(&RepoUrl::local(path).unwrap(), Path::new("/nonexistent")).map(drop);
    match open(&repo.path().join("web")) {
        Err(GitError::NotARepository { inside: Some(root), .. }) => assert!(root.ends_with("/repo"), "{root}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(open(Path::new("/nonexistent/x")), Err(GitError::NotARepository { inside: None, .. })));
    assert!(open(&repo.path().join(".git")).is_ok());
    let bare = tempfile::tempdir().unwrap();
    git_in(bare.path(), &["clone", "-q", "--bare", repo.path().to_str().unwrap(), "b.git"]);
    assert!(open(&bare.path().join("b.git")).is_ok());
    repo.git(&["worktree", "add", "-q", "../linked", "-b", "side"]);
    let linked = repo.path().parent().unwrap().join("linked");
    let mirror = GitMirror::open(&RepoUrl::local(&linked).unwrap(), Path::new("/nonexistent")).unwrap();
    assert_eq!(mirror.ls_remote_head(None).unwrap().branch.as_deref(), Some("side"));
    let sha256 = tempfile::tempdir().unwrap();
    git_in(sha256.path(), &["init", "-q", "--object-format=sha256"]);
    let unsupported = open(sha256.path());
    assert!(matches!(unsupported, Err(GitError::UnsupportedFormat { .. })), "{unsupported:?}");
    // HEAD at no branch.
    repo.git(&["checkout", "-q", "--detach"]);
    assert_eq!(local(&repo).ls_remote_head(None).unwrap().branch, None);
}

#[test]
fn an_unmoved_branch_costs_one_request() {
    let repo = TestRepo::new();
    repo.commit("one", &[("f", "1")]);
    let remote = Remote::new(&repo);
    let mirror = remote.open();
    mirror.fetch(None).unwrap();
    remote.server.take_requests();
    mirror.ls_remote_head(None).unwrap();
    mirror.fetch(Some("main")).unwrap();
    let requests = remote.server.take_requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests.iter().all(|(line, _)| line.starts_with("GET /repo/.git/info/refs?service=git-upload-pack")));
    let head = mirror.fetch(None).unwrap().revision;
    remote.server.take_requests();
    mirror.tree(&head, None).unwrap();
    mirror.resolve(head.as_str()).unwrap();
    assert!(remote.server.take_requests().is_empty(), "what is here is read here");
}

#[test]
fn only_what_is_new_is_downloaded() {
    let repo = TestRepo::new();
    for i in 0..30 {
        repo.commit("c", &[(format!("f{i}").as_str(), "x".repeat(2000).as_str())]);
    }
    let remote = Remote::new(&repo);
    let mirror = remote.open();
    mirror.fetch(None).unwrap();
    repo.commit("last", &[("last", "1")]);
    let fetched = mirror.fetch(None).unwrap();
    let packs = fs::read_dir(mirror.repository().unwrap().path().join("objects/pack")).unwrap();
    let sizes: Vec<u64> = packs
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "pack"))
        .map(|e| e.metadata().unwrap().len())
        .collect();
    assert!(sizes.len() == 2 && sizes.iter().min().unwrap() < &1000, "{sizes:?}");
    assert_eq!(mirror.tree(&fetched.revision, None).unwrap().entries.len(), 31);
}

#[test]
fn credentials_are_sent_and_refusals_are_clear() {
    let repo = TestRepo::new();
    repo.commit("one", &[("f", "1")]);
    let remote = Remote::new(&repo);
    let wanted = Auth::basic(None, "s3cret").header("127.0.0.1");
    remote.server.set(Behaviour { authorization: Some(wanted), ..Behaviour::default() });
    let with = |auth: Option<Auth>| {
        remote.open_at(&remote.address, GitOptions { auth: auth.map(Credentials::from), ..GitOptions::default() })
    };
    assert!(matches!(with(None).fetch(None), Err(GitError::Unauthorized { status: 401, sent: false, .. })));
    let wrong = with(Some(Auth::basic(None, "wr0ng"))).fetch(None).unwrap_err();
    assert!(matches!(wrong, GitError::Unauthorized { status: 401, sent: true, .. }));
    assert!(!format!("{wrong} {wrong:?}").contains("wr0ng"));
    assert!(with(Some(Auth::basic(None, "s3cret\n"))).fetch(None).is_ok());
    // Read at every use: a token that is renewed counts at once, one that is gone is told.
    let token = Arc::new(Mutex::new(Some("old")));
    let read = Arc::clone(&token);
    let auth = Credentials::reading(move || {
        read.lock().unwrap().map(|token| Auth::basic(None, token)).ok_or_else(|| "no such file".to_owned())
    });
    let renewed = remote.open_at(&remote.address, GitOptions { auth: Some(auth), ..GitOptions::default() });
    assert!(matches!(renewed.fetch(None), Err(GitError::Unauthorized { sent: true, .. })));
    *token.lock().unwrap() = Some("s3cret");
    assert!(renewed.ls_remote_head(None).is_ok());
    *token.lock().unwrap() = None;
    let gone = renewed.fetch(None).unwrap_err();
    assert!(matches!(&gone, GitError::Credentials { .. }) && gone.is_transient(), "{gone}");
    // Written in the address: works, and is not shown.
    let embedded = remote.address.replace("http://", "http://x-access-token:s3cret@");
    let mirror = remote.open_at(&embedded, GitOptions::default());
    assert!(mirror.fetch(None).is_ok());
    assert!(!format!("{mirror:?} {}", mirror.url()).contains("s3cret"));
}

#[test]
fn redirects_stay_on_the_host() {
    let repo = TestRepo::new();
    repo.commit("one", &[("f", "1")]);
    let remote = Remote::new(&repo);
    let other = TestServer::start(repo.path().parent().unwrap());
    let auth = Some(Auth::bearer("t0ken").into());
    let old = format!("{}/renamed", remote.server.address);
    let mirror = remote.open_at(&old, GitOptions { auth, ..GitOptions::default() });
    let redirect = |to: String| {
        remote.server.set(Behaviour { redirect: Some(("/renamed".into(), to)), ..Behaviour::default() });
    };
    redirect(format!("{}/repo/.git", remote.server.address));
    assert!(mirror.fetch(None).is_ok(), "a renamed repository of the same host");
    redirect(format!("{}/repo/.git", other.address));
    let error = mirror.ls_remote_head(None).unwrap_err();
    assert!(matches!(&error, GitError::Redirect { to, .. } if to == "http://127.0.0.1"), "{error:?}");
    assert!(other.take_requests().is_empty(), "the other host never saw a request, let alone the token");
    redirect("http://127.0.0.1:1/login?x=".to_owned());
    assert!(matches!(mirror.ls_remote_head(None), Err(GitError::Redirect { .. })));
    redirect("/renamed".to_owned());
    assert!(matches!(mirror.ls_remote_head(None), Err(GitError::Redirect { .. })), "a circle ends");
}

#[test]
fn hosts_that_do_not_answer_as_they_should() {
    let repo = TestRepo::new();
    repo.commit("one", &[("f", &"x".repeat(100_000))]);
    let remote = Remote::new(&repo);
    let mirror = remote.open();
    let after = |behaviour: Behaviour| {
        remote.server.set(behaviour);
        mirror.fetch(None).unwrap_err()
    };
    let base = Behaviour::default;
    assert!(matches!(after(Behaviour { status: Some(404), ..base() }), GitError::RepositoryNotFound { .. }));
    let busy = after(Behaviour { status: Some(503), ..base() });
    assert!(matches!(busy, GitError::Http { status: 503, retry_after: Some(7), .. }) && busy.is_transient());
    assert!(matches!(after(Behaviour { page: Some("<html>login</html>".into()), ..base() }), GitError::NotGit { .. }));
    let cut = after(Behaviour { cut_after: Some(250), ..base() });
    assert!(matches!(cut, GitError::Unreachable { .. }), "{cut:?}");
    remote.server.set(base());
    assert!(mirror.fetch(None).is_ok(), "and once it answers all is well");
    let gone = remote.open_at("http://127.0.0.1:1/x", GitOptions::default()).fetch(None).unwrap_err();
    assert!(matches!(&gone, GitError::Unreachable { .. }), "{gone:?}");
    let missing = remote.open_at(&format!("{}/nothing", remote.server.address), GitOptions::default());
    assert!(matches!(missing.fetch(None), Err(GitError::RepositoryNotFound { .. })));
}

#[test]
fn bounds_and_cancelling() {
    let repo = TestRepo::new();
    let noise: String = (0..40_000_u64).map(|i| format!("{:x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    repo.commit("one", &[("f", &noise)]);
    let remote = Remote::new(&repo);
    let with = |options| remote.open_at(&remote.address, options);
    let small = with(GitOptions { max_bytes: 50_000, ..GitOptions::default() }).fetch(None).unwrap_err();
    assert!(matches!(small, GitError::TooLarge { .. }), "{small:?}");
    let late = with(GitOptions { total_timeout: Duration::ZERO, ..GitOptions::default() }).ls_remote_head(None);
    assert!(matches!(late, Err(GitError::TimedOut { .. })), "{late:?}");
    let cancelled = with(GitOptions { cancel: Arc::new(AtomicBool::new(true)), ..GitOptions::default() });
    assert!(matches!(cancelled.ls_remote_head(None), Err(GitError::Cancelled { .. })));
    // A server that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/x", silent.local_addr().unwrap());
    let slow =
        remote.open_at(&address, GitOptions { idle_timeout: Duration::from_millis(100), ..GitOptions::default() });
    assert!(matches!(slow.ls_remote_head(None), Err(GitError::TimedOut { .. })));
}

#[test]
fn plain_http_leaves_this_machine_only_when_asked() {
    let url = RepoUrl::parse("http://git.example.com/a").unwrap();
    let cache = Path::new("/nonexistent");
    assert!(matches!(GitMirror::open(&url, cache), Err(GitError::PlainHttp { .. })));
    assert!(GitMirror::open_with(&url, cache, GitOptions { insecure_http: true, ..GitOptions::default() }).is_ok());
}

#[test]
fn a_damaged_mirror_is_made_anew() {
    let repo = TestRepo::new();
    repo.commit("one", &[("f", "1")]);
    let remote = Remote::new(&repo);
    let mirror = remote.open();
    let head = mirror.fetch(None).unwrap().revision;
    let dir = mirror.repository().unwrap().path().to_owned();
    let damages: [(&str, &dyn Fn()); 5] = [
        ("packs cut", &|| {
            for entry in fs::read_dir(dir.join("objects/pack")).unwrap().flatten() {
                let mut permissions = entry.metadata().unwrap().permissions();
                #[expect(clippy::permissions_set_readonly_false, reason = "a file of this test")]
                permissions.set_readonly(false);
                fs::set_permissions(entry.path(), permissions).unwrap();
                fs::write(entry.path(), "x").unwrap();
            }
        }),
        ("packs removed", &|| fs::remove_dir_all(dir.join("objects/pack")).unwrap()),
        ("a reference of nonsense", &|| fs::write(dir.join("refs/remotes/origin/main"), "nonsense").unwrap()),
        ("the configuration", &|| fs::write(dir.join("config"), "[core\n").unwrap()),
        ("everything", &|| fs::remove_dir_all(&dir).unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        assert_eq!(mirror.tree(&head, None).map(|tree| text(&tree, "f")), Ok("1".into()), "{what}, then read");
        damage();
        assert_eq!(mirror.fetch(None).map(|f| f.revision), Ok(head.clone()), "{what}, then fetched");
        assert!(mirror.tree(&head, None).is_ok(), "{what}");
    }
}

#[test]
fn two_writers_on_one_mirror() {
    let repo = TestRepo::new();
    repo.commit("one", &[("f", "1")]);
    let remote = Remote::new(&repo);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let mirror = remote.open();
                    let head = mirror.fetch(None).unwrap().revision;
                    mirror.tree(&head, None).unwrap();
                }
            });
        }
        for i in 0..3 {
            repo.commit("more", &[("f", &format!("{i}"))]);
        }
    });
    git_in(remote.open().repository().unwrap().path(), &["fsck", "--full"]);
}

#[test]
fn https_with_a_root_of_its_own() {
    let repo = TestRepo::new();
    let one = repo.commit("one", &[("f", "1")]);
    let server = TestServer::start_tls(repo.path().parent().unwrap());
    let cache = tempfile::tempdir().unwrap();
    let ca = cache.path().join("ca.pem");
    fs::write(&ca, include_str!("testdata/ca.pem")).unwrap();
    let url = RepoUrl::parse(&format!("{}/repo/.git", server.address.replace("127.0.0.1", "localhost"))).unwrap();
    let open = |ca_file| GitMirror::open_with(&url, cache.path(), GitOptions { ca_file, ..GitOptions::default() });
    let untrusted = open(None).unwrap().fetch(None).unwrap_err();
    assert!(
        matches!(&untrusted, GitError::Untrusted { message, .. } if message.contains("certificate")),
        "{untrusted}"
    );
    let mirror = open(Some(ca)).unwrap();
    let head = mirror.fetch(None).unwrap().revision;
    assert_eq!((head.as_str(), text(&mirror.tree(&head, None).unwrap(), "f").as_str()), (one.as_str(), "1"));
}

#[test]
fn a_repository_of_another_user_is_named_with_the_way_out() {
    let repo = TestRepo::new();
    repo.commit("one", &[("f", "1")]);
    for dir in [repo.path().to_owned(), repo.path().join(".git")] {
        if std::os::unix::fs::chown(&dir, Some(54_321), None).is_err() {
            return; // Only root can make this case.
        }
    }
    let error = GitMirror::open(&RepoUrl::local(repo.path()).unwrap(), Path::new("/nonexistent")).unwrap_err();
    assert!(matches!(error, GitError::Ownership { .. }), "{error:?}");
    let problem = crate::object::Problem::from(error);
    assert!(problem.hint.unwrap().contains("safe.directory"));
}

#[test]
fn many_fetches_leave_few_packs_and_every_commit() {
    let repo = TestRepo::new();
    let remote = Remote::new(&repo);
    let mirror = remote.open();
    let mut seen = Vec::new();
    let packs = || {
        let dir = mirror.repository().unwrap().path().join("objects/pack");
        fs::read_dir(dir).unwrap().flatten().filter(|e| e.path().extension().is_some_and(|x| x == "pack")).count()
    };
    for i in 0..53 {
        repo.commit("c", &[("f", &i.to_string())]);
        if i % 10 == 5 {
            repo.git(&["commit", "-q", "--amend", "-m", "rewritten"]);
        }
        seen.push(mirror.fetch(None).unwrap().revision);
        repo.git(&["reset", "-q", "--hard", "HEAD"]);
    }
    assert!(packs() < 10, "{} packs", packs());
    remote.server.take_requests();
    for (i, revision) in seen.iter().enumerate() {
        assert_eq!(text(&mirror.tree(revision, None).unwrap(), "f"), i.to_string());
    }
    assert!(remote.server.take_requests().is_empty());
    git_in(mirror.repository().unwrap().path(), &["fsck", "--full"]);
}

#[test]
fn a_shallow_clone_as_continuous_integration_makes_it() {
    let repo = TestRepo::new();
    for i in 0..5 {
        repo.commit("c", &[("f", &i.to_string())]);
    }
    let clone = tempfile::tempdir().unwrap();
    let from = format!("file://{}", repo.path().display());
    git_in(clone.path(), &["clone", "-q", "--depth=2", &from, "c"]);
    git_in(&clone.path().join("c"), &["checkout", "-q", "--detach"]);
    let mirror = GitMirror::open(&RepoUrl::local(&clone.path().join("c")).unwrap(), Path::new("/nonexistent")).unwrap();
    let head = mirror.resolve("HEAD").unwrap();
    assert_eq!(mirror.commits(&head, 10).unwrap().len(), 2);
    assert_eq!(text(&mirror.tree(&head, None).unwrap(), "f"), "4");
    assert_eq!(mirror.resolve("origin/main").unwrap(), head);
}
