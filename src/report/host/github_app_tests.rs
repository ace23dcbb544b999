//! Requests and answers as docs.github.com shows them: "Create an installation access token for an app", "Get a
//! repository installation for the authenticated app". The key is made for these tests alone.

use super::*;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

const KEY: &str = include_str!("testdata/github-app.pem");
/// What `openssl dgst -sha256 -sign` makes of the same message with the same key.
const SIGNED: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE2OTk5OTk5NDAsImV4cCI6MTcwMDAwMDU0MCwiaXNzIjoiMTIzNDU2In0.qoyVv2NpzY0Py_d8o07oRfaGbTDBeI5XVje_atvqfMcQrm_jrnUOCtHDzl3WG9fT8kuuJZC2arveb_MdPNjVsxI19qcwsd66QoAin9REOEBl9Mt2AFuGdRbKFRPmkHSc8kRHf_8WQWQjf73TIsh1jvHGO5wcOkPaJoxHaweWKY3w1SflNpRac271ikR2SOPA_8d_9U1c_qeg_gGRiHkoIOKrBRW2GNTa_oIQaGuAWYB3WS1MJu5VeHF7x8n_1AgvUnR4CYCGB9pIUbQpQc_DbfowvviYU0fHmCvOrdYJ5iNPILI9BphJ6opf7sUN7fe0umMmsrGs22oytHX6Xcuhbg";
const NOW: i64 = 1_700_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn login(installation: Option<u64>, key: &'static str) -> AppLogin {
    AppLogin::new("123456", installation, ("octocat", "Hello-World"), Box::new(move || Ok(key.to_owned())))
}

/// A GitHub that answers in this order; what it was asked.
#[derive(Default)]
struct Host {
    answers: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<(Request, String)>>,
}

impl Host {
    fn answering(answers: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() })
    }

    fn token(&self, login: &AppLogin, now: i64) -> Result<String, SendError> {
        login.token(at(now), &|request, jwt| {
            self.asked.lock().unwrap().push((request.clone(), jwt.to_owned()));
            Ok(self.answers.lock().unwrap().pop_front().expect("no more than this is asked"))
        })
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(request, _)| format!("{} {}", request.method, request.path)).collect()
    }
}

