//! Metrics in the OpenMetrics format (github.com/OpenObservability/OpenMetrics, specification 1.0).
//!
//! In: what the daemon's parts observe. Out: the text of `/metrics`. Labels are names of apps, clusters and repositories
//! from the configuration and words from fixed sets, never free text; histograms have no app label, as thousands of apps
//! would make tens of thousands of series.

use crate::health::Health;
use crate::report::status_report::SyncState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AppLabels {
    app: String,
    cluster: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SyncLabels {
    app: String,
    cluster: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    app: String,
    cluster: String,
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: String,
    code: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    repository: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    cluster: String,
}

/// Tells how many objects a cache knows, and how many bytes they take.
type Measure = Box<dyn Fn() -> (usize, usize) + Send + Sync>;

/// The caches that are measured when somebody asks, by cluster.
#[derive(Default)]
struct Caches(Mutex<Vec<(String, Measure)>>);

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caches")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReportLabels {
    repository: String,
    host: String,
}

type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// Outcomes of syncs that have a counter per app.
const SYNC_OUTCOMES: [&str; 5] = ["applied", "failed", "refused", "superseded", "rolled-back"];

const HEALTHS: [Health; 6] =
    [Health::Healthy, Health::Suspended, Health::Progressing, Health::Missing, Health::Degraded, Health::Unknown];

const SYNC_STATES: [SyncState; 6] = [
    SyncState::Synced,
    SyncState::OutOfSync,
    SyncState::Syncing,
    SyncState::Failed,
    SyncState::Held,
    SyncState::Suspended,
];

/// From a write that changes nothing to a rollout that takes a quarter of an hour.
fn seconds() -> Histogram {
    Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0])
}

