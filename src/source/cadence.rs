//! When a repository is looked at next: an interval with jitter, a cron schedule in a time zone, or a wait after a
//! failure. Pure: takes the time and a random number, returns a time.

use crate::object::Problem;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Shortest interval: a mistyped `1ms` must not become an attack on a host.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Share of an interval that chance may take away or add.
const JITTER: f64 = 0.1;

/// A cadence that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CadenceError {
    /// Not a cron pattern.
    #[error("{pattern:?} is not a cron pattern: {why}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A time zone that is not known.
    #[error("{0:?} is not a known time zone")]
    TimeZone(String),
    /// A pattern that never comes.
    #[error("the cron pattern {0:?} never comes")]
    Never(String),
    /// An interval under a second.
    #[error("an interval of {0:?} is too short: it is at least a second")]
    TooShort(Duration),
}

impl From<CadenceError> for Problem {
    fn from(error: CadenceError) -> Self {
        let (reason, hint) = match &error {
            CadenceError::Pattern { .. } => (
                "InvalidSchedule",
                "five fields: minute, hour, day of month, month, day of week, such as `0 3 * * MON-FRI`",
            ),
            CadenceError::TimeZone(_) => {
                ("UnknownTimeZone", "use a name of the IANA database, such as `Europe/Berlin`")
            }
            CadenceError::Never(_) => ("InvalidSchedule", "check day and month: 30 February never comes"),
            CadenceError::TooShort(_) => ("InvalidInterval", "write it like `30s` or `5m`"),
        };
        Self::new(reason, error.to_string()).hint(hint)
    }
}

/// Every so often, give or take a tenth, so that many instances do not all come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(Duration);

impl Interval {
    /// An interval.
    ///
    /// # Errors
    /// If it is under a second.
    pub fn new(every: Duration) -> Result<Self, CadenceError> {
        if every < MIN_INTERVAL { Err(CadenceError::TooShort(every)) } else { Ok(Self(every)) }
    }

    /// When it is due after `last`. `chance` is a random number in 0..1.
    pub fn next(self, last: Timestamp, chance: f64) -> Timestamp {
        later(last, spread(self.0, 1.0 - JITTER, 1.0 + JITTER, chance))
    }
}

/// A cron pattern in a time zone. Where clocks are put forward, what falls into the gap comes at its end.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: croner::Cron,
    zone: TimeZone,
}

impl Schedule {
    /// A schedule; without a time zone it is UTC.
    ///
    /// # Errors
    /// If the pattern or the zone cannot be read, or if the pattern never comes.
    pub fn parse(pattern: &str, zone: Option<&str>) -> Result<Self, CadenceError> {
        let wrong = |why: String| CadenceError::Pattern { pattern: pattern.to_owned(), why };
        if pattern.len() > 200 {
            return Err(wrong("it is too long".to_owned()));
        }
        let cron: croner::Cron =
            pattern.trim().parse().map_err(|error: croner::errors::CronError| wrong(error.to_string()))?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| CadenceError::TimeZone(name.to_owned()))?,
        };
        let schedule = Self { cron, zone };
        match schedule.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(CadenceError::Never(pattern.to_owned())),
        }
    }

    /// The first time after `after`.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&after.to_zoned(self.zone.clone()), false);
        next.ok().map(|zoned| zoned.timestamp())
    }
}

/// Waits after failures: doubled each time up to a bound, of which chance takes up to half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Never longer than this.
    pub cap: Duration,
}

impl Backoff {
    /// For repositories: five seconds up to five minutes.
    pub const REPOSITORY: Self = Self { first: Duration::from_secs(5), cap: Duration::from_secs(300) };

    /// The wait after so many failures in a row (the first is 1). `chance` is a random number in 0..1.
    pub fn delay(self, failures: u32, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        spread(doubled.min(self.cap), 0.5, 1.0, chance)
    }
}

/// When one repository is looked at: by interval, by schedule, or by both, whichever comes first.
#[derive(Debug, Clone, Default)]
pub struct Cadence {
    /// Every so often.
    pub interval: Option<Interval>,
    /// At certain times.
    pub schedule: Option<Schedule>,
}

