//! Notifications of Git hosts: a push or a pull request is looked at at once, instead of at the next interval.
//!
//! In: a request's headers and its raw body. Out: a [`Hint`]: which repository, and what may have changed there. A hint is
//! never believed: whoever gets it looks at the repository itself, so that the worst that a forged one does is a fetch.
//!
//! Guarantees: the signature is verified over the raw bytes, in constant time, before anything is parsed; what is not
//! signed, too large, or about a repository that is not ours is answered without a word about why (401, 413, 404); a
//! delivery that was seen before does nothing. Pure, but for [`Desk`], which remembers deliveries.
//!
//! Signatures, by their documentation: GitHub and Bitbucket `sha256=HEX` of HMAC-SHA256 in `X-Hub-Signature-256` and
//! `X-Hub-Signature`; Gitea and Forgejo the HEX alone in `X-Gitea-Signature` and `X-Forgejo-Signature`; GitLab the secret
//! itself in `X-Gitlab-Token`; Azure DevOps (service hooks) the secret as the password of basic authentication.

use base64::Engine as _;
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Largest notification.
pub const MAX_BODY: usize = 4 << 20;
/// Deliveries that are remembered.
const DELIVERIES: usize = 4096;

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A branch.
    Push,
    /// A pull request, by number: opened, pushed to, or commented on.
    Pull(u64),
    /// Nothing: the host tries whether somebody is there.
    Nothing,
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// `owner/name`, in lower case; without a host, which may be known here by another name.
    pub repository: String,
    /// What.
    pub change: Change,
}

/// Why a notification is refused; told as a code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not signed, or not with our secret: 401.
    Unsigned,
    /// Of no host that we know, or about no repository of ours: 404.
    Unknown,
}

/// A header's value, by its name in lower case.
pub type Header<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    GitHub,
    Gitea,
    GitLab,
    Bitbucket,
    Azure,
}

/// Reads a notification.
///
/// # Errors
/// When it is not to be trusted, or says nothing that can be read.
pub fn read(secret: &str, header: Header<'_>, body: &[u8]) -> Result<Hint, Refused> {
    let sender = sender(header, secret, body)?;
    let parsed: Value = serde_json::from_slice(body).map_err(|_| Refused::Unknown)?;
    let event = match sender {
        Sender::GitHub => header("x-github-event"),
        Sender::Gitea => header("x-gitea-event").or_else(|| header("x-forgejo-event")),
        Sender::GitLab => header("x-gitlab-event"),
        Sender::Bitbucket => header("x-event-key"),
        Sender::Azure => Some(text(&parsed, &["/eventType"]).to_owned()),
    };
    let event = event.unwrap_or_default().to_lowercase();
    let number = |paths: &[&str]| paths.iter().find_map(|path| parsed.pointer(path)?.as_u64());
    let change = match sender {
        _ if event == "ping" || event == "diagnostics:ping" => Change::Nothing,
        Sender::GitHub | Sender::Gitea => match event.as_str() {
            "push" | "create" | "delete" => Change::Push,
            _ if event.starts_with("pull_request") || event == "issue_comment" => {
                number(&["/pull_request/number", "/number", "/issue/number"]).map_or(Change::Nothing, Change::Pull)
            }
            _ => Change::Nothing,
        },
        Sender::GitLab => match event.as_str() {
            "push hook" | "tag push hook" => Change::Push,
            "merge request hook" => number(&["/object_attributes/iid"]).map_or(Change::Nothing, Change::Pull),
            "note hook" => number(&["/merge_request/iid"]).map_or(Change::Nothing, Change::Pull),
            _ => Change::Nothing,
        },
        Sender::Bitbucket => match event.as_str() {
            "repo:push" | "repo:refs_changed" => Change::Push,
            _ if event.starts_with("pullrequest:") || event.starts_with("pr:") => {
                number(&["/pullrequest/id", "/pullRequest/id"]).map_or(Change::Nothing, Change::Pull)
            }
            _ => Change::Nothing,
        },
        Sender::Azure => match event.as_str() {
            "git.push" => Change::Push,
            _ if event.contains("pullrequest") => {
                number(&["/resource/pullRequestId", "/resource/pullRequest/pullRequestId"])
                    .map_or(Change::Nothing, Change::Pull)
            }
            _ => Change::Nothing,
        },
    };
    let repository = match sender {
        Sender::GitHub | Sender::Gitea | Sender::Bitbucket => {
            // A Data Center says project and slug, each by itself.
            let base = if parsed.get("repository").is_some() { "" } else { "/pullRequest/toRef" };
            let at = |path: &str| format!("{base}/repository{path}");
            match text(&parsed, &[&at("/full_name")]) {
                "" => format!("{}/{}", text(&parsed, &[&at("/project/key")]), text(&parsed, &[&at("/slug")])),
                name => name.to_owned(),
            }
        }
        Sender::GitLab => text(&parsed, &["/project/path_with_namespace"]).to_owned(),
        Sender::Azure => {
            let repository = ["/resource/repository", "/resource/pullRequest/repository"];
            let of = |part: &str| {
                repository
                    .iter()
                    .map(|base| text(&parsed, &[&format!("{base}{part}")]).to_owned())
                    .find(|t| !t.is_empty())
            };
            format!("{}/{}", of("/project/name").unwrap_or_default(), of("/name").unwrap_or_default())
        }
    };
    Ok(Hint { repository: repository.to_lowercase(), change })
}

