//! Forms of text that a configuration holds: durations, schedules, names, paths. Each check says how it is written.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Longest duration taken: a year.
const LONGEST: u128 = 366 * 24 * 3_600_000;

/// A duration as people write it: `5m`, `1h30m`, `500ms`. Units: `d`, `h`, `m`, `s`, `ms`, from large to small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumaneDuration(pub Duration);

impl HumaneDuration {
    /// Reads the text form; the error says how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("\"{}\" is no duration; write it like \"5m\", \"1h30m\" or \"500ms\"", shown(text));
        let mut rest = text;
        let mut total: u128 = 0;
        let mut last_unit = u128::MAX;
        while !rest.is_empty() {
            let digits =
                rest.find(|c: char| !c.is_ascii_digit()).filter(|end| (1..=12).contains(end)).ok_or_else(refused)?;
            let (number, tail) = rest.split_at(digits);
            let (unit, tail) = unit(tail).filter(|(unit, _)| *unit < last_unit).ok_or_else(refused)?;
            let number: u128 = number.parse().map_err(|_| refused())?;
            total += number * unit;
            last_unit = unit;
            rest = tail;
        }
        if text.is_empty() {
            return Err(refused());
        }
        if total == 0 {
            return Err("it must be longer than nothing".to_owned());
        }
        if total > LONGEST {
            return Err("it must not be longer than a year".to_owned());
        }
        Ok(Self(Duration::from_millis(u64::try_from(total).unwrap_or(u64::MAX))))
    }
}

/// The unit at the start of the text in milliseconds, and what follows it.
fn unit(text: &str) -> Option<(u128, &str)> {
    [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
        .into_iter()
        .find_map(|(name, millis)| Some((millis, text.strip_prefix(name)?)))
}

/// `1h30m`, the shortest form.
impl fmt::Display for HumaneDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{name}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for HumaneDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl JsonSchema for HumaneDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HumaneDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "humane-duration",
            "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
            "examples": ["5m", "1h30m", "500ms"]
        })
    }
}

/// How many objects may be pruned without approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PruneLimit {
    /// At most this many.
    Count(u32),
    /// At most this share of the app's objects, in percent.
    Percent(u8),
}

impl PruneLimit {
    fn percent(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.parse::<u8>().ok()).filter(|n| *n <= 100);
        number
            .map(Self::Percent)
            .ok_or_else(|| format!("\"{}\" is no limit; write a number like 5, or a share like \"50%\"", shown(text)))
    }
}

impl<'de> Deserialize<'de> for PruneLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Count(i64),
            Percent(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Count(count) => {
                u32::try_from(count).map(Self::Count).map_err(|_| D::Error::custom("`prune_limit` is out of range"))
            }
            Form::Percent(text) => Self::percent(&text).map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for PruneLimit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PruneLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            {"type": "string", "format": "percent", "pattern": "^[0-9]{1,3}%$"}
        ]})
    }
}

/// Checks a text against one of the schema's formats. The error says how it is written. A format that is not known
/// here passes: it is an editor's business.
pub fn check(format: &str, text: &str) -> Result<(), String> {
    match format {
        "humane-duration" => HumaneDuration::parse(text).map(drop),
        "percent" => PruneLimit::percent(text).map(drop),
        "cron" => cron(text),
        "time-zone" => time_zone(text),
        "name" => name(text),
        "environment-variable" => environment_variable(text),
        "relative-path" => relative_path(text).map(drop),
        "glob" => glob(text),
        "json-pointer" => json_pointer(text),
        "git-url" => git_url(text),
        "ssh-hosts" => ssh_hosts(text),
        "socket-address" => socket_address(text),
        _ => Ok(()),
    }
}

/// A text as an error may show it: short, on one line.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn cron(text: &str) -> Result<(), String> {
    use std::str::FromStr as _;
    croner::Cron::from_str(text)
        .map(drop)
        .map_err(|error| format!("\"{}\" is no cron expression like \"0 3 * * *\": {error}", shown(text)))
}

fn time_zone(text: &str) -> Result<(), String> {
    jiff::tz::TimeZone::get(text)
        .map(drop)
        .map_err(|_| format!("there is no time zone \"{}\" here; write it like \"Europe/Berlin\"", shown(text)))
}

/// RFC 1123 label: what Kubernetes takes for names and namespaces.
fn name(text: &str) -> Result<(), String> {
    let inner = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !text.is_empty() && text.len() <= 63 && inner && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(());
    }
    Err(format!("\"{}\" is no name: use at most 63 of a-z, 0-9 and -, not starting or ending with -", shown(text)))
}

/// The value is not shown: it may be the secret itself.
fn environment_variable(text: &str) -> Result<(), String> {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err("it must be the name of an environment variable, like \"GITHUB_TOKEN\"".to_owned())
}

