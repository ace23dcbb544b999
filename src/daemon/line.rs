//! The line that apps stand in: one that depends on others is handed its target once they are in sync and healthy at the
//! same revision. Pure: targets and outcomes in, what to hand out and what cannot begin out.

use super::app::Target;
use super::board::AppName;
use crate::outcome::Ending;
use crate::source::Revision;
use std::collections::{BTreeMap, BTreeSet};

/// A revision's apps, as far as they wait for each other.
#[derive(Default)]
pub struct Line {
    /// Every app's target: what is none is not waited for.
    targets: BTreeMap<AppName, Target>,
    /// Those that were not handed out yet, in order.
    held: Vec<AppName>,
    ended: BTreeMap<AppName, Ending>,
    /// Those of which it was said that they cannot begin.
    told: BTreeSet<AppName>,
}

/// An app that cannot begin.
pub struct Blocked {
    /// What it would run.
    pub target: Target,
    /// The app that it waits for did not end well: how.
    pub ending: Ending,
    /// For a person.
    pub why: String,
    /// The app that it waits for.
    pub on: String,
    /// What it waits for went back to this revision: so does this app, if what it runs is newer.
    pub back: Option<Revision>,
}

/// What follows.
#[derive(Default)]
pub struct Moves {
    /// Targets to hand out now.
    pub go: Vec<Target>,
    /// Apps that cannot begin, those first that others of them depend on.
    pub blocked: Vec<Blocked>,
    /// Apps of those in `go` of which it was said before that they cannot begin.
    pub again: Vec<AppName>,
}

fn name(target: &Target) -> AppName {
    (target.member.app.name.clone(), target.member.app.cluster.clone())
}

impl Line {
    /// A new revision's apps line up.
    pub fn of(targets: Vec<Target>) -> (Self, Moves) {
        let held = targets.iter().map(name).collect();
        let targets = targets.into_iter().map(|target| (name(&target), target)).collect();
        let mut line = Self { targets, held, ended: BTreeMap::new(), told: BTreeSet::new() };
        let moves = line.advance(None);
        (line, moves)
    }

    /// An app's work on the revision ended. `back`: it runs what it ran at this revision instead, so that nothing newer
    /// stands on it: what depends on it is held too, begun or not.
    pub fn ended(&mut self, app: &AppName, ending: Ending, back: Option<&Revision>) -> Moves {
        self.ended.insert(app.clone(), ending);
        let Some(back) = back else { return self.advance(None) };
        let mut follow = BTreeSet::from([app.clone()]);
        loop {
            let more: Vec<AppName> = self
                .targets
                .keys()
                .filter(|n| !follow.contains(*n) && self.waits(n).any(|w| follow.contains(&w)))
                .cloned()
                .collect();
            if more.is_empty() {
                break;
            }
            follow.extend(more);
        }
        follow.remove(app);
        for one in &follow {
            self.told.remove(one);
            self.ended.remove(one);
            if !self.held.contains(one) {
                self.held.push(one.clone());
            }
        }
        self.advance(Some(back))
    }

    /// The apps of the revision that one depends on.
    fn waits(&self, app: &AppName) -> impl Iterator<Item = AppName> {
        let first = self.targets.get(app).map(|target| target.member.app.depends_on.as_slice()).unwrap_or_default();
        let cluster = app.1.clone();
        first.iter().map(move |first| (first.clone(), cluster.clone())).filter(|first| self.targets.contains_key(first))
    }

