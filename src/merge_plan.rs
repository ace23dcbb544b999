//! The plan of a merge: what a revision adds to the base that it is to be merged into.
//!
//! In: two commits. Out: live → base and live → merge, both planned against one snapshot, and of these only the
//! difference. So a pull request whose base moved on never reverts the newer commit, and neither drift nor what the base
//! has not brought about yet is shown as the pull request's.
//!
//! Configuration and policies are the base's (a pull request must not grant itself anything); where the revision changes
//! them, that is said. Writes nothing.

mod settings;

use crate::app::App;
use crate::config::{AppPaths, Config};
use crate::engine::Engine;
use crate::forecast::foresee;
use crate::inventory::Removal;
use crate::object::{Digest, Problem};
use crate::outcome::{Ending, ending, error};
use crate::plan::change::{Action, AppPlan, Change, PlanReport, PolicyFinding};
use crate::plan::planned::Sides;
use crate::plan::{Added, Planned, added};
use crate::policy::PolicySet;
use crate::reconcile::{Halt, Looked, Synced, Wanted, look_both};
use crate::render::Tools;
use crate::report::base_note::{BaseNote, MergeReport};
use crate::report::object_diff::ObjectDiffs;
use crate::scope::{Member, Neighbours};
use crate::source::{Merged, Revision, SourceTree};
use crate::workspace::{self, Origin, Tip, off_thread};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a plan ends, from best to worst in the precedence of exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verdict {
    /// Nothing would change.
    #[default]
    Nothing,
    /// There are changes.
    Changes,
    /// Something is refused: a policy, a guard.
    Refused,
    /// Something cannot be planned.
    Wrong,
}

impl From<Ending> for Verdict {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::Nothing,
            Ending::Refused => Self::Refused,
            Ending::Unhealthy | Ending::Failed | Ending::Superseded => Self::Wrong,
        }
    }
}

/// What a plan of a merge stands on: the base's configuration, and the repository.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The base's configuration.
    pub config: &'a Config,
    /// The repository.
    pub origin: &'a Origin,
    /// Programs that rendering may run.
    pub tools: &'a Tools,
}

/// A plan of a merge, as far as it came.
pub struct MergePlan {
    /// What is shown.
    pub report: MergeReport,
    /// Both sides of its objects.
    pub diffs: ObjectDiffs,
    /// How it ends.
    pub verdict: Verdict,
    /// What stopped it.
    pub problems: Vec<Problem>,
    /// What it takes away, by app.
    pub apps: Vec<Taken>,
    /// What the merge does besides that the plan does not show.
    pub unplanned: Option<String>,
}

/// What a merge takes away from one app.
pub struct Taken {
    /// The app, as it is in the merge.
    pub app: Arc<App>,
    /// What the app renders to in the merge, if it renders.
    pub digest: Option<Digest>,
    /// What goes with it; `None` where nothing changes, or without a plan.
    pub removes: Option<Vec<Removal>>,
    /// The base has all of it already.
    pub adds_nothing: bool,
}

impl Taken {
    fn of(member: &Member, shown: &Shown) -> Self {
        let rendered = member.rendered.as_ref().as_ref().ok();
        let changes: Vec<&Change> =
            shown.plan.changes.iter().filter(|change| change.actions != [Action::None]).collect();
        let planned = matches!(shown.verdict, Verdict::Changes | Verdict::Refused) && !changes.is_empty();
        let goes = |change: &&Change| {
            let replaced = change.actions.contains(&Action::Replace);
            let gone = replaced || change.actions.contains(&Action::Prune);
            gone.then(|| Removal { object: change.object.clone(), replaced })
        };
        let removes = planned.then(|| changes.iter().filter_map(goes).collect());
        let digest = rendered.map(|rendered| rendered.digest.clone());
        let adds_nothing = shown.verdict == Verdict::Nothing && changes.is_empty();
        Self { app: member.app.clone(), digest, removes, adds_nothing }
    }
}

impl MergePlan {
    /// What is said beside the plan.
    pub fn note(&self, base: &str) -> BaseNote {
        self.report.base.clone().unwrap_or_else(|| BaseNote::new(base))
    }
}

