//! The line that apps stand in: one that depends on others is handed its target once they are in sync and healthy at the
//! same revision. Pure: targets and outcomes in, what to hand out and what cannot begin out.

use super::app::Target;
use super::board::AppName;
use crate::outcome::Ending;
use std::collections::{BTreeMap, BTreeSet};

/// A revision's apps, as far as they wait for each other.
#[derive(Default)]
pub struct Line {
    held: Vec<Target>,
    ended: BTreeMap<AppName, Ending>,
    /// Every app of the revision: what is none is not waited for.
    apps: BTreeSet<AppName>,
    /// Those of which it was said that they cannot begin.
    told: BTreeSet<AppName>,
}

/// What follows.
#[derive(Default)]
pub struct Moves {
    /// Targets to hand out now.
    pub go: Vec<Target>,
    /// Apps that cannot begin, and why.
    pub blocked: Vec<(AppName, String)>,
    /// Apps of those in `go` of which it was said before that they cannot begin.
    pub again: Vec<AppName>,
}

fn name(target: &Target) -> AppName {
    (target.member.app.name.clone(), target.member.app.cluster.clone())
}

impl Line {
    /// A new revision's apps line up.
    pub fn of(targets: Vec<Target>) -> (Self, Moves) {
        let apps = targets.iter().map(name).collect();
        let mut line = Self { held: targets, ended: BTreeMap::new(), apps, told: BTreeSet::new() };
        let moves = line.advance();
        (line, moves)
    }

    /// An app's work on the revision ended.
    pub fn ended(&mut self, app: &AppName, ending: Ending) -> Moves {
        self.ended.insert(app.clone(), ending);
        self.advance()
    }

    fn advance(&mut self) -> Moves {
        let mut moves = Moves::default();
        // What cannot begin blocks what depends on it: as often as that brings something new.
        loop {
            let mut changed = false;
            for target in std::mem::take(&mut self.held) {
                let app = name(&target);
                let first = target.member.app.depends_on.iter().map(|first| (first.clone(), app.1.clone()));
                let waits: Vec<AppName> = first.filter(|first| self.apps.contains(first)).collect();
                let ending = |first: &&AppName| self.ended.get(*first).copied();
                if waits.iter().all(|first| ending(&first) == Some(Ending::Done)) {
                    if self.told.remove(&app) {
                        moves.again.push(app.clone());
                    }
                    // It ends anew.
                    self.ended.remove(&app);
                    moves.go.push(target);
                    continue;
                }
                let bad = waits.iter().find(|first| ending(first).is_some_and(|ending| ending != Ending::Done));
                if let Some(bad) = bad.filter(|_| !self.told.contains(&app)) {
                    let why =
                        format!("not begun, since app `{}`, which it depends on, is not in sync and healthy", bad.0);
                    self.told.insert(app.clone());
                    self.ended.insert(app.clone(), Ending::Failed);
                    moves.blocked.push((app, why));
                    changed = true;
                }
                self.held.push(target);
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
    use crate::source::Revision;
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
        assert!(names(&line.ended(&app("x"), Ending::Done)).is_empty());
        assert_eq!(names(&line.ended(&app("db"), Ending::Done)), ["api"]);
        assert_eq!(names(&line.ended(&app("api"), Ending::Done)), ["web"]);
    }

    #[test]
    fn a_failure_blocks_what_depends_on_it_until_it_is_over() {
        let (mut line, _) = Line::of(vec![target("web", &["api"]), target("api", &["db"]), target("db", &[])]);
        let moves = line.ended(&app("db"), Ending::Unhealthy);
        let blocked: Vec<&str> = moves.blocked.iter().map(|(app, _)| app.0.as_str()).collect();
        assert_eq!(blocked, ["api", "web"]);
        assert!(moves.blocked[1].1.contains("`api`"));
        assert!(line.ended(&app("db"), Ending::Failed).blocked.is_empty(), "said once");
        let moves = line.ended(&app("db"), Ending::Done);
        assert_eq!((names(&moves), moves.again), (vec!["api".to_owned()], vec![app("api")]));
        let moves = line.ended(&app("api"), Ending::Done);
        assert_eq!((names(&moves), moves.again), (vec!["web".to_owned()], vec![app("web")]));
    }
}
