//! How `ssh` is to be run: its arguments, and a configuration file of our own.
//!
//! In: [`SshOptions`], from the configuration. Out: the text of that file, and arguments.
//!
//! A file, since a jump host gets no options of the command line but is connected to with the same file (`ssh -F`). What
//! it says first counts: nobody is asked anything, a host whose key is not known or has changed is refused, nothing is
//! forwarded, and no connection outlives the call. A repository without settings then has the user's own configuration,
//! as with `git`; one with settings has nothing but those. `GIT_SSH_COMMAND` is not honoured: it is a shell command that
//! could lift all of this.

use super::address::{SshAddress, check_jump};
use super::error::SshError;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// How long a connection, with its handshake, may take to come up.
const CONNECT_SECONDS: u64 = 10;

/// Settings of a repository behind SSH.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshOptions {
    /// The private key, or the public one of a key in the agent. Without one: what the agent offers, and the user's keys.
    pub key_file: Option<PathBuf>,
    /// The only host keys that are accepted. Without it: those of the user and of the machine.
    pub known_hosts: Option<PathBuf>,
    /// Hosts to go through: `[USER@]HOST[:PORT]`, several with commas.
    pub jump: Option<String>,
}

const FIRST: &str = "\
# Made by driftless for its calls of ssh; written anew when it is changed.
Host *
  IgnoreUnknown ForkAfterAuthentication,StdinNull
  BatchMode yes
  StrictHostKeyChecking yes
  UpdateHostKeys no
  CheckHostIP no
  VerifyHostKeyDNS no
  ForwardAgent no
  ForwardX11 no
  ClearAllForwardings yes
  PermitLocalCommand no
  Tunnel no
  RequestTTY no
  EscapeChar none
  ControlMaster no
  ControlPath none
  ForkAfterAuthentication no
  StdinNull no
  LogLevel INFO
  ServerAliveInterval 15
  ServerAliveCountMax 3
";

const OF_THE_USER: &str = "\
  Include ~/.ssh/config
  Include /etc/ssh/ssh_config
";

/// The text of the configuration file. `None`: the user's own settings, behind what must be.
pub(super) fn config_text(options: Option<&SshOptions>) -> Result<String, SshError> {
    let mut text = format!("{FIRST}  ConnectTimeout {CONNECT_SECONDS}\n");
    let Some(options) = options else { return Ok(text + OF_THE_USER) };
    if let Some(file) = &options.known_hosts {
        let path = usable(file, "known_hosts")?;
        text.push_str(&format!("  UserKnownHostsFile \"{path}\"\n  GlobalKnownHostsFile /dev/null\n"));
    }
    if let Some(file) = &options.key_file {
        let path = usable(file, "key_file")?;
        is_key(file)?;
        text.push_str(&format!("  IdentitiesOnly yes\n  IdentityFile \"{path}\"\n"));
    }
    Ok(text)
}

/// The path as a configuration file can have it, if the file can be read.
fn usable(file: &Path, setting: &str) -> Result<String, SshError> {
    let refuse = |message: String| SshError::File { path: file.display().to_string(), message };
    let path = std::path::absolute(file).map_err(|error| refuse(error.to_string()))?;
    let opened = std::fs::File::open(&path).map_err(|error| refuse(error.to_string()))?;
    if opened.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(SshError::Directory { path: path.display().to_string(), setting: setting.to_owned() });
    }
    let text = path.to_str().unwrap_or("\"");
    if text.chars().any(|c| c.is_control() || "\"\\%$".contains(c)) {
        return Err(refuse("its path holds a character that has a meaning in ssh's configuration".to_owned()));
    }
    Ok(text.to_owned())
}

/// Bytes of a key file that are looked at: its first line is what tells.
const FIRST_LINE: u64 = 4096;

/// Refuses what is no key at all: `ssh` passes it over, and says only that no key was accepted.
fn is_key(file: &Path) -> Result<(), SshError> {
    let refuse =
        |message: &str| Err(SshError::NotAKey { path: file.display().to_string(), message: message.to_owned() });
    let mut head = Vec::new();
    // A file that cannot be read any more is ssh's to complain about.
    let Ok(opened) = std::fs::File::open(file) else { return Ok(()) };
    if opened.take(FIRST_LINE).read_to_end(&mut head).is_err() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&head);
    let first = text.trim_start().lines().next().unwrap_or_default().trim();
    let word = first.split_whitespace().next().unwrap_or_default();
    let public = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start));
    match first {
        // A public key stands for its private half in the agent.
        _ if public => Ok(()),
        _ if first.starts_with("-----BEGIN ") && first.contains("PRIVATE KEY-----") => Ok(()),
        "" => refuse("it is empty"),
        _ if first.starts_with("PuTTY-User-Key-File") => refuse("it is a key of PuTTY"),
        _ if first.starts_with("---- BEGIN SSH2 PUBLIC KEY") => refuse("it is a public key in another format"),
        _ if first.starts_with("-----BEGIN ") => refuse("it is PEM, but no private key"),
        _ => refuse("it is no private key"),
    }
}