fn reply(code: u16, date: i64, body: Value) -> Reply {
    let date = jiff::fmt::rfc2822::to_string(&at(date).to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    Reply { code, headers: vec![("date".into(), date)], body }
}

fn granted(token: &str, until: i64) -> Reply {
    let body = json!({"token": token, "expires_at": at(until).to_string(), "permissions": {"statuses": "write"}, "repository_selection": "selected"});
    reply(201, until - 3600, body)
}

fn claims(jwt: &str) -> Value {
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn the_assertion_is_what_openssl_signs() {
    assert_eq!(assertion(KEY, "123456", at(NOW)).unwrap(), SIGNED);
    assert_eq!(
        claims(SIGNED),
        json!({"iat": NOW - 60, "exp": NOW + 540, "iss": "123456"}),
        "60 seconds in the past, and ten minutes of life"
    );
}

#[test]
fn a_token_is_kept_until_shortly_before_its_end() {
    let found = reply(200, NOW, json!({"id": 1, "account": {"login": "octocat"}, "app_id": 123_456}));
    let host = Host::answering([found, granted("ghs_one", NOW + 3600), granted("ghs_two", NOW + 7200)]);
    let login = login(None, KEY);
    for (now, token) in [(0, "ghs_one"), (3299, "ghs_one"), (3301, "ghs_two"), (3302, "ghs_two")] {
        assert_eq!(host.token(&login, NOW + now).unwrap(), token, "{now} s later");
    }
    let token = "POST /app/installations/1/access_tokens";
    assert_eq!(host.paths(), ["GET /repos/octocat/Hello-World/installation", token, token]);
    let asked = host.asked.lock().unwrap();
    assert_eq!(
        asked[1].0.body.as_ref().unwrap(),
        &json!({"repositories": ["Hello-World"]}),
        "for this repository only"
    );
}

#[test]
fn a_forgotten_token_is_asked_for_again() {
    let host = Host::answering([granted("ghs_one", NOW + 3600), granted("ghs_two", NOW + 3600)]);
    let login = login(Some(42), KEY);
    assert_eq!(host.token(&login, NOW).unwrap(), "ghs_one");
    login.forget();
    assert_eq!(host.token(&login, NOW).unwrap(), "ghs_two");
}

/// A clock that runs ahead or behind is made good for, and named where that does not help.
#[test]
fn a_wrong_clock_is_not_a_wrong_key() {
    let early = json!({"message": "'Expiration time' claim ('exp') is too far in the future"});
    let host = Host::answering([reply(401, NOW, early.clone()), granted("ghs_one", NOW + 3600)]);
    assert_eq!(host.token(&login(Some(1), KEY), NOW + 7200).unwrap(), "ghs_one");
    let asked = host.asked.lock().unwrap();
    assert_eq!(
        (claims(&asked[0].1)["exp"].as_i64(), claims(&asked[1].1)["exp"].as_i64()),
        (Some(NOW + 7740), Some(NOW + 540))
    );
    let host = Host::answering([reply(401, NOW, early.clone()), reply(401, NOW, early)]);
    let error = host.token(&login(Some(1), KEY), NOW + 7200).unwrap_err();
    assert!(error.denied && error.message.contains("clock is wrong"), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    let told = |code: u16, message: &str, installation: Option<u64>| {
        let host = Host::answering([reply(code, NOW, json!({"message": message}))]);
        host.token(&login(installation, KEY), NOW).unwrap_err()
    };
    for (code, message, installation, words) in [
        (401, "A JSON web token could not be decoded", Some(1), "the private key is one of its keys"),
        (404, "Not Found", Some(7), "no installation 7 of the app 123456"),
        (404, "Not Found", None, "not installed on octocat/Hello-World"),
        (403, "This installation has been suspended", Some(1), "is suspended"),
        (422, "There is at least one repository that does not exist", Some(1), "grant it that repository"),
    ] {
        let error = told(code, message, installation);
        assert!(error.denied && !error.permanent && error.message.contains(words), "{code}: {error}");
    }
    let down = told(502, "", Some(1));
    assert!(!down.denied && !down.permanent, "{down}");
}

#[test]
fn a_key_that_is_none_is_named_and_not_shown() {
    const CURVE: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIFTE/9+za/oAUXOfbJO7miSwDx8JloYfi199yL7klfQQoAoGCCqGSM49\nAwEHoUQDQgAEBN9UAIsyHp1g/ZzUmehHKoKlYooKAVjhsDpsMPd387SYHKF3DBiA\nTT0MuWcD6uAO9IchLecHfWaNTPQqKPkdhQ==\n-----END EC PRIVATE KEY-----\n";
    for (key, words) in [("canary-not-a-key", "no private key in PEM"), (CURVE, "no RSA key")] {
        let error = Host::default().token(&login(Some(1), key), NOW).unwrap_err();
        assert!(error.denied && error.message.contains(words) && error.message.contains("BEGIN RSA"), "{error}");
        assert!(!error.message.contains("canary") && !error.message.contains("MHcC"), "{error}");
    }
}

/// A host of one thread, which answers in this order; the `Authorization` of each request.
fn serve(answers: Vec<(u16, Value)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for (code, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                let (name, value) = line.trim().split_once(": ").unwrap_or_default();
                match name.to_ascii_lowercase().as_str() {
                    "authorization" => seen.push(value.to_owned()),
                    "content-length" => length = value.parse().unwrap(),
                    _ => {}
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let body = body.to_string();
            let head = format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
        seen
    });
    (address, served)
}

/// GitHub takes tokens back before their time: the request is sent again with another one, and only once.
#[test]
fn a_token_that_is_refused_is_renewed() {
    use crate::report::host::wire::{Credentials, HostClient};
    let token = |token: &str| (201, json!({"token": token, "expires_at": "2999-01-01T00:00:00Z"}));
    let bad = || (401, json!({"message": "Bad credentials"}));
    let (address, served) = serve(vec![
        token("ghs_one"),
        (200, json!([])),
        bad(),
        token("ghs_two"),
        (200, json!([])),
        bad(),
        token("ghs_three"),
        bad(),
    ]);
    let place = crate::report::host::Place::of(
        crate::config::ReportKind::GitHub,
        "https://github.com/octocat/Hello-World",
        Some(&address),
    );
    let api = crate::report::host::api(crate::config::ReportKind::GitHub, place.unwrap()).unwrap();
    let http = crate::source::http_client(&address, None).unwrap();
    let client = HostClient::new(api, &address, http, Credentials::App(Box::new(login(Some(1), KEY))));
    assert_eq!(client.pulls().unwrap(), []);
    assert_eq!(client.pulls().unwrap(), [], "renewed");
    let error = client.pulls().unwrap_err();
    assert!(error.denied && !error.message.contains("ghs_"), "{error}");
    let seen = served.join().unwrap();
    let tokens: Vec<&str> = seen.iter().map(String::as_str).filter(|seen| seen.contains("ghs_")).collect();
    assert_eq!(tokens, ["one", "one", "two", "two", "three"].map(|token| format!("Bearer ghs_{token}")));
}

#[test]
fn a_key_that_is_none_is_named_as_what_it_is() {
    assert_eq!(check_key(KEY), Ok(()));
    for (key, what) in [
        ("", "is empty"),
        ("\n", "is empty"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nTk9TRUNSRVQ=\n-----END ENCRYPTED PRIVATE KEY-----\n", "is encrypted"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nTk9TRUNSRVQ=\n-----END RSA PRIVATE KEY-----\n",
            "is encrypted",
        ),
        ("-----BEGIN PUBLIC KEY-----\nTk9TRUNSRVQ=\n-----END PUBLIC KEY-----\n", "is a public key"),
        ("ssh-rsa TK9TRUNSRVQ= me", "is a public key"),
        ("-----BEGIN CERTIFICATE-----\nTk9TRUNSRVQ=\n-----END CERTIFICATE-----\n", "is a certificate"),
        ("hello Tk9TRUNSRVQ=", "is no private key in PEM"),
    ] {
        let said = check_key(key).unwrap_err();
        assert!(said.starts_with(what) && !said.contains("RUNSRVQ"), "{said}");
    }
}