    fn advance(&mut self, back: Option<&Revision>) -> Moves {
        let mut moves = Moves::default();
        // What cannot begin blocks what depends on it: as often as that brings something new.
        loop {
            let mut changed = false;
            for app in std::mem::take(&mut self.held) {
                let waits: Vec<AppName> = self.waits(&app).collect();
                let ending = |first: &AppName| self.ended.get(first).copied();
                let Some(target) = self.targets.get(&app) else { continue };
                if waits.iter().all(|first| ending(first) == Some(Ending::Done)) {
                    if self.told.remove(&app) {
                        moves.again.push(app.clone());
                    }
                    moves.go.push(target.clone());
                    // It ends anew.
                    self.ended.remove(&app);
                    continue;
                }
                let bad =
                    waits.iter().find_map(|first| ending(first).filter(|e| *e != Ending::Done).map(|e| (first, e)));
                if let Some((bad, ending)) = bad.filter(|_| !self.told.contains(&app)) {
                    let why = match back {
                        Some(back) => {
                            format!("held: app `{}`, which it depends on, went back to {}", bad.0, back.short(7))
                        }
                        None => {
                            format!("not begun, since app `{}`, which it depends on, is not in sync and healthy", bad.0)
                        }
                    };
                    let (target, on) = (target.clone(), bad.0.clone());
                    moves.blocked.push(Blocked { target, ending, why, on, back: back.cloned() });
                    self.told.insert(app.clone());
                    self.ended.insert(app.clone(), ending);
                    changed = true;
                }
                self.held.push(app);
            }
            if !changed {
                return moves;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::config::OnFailure;
    use crate::inventory::Identity;
    use crate::plan::PlanOptions;
    use crate::policy::PolicySet;
    use crate::render::HelmSource;
    use crate::scope::{Member, Neighbours};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn target(app: &str, depends_on: &[&str]) -> Target {
        let text = String::new;
        let app = App {
            name: app.into(),
            path: text(),
            cluster: "c".into(),
            identity: Identity { instance: text(), repository: text(), path_root: text(), app: app.into() },
            namespace: None,
            plan: PlanOptions::default(),
            timeout: Duration::ZERO,
            on_failure: OnFailure::Report,
            self_heal: true,
            require_plan: false,
            ignore_files: Vec::new(),
            helm: HelmSource::default(),
            depends_on: depends_on.iter().map(|&first| first.to_owned()).collect(),
        };
        Target {
            member: Member { app: Arc::new(app), rendered: Arc::new(Err(Vec::new())) },
            revision: Revision::parse(&"0".repeat(40)).unwrap(),
            seen: Instant::now(),
            policies: Arc::new(PolicySet::builtin()),
            neighbours: Arc::new(Neighbours::default()),
            host: None,
        }
    }

    fn names(moves: &Moves) -> Vec<String> {
        moves.go.iter().map(|target| name(target).0).collect()
    }

    fn app(name: &str) -> AppName {
        (name.into(), "c".into())
    }

    #[test]
    fn an_app_waits_for_those_that_it_depends_on() {
        let (mut line, moves) = Line::of(vec![
            target("web", &["api", "elsewhere"]),
            target("api", &["db"]),
            target("db", &[]),
            target("x", &[]),
        ]);
        assert_eq!(names(&moves), ["db", "x"]);
        assert!(names(&line.ended(&app("x"), Ending::Done, None)).is_empty());
        assert_eq!(names(&line.ended(&app("db"), Ending::Done, None)), ["api"]);
        assert_eq!(names(&line.ended(&app("api"), Ending::Done, None)), ["web"]);
    }

    #[test]
    fn a_failure_blocks_what_depends_on_it_until_it_is_over() {
        let (mut line, _) = Line::of(vec![target("web", &["api"]), target("api", &["db"]), target("db", &[])]);
        let moves = line.ended(&app("db"), Ending::Unhealthy, None);
        let blocked: Vec<&str> = moves.blocked.iter().map(|blocked| blocked.target.member.app.name.as_str()).collect();
        assert_eq!(blocked, ["api", "web"]);
        assert!(moves.blocked[1].why.contains("`api`"));
        assert!(line.ended(&app("db"), Ending::Failed, None).blocked.is_empty(), "said once");
        let moves = line.ended(&app("db"), Ending::Done, None);
        assert_eq!((names(&moves), moves.again), (vec!["api".to_owned()], vec![app("api")]));
        let moves = line.ended(&app("api"), Ending::Done, None);
        assert_eq!((names(&moves), moves.again), (vec!["web".to_owned()], vec![app("web")]));
    }

    #[test]
    fn what_stands_on_an_app_that_went_back_is_held_though_it_had_begun() {
        let (mut line, _) = Line::of(vec![target("web", &["api"]), target("api", &["db"]), target("db", &[])]);
        assert_eq!(names(&line.ended(&app("db"), Ending::Done, None)), ["api"]);
        assert_eq!(names(&line.ended(&app("api"), Ending::Done, None)), ["web"]);
        line.ended(&app("web"), Ending::Done, None);
        let back = Revision::parse(&"1".repeat(40)).unwrap();
        let moves = line.ended(&app("db"), Ending::Refused, Some(&back));
        let blocked: Vec<_> =
            moves.blocked.iter().map(|b| (b.target.member.app.name.as_str(), b.ending, b.back.is_some())).collect();
        assert_eq!(blocked, [("api", Ending::Refused, true), ("web", Ending::Refused, true)]);
        let moves = line.ended(&app("db"), Ending::Done, None);
        assert_eq!((names(&moves), moves.again), (vec!["api".to_owned()], vec![app("api")]));
    }
}
