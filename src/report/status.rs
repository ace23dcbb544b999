//! Commit statuses as data: what is said about which revision, under which context. Pure.
//!
//! The JSON of a [`Note`] is a contract: `{"time","revision","context","state","description","cluster","timings"}`.

use crate::source::Revision;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Longest description, in characters: a line of notes in Git that is longer than 16 KiB is nobody's (see `note_lines`).
const LONGEST: usize = 3_000;
/// Longest context that every host takes, in characters (GitHub's and GitLab's limit).
const MAX_CONTEXT: usize = 255;

/// What a status is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContextKind {
    /// What a pull request would change.
    Plan,
    /// Whether the revision was carried out.
    Sync,
    /// Whether what runs is healthy.
    Health,
    /// Whether the cluster was changed by someone else.
    Drift,
}

impl ContextKind {
    /// The last part of the context's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Sync => "sync",
            Self::Health => "health",
            Self::Drift => "drift",
        }
    }

    /// True for plan and sync: `pending`, then exactly one final state. Health and drift follow live state instead.
    pub fn ends(self) -> bool {
        matches!(self, Self::Plan | Self::Sync)
    }
}

/// The name under which a host keeps a status: `driftless/sync`, or `driftless/eu-1/sync` where there are several
/// clusters. The first part is the instance's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Context {
    /// The instance's name.
    pub instance: String,
    /// The cluster, where the status is about one of several.
    pub cluster: Option<String>,
    /// What it is about.
    pub kind: ContextKind,
}

impl Context {
    /// The aggregate of an instance.
    pub fn new(instance: &str, kind: ContextKind) -> Self {
        Self { instance: instance.to_owned(), cluster: None, kind }
    }

    /// The same for one cluster.
    #[must_use]
    pub fn in_cluster(&self, cluster: &str) -> Self {
        Self { cluster: Some(cluster.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cluster {
            None => write!(f, "{}/{}", self.instance, self.kind.as_str()),
            Some(cluster) => write!(f, "{}/{cluster}/{}", self.instance, self.kind.as_str()),
        }
    }
}

/// A text that is no context of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a context such as driftless/sync")]
pub struct NotAContext(String);

impl FromStr for Context {
    type Err = NotAContext;

    fn from_str(text: &str) -> Result<Self, NotAContext> {
        let wrong = || NotAContext(text.chars().take(80).collect());
        if text.chars().count() > MAX_CONTEXT || text.chars().any(char::is_control) {
            return Err(wrong());
        }
        let (rest, kind) = text.rsplit_once('/').ok_or_else(wrong)?;
        let kinds = [ContextKind::Plan, ContextKind::Sync, ContextKind::Health, ContextKind::Drift];
        let kind = kinds.into_iter().find(|known| known.as_str() == kind).ok_or_else(wrong)?;
        // An instance's name has no `/`; a cluster's may (contexts of kubeconfig files of some clouds do).
        let (instance, cluster) = match rest.split_once('/') {
            Some((instance, cluster)) => (instance, Some(cluster)),
            None => (rest, None),
        };
        if instance.is_empty() || cluster.is_some_and(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self { instance: instance.to_owned(), cluster: cluster.map(str::to_owned), kind })
    }
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Seen, and not finished.
    Pending,
    /// Done, and good.
    Success,
    /// Done, and not good: unhealthy, refused, drifted.
    Failure,
    /// Could not be done: the repository or the configuration is wrong, the cluster does not answer.
    Error,
    /// A newer revision took over. Hosts that do not know this word are told the nearest one that they know.
    Superseded,
}

impl State {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Superseded => "superseded",
        }
    }

    /// True for all but `pending`.
    pub fn is_final(self) -> bool {
        self != Self::Pending
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long it took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// From the moment the revision was seen to the last write.
    pub seen_to_applied_ms: Option<u64>,
    /// From the last write to healthy.
    pub applied_to_healthy_ms: Option<u64>,
}

/// One status of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When it was said.
    pub time: Timestamp,
    /// About which commit.
    #[serde(with = "revision_text")]
    pub revision: Revision,
    /// Under which context.
    pub context: Context,
    /// What.
    pub state: State,
    /// For a person, one line; see [`describe`].
    #[serde(default)]
    pub description: String,
    /// The cluster it is about, if it is about one.
    #[serde(default)]
    pub cluster: Option<String>,
    /// How long it took, as far as that is known.
    #[serde(default)]
    pub timings: Timings,
    /// With a final state of a sync: the exit code of `driftless sync` that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
}

impl Note {
    /// A note; the description is one line, which each host is told as far as it takes it, and the cluster is the context's.
    pub fn new(time: Timestamp, revision: &Revision, context: &Context, state: State, description: &str) -> Self {
        Self {
            time,
            revision: revision.clone(),
            context: context.clone(),
            state,
            description: describe(description, LONGEST),
            cluster: context.cluster.clone(),
            timings: Timings::default(),
            exit: None,
        }
    }

