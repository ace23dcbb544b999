//! Judges live objects with what has to be read for it: pods, ReplicaSets, events. The one file of this module that does
//! I/O.
//!
//! While an object is not healthy, what its verdict needs is listed and watched; once nothing asks for it any more the
//! watch ends. A healthy object costs nothing. Whatever changes moves the pulse of the members' cache, so that a waiter
//! needs to look at one place only.

use super::{Assessment, Health, Related, RelatedQuery, assess, assess_missing, needs_more, needs_related};
use crate::engine::Engine;
use crate::live::cache::{Cache, Selection};
use crate::live::client::Client;
use crate::live::kinds::Kind;
use crate::object::{Live, ObjectRef};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What nobody asked for in so long is watched no more.
const LINGER: Duration = Duration::from_secs(30);

struct Watched {
    cache: Cache,
    last_used: Instant,
}

/// Judges health. Cheap to clone; clones share their watches.
#[derive(Clone)]
pub struct Doctor {
    client: Client,
    members: Cache,
    watched: Arc<Mutex<BTreeMap<RelatedQuery, Watched>>>,
}

impl Doctor {
    /// A doctor for the objects of `members`.
    pub fn new(client: Client, members: Cache) -> Self {
        Self { client, members, watched: Arc::default() }
    }

    /// The verdict with what is known now; what is missing is being fetched, and moves the pulse when it is there.
    pub fn assess(&self, live: &Live, now: Timestamp) -> Assessment {
        let mut related = Related::default();
        let mut asked: Vec<RelatedQuery> = Vec::new();
        let mut queries = needs_related(live);
        while !queries.is_empty() {
            for query in &queries {
                if let Some(found) = self.answer(query) {
                    related.add(query, found);
                }
            }
            asked.append(&mut queries);
            queries = needs_more(live, &related, now).into_iter().filter(|query| !asked.contains(query)).collect();
        }
        assess(live, &related, now)
    }

    /// The same, after everything needed has been listed: for a command that looks once.
    pub async fn examine(&self, live: &Live, now: Timestamp) -> Assessment {
        for _ in 0..3 {
            let queries = needs_related(live);
            if queries.is_empty() {
                break;
            }
            let mut fetched = false;
            self.assess(live, now);
            let pending: Vec<(Cache, Kind)> = {
                let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
                watched.iter().map(|(query, watched)| (watched.cache.clone(), kind_of(query))).collect()
            };
            for (cache, kind) in pending {
                if !cache.is_synced(&kind.gvk) && cache.list(&kind, &kind.gvk.version).await.is_ok() {
                    fetched = true;
                }
            }
            if !fetched {
                break;
            }
        }
        self.assess(live, now)
    }

    /// Ends the watches that nobody asked for lately.
    pub fn tidy(&self) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, w| w.last_used.elapsed() < LINGER);
    }

    fn answer(&self, query: &RelatedQuery) -> Option<Vec<Arc<Live>>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = watched.entry(query.clone()).or_insert_with(|| {
            let mut fields = query.fields.clone().unwrap_or_default();
            if let Some(name) = &query.name {
                fields = format!("metadata.name={name}");
            }
            let selection = Selection {
                namespace: query.namespace.clone(),
                labels: query.labels.clone().unwrap_or_default(),
                fields,
            };
            let cache = Cache::with_pulse(self.client.clone(), selection, self.members.pulse());
            let kind = kind_of(query);
            cache.watch(&kind, &kind.gvk.version);
            Watched { cache, last_used: Instant::now() }
        });
        entry.last_used = Instant::now();
        entry.cache.is_synced(&query.gvk).then(|| entry.cache.all())
    }
}

/// A query names built-in kinds only, so that discovery is not needed for it.
fn kind_of(query: &RelatedQuery) -> Kind {
    Kind {
        gvk: query.gvk.clone(),
        versions: vec![query.gvk.version.clone()],
        plural: query.plural.to_owned(),
        namespaced: query.namespace.is_some(),
        listable: true,
    }
}