fn text<'v>(value: &'v Value, paths: &[&str]) -> &'v str {
    paths.iter().find_map(|path| value.pointer(path)?.as_str()).unwrap_or_default()
}

/// Who sent it, if it is signed.
fn sender(header: Header<'_>, secret: &str, body: &[u8]) -> Result<Sender, Refused> {
    let signed = |name: &str| header(name).is_some_and(|value| is_signature(secret, body, &value));
    let proven = |proven: bool, sender: Sender| if proven { Ok(sender) } else { Err(Refused::Unsigned) };
    if secret.is_empty() {
        return Err(Refused::Unsigned);
    }
    // Gitea and Forgejo send GitHub's headers besides their own.
    if header("x-gitea-event").is_some() || header("x-forgejo-event").is_some() {
        return proven(
            ["x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"].into_iter().any(signed),
            Sender::Gitea,
        );
    }
    if header("x-github-event").is_some() {
        return proven(signed("x-hub-signature-256"), Sender::GitHub);
    }
    if header("x-gitlab-event").is_some() {
        return proven(header("x-gitlab-token").is_some_and(|token| is_same(&token, secret)), Sender::GitLab);
    }
    if header("x-event-key").is_some() {
        return proven(signed("x-hub-signature"), Sender::Bitbucket);
    }
    if let Some(basic) = header("authorization") {
        let decoded =
            basic.strip_prefix("Basic ").and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
        let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        return proven(pair.split_once(':').is_some_and(|(_, password)| is_same(password, secret)), Sender::Azure);
    }
    // No one that we know: whoever asks without a signature learns nothing else.
    Err(Refused::Unsigned)
}

fn is_signature(secret: &str, body: &[u8], said: &str) -> bool {
    let hex = said.trim().strip_prefix("sha256=").unwrap_or(said.trim());
    let Some(bytes) = unhex(hex) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(body);
    mac.verify_slice(&bytes).is_ok()
}

/// Compares two texts in a time that tells nothing of where they differ: by their MACs under a key of the moment.
fn is_same(one: &str, other: &str) -> bool {
    let key: [u8; 32] = rand::random();
    let mac = |text: &str| {
        Hmac::<Sha256>::new_from_slice(&key).ok().map(|mut mac| {
            mac.update(text.as_bytes());
            mac
        })
    };
    match (mac(one), mac(other)) {
        (Some(one), Some(other)) => one.verify_slice(&other.finalize().into_bytes()).is_ok(),
        _ => false,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32).map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()).collect()
}

/// Remembers deliveries.
#[derive(Debug, Default)]
pub struct Desk(Mutex<(HashSet<String>, VecDeque<String>)>);

