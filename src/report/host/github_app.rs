//! How a GitHub App is let in: it signs a short assertion with its private key, and gets a token for one installation.
//! Documentation: docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app, "Generating a JSON Web
//! Token (JWT) for a GitHub App" and "Generating an installation access token for a GitHub App".
//!
//! Guarantees: a token is kept in memory until shortly before its end and asked for again after; it is for the one
//! repository only; neither key nor token is in any message. A clock that is wrong is told from a key that is.

use super::wire::ReadToken;
use super::{Reply, Request, refusal, said, text};
use crate::report::outbox::SendError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::Signer;
use serde_json::json;
use std::sync::{Mutex, PoisonError};

/// What an assertion is back-dated by, as the documentation advises against clocks that run ahead.
const BEFORE: i64 = 60;
/// Its life: GitHub takes up to ten minutes.
const LIFE: i64 = 540;
/// A token is not used in the last minutes of its hour.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// A clock that differs from GitHub's by more than this is what is wrong.
const SKEW: i64 = 30;

/// An app, and the token that it was given last.
pub struct AppLogin {
    id: String,
    installation: Option<u64>,
    owner: String,
    name: String,
    key: ReadToken,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    token: Option<(String, Timestamp)>,
    /// Where GitHub was asked for it.
    installation: Option<u64>,
}

/// Sends a request, signed with an assertion.
pub type Exchange<'a> = &'a dyn Fn(&Request, &str) -> Result<Reply, SendError>;

