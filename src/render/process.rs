//! The programs that rendering runs, and their limits: Kustomize and Helm.
//!
//! The environment is empty but for a private home, an empty `PATH` (no `git`, no plugins) and proxies that lead
//! nowhere. Memory and CPU time are limited by the shell's `ulimit` (setting limits from here would need unsafe code);
//! time and output by us.

use super::workdir::Workdir;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

const SHELL: &str = "/bin/sh";

/// A program that builds kustomizations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kustomizer {
    /// `kustomize build DIR`.
    Kustomize(PathBuf),
    /// `kubectl kustomize DIR`.
    Kubectl(PathBuf),
}

/// What a build may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock and CPU time.
    pub time: Duration,
    /// Bytes on its standard output.
    pub output_bytes: usize,
    /// Bytes of address space. A Go program reserves several hundred MiB without using them.
    pub memory_bytes: u64,
    /// Builds at the same time.
    pub builds: usize,
}

impl Default for Limits {
    /// 60 s, 16 MiB of output, 4 GiB of address space, 4 builds at a time.
    fn default() -> Self {
        Self { time: Duration::from_secs(60), output_bytes: 16 << 20, memory_bytes: 4 << 30, builds: 4 }
    }
}

/// The programs that rendering may run. Cheap to clone; clones share the limit of builds at a time.
#[derive(Debug, Clone)]
pub struct Tools {
    pub(super) kustomizer: Option<Kustomizer>,
    pub(super) helm: Option<PathBuf>,
    limits: Limits,
    slots: Arc<Semaphore>,
}

impl Tools {
    /// These tools and no others.
    pub fn new(kustomizer: Option<Kustomizer>, helm: Option<PathBuf>, limits: Limits) -> Self {
        Self { kustomizer, helm, limits, slots: Arc::new(Semaphore::new(limits.builds.max(1))) }
    }

    /// Looks for `kustomize`, then `kubectl`, and for `helm`, in a search path (the value of `PATH`).
    pub fn find(search_path: Option<&OsStr>) -> Self {
        let find = |name: &str| {
            std::env::split_paths(search_path.unwrap_or_default())
                .filter(|dir| dir.is_absolute())
                .map(|dir| dir.join(name))
                .find(|file| is_executable(file))
        };
        let kustomizer =
            find("kustomize").map(Kustomizer::Kustomize).or_else(|| find("kubectl").map(Kustomizer::Kubectl));
        Self::new(kustomizer, find("helm"), Limits::default())
    }
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    /// It did not start.
    #[error("{program:?} cannot be started: {error}")]
    Start { program: PathBuf, error: std::io::Error },
    /// Too slow.
    #[error("the build took longer than {} s and was ended", .0.as_secs_f32())]
    TimedOut(Duration),
    /// Too much.
    #[error("the build wrote more than {0} bytes and was ended")]
    TooMuchOutput(usize),
    /// It said no: what it wrote to standard error may quote a Secret.
    #[error("it ended with {status}")]
    Failed { status: ExitStatus, stderr: Vec<u8> },
}

/// Runs a program in the copy, and gives its standard output.
pub(super) async fn run(
    tools: &Tools,
    program: &Path,
    args: &[OsString],
    workdir: &Workdir,
) -> Result<Vec<u8>, ProcessError> {
    // The semaphore is never closed.
    let _slot = tools.slots.acquire().await;
    let limits = tools.limits;
    let start = |error| ProcessError::Start { program: program.to_owned(), error };
    let mut child = command(program, args, workdir, limits).spawn().map_err(start)?;
    let mut group = Group(child.id());
    let ended = tokio::time::timeout(limits.time, collect(&mut child, limits.output_bytes)).await;
    let (status, stdout, stderr) = match ended {
        Err(_) => return Err(ProcessError::TimedOut(limits.time)),
        Ok(Err(error)) => return Err(start(error)),
        Ok(Ok(None)) => return Err(ProcessError::TooMuchOutput(limits.output_bytes)),
        Ok(Ok(Some(ended))) => ended,
    };
    // It has been waited for and nobody holds its pipes: its number may be another's by now.
    group.0 = None;
    if status.success() { Ok(stdout) } else { Err(ProcessError::Failed { status, stderr }) }
}

fn command(program: &Path, args: &[OsString], workdir: &Workdir, limits: Limits) -> Command {
    const SCRIPT: &str = "ulimit -v \"$0\" 2>/dev/null; ulimit -t \"$1\" 2>/dev/null; ulimit -c 0; shift; exec \"$@\"";
    // An image without a shell has no `ulimit` either: the limits of time and output are left.
    let mut command = if Path::new(SHELL).exists() {
        let mut command = Command::new(SHELL);
        let kib = (limits.memory_bytes / 1024).to_string();
        command.args(["-c", SCRIPT, &kib, &limits.time.as_secs().max(1).to_string()]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .args(args)
        .current_dir(workdir.tree())
        .env_clear()
        .env("HOME", workdir.home())
        .env("PATH", workdir.home())
        .env("TMPDIR", workdir.home())
        .env("XDG_CONFIG_HOME", workdir.home())
        .env("KUBECONFIG", "/dev/null")
        .env("HELM_PLUGINS", workdir.home())
        // Port 9 is the discard service: nobody listens.
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

type Ended = (ExitStatus, Vec<u8>, Vec<u8>);

/// `None` if it wrote too much.
async fn collect(child: &mut Child, most: usize) -> std::io::Result<Option<Ended>> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = async {
        let mut kept = Vec::new();
        if let Some(mut pipe) = stderr {
            (&mut pipe).take(64 * 1024).read_to_end(&mut kept).await?;
            // A full pipe would stop the process: the rest is read and forgotten.
            drain(&mut pipe).await?;
        }
        Ok::<_, std::io::Error>(kept)
    };
    let output = async {
        let mut kept = Vec::new();
        if let Some(pipe) = stdout {
            pipe.take(most as u64 + 1).read_to_end(&mut kept).await?;
        }
        if kept.len() > most { Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge)) } else { Ok(kept) }
    };
    match tokio::try_join!(output, errors) {
        Ok((stdout, stderr)) => Ok(Some((child.wait().await?, stdout, stderr))),
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Ok(None),
        Err(error) => Err(error),
    }
}