/// The arguments of one conversation: everything after `--` is the host's.
pub(super) fn arguments(
    config: &Path,
    jump: Option<&str>,
    address: &SshAddress,
    command: &str,
) -> Result<Vec<String>, SshError> {
    let file = config.display().to_string();
    let refuse = |message: String| SshError::File { path: file.clone(), message };
    let mut out = vec!["-F".to_owned(), file.clone(), "-T".to_owned()];
    if let Some(jump) = jump {
        check_jump(jump).map_err(|why| refuse(format!("`jump`: {why}")))?;
        // ssh hands the file's path to a shell, unquoted, to reach the jump host.
        if !file.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=,".contains(c)) {
            return Err(refuse(
                "with `jump`, the cache's path must hold no white space or special characters".to_owned(),
            ));
        }
        let hops: Vec<&str> = jump.split(',').map(str::trim).collect();
        out.extend(["-J".to_owned(), hops.join(",")]);
    }
    if let Some(port) = address.port() {
        out.extend(["-p".to_owned(), port.to_string()]);
    }
    out.extend(["--".to_owned(), address.target(), format!("{command} {}", address.quoted_path())]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::super::error::GitError;
    use super::*;

    #[test]
    fn what_must_be_comes_first_and_settings_exclude_the_users() {
        let temp = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = temp.path().join(name);
            std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
            path
        };
        let own = config_text(None).unwrap();
        assert!(own.find("StrictHostKeyChecking yes").unwrap() < own.find("Include ~/.ssh/config").unwrap());
        let (key_file, known_hosts) = (Some(file("key")), Some(file("known")));
        let text = config_text(Some(&SshOptions { key_file, known_hosts, jump: None })).unwrap();
        assert!(!text.contains("Include") && text.contains("IdentitiesOnly yes"), "{text}");
        assert!(text.contains("/known\"\n  GlobalKnownHostsFile /dev/null"), "{text}");
        for odd in ["a\"b", "a%h", "a${HOME}", "a\nb"] {
            let options = SshOptions { key_file: Some(file(odd)), ..SshOptions::default() };
            assert!(matches!(config_text(Some(&options)), Err(SshError::File { .. })), "{odd:?}");
        }
        let gone = SshOptions { known_hosts: Some(temp.path().join("gone")), ..SshOptions::default() };
        assert!(config_text(Some(&gone)).unwrap_err().to_string().contains("No such file"));
    }

    #[test]
    fn what_is_no_file_and_no_key_is_named_as_what_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let told = |options: SshOptions| {
            let problem = crate::object::Problem::from(GitError::from(config_text(Some(&options)).unwrap_err()));
            format!("{} {}", problem.message, problem.hint.unwrap_or_default())
        };
        let folder = Some(temp.path().to_owned());
        let key = told(SshOptions { key_file: folder.clone(), ..SshOptions::default() });
        assert!(key.contains("is a directory") && key.contains("`key_file`") && !key.contains("chmod"), "{key}");
        let hosts = told(SshOptions { known_hosts: folder, ..SshOptions::default() });
        assert!(hosts.contains("is a directory") && hosts.contains("`known_hosts`"), "{hosts}");
        for (content, what) in [
            ("hello there\n", "it is no private key"),
            ("", "it is empty"),
            ("PuTTY-User-Key-File-3: ssh-ed25519\n", "PuTTY"),
            ("-----BEGIN CERTIFICATE-----\n", "PEM, but no private key"),
        ] {
            let file = temp.path().join("key");
            std::fs::write(&file, content).unwrap();
            let told = told(SshOptions { key_file: Some(file.clone()), ..SshOptions::default() });
            assert!(told.contains(what) && told.contains("ssh-keygen") && !told.contains("hello"), "{told}");
            for key in [
                "ssh-ed25519 AAAA me\n",
                "-----BEGIN RSA PRIVATE KEY-----\n",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
            ] {
                std::fs::write(&file, key).unwrap();
                assert!(is_key(&file).is_ok(), "{key}");
            }
        }
    }

    #[test]
    fn arguments_end_with_the_hosts_own() {
        let address = SshAddress::from_url("ssh://git@h:2222/a b").unwrap();
        let found = arguments(Path::new("/c/ssh.conf"), Some("me@j:1, k"), &address, "git-upload-pack").unwrap();
        let expected =
            ["-F", "/c/ssh.conf", "-T", "-J", "me@j:1,k", "-p", "2222", "--", "git@h", "git-upload-pack '/a b'"];
        assert_eq!(found, expected);
        assert!(arguments(Path::new("/c d/ssh.conf"), Some("j"), &address, "x").is_err());
        assert!(arguments(Path::new("/c d/ssh.conf"), None, &address, "x").is_ok());
        assert!(arguments(Path::new("/c/ssh.conf"), Some("-x"), &address, "x").is_err());
    }
}