impl AppLogin {
    /// The app `id`, for the repository `owner/name`; `installation`: GitHub is asked for it where it is not given.
    pub fn new(id: &str, installation: Option<u64>, (owner, name): (&str, &str), key: ReadToken) -> Self {
        let (id, owner, name) = (id.to_owned(), owner.to_owned(), name.to_owned());
        Self { id, installation, owner, name, key, known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for another token the next time.
    pub fn forget(&self) {
        *self.known() = Known::default();
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// What GitHub refuses, and what is to be done about it.
    pub fn token(&self, now: Timestamp, exchange: Exchange<'_>) -> Result<String, SendError> {
        let mut known = self.known();
        if let Some((token, until)) = &known.token
            && now < *until
        {
            return Ok(token.clone());
        }
        let key = (self.key)().map_err(|problem| denied(format!("github: {problem}")))?;
        let installation = match self.installation.or(known.installation) {
            Some(installation) => installation,
            None => self.find_installation(&key, now, exchange)?,
        };
        known.installation = Some(installation);
        let request = Request::send(
            "POST",
            format!("/app/installations/{installation}/access_tokens"),
            json!({"repositories": [self.name]}),
        );
        let reply = self.ask(&request, &key, now, exchange)?;
        if !reply.is_success() {
            known.installation = None;
            return Err(self.refused(&reply, now, &format!("no installation {installation} of the app {}", self.id)));
        }
        let token = text(&reply.body, "/token").to_owned();
        let ends: Option<Timestamp> = text(&reply.body, "/expires_at").parse().ok();
        let (false, Some(ends)) = (token.is_empty(), ends) else {
            return Err(SendError::transient("github answered without a token for the app's installation"));
        };
        // By GitHub's clock, in case that ours is wrong.
        let life = ends.duration_since(date(&reply).unwrap_or(now)).saturating_sub(MARGIN);
        known.token = now.checked_add(life).ok().map(|until| (token.clone(), until));
        Ok(token)
    }

    fn find_installation(&self, key: &str, now: Timestamp, exchange: Exchange<'_>) -> Result<u64, SendError> {
        let request = Request::get(format!("/repos/{}/{}/installation", self.owner, self.name));
        let reply = self.ask(&request, key, now, exchange)?;
        if !reply.is_success() {
            let what =
                format!("the app {} is not installed on {}/{}: install it there", self.id, self.owner, self.name);
            return Err(self.refused(&reply, now, &what));
        }
        let id = reply.body.get("id").and_then(serde_json::Value::as_u64);
        id.ok_or_else(|| SendError::transient("github answered without an installation"))
    }

    /// Asks as the app; once more by GitHub's clock where ours is what it does not accept.
    fn ask(&self, request: &Request, key: &str, now: Timestamp, exchange: Exchange<'_>) -> Result<Reply, SendError> {
        let reply = exchange(request, &assertion(key, &self.id, now)?)?;
        match skew(&reply, now) {
            Some(theirs) if reply.code == 401 => exchange(request, &assertion(key, &self.id, theirs)?),
            _ => Ok(reply),
        }
    }

    /// What a refusal means.
    fn refused(&self, reply: &Reply, now: Timestamp, missing: &str) -> SendError {
        let said = said(&reply.body);
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        match reply.code {
            401 => match skew(reply, now) {
                Some(theirs) => denied(format!(
                    "github does not accept the app's signature: this machine's clock is wrong, it says {now} at {theirs}; set it{said}"
                )),
                None => denied(format!(
                    "github does not accept the app's signature: check that `id` ({}) is the app's own and that the private key is one of its keys, not deleted there{said}",
                    self.id
                )),
            },
            404 => denied(format!("github: {missing}{said}")),
            422 => denied(format!(
                "github: the installation of the app {} does not have {}/{}: grant it that repository{said}",
                self.id, self.owner, self.name
            )),
            403 if said.contains("suspended") => {
                denied(format!("github: the installation of the app {} is suspended{said}", self.id))
            }
            _ => refusal("github", &Request::get("/app/installations".into()), reply, now),
        }
    }
}

fn denied(message: String) -> SendError {
    SendError::transient(message).denied()
}

/// The host's clock.
fn date(reply: &Reply) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(reply.header("date")?.trim()).ok().map(|at| at.timestamp())
}

/// The host's time, where ours is far from it.
fn skew(reply: &Reply, now: Timestamp) -> Option<Timestamp> {
    date(reply).filter(|theirs| theirs.duration_since(now).as_secs().abs() > SKEW)
}

/// Checks an app's private key, so that a wrong one is told before the first report needs it.
///
/// # Errors
/// What it is instead, and what it has to be: `is encrypted; …`, to follow a name. Nothing of the key.
pub fn check_key(key: &str) -> Result<(), String> {
    signer(key).map(drop)
}

fn signer(key: &str) -> Result<Box<dyn Signer>, String> {
    let of_github = "it has to be the PEM file that GitHub made for the app (`-----BEGIN RSA PRIVATE KEY-----`)";
    let unusable = |what: &str| format!("{what}; {of_github}");
    let begins = |label: &str| key.contains(&format!("-----BEGIN {label}-----"));
    if key.trim().is_empty() {
        return Err(unusable("is empty"));
    }
    // Both forms of encryption: PKCS #8 says so in its label, the older one in a header (RFC 1421).
    if begins("ENCRYPTED PRIVATE KEY") || key.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("is encrypted, and nobody is here to be asked for its passphrase; take that off with \
                    `openssl rsa -in KEY.pem -out PLAIN.pem`"
            .to_owned());
    }
    if begins("PUBLIC KEY") || begins("RSA PUBLIC KEY") || key.trim_start().starts_with("ssh-") {
        return Err(unusable("is a public key"));
    }
    if begins("CERTIFICATE") {
        return Err(unusable("is a certificate"));
    }
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| unusable("is no private key in PEM"))?;
    let signing = any_supported_type(&der).map_err(|_| unusable("cannot be used"))?;
    signing.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or_else(|| unusable("is no RSA key"))
}

/// The app's assertion of who it is: a JWT (RFC 7519), signed with RS256.
pub(super) fn assertion(key: &str, id: &str, now: Timestamp) -> Result<String, SendError> {
    let unusable = |why: String| denied(format!("github: the app's private key {why}"));
    let signer = signer(key).map_err(unusable)?;
    let second = now.as_second();
    let claims = json!({"iat": second - BEFORE, "exp": second + LIFE, "iss": id});
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(json!({"alg": "RS256", "typ": "JWT"})), part(claims));
    let signature = signer.sign(message.as_bytes()).map_err(|_| unusable("does not sign".to_owned()))?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
#[path = "github_app_tests.rs"]
mod tests;
