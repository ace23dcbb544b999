//! A real Git host for tests: a Gitea with SQLite, one for all tests of the process.
//!
//! In: the folder that `tests/envtest/build-gitea` makes, in `DRIFTLESS_GITEA` or in the cache. Out: repositories with an
//! address, a token, and the API. Without the folder tests are skipped and say so.

use super::control_plane::spawn_bound_to_process;
use super::daemon::Process;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// The owner of every repository.
pub const OWNER: &str = "owner";

/// The owner's.
const PASSWORD: &str = "Secret123456";

/// A running Gitea.
pub struct Gitea {
    address: String,
    token: String,
    http: reqwest::blocking::Client,
    _process: Process,
    _directory: TempDir,
}

/// A port that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("DRIFTLESS_GITEA") {
        return Some(PathBuf::from(folder));
    }
    let home = std::env::var_os("DRIFTLESS_CACHE").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        Some(cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?.join("driftless"))
    })?;
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(home.join("gitea")).ok()?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    found.retain(|folder| folder.join("gitea").is_file());
    found.sort();
    found.pop()
}

impl Gitea {
    /// The one that tests share; `None`, and said, where none was built.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Gitea>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| folder().map(|folder| Self::start(&folder))).as_ref();
        if shared.is_none() {
            let _ = writeln!(std::io::stderr(), "skipped: no Git host (run tests/envtest/build-gitea)");
        }
        shared
    }

    fn start(folder: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("driftless-gitea-").tempdir().expect("a directory");
        let (work, port) = (directory.path().join("work"), free_port());
        std::fs::create_dir(&work).expect("a directory");
        let ini = directory.path().join("app.ini");
        let user = Command::new("id").arg("-un").output().expect("id runs");
        let text = format!(
            "RUN_MODE = prod\nRUN_USER = {user}\nWORK_PATH = {work}\nI_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\n\
             [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://127.0.0.1:{port}/\nOFFLINE_MODE = true\nDISABLE_SSH = true\nSTATIC_ROOT_PATH = {share}\n\
             [database]\nDB_TYPE = sqlite3\nPATH = {work}/gitea.db\n[security]\nINSTALL_LOCK = true\nSECRET_KEY = test\n\
             [webhook]\nALLOWED_HOST_LIST = *\n[log]\nLEVEL = warn\n[cron]\nENABLED = false\n[actions]\nENABLED = false\n\
             [repository]\nDEFAULT_BRANCH = main\nDEFAULT_MERGE_STYLE = merge\n",
            user = String::from_utf8_lossy(&user.stdout).trim(),
            work = work.display(),
            share = folder.join("share").display(),
        );
        std::fs::write(&ini, text).expect("a file");
        let gitea = || {
            let mut command = Command::new(folder.join("gitea"));
            command.arg("-c").arg(&ini).env("GITEA_WORK_DIR", &work).env("HOME", &work).stdin(Stdio::null());
            // It writes Git's global configuration: where that is named to be /dev/null, it would put a file there.
            command.env_remove("GIT_CONFIG_GLOBAL").env_remove("GIT_CONFIG_SYSTEM");
            command
        };
        let run = |args: &[&str]| {
            let output = gitea().args(args).output().expect("gitea runs");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            assert!(output.status.success(), "gitea {args:?}: {}{}", text(&output.stdout), text(&output.stderr));
            text(&output.stdout).lines().last().unwrap_or_default().to_owned()
        };
        run(&["migrate"]);
        let account = ["--username", OWNER, "--password", PASSWORD, "--email", "owner@example.org"];
        run(&[&["admin", "user", "create", "--admin", "--must-change-password=false"][..], &account[..]].concat());
        let token = run(&["admin", "user", "generate-access-token", "--username", OWNER, "--scopes", "all", "--raw"]);
        let mut web = gitea();
        web.arg("web").stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(spawn_bound_to_process(web).expect("gitea runs"));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        let address = format!("http://127.0.0.1:{port}");
        let gitea = Self { address, token, http, _process: process, _directory: directory };
        super::daemon::eventually("Gitea answers", || {
            gitea
                .http
                .get(format!("{}/api/v1/version", gitea.address))
                .send()
                .ok()
                .filter(|r| r.status().is_success())
                .map(drop)
        });
        gitea
    }

    /// The token of [`OWNER`].
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Another one, which may do less: `read:repository`.
    pub fn token_for(&self, name: &str, scope: &str) -> String {
        let call = self.http.post(format!("{}/api/v1/users/{OWNER}/tokens", self.address));
        let body = json!({"name": name, "scopes": [scope]}).to_string();
        let call = call.basic_auth(OWNER, Some(PASSWORD)).header("Content-Type", "application/json").body(body);
        let text = call.send().and_then(reqwest::blocking::Response::text).expect("an answer");
        let made: Value = serde_json::from_str(&text).expect("JSON");
        made["sha1"].as_str().unwrap_or_else(|| panic!("no token: {text}")).to_owned()
    }

    /// A repository's address.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{OWNER}/{name}.git", self.address)
    }

    /// The same with the token, for `git push`.
    pub fn push_url(&self, name: &str) -> String {
        self.url(name).replace("http://", &format!("http://{OWNER}:{}@", self.token))
    }

    /// Asks the API, below `/api/v1`.
    ///
    /// # Panics
    /// When it refuses.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// The same, where a refusal is to be expected; it says which.
    ///
    /// # Errors
    /// What the host refused.
    pub fn try_ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut call = self.http.request(method.clone(), format!("{}/api/v1{path}", self.address));
        call = call.header("Authorization", format!("token {}", self.token));
        if let Some(body) = body {
            call = call.header("Content-Type", "application/json").body(body.to_string());
        }
        let response = call.send().expect("an answer");
        let (status, text) = (response.status(), response.text().unwrap_or_default());
        if !status.is_success() {
            return Err(format!("{method} {path}: {status} {text}"));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Makes an empty repository of [`OWNER`].
    pub fn create(&self, name: &str) {
        self.ask("POST", "/user/repos", Some(&json!({"name": name, "default_branch": "main"})));
    }

    /// Notifies `target` of pushes, pull requests and comments.
    pub fn hook(&self, name: &str, target: &str, secret: &str) {
        let config = json!({"url": target, "content_type": "json", "secret": secret});
        let events = ["push", "pull_request", "pull_request_sync", "issue_comment"];
        let body = json!({"type": "gitea", "active": true, "events": events, "config": config});
        self.ask("POST", &format!("/repos/{OWNER}/{name}/hooks"), Some(&body));
    }

    /// The states of a context on a commit, oldest first.
    pub fn states(&self, name: &str, commit: &str, context: &str) -> Vec<String> {
        let list = self.ask("GET", &format!("/repos/{OWNER}/{name}/commits/{commit}/statuses?limit=50"), None);
        let mut all: Vec<(u64, String)> = list
            .as_array()
            .into_iter()
            .flatten()
            .filter(|status| status["context"] == context)
            .map(|status| {
                (status["id"].as_u64().unwrap_or(0), status["status"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        all.sort();
        all.into_iter().map(|(_, state)| state).collect()
    }
}
