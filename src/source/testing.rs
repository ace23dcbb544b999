//! For tests: repositories made with the real `git`, free of the machine's own configuration, and a smart HTTP server
//! in front of `git http-backend`.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// A repository in a temporary directory.
pub(crate) struct TestRepo {
    _temp: tempfile::TempDir,
    path: PathBuf,
}

pub(crate) fn git_command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).envs([
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Ann Author"),
        ("GIT_AUTHOR_EMAIL", "ann@example.com"),
        ("GIT_COMMITTER_NAME", "Carl Committer"),
        ("GIT_COMMITTER_EMAIL", "carl@example.com"),
        ("GIT_TERMINAL_PROMPT", "0"),
    ]);
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "protocol.file.allow=always"]);
    command
}

/// Runs git and returns what it prints, trimmed.
pub(crate) fn git_in(dir: &Path, args: &[&str]) -> String {
    let output = git_command(dir).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl TestRepo {
    /// An empty work tree on branch `main`.
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("repo");
        let repo = Self { _temp: temp, path };
        repo.init_again();
        repo
    }

    pub(crate) fn init_again(&self) {
        std::fs::create_dir_all(&self.path).unwrap();
        git_in(&self.path, &["init", "-q", "-b", "main"]);
        git_in(&self.path, &["config", "http.receivepack", "true"]);
        git_in(&self.path, &["config", "receive.denyCurrentBranch", "ignore"]);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git_in(&self.path, args)
    }

    pub(crate) fn write(&self, file: &str, content: &str) {
        let path = self.path.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes files and commits them with everything else; returns the commit's id.
    pub(crate) fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (file, content) in files {
            self.write(file, content);
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// How the test server misbehaves, by path prefix or for all.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    /// The `Authorization` header that is asked for.
    pub authorization: Option<String>,
    /// Answers `GET` with a redirect: from a path prefix to a whole address in front of the rest.
    pub redirect: Option<(String, String)>,
    /// Ends the connection after so many bytes of a `POST`'s answer.
    pub cut_after: Option<usize>,
    /// Answers everything with this status.
    pub status: Option<u16>,
    /// Answers everything with this page.
    pub page: Option<String>,
}

/// Request lines and `Authorization` headers, in order.
type Requests = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A smart HTTP server on a loopback port for the repositories below a directory. Its thread ends with the process.
pub(crate) struct TestServer {
    pub address: String,
    pub behaviour: Arc<Mutex<Behaviour>>,
    pub requests: Requests,
}

impl TestServer {
    pub(crate) fn start(root: &Path) -> Self {
        Self::start_with(root, None)
    }

    /// The same behind TLS, with a certificate of the root in `testdata/ca.pem`.
    pub(crate) fn start_tls(root: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = vec![CertificateDer::from_pem_slice(include_bytes!("testdata/server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/server-key.pem")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::start_with(root, Some(Arc::new(config)))
    }

    fn start_with(root: &Path, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let server = Self { address, behaviour: Arc::default(), requests: Arc::default() };
        let (behaviour, requests, root) =
            (Arc::clone(&server.behaviour), Arc::clone(&server.requests), root.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behaviour, requests, root) = (Arc::clone(&behaviour), Arc::clone(&requests), root.clone());
                let tls = tls.clone();
                std::thread::spawn(move || match tls {
                    None => serve(stream, &behaviour, &requests, &root),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(connection, stream), &behaviour, &requests, &root);
                    }
                });
            }
        });
        server
    }

    /// The server for a repository's parent directory, and the repository's address on it.
    pub(crate) fn for_repo(repo: &TestRepo) -> (Self, String) {
        let server = Self::start(repo.path().parent().unwrap());
        let address = format!("{}/repo/.git", server.address);
        (server, address)
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

fn serve(
    stream: impl Read + Write,
    behaviour: &Mutex<Behaviour>,
    requests: &Mutex<Vec<(String, Option<String>)>>,
    root: &Path,
) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    requests.lock().unwrap().push((line.trim().to_owned(), headers.get("authorization").cloned()));
    let behaviour = behaviour.lock().unwrap().clone();
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut stream = reader.into_inner();
    let refuse = |stream: &mut dyn Write, status: &str, extra: &str| {
        let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n{extra}\r\n");
    };
    if let Some(status) = behaviour.status {
        return refuse(&mut stream, &format!("{status} Test"), "Retry-After: 7\r\n");
    }
    if let Some(page) = &behaviour.page {
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
            page.len()
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(page.as_bytes()));
        return;
    }
    if behaviour.authorization.is_some() && behaviour.authorization.as_ref() != headers.get("authorization") {
        return refuse(&mut stream, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"git\"\r\n");
    }
    if let Some((from, to)) = &behaviour.redirect
        && let Some(rest) = target.strip_prefix(from.as_str())
    {
        return refuse(&mut stream, "301 Moved Permanently", &format!("Location: {to}{rest}\r\n"));
    }
    let answer = backend(root, method, target, &headers, &body);
    let cut = behaviour.cut_after.filter(|_| method == "POST").unwrap_or(answer.len());
    let _ = stream.write_all(&answer[..cut.min(answer.len())]);
}

/// One CGI run of `git http-backend`, as a whole HTTP response.
fn backend(root: &Path, method: &str, target: &str, headers: &HashMap<String, String>, body: &[u8]) -> Vec<u8> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let mut command = git_command(root);
    let mut child = command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = body.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output().unwrap().stdout;
    let _ = feeder.join();
    let split = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..split]).into_owned();
    let content = output.get(split + 4..).unwrap_or_default();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let rest: String =
        head.lines().filter(|line| !line.starts_with("Status:")).map(|line| format!("{line}\r\n")).collect();
    let mut answer =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{rest}\r\n", content.len())
            .into_bytes();
    answer.extend_from_slice(content);
    answer
}