/// Plans the merge of `head` into `base` on each of these clusters; of all apps, or of those named.
pub async fn plan_merge(
    ground: Ground<'_>,
    engines: &[Engine],
    (base, head): (&Revision, &Revision),
    names: &[String],
) -> MergePlan {
    let plan = PlanReport { revision: Some(head.to_string()), apps: Vec::new(), summary: BTreeMap::new(), error: None };
    let report = MergeReport { plan, base: Some(BaseNote::new(base.as_str())) };
    let mut out = MergePlan {
        report,
        diffs: ObjectDiffs::default(),
        verdict: Verdict::Nothing,
        problems: Vec::new(),
        apps: Vec::new(),
        unplanned: None,
    };
    if let Err(problems) = plan_into(ground, engines, (base, head), names, &mut out).await {
        out.verdict = Verdict::Wrong;
        out.report.plan.error = problems.first().cloned();
        out.problems = problems;
    }
    out.report.plan.sum_up();
    out
}

async fn plan_into(
    ground: Ground<'_>,
    engines: &[Engine],
    (base, head): (&Revision, &Revision),
    names: &[String],
    out: &mut MergePlan,
) -> Result<(), Vec<Problem>> {
    let note = out.report.base.get_or_insert_with(|| BaseNote::new(base.as_str()));
    let (base, merge) = both_trees(ground.origin, base, head, note).await?;
    let settings = settings::compare(ground, &base.tree, &merge.tree)?;
    note.notices.extend(settings.notices);
    note.notices.extend(own_policies(ground.config, &base.tree, &merge.tree));
    out.unplanned = settings.unplanned;
    for engine in engines {
        let pair = Pair::new(ground, engine, &base, &merge).await?;
        let names = pair.chosen(names)?;
        for shown in join_all(names.iter().map(|name| pair.plan_app(name))).await {
            out.verdict = out.verdict.max(shown.verdict);
            let member = pair.merge.members.iter().find(|member| member.app.name == shown.plan.name);
            out.apps.extend(member.map(|member| Taken::of(member, &shown)));
            for (change, sides) in shown.plan.changes.iter().zip(shown.sides) {
                out.diffs.insert(&shown.plan.name, &shown.plan.cluster, &change.object, sides);
            }
            for (action, n) in shown.pending {
                *note.pending.entry(action).or_insert(0) += n;
            }
            note.drifted += shown.drifted;
            note.notices.extend(shown.notices);
            out.report.plan.apps.push(shown.plan);
        }
    }
    Ok(())
}

/// The trees of the base and of the merge.
async fn both_trees(
    origin: &Origin,
    base: &Revision,
    head: &Revision,
    note: &mut BaseNote,
) -> Result<(Tip, Tip), Vec<Problem>> {
    let (mirror, ours, theirs) = (origin.mirror.clone(), base.clone(), head.clone());
    let merge = off_thread(move || Ok(mirror.merge(&ours, &theirs, None)?)).await.map_err(|p| vec![p])?;
    let (from, into) = (head.short(7), base.short(7));
    if merge.ancestor.is_none() {
        let text = format!("{from} and {into} have no commit in common: they cannot be merged");
        return Err(vec![Problem::new("UnrelatedHistories", text).hint("check --base and --revision")]);
    }
    match merge.merged {
        Merged::Clean(tree) => {
            Ok((origin.tip(base).await.map_err(|p| vec![p])?, Tip { revision: head.clone(), tree: Arc::new(tree) }))
        }
        Merged::Conflicts(paths) => {
            let text = format!("{from} does not merge into {into}: both change {}", paths.join(", "));
            note.conflicts = paths;
            let hint = format!("merge {into} into the branch and resolve the conflict, then plan again");
            Err(vec![Problem::new("MergeConflict", text).hint(hint)])
        }
    }
}

/// Says where the revision changes what it is judged by.
fn own_policies(config: &Config, base: &SourceTree, merge: &SourceTree) -> Vec<String> {
    let mut out = Vec::new();
    for path in &config.policy.paths {
        let differ = base.entry(path) != merge.entry(path) || !base.under(path).eq(merge.under(path));
        if differ {
            out.push(format!(
                "it changes policies in {path}; it is judged by the base's, its own count once it is merged"
            ));
        }
    }
    out
}

