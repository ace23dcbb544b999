//! Repositories behind https: `git http-backend` behind a real web server with a private authority, tokens that are
//! renewed, and a proxy.

use crate::support::daemon::{Cluster, DRIFTLESS, Daemon};
use crate::support::scratch::Scratch;
use crate::support::web_server::{HOST, Proxy, WebServer};
use driftless::object::Problem;
use driftless::source::url::Auth;
use driftless::source::{GitMirror, GitOptions, RepoUrl};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A repository behind the web server.
struct Remote {
    scratch: Scratch,
    server: WebServer,
}

impl Remote {
    fn new(name: &str) -> Option<Self> {
        let scratch = Scratch::quickstart(name, "");
        let server = WebServer::start(scratch.bare().parent()?)?;
        Some(Self { scratch, server })
    }

    /// Writes a configuration for this address, and its token.
    fn config(&self, url: &str, token: &str, more: &str) -> String {
        let (file, token_file) = (self.scratch.path("daemon.toml"), self.scratch.path("token"));
        fs::write(&token_file, format!("{token}\n")).unwrap();
        let config = format!(
            "{}\n[[repository]]\nname = \"shop\"\nurl = \"{url}\"\ninterval = \"1s\"\nauth = {{ token_file = \"{}\" }}\n\
             ca_file = \"{}\"\n{more}",
            self.scratch.settings_text(""),
            token_file.display(),
            self.server.authority().display()
        );
        fs::write(&file, config).unwrap();
        file.display().to_string()
    }
}

/// The daemon follows the repository, pushes its notes back, and takes a renewed token from the file without a restart.
#[test]
fn a_token_is_renewed_while_the_daemon_runs() {
    let Some(remote) = Remote::new("https-daemon") else { return };
    let config = remote.config(&remote.server.url("repo.git"), "first-token", "[[report]]\nkind = \"git-notes\"\n");
    let cluster = Cluster::embedded();
    let daemon = Daemon::start_with(&remote.scratch, &cluster, &["--config", &config], "cache");
    let first = remote.scratch.git(&["rev-parse", "HEAD"]).trim().to_owned();
    daemon.succeeds(&remote.scratch, &first);
    assert_eq!(remote.scratch.states(&first, "sync"), ["pending", "success"]);

    let told = |args: &[&str]| {
        let output = daemon.beside(&cluster, &[args, &["--config", &config]].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(told(&["status"]).0, Some(0));

    remote.server.accept("second-token");
    daemon.eventually("it is told", || daemon.has_logged("the credentials were refused").then_some(()));
    remote.scratch.replace("web/app.yaml", "web:1.0", "web:1.1");
    let second = remote.scratch.push("next");
    assert!(remote.scratch.said(&second).is_empty());

    // Whoever looks, or wants an app to stop, need not wait for the host; what is older than the branch is not applied.
    for args in [&["status"][..], &["plan"], &["suspend", "web"], &["resume", "web"]] {
        let (code, text) = told(args);
        let last = format!("going on with what was fetched last: {}", &first[..7]);
        assert!(code == Some(0) && text.contains(&last), "{args:?}: {code:?} {text}");
    }
    let (code, text) = told(&["sync"]);
    assert!(code == Some(1) && text.contains("the credentials were refused"), "{code:?} {text}");
    fs::write(remote.scratch.path("token"), "second-token\n").unwrap();
    daemon.succeeds(&remote.scratch, &second);

    fs::remove_file(remote.scratch.path("token")).unwrap();
    daemon.eventually("it is told", || daemon.has_logged("its credentials cannot be read").then_some(()));
    fs::write(remote.scratch.path("token"), "second-token\n").unwrap();
    remote.scratch.replace("web/app.yaml", "web:1.1", "web:1.2");
    let third = remote.scratch.push("and again");
    daemon.succeeds(&remote.scratch, &third);
    assert!(!daemon.log().contains("first-token") && !daemon.log().contains("second-token"));
}

/// An authority that nobody knows is refused until it is named; credentials that are missing or wrong are told apart.
#[test]
fn authorities_and_tokens() {
    let Some(remote) = Remote::new("https-authority") else { return };
    let cache = remote.scratch.path("cache");
    let fetch = |repository: &str, ca_file: Option<&Path>, token: Option<&str>| {
        let url = RepoUrl::parse(&remote.server.url(repository)).unwrap();
        let auth = token.map(|token| Auth::basic(None, token).into());
        let options = GitOptions { auth, ca_file: ca_file.map(Path::to_owned), ..GitOptions::default() };
        let fetched = GitMirror::open_with(&url, &cache, options).unwrap().fetch(None);
        fetched.map(|fetched| fetched.revision.to_string()).map_err(Problem::from)
    };
    let authority = remote.server.authority();
    let refused = |problem: Problem, reason: &str, hint: &str| {
        assert!(problem.reason == reason && problem.hint.clone().unwrap().contains(hint), "{problem:#?}");
    };
    refused(fetch("repo.git", None, Some("first-token")).unwrap_err(), "CertificateUntrusted", "ca_file = ");
    refused(fetch("repo.git", Some(&authority), None).unwrap_err(), "RepositoryUnauthorized", "`auth`");
    refused(fetch("repo.git", Some(&authority), Some("wrong")).unwrap_err(), "RepositoryUnauthorized", "not expired");
    refused(fetch("no.git", Some(&authority), Some("first-token")).unwrap_err(), "RepositoryNotFound", "address");
    let gone = Path::new("/nonexistent/ca.pem");
    refused(fetch("repo.git", Some(gone), Some("first-token")).unwrap_err(), "InvalidCertificates", "PEM");
    let head = remote.scratch.git(&["rev-parse", "HEAD"]).trim().to_owned();
    assert_eq!(fetch("repo.git", Some(&authority), Some("first-token")), Ok(head));
}

/// Through the proxy of the environment, unless that is not to be used for this host.
#[test]
fn through_a_proxy() {
    let Some(remote) = Remote::new("https-proxy") else { return };
    let proxy = Proxy::start();
    let config = remote.config(&remote.server.url_behind_proxy("repo.git"), "first-token", "");
    let render = |variables: &[(&str, &str)]| {
        let mut command = Command::new(DRIFTLESS);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(variables.iter().copied());
        command.env("DRIFTLESS_CACHE", remote.scratch.path("cache")).stdin(Stdio::null());
        let output = command.args(["render", "--config", &config]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let url = proxy.url();
    let (worked, said) = render(&[("HTTPS_PROXY", &url)]);
    assert!(worked, "{said}");
    let asked = proxy.asked.lock().unwrap().clone();
    assert!(!asked.is_empty() && asked.iter().all(|head| head.starts_with(&format!("CONNECT {HOST}:"))), "{asked:?}");
    assert!(asked.iter().all(|head| head.to_lowercase().contains("proxy-authorization: basic")), "{asked:?}");
    assert!(!asked.concat().contains("x-access-token") && !asked.concat().contains("\r\nAuthorization"), "{asked:?}");
    fs::remove_dir_all(remote.scratch.path("cache")).unwrap();
    let (worked, said) = render(&[("HTTPS_PROXY", &url), ("NO_PROXY", "other.test,driftless.test")]);
    assert!(!worked && said.contains("could not be reached"), "{said}");
    assert!(!said.contains("pass@") && !said.contains("first-token"), "{said}");
    assert_eq!(proxy.asked.lock().unwrap().len(), asked.len());
}
