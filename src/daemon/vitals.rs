//! An app's health as it goes: while it is synced, and afterwards. What is worth saying is said once.
//!
//! In: the objects that are the app's now. Out: its health, when it is another than the last time, and when to look again.

use crate::engine::Engine;
use crate::health::wait::HealthReport;
use crate::health::{Assessment, Health, assess_missing};
use crate::object::ObjectRef;
use jiff::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time to the next look that a verdict may ask for.
const SOONEST: Duration = Duration::from_millis(100);

/// What is known of an app's health.
#[derive(Default)]
pub struct Vitals {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    members: Vec<ObjectRef>,
    said: Option<Health>,
}

/// What a look found.
pub struct Look {
    /// Health of what counts for the app.
    pub health: Health,
    /// Health and words, where health is another than the last time.
    pub news: Option<(Health, String)>,
    /// When time alone may change the verdict.
    pub again: Option<Instant>,
}

impl Vitals {
    /// The objects that are the app's from now on.
    pub fn follow(&self, members: Vec<ObjectRef>) {
        self.known().members = members;
    }

    /// The objects that are the app's.
    pub fn members(&self) -> Vec<ObjectRef> {
        self.known().members.clone()
    }

    /// True if the last look found something that is not well: what is known of it may change without an event of the
    /// app's own objects.
    pub fn is_unwell(&self) -> bool {
        self.known().said.is_some_and(|health| !matches!(health, Health::Healthy | Health::Suspended))
    }

    /// Looks at every object. While the app is `in_the_making`, what is not there yet is on its way.
    pub fn look(&self, engine: &Engine, in_the_making: bool) -> Look {
        let mut known = self.known();
        let now = Timestamp::now();
        let objects = known.members.iter().map(|object| {
            let verdict = match engine.eyes.members.find(&object.key()) {
                Some(live) => engine.doctor.assess(&live, now),
                None if in_the_making && engine.eyes.members.finished(&object.key()).is_none() => Assessment {
                    health: Health::Progressing,
                    ..assess_missing(&object.key(), engine.eyes.members.finished(&object.key()).is_some())
                },
                None => assess_missing(&object.key(), engine.eyes.members.finished(&object.key()).is_some()),
            };
            (object.clone(), verdict)
        });
        let report = HealthReport { objects: objects.collect(), cancelled: false };
        let again = report.objects.iter().filter_map(|(_, a): &(_, Assessment)| a.recheck_at).min();
        let again = again.map(|at| {
            let left = now.until(at).ok().and_then(|span| Duration::try_from(span).ok()).unwrap_or_default();
            Instant::now() + left.max(SOONEST)
        });
        // Nothing planned yet is nothing known yet.
        let health = match known.members.is_empty() && in_the_making {
            true => known.said.unwrap_or(Health::Progressing),
            false => report.gating(),
        };
        let changed = known.said != Some(health);
        known.said = Some(health);
        Look { health, news: changed.then(|| (health, report.message())), again }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