impl Cadence {
    /// When the next look is due, given when the last one was (`None`: never, so it is due now) and how many failed in a
    /// row. `None` if nothing but an event wakes it. `chance` is a random number in 0..1.
    pub fn next(&self, now: Timestamp, last: Option<Timestamp>, failures: u32, chance: f64) -> Option<Timestamp> {
        let Some(last) = last else { return Some(now) };
        if failures > 0 {
            return Some(later(last, Backoff::REPOSITORY.delay(failures, chance)));
        }
        let interval = self.interval.map(|interval| interval.next(last, chance));
        let schedule = self.schedule.as_ref().and_then(|schedule| schedule.next(last));
        interval.into_iter().chain(schedule).min()
    }
}

fn spread(length: Duration, low: f64, high: f64, chance: f64) -> Duration {
    let chance = if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.5 };
    length.mul_f64(low + (high - low) * chance)
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| from.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn intervals() {
        let interval = Interval::new(Duration::from_secs(100)).unwrap();
        let from = time("2026-01-01T00:00:00Z");
        assert_eq!(interval.next(from, 0.0), time("2026-01-01T00:01:30Z"));
        assert_eq!(interval.next(from, 0.5), time("2026-01-01T00:01:40Z"));
        assert_eq!(interval.next(from, 1.0), time("2026-01-01T00:01:50Z"));
        assert!(Interval::new(Duration::from_millis(1)).is_err());
    }

    #[test]
    fn schedules_know_their_time_zone() {
        let cases = [
            ("0 3 * * *", None, "2026-01-01T02:59:59Z", "2026-01-01T03:00:00Z"),
            ("0 3 * * *", None, "2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"),
            ("0 3 * * *", Some("Europe/Berlin"), "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z"),
            ("0 3 * * *", Some("Europe/Berlin"), "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"),
            ("*/15 * * * MON-FRI", None, "2026-01-02T23:50:00Z", "2026-01-05T00:00:00Z"),
        ];
        for (pattern, zone, after, expected) in cases {
            let schedule = Schedule::parse(pattern, zone).unwrap();
            assert_eq!(schedule.next(time(after)), Some(time(expected)), "{pattern} after {after}");
        }
    }

    #[test]
    fn a_gap_of_the_clock_is_not_skipped() {
        // 29 March 2026, Berlin: 02:00 becomes 03:00.
        let schedule = Schedule::parse("30 2 * * *", Some("Europe/Berlin")).unwrap();
        let next = schedule.next(time("2026-03-28T12:00:00Z")).unwrap();
        assert!(next >= time("2026-03-29T01:00:00Z") && next <= time("2026-03-29T01:30:00Z"), "{next}");
    }

    #[test]
    fn wrong_schedules() {
        assert!(matches!(Schedule::parse("x", None), Err(CadenceError::Pattern { .. })));
        assert!(matches!(Schedule::parse("0 3 * * *", Some("Mars/Base")), Err(CadenceError::TimeZone(_))));
        assert!(matches!(
            Schedule::parse("0 0 30 2 *", None),
            Err(CadenceError::Never(_) | CadenceError::Pattern { .. })
        ));
    }

    #[test]
    fn the_earlier_of_both() {
        let cadence = Cadence {
            interval: Some(Interval::new(Duration::from_secs(600)).unwrap()),
            schedule: Some(Schedule::parse("5 * * * *", None).unwrap()),
        };
        let now = time("2026-01-01T00:00:00Z");
        assert_eq!(cadence.next(now, None, 0, 0.5), Some(now));
        assert_eq!(cadence.next(now, Some(now), 0, 0.5), Some(time("2026-01-01T00:05:00Z")));
        assert_eq!(cadence.next(now, Some(time("2026-01-01T00:06:00Z")), 0, 0.5), Some(time("2026-01-01T00:16:00Z")));
        assert_eq!(cadence.next(now, Some(now), 1, 1.0), Some(time("2026-01-01T00:00:05Z")));
        assert_eq!(Cadence::default().next(now, Some(now), 0, 0.5), None);
    }

    proptest! {
        #[test]
        fn a_backoff_grows_and_is_bounded(failures in 1_u32..u32::MAX, chance in 0.0..1.0) {
            let delay = Backoff::REPOSITORY.delay(failures, chance);
            prop_assert!(delay >= Duration::from_millis(2500) && delay <= Duration::from_secs(300));
            prop_assert!(delay * 2 >= Backoff::REPOSITORY.delay(failures.saturating_sub(1).max(1), chance));
        }
    }
}