/// A path inside the repository with `/`, without `.` components and slashes at the ends; empty for the root.
pub fn relative_path(text: &str) -> Result<String, String> {
    let outside = text.starts_with('/') || text.contains('\\') || text.split('/').any(|part| part == "..");
    if outside || text.chars().any(char::is_control) {
        return Err(format!("\"{}\" must be a path inside the repository, with / and without ..", shown(text)));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Ok(parts.join("/"))
}

fn glob(text: &str) -> Result<(), String> {
    relative_path(text)?;
    let balanced = |open: char, close: char| text.matches(open).count() == text.matches(close).count();
    if text.is_empty() || !balanced('[', ']') || !balanced('{', '}') {
        return Err(format!("\"{}\" is no pattern; write it like \"apps/*\" or \"**/*.md\"", shown(text)));
    }
    Ok(())
}

/// RFC 6901, as `fieldPath`s of ignore rules.
fn json_pointer(text: &str) -> Result<(), String> {
    let escapes = text.match_indices('~').all(|(at, _)| matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1')));
    if text.starts_with('/') && text.len() > 1 && escapes {
        return Ok(());
    }
    Err(format!("\"{}\" is no JSON pointer; write it like \"/spec/replicas\" (~1 stands for /)", shown(text)))
}

/// The value is not shown: it may hold a password.
fn git_url(text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.chars().any(|c| c.is_control() || c == ' ') {
        return Err("it must be a URL like \"https://host/team/apps.git\", or a path".to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(()) };
    if !matches!(scheme, "https" | "http" | "ssh" | "git+ssh" | "ssh+git" | "file") {
        return Err("its scheme must be https, http, ssh or file".to_owned());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let secret = user.is_some_and(|user| !scheme.contains("ssh") || user.contains(':'));
    if secret && scheme.contains("ssh") {
        return Err("an ssh address holds no password: use a key, `ssh = { key_file = \"…\" }`".to_owned());
    }
    if secret {
        return Err(
            "it must not hold credentials; use `auth = { username = \"…\", token_env = \"GIT_TOKEN\" }`".to_owned()
        );
    }
    Ok(())
}

/// `[USER@]HOST[:PORT]`, several with commas.
fn ssh_hosts(text: &str) -> Result<(), String> {
    let word = |text: &str, more: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let good = |hop: &str| {
        let (user, place) = hop.rsplit_once('@').map_or((None, hop), |(user, place)| (Some(user), place));
        user.is_none_or(|user| word(user, ".-_+@")) && word(place, ".-_:[]")
    };
    if text.split(',').all(|hop| good(hop.trim())) {
        return Ok(());
    }
    Err(format!("\"{}\" is no host to go through; write it like \"user@jump.example:22\"", shown(text)))
}

fn socket_address(text: &str) -> Result<(), String> {
    text.parse::<core::net::SocketAddr>()
        .map(drop)
        .map_err(|_| format!("\"{}\" is no address like \"127.0.0.1:9180\" or \"[::]:9180\"", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1d", 86_400_000),
            ("1m500ms", 60_500),
            ("90s", 90_000),
        ] {
            assert_eq!(HumaneDuration::parse(text).map(|d| d.0.as_millis()), Ok(millis), "{text}");
        }
        for bad in
            ["", "5", "m", "5 m", "5m ", "-5m", "1.5h", "5m1h", "5m5m", "5min", "1w", "99999999999999s", "0s", "400d"]
        {
            assert!(HumaneDuration::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn durations_round_trip(millis in 1u64..366 * 86_400_000) {
            let duration = HumaneDuration(Duration::from_millis(millis));
            prop_assert_eq!(HumaneDuration::parse(&duration.to_string()), Ok(duration));
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            for format in ["humane-duration", "percent", "cron", "name", "environment-variable", "relative-path", "glob",
                "json-pointer", "git-url", "socket-address", "other"] {
                let _ = check(format, &text);
            }
        }
    }

    #[test]
    fn forms() {
        for (format, good, bad) in [
            ("cron", &["0 3 * * *", "*/5 * * * MON-FRI"][..], &["", "x", "61 * * * *", "* * *"][..]),
            ("time-zone", &["UTC", "Europe/Berlin"], &["Mars/Base", ""]),
            ("name", &["web", "a-1"], &["", "Web", "-a", "a-", "a_b", "a/b", "a.b"]),
            ("environment-variable", &["GIT_TOKEN", "_x"], &["", "ghp_abc-def", "1A", "A B"]),
            ("relative-path", &["apps/web", "./apps/", "", "."], &["/etc", "../x", "a/../b", "a\\b"]),
            ("glob", &["apps/*", "**/*.md", "{a,b}/*"], &["", "../*", "a[b", "{a"]),
            ("json-pointer", &["/spec/replicas", "/metadata/annotations/a~1b"], &["", "spec", "/a~2b", "/a~", "/"]),
            (
                "git-url",
                &["https://h/t/a.git", "ssh://git@h/a", "git@h:t/a", "/srv/a.git", "../a", ".", "file:///srv/a"],
                &["", "https://u:p@h/a", "https://tok@h/a", "ssh://u:p@h/a", "ftp://h/a", "a b"],
            ),
            ("socket-address", &["127.0.0.1:80", "[::]:80"], &["80", ":80", "localhost:80"]),
            ("percent", &["50%", "0%", "100%"], &["50", "101%", "-1%", "x%"]),
        ] {
            for text in good {
                assert_eq!(check(format, text), Ok(()), "{format} {text}");
            }
            for text in bad {
                assert!(check(format, text).is_err(), "{format} {text}");
            }
        }
    }

    #[test]
    fn paths_are_normalised() {
        for (text, path) in [(".", ""), ("./apps//web/", "apps/web"), ("", "")] {
            assert_eq!(relative_path(text).as_deref(), Ok(path));
        }
    }

    #[test]
    fn possible_secrets_are_not_repeated() {
        for (format, text) in [("environment-variable", "ghp_s3cr3t-token"), ("git-url", "https://u:s3cr3t@h/a")] {
            assert!(!check(format, text).unwrap_err().contains("s3cr3t"));
        }
    }
}