impl Desk {
    /// True for a delivery that was not seen before; one without a name always is.
    pub fn is_new(&self, header: Header<'_>) -> bool {
        const NAMES: [&str; 6] = [
            "x-github-delivery",
            "x-gitea-delivery",
            "x-forgejo-delivery",
            "x-gitlab-event-uuid",
            "x-request-uuid",
            "x-request-id",
        ];
        let Some(id) = NAMES.iter().find_map(|name| header(name)).filter(|id| id.len() <= 200) else { return true };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.0.insert(id.clone()) {
            return false;
        }
        seen.1.push_back(id);
        if seen.1.len() > DELIVERIES
            && let Some(old) = seen.1.pop_front()
        {
            seen.0.remove(&old);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sign(secret: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn ask(headers: &[(&str, &str)], body: &[u8]) -> Result<Hint, Refused> {
        let find = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        read("s3cret", &find, body)
    }

    fn hint(repository: &str, change: Change) -> Result<Hint, Refused> {
        Ok(Hint { repository: repository.to_owned(), change })
    }

    /// Shapes of the payloads: docs.github.com/webhooks/webhook-events-and-payloads, docs.gitlab.com/user/project/integrations/webhook_events,
    /// support.atlassian.com/bitbucket-cloud/docs/event-payloads, confluence.atlassian.com/bitbucketserver/event-payload,
    /// learn.microsoft.com/azure/devops/service-hooks/events.
    #[test]
    fn every_host() {
        let github =
            json!({"ref": "refs/heads/main", "repository": {"full_name": "Octo/Shop"}}).to_string().into_bytes();
        let signature = format!("sha256={}", sign("s3cret", &github));
        assert_eq!(
            ask(&[("x-github-event", "push"), ("x-hub-signature-256", &signature)], &github),
            hint("octo/shop", Change::Push)
        );
        let pull = json!({"action": "synchronize", "number": 7, "pull_request": {"number": 7}, "repository": {"full_name": "a/b"}}).to_string().into_bytes();
        let signature = sign("s3cret", &pull);
        assert_eq!(
            ask(
                &[
                    ("x-gitea-event", "pull_request"),
                    ("x-github-event", "pull_request"),
                    ("x-gitea-signature", &signature)
                ],
                &pull
            ),
            hint("a/b", Change::Pull(7))
        );
        let merge = json!({"object_attributes": {"iid": 3}, "project": {"path_with_namespace": "g/sub/shop"}})
            .to_string()
            .into_bytes();
        assert_eq!(
            ask(&[("x-gitlab-event", "Merge Request Hook"), ("x-gitlab-token", "s3cret")], &merge),
            hint("g/sub/shop", Change::Pull(3))
        );
        let cloud = json!({"pullrequest": {"id": 9}, "repository": {"full_name": "ws/shop"}}).to_string().into_bytes();
        let signature = format!("sha256={}", sign("s3cret", &cloud));
        assert_eq!(
            ask(&[("x-event-key", "pullrequest:updated"), ("x-hub-signature", &signature)], &cloud),
            hint("ws/shop", Change::Pull(9))
        );
        let server =
            json!({"pullRequest": {"id": 4, "toRef": {"repository": {"slug": "shop", "project": {"key": "PRJ"}}}}})
                .to_string()
                .into_bytes();
        let signature = format!("sha256={}", sign("s3cret", &server));
        assert_eq!(
            ask(&[("x-event-key", "pr:from_ref_updated"), ("x-hub-signature", &signature)], &server),
            hint("prj/shop", Change::Pull(4))
        );
        let azure =
            json!({"eventType": "git.push", "resource": {"repository": {"name": "shop", "project": {"name": "Web"}}}})
                .to_string()
                .into_bytes();
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("x:s3cret"));
        assert_eq!(ask(&[("authorization", &basic)], &azure), hint("web/shop", Change::Push));
        let ping = json!({"zen": "…", "repository": {"full_name": "a/b"}}).to_string().into_bytes();
        let signature = format!("sha256={}", sign("s3cret", &ping));
        assert_eq!(
            ask(&[("x-github-event", "ping"), ("x-hub-signature-256", &signature)], &ping),
            hint("a/b", Change::Nothing)
        );
    }

    #[test]
    fn what_is_not_signed_is_refused() {
        let body = br#"{"repository": {"full_name": "a/b"}}"#;
        let good = format!("sha256={}", sign("s3cret", body));
        let other = format!("sha256={}", sign("another", body));
        for headers in [
            &[("x-github-event", "push")][..],
            &[("x-github-event", "push"), ("x-hub-signature-256", &other)],
            &[("x-github-event", "push"), ("x-hub-signature-256", "sha256=00")],
            &[("x-github-event", "push"), ("x-hub-signature", &good)],
            &[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "s3cre")],
            &[("x-event-key", "repo:push"), ("x-hub-signature", &other)],
            &[("authorization", "Basic eDp5")],
            &[],
        ] {
            assert_eq!(ask(headers, body), Err(Refused::Unsigned), "{headers:?}");
        }
        let changed = br#"{"repository": {"full_name": "a/c"}}"#;
        assert_eq!(ask(&[("x-github-event", "push"), ("x-hub-signature-256", &good)], changed), Err(Refused::Unsigned));
        let find = |name: &str| (name == "x-gitlab-event" || name == "x-gitlab-token").then(String::new);
        assert_eq!(read("", &find, body), Err(Refused::Unsigned), "no secret is no password");
        let broken = b"{";
        let signature = format!("sha256={}", sign("s3cret", broken));
        assert_eq!(
            ask(&[("x-github-event", "push"), ("x-hub-signature-256", &signature)], broken),
            Err(Refused::Unknown)
        );
    }

    #[test]
    fn a_delivery_counts_once() {
        let desk = Desk::default();
        let of = |id: &'static str| move |name: &str| (name == "x-github-delivery").then(|| id.to_owned());
        assert!(desk.is_new(&of("1")) && desk.is_new(&of("2")) && !desk.is_new(&of("1")));
        assert!(desk.is_new(&|_: &str| None) && desk.is_new(&|_: &str| None));
        for n in 0..DELIVERIES {
            desk.is_new(&move |name: &str| (name == "x-github-delivery").then(|| format!("more-{n}")));
        }
        assert!(desk.is_new(&of("1")), "the oldest are forgotten");
    }
}