/// Everything that is measured. Each method is cheap and may be called from anywhere.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    syncs: Family<SyncLabels, Counter>,
    sync_duration: HistogramFamily<OutcomeLabels>,
    seen_to_applied: Histogram,
    applied_to_healthy: Histogram,
    health: Family<StateLabels, Gauge>,
    sync_state: Family<StateLabels, Gauge>,
    score: Family<AppLabels, Gauge<f64, AtomicU64>>,
    drift: Family<AppLabels, Counter>,
    repaired: Family<AppLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    queue: Gauge,
    fetch: HistogramFamily<FetchLabels>,
    reports: Family<ReportLabels, Gauge>,
    denied: Family<ReportLabels, Gauge>,
    caches: Caches,
    cached: Family<ClusterLabels, Gauge>,
    cached_bytes: Family<ClusterLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics with nothing observed yet.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("driftless"),
            syncs: Family::default(),
            sync_duration: Family::new_with_constructor(seconds as fn() -> Histogram),
            seen_to_applied: seconds(),
            applied_to_healthy: seconds(),
            health: Family::default(),
            sync_state: Family::default(),
            score: Family::default(),
            drift: Family::default(),
            repaired: Family::default(),
            requests: Family::default(),
            queue: Gauge::default(),
            fetch: Family::new_with_constructor(seconds as fn() -> Histogram),
            reports: Family::default(),
            denied: Family::default(),
            caches: Caches::default(),
            cached: Family::default(),
            cached_bytes: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let s = || Unit::Seconds;
        registry.register("syncs", "Syncs that ended, by outcome", self.syncs.clone());
        registry.register_with_unit("sync_duration", "Time that syncs took", s(), self.sync_duration.clone());
        registry.register_with_unit(
            "seen_to_applied",
            "Time from seeing a commit until it was applied",
            s(),
            self.seen_to_applied.clone(),
        );
        registry.register_with_unit(
            "applied_to_healthy",
            "Time from the last write of a sync until the app was healthy",
            s(),
            self.applied_to_healthy.clone(),
        );
        registry.register("app_health", "1 for the state the app is in, else 0", self.health.clone());
        registry.register("app_sync_state", "1 for the state the app is in, else 0", self.sync_state.clone());
        registry.register("app_score", "Monitoring score: 1 means that everything is ready", self.score.clone());
        registry.register("drift", "Differences that the cluster made, not Git", self.drift.clone());
        registry.register("repaired", "Drift that was repaired", self.repaired.clone());
        registry.register("api_requests", "Requests to API servers, by verb and status code", self.requests.clone());
        registry.register("queue_length", "Apps that wait to be worked on", self.queue.clone());
        registry.register_with_unit("git_fetch", "Time that fetches took", s(), self.fetch.clone());
        registry.register("reports_waiting", "Statuses that wait to be sent", self.reports.clone());
        registry.register("reports_denied", "1 while a host does not let statuses in", self.denied.clone());
        registry.register("cached_objects", "Live objects that are kept", self.cached.clone());
        registry.register_with_unit("cached_objects", "Memory that they take", Unit::Bytes, self.cached_bytes.clone());
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version", version);
    }

    /// A sync ended. `outcome` is one of `applied`, `failed`, `refused`, `superseded`, `rolled-back`.
    pub fn sync_ended(&self, app: &str, cluster: &str, outcome: &'static str, took: Duration) {
        let labels = SyncLabels { app: app.into(), cluster: cluster.into(), outcome: outcome.into() };
        self.syncs.get_or_create(&labels).inc();
        let labels = OutcomeLabels { outcome: outcome.into() };
        self.sync_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A commit was seen, and is applied now.
    pub fn applied(&self, since_seen: Duration) {
        self.seen_to_applied.observe(since_seen.as_secs_f64());
    }

    /// What was applied is healthy now.
    pub fn healthy(&self, since_applied: Duration) {
        self.applied_to_healthy.observe(since_applied.as_secs_f64());
    }

    /// Where an app stands. A score of `None` (no workloads) shows no score.
    pub fn app(&self, app: &str, cluster: &str, sync: SyncState, health: Health, score: Option<f64>) {
        for state in HEALTHS {
            self.health.get_or_create(&state_labels(app, cluster, &state.to_string())).set(i64::from(state == health));
        }
        for state in SYNC_STATES {
            self.sync_state.get_or_create(&state_labels(app, cluster, state.as_str())).set(i64::from(state == sync));
        }
        let labels = AppLabels { app: app.into(), cluster: cluster.into() };
        match score {
            Some(score) => {
                self.score.get_or_create(&labels).set(score);
            }
            None => {
                self.score.remove(&labels);
            }
        }
    }

    /// Drift was found in so many places.
    pub fn drifted(&self, app: &str, cluster: &str, places: u64) {
        self.drift.get_or_create(&AppLabels { app: app.into(), cluster: cluster.into() }).inc_by(places);
    }

    /// Drift was repaired in so many places.
    pub fn repaired(&self, app: &str, cluster: &str, places: u64) {
        self.repaired.get_or_create(&AppLabels { app: app.into(), cluster: cluster.into() }).inc_by(places);
    }

    /// An API server answered. `verb` is an HTTP method; `code` is 0 if there was no answer.
    pub fn api_request(&self, verb: &str, code: u16) {
        self.requests.get_or_create(&RequestLabels { verb: verb.into(), code: u32::from(code) }).inc();
    }

    /// So many statuses wait to be sent to a host; `denied`: it lets none in.
    pub fn reports(&self, repository: &str, host: &str, waiting: usize, denied: bool) {
        let labels = ReportLabels { repository: repository.into(), host: host.into() };
        self.reports.get_or_create(&labels).set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.denied.get_or_create(&labels).set(i64::from(denied));
    }

    /// So many apps wait.
    pub fn queue_length(&self, length: usize) {
        self.queue.set(i64::try_from(length).unwrap_or(i64::MAX));
    }

    /// A repository was fetched.
    pub fn fetched(&self, repository: &str, succeeded: bool, took: Duration) {
        let outcome = if succeeded { "success" } else { "failure" };
        self.fetch.get_or_create(&FetchLabels { repository: repository.into(), outcome }).observe(took.as_secs_f64());
    }

    /// Forgets an app that is gone, so that its last state is not served for ever.
    pub fn forget(&self, app: &str, cluster: &str) {
        for state in HEALTHS {
            self.health.remove(&state_labels(app, cluster, &state.to_string()));
        }
        for state in SYNC_STATES {
            self.sync_state.remove(&state_labels(app, cluster, state.as_str()));
        }
        let labels = AppLabels { app: app.into(), cluster: cluster.into() };
        self.score.remove(&labels);
        self.drift.remove(&labels);
        self.repaired.remove(&labels);
        for outcome in SYNC_OUTCOMES {
            self.syncs.remove(&SyncLabels { app: app.into(), cluster: cluster.into(), outcome: outcome.into() });
        }
    }

    /// Measures a cluster's cache whenever somebody asks.
    pub fn measure(&self, cluster: &str, size: impl Fn() -> (usize, usize) + Send + Sync + 'static) {
        let mut caches = self.caches.0.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|(known, _)| known != cluster);
        caches.push((cluster.to_owned(), Box::new(size)));
    }

    /// The text of `/metrics`.
    pub fn text(&self) -> String {
        for (cluster, size) in self.caches.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let (labels, (objects, bytes)) = (ClusterLabels { cluster: cluster.clone() }, size());
            self.cached.get_or_create(&labels).set(i64::try_from(objects).unwrap_or(i64::MAX));
            self.cached_bytes.get_or_create(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing to a String does not fail; a metric that cannot be encoded ends the text early, which a scraper
        // notices by the missing `# EOF`.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

fn state_labels(app: &str, cluster: &str, state: &str) -> StateLabels {
    StateLabels { app: app.into(), cluster: cluster.into(), state: state.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_there_and_can_be_forgotten() {
        let metrics = Metrics::new();
        metrics.sync_ended("web", "prod", "applied", Duration::from_millis(1500));
        metrics.applied(Duration::from_secs(3));
        metrics.healthy(Duration::from_secs(20));
        metrics.app("web", "prod", SyncState::Synced, Health::Degraded, Some(0.5));
        metrics.drifted("web", "prod", 2);
        metrics.repaired("web", "prod", 1);
        metrics.api_request("PATCH", 200);
        metrics.queue_length(7);
        metrics.fetched("main", true, Duration::from_millis(40));
        let text = metrics.text();
        for line in [
            "driftless_syncs_total{app=\"web\",cluster=\"prod\",outcome=\"applied\"} 1",
            "driftless_sync_duration_seconds_bucket{le=\"2.5\",outcome=\"applied\"} 1",
            "driftless_seen_to_applied_seconds_count 1",
            "driftless_applied_to_healthy_seconds_sum 20.0",
            "driftless_app_health{app=\"web\",cluster=\"prod\",state=\"Degraded\"} 1",
            "driftless_app_health{app=\"web\",cluster=\"prod\",state=\"Healthy\"} 0",
            "driftless_app_sync_state{app=\"web\",cluster=\"prod\",state=\"Synced\"} 1",
            "driftless_app_score{app=\"web\",cluster=\"prod\"} 0.5",
            "driftless_drift_total{app=\"web\",cluster=\"prod\"} 2",
            "driftless_repaired_total{app=\"web\",cluster=\"prod\"} 1",
            "driftless_api_requests_total{verb=\"PATCH\",code=\"200\"} 1",
            "driftless_queue_length 7",
            "driftless_git_fetch_seconds_count{repository=\"main\",outcome=\"success\"} 1",
            "driftless_build_info{version=",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        metrics.forget("web", "prod");
        assert!(!metrics.text().contains("app=\"web\""));
    }
}