/// The apps of the merge under the base's configuration. A directory that the revision removes is an app's removal.
fn apps_of_merge(
    config: &Config,
    origin: &Origin,
    base: &SourceTree,
    merge: &SourceTree,
) -> Result<Vec<App>, Vec<Problem>> {
    let mut config = config.clone();
    config.apps.retain(|app| match &app.paths {
        AppPaths::Directory(path) if app.repository == origin.repository.name => {
            let root = origin.repository.path.as_str();
            let path = [root, path.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            path.is_empty() || merge.under(&path).next().is_some() || base.under(&path).next().is_none()
        }
        _ => true,
    });
    origin.apps(&config, merge)
}

/// One tree's apps on a cluster.
struct Side {
    tip: Tip,
    policies: PolicySet,
    members: Vec<Member>,
    neighbours: Neighbours,
}

/// Both trees' apps on one cluster.
struct Pair<'a> {
    engine: &'a Engine,
    key: Vec<u8>,
    base: Side,
    merge: Side,
}

/// What is shown of one app.
struct Shown {
    plan: AppPlan,
    sides: Vec<Sides>,
    pending: BTreeMap<Action, usize>,
    drifted: usize,
    notices: Vec<String>,
    verdict: Verdict,
}

/// One version of an app.
#[expect(clippy::large_enum_variant, reason = "it lives for one command")]
enum Version {
    /// It is not there.
    Absent,
    /// There is no plan for it.
    Stopped(Option<Problem>, Vec<PolicyFinding>, Verdict),
    /// Its plan.
    Planned(Box<Planned>),
}

impl<'a> Pair<'a> {
    async fn new(ground: Ground<'_>, engine: &'a Engine, base: &Tip, merge: &Tip) -> Result<Self, Vec<Problem>> {
        let Ground { config, origin, tools } = ground;
        let one = |problem: Problem| vec![problem];
        let key = engine.digest_key_or_random().await.map_err(|e| one(e.into()))?;
        let policies = workspace::policies_of(config, &base.tree, tools).await?;
        let cluster = engine.client.name();
        let here = |apps: Vec<App>| apps.into_iter().filter(|app| app.cluster == cluster).collect::<Vec<App>>();
        let before = here(origin.apps(config, &base.tree)?);
        let after = here(apps_of_merge(config, origin, &base.tree, &merge.tree)?);
        let side = async |tip: &Tip, apps| {
            let (members, neighbours) =
                workspace::members_on(engine, (config, origin, tools), apps, tip, &key, false).await?;
            Ok::<_, Vec<Problem>>(Side { tip: tip.clone(), policies: policies.clone(), members, neighbours })
        };
        let (base, merge) = (side(base, before).await?, side(merge, after).await?);
        Ok(Self { engine, key: key.clone(), base, merge })
    }

    /// The names of the apps that the command means, of either tree.
    fn chosen(&self, names: &[String]) -> Result<Vec<String>, Vec<Problem>> {
        let members = || self.base.members.iter().chain(&self.merge.members);
        let all: BTreeSet<&String> = members().map(|member| &member.app.name).collect();
        if let Some(unknown) = names.iter().find(|name| !all.contains(name)) {
            let known = all.into_iter().cloned().collect::<Vec<_>>().join(", ");
            let text = format!("there is no app {unknown:?}, neither in the base nor in the merge");
            return Err(vec![Problem::new("NoSuchApp", text).hint(format!("their apps are: {known}"))]);
        }
        Ok(all.into_iter().filter(|name| names.is_empty() || names.contains(name)).cloned().collect())
    }