    /// Adds how long it took.
    #[must_use]
    pub fn with_timings(mut self, timings: Timings) -> Self {
        self.timings = timings;
        self
    }

    /// Adds the exit code that `driftless sync` ends with.
    #[must_use]
    pub fn with_exit(mut self, code: u8) -> Self {
        self.exit = Some(code);
        self
    }

    /// Adds the cluster, where the context does not name it.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Option<&str>) -> Self {
        self.cluster = cluster.map(str::to_owned);
        self
    }

    /// Statuses with one key follow each other; the last one is what a host shows.
    pub fn key(&self) -> (&Revision, &Context) {
        (&self.revision, &self.context)
    }
}

/// One line of at most `limit` characters: white space runs become one space, control characters go, and what is too
/// long ends in `…`.
pub fn describe(text: &str, limit: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    if line.chars().count() <= limit {
        return line;
    }
    let kept: String = line.chars().take(limit.saturating_sub(1)).collect();
    if limit == 0 { String::new() } else { format!("{}…", kept.trim_end()) }
}

/// Milliseconds for a person: `840ms`, `3.2s`, `2m 5s`, `1h 3m`.
pub fn took(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..=59 => format!("{seconds}.{}s", milliseconds % 1000 / 100),
        60..=3599 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
    }
}

impl Timings {
    /// `applied in 1.2s, healthy after 8.0s`, as far as it is known.
    pub fn sentence(&self) -> Option<String> {
        let applied = self.seen_to_applied_ms.map(|ms| format!("applied in {}", took(ms)));
        let healthy = self.applied_to_healthy_ms.map(|ms| format!("healthy after {}", took(ms)));
        let parts: Vec<String> = applied.into_iter().chain(healthy).collect();
        if parts.is_empty() { None } else { Some(parts.join(", ")) }
    }
}

/// A revision as its text.
mod revision_text {
    use super::{Deserialize, Deserializer, Revision, Serializer};

    pub(super) fn serialize<S: Serializer>(revision: &Revision, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(revision.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Revision, D::Error> {
        Revision::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_json_is_the_contract() {
        let revision = Revision::parse(&"a".repeat(40)).unwrap();
        let context = Context::new("driftless", ContextKind::Sync).in_cluster("eu-1");
        let time = "2026-01-02T03:04:05Z".parse().unwrap();
        let note = Note::new(time, &revision, &context, State::Success, "3 apps")
            .with_timings(Timings { seen_to_applied_ms: Some(1200), applied_to_healthy_ms: None });
        let text = serde_json::to_string(&note).unwrap();
        let expected = format!(
            r#"{{"time":"2026-01-02T03:04:05Z","revision":"{revision}","context":"driftless/eu-1/sync","state":"success","description":"3 apps","cluster":"eu-1","timings":{{"seen_to_applied_ms":1200,"applied_to_healthy_ms":null}}}}"#
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Note>(&text).unwrap(), note);
    }

    #[test]
    fn a_note_of_another_version_is_read() {
        let text = format!(
            r#"{{"time":"2026-01-02T03:04:05Z","revision":"{}","context":"x/plan","state":"error","new":1}}"#,
            "b".repeat(40)
        );
        let note: Note = serde_json::from_str(&text).unwrap();
        assert_eq!((note.description.as_str(), note.timings), ("", Timings::default()));
    }

    #[test]
    fn the_longest_note_is_read_again() {
        let context = Context::new("driftless", ContextKind::Sync);
        let revision = Revision::parse(&"a".repeat(40)).unwrap();
        for text in ["\"", "🦀"] {
            let note = Note::new(Timestamp::UNIX_EPOCH, &revision, &context, State::Failure, &text.repeat(9_000));
            let line = serde_json::to_string(&note).unwrap();
            assert_eq!(super::super::note_lines::parse(&line), vec![note], "{} bytes", line.len());
        }
    }

    #[test]
    fn contexts() {
        for text in ["driftless/sync", "team-a/plan", "driftless/eu-1/health", "driftless/arn:aws:eks/x/drift"] {
            assert_eq!(text.parse::<Context>().unwrap().to_string(), text);
        }
        for text in ["sync", "/sync", "driftless/other", "driftless//sync", "", "a\n/sync"] {
            assert!(text.parse::<Context>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations() {
        let cases = [(0, "0ms"), (999, "999ms"), (3250, "3.2s"), (125_000, "2m 5s"), (3_780_000, "1h 3m")];
        for (ms, text) in cases {
            assert_eq!(took(ms), text);
        }
        let timings = Timings { seen_to_applied_ms: Some(840), applied_to_healthy_ms: Some(8000) };
        assert_eq!(timings.sentence().unwrap(), "applied in 840ms, healthy after 8.0s");
    }

    proptest! {
        #[test]
        fn descriptions_fit(text in "\\PC{0,300}", limit in 0_usize..200) {
            let line = describe(&text, limit);
            prop_assert!(line.chars().count() <= limit);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(describe(&line, limit), line);
        }
    }
}