/// Health of an app's objects at the end of a wait.
#[derive(Debug, Clone)]
pub struct HealthReport {
    /// Every object's verdict.
    pub objects: Vec<(ObjectRef, Assessment)>,
    /// True if the wait was ended from outside.
    pub cancelled: bool,
}

impl HealthReport {
    /// True if nothing is left to wait for.
    pub fn is_healthy(&self) -> bool {
        !self.cancelled && self.objects.iter().all(|(_, assessment)| is_settled(assessment))
    }

    /// The worst verdict.
    pub fn worst(&self) -> Health {
        Health::worst(self.objects.iter().map(|(_, assessment)| assessment.health))
    }

    /// The worst of what counts for an app's verdict: an HPA without metrics hides nothing and blocks nothing.
    pub fn gating(&self) -> Health {
        Health::worst(self.objects.iter().filter(|(_, a)| a.gates).map(|(_, a)| a.health))
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> String {
        let mut unwell: Vec<&(ObjectRef, Assessment)> =
            self.objects.iter().filter(|(_, assessment)| !is_settled(assessment)).collect();
        unwell.sort_by_key(|(_, assessment)| std::cmp::Reverse(assessment.health));
        match unwell.as_slice() {
            [] => String::new(),
            [(object, a), rest @ ..] => {
                let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                format!("{object} is {}: {}{more}", a.health, a.message)
            }
        }
    }
}

/// True if a sync need not wait for it any longer.
fn is_settled(assessment: &Assessment) -> bool {
    !assessment.gates || matches!(assessment.health, Health::Healthy | Health::Suspended)
}

/// Looks at every object now.
pub async fn look_at(engine: &Engine, objects: &[ObjectRef]) -> HealthReport {
    let now = Timestamp::now();
    let mut verdicts = Vec::with_capacity(objects.len());
    for object in objects {
        let verdict = match engine.eyes.members.find(&object.key()) {
            Some(live) => engine.doctor.examine(&live, now).await,
            None => assess_missing(&object.key(), engine.eyes.members.finished(&object.key()).is_some()),
        };
        verdicts.push((object.clone(), verdict));
    }
    HealthReport { objects: verdicts, cancelled: false }
}

/// Waits until every object is healthy, or until the deadline. Sleeps between changes; polls only what cannot be watched.
pub async fn await_health(
    engine: &Engine,
    objects: &[ObjectRef],
    deadline: Instant,
    cancel: &CancellationToken,
) -> HealthReport {
    if let Ok(kinds) = engine.kinds().await {
        for object in objects {
            if let Some(kind) = kinds.get(&object.gvk().gk()).filter(|kind| kind.listable) {
                engine.eyes.members.watch(kind, kind.version_or_preferred(&object.version));
            }
        }
    }
    let mut pulse = engine.eyes.members.changes();
    loop {
        pulse.borrow_and_update();
        let now = Timestamp::now();
        let verdicts: Vec<(ObjectRef, Assessment)> = objects
            .iter()
            .map(|object| {
                let verdict = match engine.eyes.members.find(&object.key()) {
                    Some(live) => engine.doctor.assess(&live, now),
                    None => assess_missing(&object.key(), engine.eyes.members.finished(&object.key()).is_some()),
                };
                (object.clone(), verdict)
            })
            .collect();
        let report = HealthReport { objects: verdicts, cancelled: false };
        if report.is_healthy() || Instant::now() >= deadline {
            return report;
        }
        let recheck = report.objects.iter().filter_map(|(_, a)| a.recheck_at).min();
        let wake = recheck.map_or(deadline, |at| {
            let left = now.until(at).ok().and_then(|span| Duration::try_from(span).ok()).unwrap_or_default();
            deadline.min(Instant::now() + left.max(Duration::from_millis(10)))
        });
        tokio::select! {
            _ = pulse.changed() => {}
            () = tokio::time::sleep_until(wake.into()) => {}
            () = cancel.cancelled() => return HealthReport { cancelled: true, ..report },
        }
    }
}
