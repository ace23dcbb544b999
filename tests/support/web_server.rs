//! A real web server in front of `git http-backend`, with TLS of a private authority and a password; and a proxy.
//!
//! In: lighttpd with its OpenSSL module, in `PATH` or where Debian has it. Out: an address below which one directory's
//! repositories are, the authority's certificate, and the one accepted token. Without it tests are skipped and say so.

use super::control_plane::spawn_bound_to_process;
use super::daemon::{Process, eventually};
use super::gitea::free_port;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A name that only the proxy can resolve.
pub const HOST: &str = "git.driftless.test";

/// A running web server.
pub struct WebServer {
    directory: TempDir,
    port: u16,
    _process: Process,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join("lighttpd")).find(|file| file.is_file())
}

impl WebServer {
    /// One of the test's own for the repositories in `root`; `None`, and said, where lighttpd is not installed.
    pub fn start(root: &Path) -> Option<Self> {
        let Some(program) = program() else {
            let _ = writeln!(std::io::stderr(), "skipped: no web server (install lighttpd and lighttpd-mod-openssl)");
            return None;
        };
        let core = Command::new("git").arg("--exec-path").output().expect("git runs");
        let core = String::from_utf8_lossy(&core.stdout).trim().to_owned();
        let directory = tempfile::Builder::new().prefix("driftless-web-").tempdir().expect("a directory");
        let (dir, port) = (directory.path(), free_port());
        certificates(dir);
        let text = format!(
            "server.document-root = \"{root}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n\
             server.modules = (\"mod_alias\", \"mod_setenv\", \"mod_auth\", \"mod_authn_file\", \"mod_cgi\", \"mod_openssl\")\n\
             server.errorlog = \"{dir}/log\"\nssl.engine = \"enable\"\nssl.pemfile = \"{dir}/server.pem\"\n\
             auth.backend = \"plain\"\nauth.backend.plain.userfile = \"{dir}/users\"\n\
             auth.require = (\"\" => (\"method\" => \"basic\", \"realm\" => \"git\", \"require\" => \"valid-user\"))\n\
             alias.url = (\"/git\" => \"{core}/git-http-backend\")\ncgi.assign = (\"\" => \"\")\n\
             setenv.add-environment = (\"GIT_PROJECT_ROOT\" => \"{root}\", \"GIT_HTTP_EXPORT_ALL\" => \"\", \
             \"GIT_CONFIG_GLOBAL\" => \"/dev/null\")\n",
            root = root.display(),
            dir = dir.display(),
        );
        fs::write(dir.join("lighttpd.conf"), text).expect("a file");
        let mut command = Command::new(program);
        command.arg("-D").arg("-f").arg(dir.join("lighttpd.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(spawn_bound_to_process(command).expect("lighttpd runs"));
        let server = Self { directory, port, _process: process };
        server.accept("first-token");
        eventually("the web server listens", || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
        Some(server)
    }

    /// From now on this is the token.
    pub fn accept(&self, token: &str) {
        let fresh = self.directory.path().join("users.new");
        fs::write(&fresh, format!("x-access-token:{token}\n")).expect("a file");
        fs::rename(fresh, self.directory.path().join("users")).expect("a file");
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The address of a repository by name.
    pub fn url(&self, repository: &str) -> String {
        format!("https://localhost:{}/git/{repository}", self.port)
    }

    /// The same by the name that only [`Proxy`] can resolve.
    pub fn url_behind_proxy(&self, repository: &str) -> String {
        format!("https://{HOST}:{}/git/{repository}", self.port)
    }
}

/// An authority, and a certificate of it for both names.
fn certificates(dir: &Path) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "a private authority");
    let authority =
        CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("a certificate");
    let names = CertificateParams::new(vec!["localhost".to_owned(), HOST.to_owned()]).expect("names");
    let key = KeyPair::generate().expect("a key");
    let server = names.signed_by(&key, &authority).expect("a certificate");
    fs::write(dir.join("ca.pem"), authority.pem()).expect("a file");
    fs::write(dir.join("server.pem"), format!("{}{}", server.pem(), key.serialize_pem())).expect("a file");
}

/// A proxy that connects [`HOST`] to this machine, and takes down what it is asked.
pub struct Proxy {
    port: u16,
    /// Heads of requests.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one; it ends with the process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || connect(stream, &heard));
            }
        });
        Self { port, asked }
    }

    /// Its address with a password.
    pub fn url(&self) -> String {
        format!("http://me:pass@127.0.0.1:{}", self.port)
    }
}

/// Serves one `CONNECT`.
fn connect(stream: TcpStream, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    asked.lock().ok()?.push(head.clone());
    let port: u16 = head.strip_prefix(&format!("CONNECT {HOST}:"))?.split(' ').next()?.parse().ok()?;
    let server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    (&stream).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (mut back_from, mut back_to) = (server.try_clone().ok()?, stream);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut reader, &mut &server);
    let _ = server.shutdown(std::net::Shutdown::Write);
    Some(())
}