async fn drain(pipe: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while pipe.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A process group that ends with this value: also when the build is cancelled.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let Some(pid) = self.0 else { return };
        // Sending a signal to a group needs unsafe code or a shell. An empty group is no error worth telling.
        let _ = std::process::Command::new(SHELL)
            .args(["-c", "kill -s KILL -- \"-$0\" 2>/dev/null", &pid.to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .status();
    }
}

#[cfg(test)]
mod tests {
    use super::super::stderr::message;
    use super::*;
    use crate::source::tree::SourceTree;
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;

    /// A program that acts as `kustomize`.
    fn tool(dir: &Path, script: &str) -> PathBuf {
        let file = dir.join("kustomize");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    async fn run_script(script: &str, limits: Limits) -> (Result<String, String>, PathBuf, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let tree = SourceTree::from_files([("app/kustomization.yaml", "x")]).unwrap();
        let workdir = Workdir::new(&tree, &BTreeSet::from(["app".to_owned()]), None).unwrap();
        let tools = Tools::new(None, None, limits);
        let result = run(&tools, &tool(dir.path(), script), &["build".into(), "./app".into()], &workdir).await;
        let text = result.map(|out| String::from_utf8_lossy(&out).into_owned()).map_err(|error| match error {
            ProcessError::Failed { stderr, status } => message(&stderr, status, &workdir, "app", None),
            error => error.to_string(),
        });
        (text, workdir.root().to_owned(), dir)
    }

    #[tokio::test]
    async fn the_environment_is_empty() {
        let (text, root, _) = run_script("/usr/bin/env; pwd; echo \"$@\"", Limits::default()).await;
        let text = text.unwrap();
        for line in text.lines() {
            let known = [
                "HOME=",
                "PATH=",
                "TMPDIR=",
                "XDG_CONFIG_HOME=",
                "KUBECONFIG=/dev/null",
                "HELM_PLUGINS=",
                "HTTP_PROXY=",
                "HTTPS_PROXY=",
                "PWD=",
                "OLDPWD=",
                "SHLVL=",
                "_=",
                "/",
                "build ./app",
            ];
            assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
        }
        assert!(!root.exists());
    }

    #[tokio::test]
    async fn limits_end_it() {
        let short = Limits { time: Duration::from_millis(200), ..Limits::default() };
        let (text, root, dir) = run_script("/bin/sleep 1000 & echo $! > ${0%/*}/pid; wait", short).await;
        assert!(text.unwrap_err().contains("longer than 0.2 s"));
        assert!(!root.exists());
        // Its child went with it.
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let state = || std::fs::read_to_string(&stat).unwrap_or_default();
        // A signal takes a moment where the processors are busy.
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while !state().is_empty() && !state().contains(") Z ") && std::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let state = state();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
        let small = Limits { output_bytes: 1000, ..Limits::default() };
        let (text, ..) = run_script("while :; do echo xxxxxxxxxxxxxxxxxxxx; done", small).await;
        assert!(text.unwrap_err().contains("more than 1000 bytes"));
    }

    #[tokio::test]
    async fn errors_are_told_without_the_temporary_path() {
        let script =
            "i=0; while [ $i -lt 3000 ]; do echo 'padding padding padding padding' >&2; i=$((i+1)); done; exit 1";
        let (text, ..) = run_script(script, Limits::default()).await;
        assert!(text.unwrap_err().contains("padding"));
        let (text, ..) = run_script("echo \"Error: $(pwd)/app/x.yaml is bad\" >&2; exit 1", Limits::default()).await;
        assert_eq!(text.unwrap_err(), "app/x.yaml is bad");
        let (text, ..) = run_script("exit 3", Limits::default()).await;
        assert!(text.unwrap_err().contains("said nothing"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_said() {
        let tree = SourceTree::from_files([("app/kustomization.yaml", "x")]).unwrap();
        let workdir = Workdir::new(&tree, &BTreeSet::from(["app".to_owned()]), None).unwrap();
        let tools = Tools::find(Some(OsStr::new("/nonexistent:relative")));
        assert!(tools.kustomizer.is_none() && tools.helm.is_none());
        let error = run(&tools, Path::new("/nonexistent/kubectl"), &[], &workdir).await;
        assert!(error.is_err());
    }
}