    async fn plan_app(&self, name: &str) -> Shown {
        let of = |scene: &Side| scene.members.iter().find(|member| member.app.name == name).cloned();
        let members = [of(&self.base), of(&self.merge)];
        let wanted = [wanted(&self.base, members[0].as_ref()), wanted(&self.merge, members[1].as_ref())];
        let looked = look_both(self.engine, [wanted[0].as_ref(), wanted[1].as_ref()], &self.key).await;
        let [first, second] = match looked {
            Ok(both) => both,
            Err(halt) => [0, 1].map(|side| wanted[side].as_ref().map(|_| Err(halt.clone()))),
        };
        let base = version(members[0].as_ref(), first);
        let mut merge = version(members[1].as_ref(), second);
        if let Version::Planned(planned) = &mut merge {
            foresee(self.engine, planned).await;
        }
        shown(name, self.engine.client.name(), &base, merge)
    }
}

fn wanted<'a>(scene: &'a Side, member: Option<&'a Member>) -> Option<Wanted<'a>> {
    let member = member?;
    let rendered = member.rendered.as_ref().as_ref().ok()?;
    let (revision, policies, neighbours) = (&scene.tip.revision, &scene.policies, &scene.neighbours);
    Some(Wanted { app: &member.app, revision, rendered, policies, neighbours })
}

fn version(member: Option<&Member>, looked: Option<Result<Looked, Halt>>) -> Version {
    let Some(member) = member else { return Version::Absent };
    let halt = match (looked, member.rendered.as_ref()) {
        (Some(Ok(looked)), _) => return Version::Planned(Box::new(looked.planned)),
        (Some(Err(halt)), _) => halt,
        (None, Err(problems)) => {
            let first = problems.first().cloned().map(|problem| crate::outcome::with_count(problem, problems.len()));
            return Version::Stopped(first, Vec::new(), Verdict::Wrong);
        }
        (None, Ok(_)) => return Version::Absent,
    };
    let findings = match &halt {
        Halt::Denied(findings) => findings.clone(),
        _ => Vec::new(),
    };
    let synced = Synced::halted(halt);
    Version::Stopped(error(&member.app, &synced), findings, ending(&synced).into())
}

/// What of two versions is the revision's.
fn shown(name: &str, cluster: &str, base: &Version, merge: Version) -> Shown {
    let mut notices = Vec::new();
    let before = match base {
        Version::Planned(planned) => Some(planned.as_ref()),
        Version::Absent => None,
        Version::Stopped(problem, ..) => {
            let why = problem.as_ref().map(ToString::to_string).unwrap_or_default();
            notices
                .push(format!("{name}: the base itself cannot be planned, so all that the merge does is shown: {why}"));
            None
        }
    };
    let after = match merge {
        Version::Planned(planned) => Some(planned),
        Version::Absent => None,
        Version::Stopped(error, policy, verdict) => {
            let (name, cluster) = (name.to_owned(), cluster.to_owned());
            let plan = AppPlan { name, cluster, error, blocked: true, policy, ..AppPlan::default() };
            return Shown { plan, sides: Vec::new(), pending: BTreeMap::new(), drifted: 0, notices, verdict };
        }
    };
    let out = added(name, cluster, before, after.as_deref());
    let verdict = match () {
        () if out.is_wrong => Verdict::Wrong,
        () if out.is_refused => Verdict::Refused,
        () if out.has_changes() => Verdict::Changes,
        () => Verdict::Nothing,
    };
    let Added { plan, sides, of_base, pending, drifted, .. } = out;
    notices.extend(of_base.map(|problem| format!("{name}: of the base itself: {problem}")));
    Shown { plan, sides, pending, drifted, notices, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_judged_by_is_named_where_it_changes() {
        let tree = |files: &[(&str, &str)]| SourceTree::from_files(files.iter().copied()).unwrap();
        let mut config = Config::from_flags(&crate::config::Flags { repo: ".".into(), ..Default::default() }).unwrap();
        config.policy.paths = vec!["rules".into()];
        let base = tree(&[("driftless.toml", "a"), ("rules/a.yaml", "a"), ("web/a.yaml", "a")]);
        assert!(own_policies(&config, &base, &base).is_empty());
        let merge = tree(&[("driftless.toml", "b"), ("rules/a.yaml", "a"), ("rules/b.yaml", "a"), ("web/a.yaml", "b")]);
        let said = own_policies(&config, &base, &merge);
        assert!(said.len() == 1 && said[0].contains("rules"), "{said:?}");
    }
}
