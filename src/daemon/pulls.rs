//! Pull requests: what merging one would do is planned, said as a status of its head, and shown in one comment.
//!
//! In: the host's open pull requests into the tracked branch. Out: statuses (through the scope, which alone speaks of its
//! revisions) and comments. Guarantees: configuration and policies are the base's; nothing from the pull request is
//! executed; one of a fork is planned only where that is allowed; a comment is written anew rather than repeated; the same
//! head on the same base is planned once, and where another base changes nothing of what was said, nothing is said.

use super::app::Said;
use crate::config::Config;
use crate::engine::Engine;
use crate::inventory::Review;
use crate::merge_plan::{Ground, MergePlan, Taken, Verdict, plan_merge};
use crate::object::Problem;
use crate::plan::change::{Action, AppPlan, Change, PlanReport};
use crate::render::Tools;
use crate::report::host::Pull;
use crate::report::host::wire::HostClient;
use crate::report::letters::Letter;
use crate::report::markdown::{MARKER, merge_markdown, plan_sentence};
use crate::report::status::describe;
use crate::report::{Context, ContextKind, SendError, State};
use crate::rollback;
use crate::source::Revision;
use crate::workspace::{Origin, off_thread};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

/// Pull requests that are planned of one look: a host with more than that open has them planned in turns.
const MOST: usize = 200;
/// After a host that did not answer.
const AGAIN: Duration = Duration::from_secs(60);
/// The same where a look is asked for meanwhile: a notification says that the host is back.
const AGAIN_ASKED: Duration = Duration::from_secs(3);

/// What a scope's pull requests came to, by number.
type Seen = BTreeMap<u64, Planned>;

/// A final state and its words.
type Words = (State, String);

/// What came of planning a pull request.
struct Planned {
    /// Its head, as the host says it.
    head: String,
    /// The base that it was planned on.
    base: Revision,
    /// What was said of it.
    said: Words,
}

/// Plans one scope's pull requests, one look at a time.
#[derive(Clone, Default)]
pub struct PullPlanner {
    seen: Arc<Mutex<Seen>>,
    /// Somebody waits for the next look already.
    waiting: Arc<AtomicBool>,
}

/// What a look stands on.
pub struct Look {
    /// The base's configuration.
    pub config: Config,
    /// The repository.
    pub origin: Origin,
    /// The clusters.
    pub engines: Vec<Engine>,
    /// Programs that rendering may run.
    pub tools: Tools,
    /// The host.
    pub host: Arc<HostClient>,
    /// Pull requests of forks are planned too.
    pub forks: bool,
    /// The tip of the tracked branch, and the branch's name.
    pub base: (Revision, String),
    /// To the scope.
    pub say: UnboundedSender<Said>,
    /// Ends it.
    pub term: CancellationToken,
}

impl PullPlanner {
    /// Looks at the host's pull requests now, or after the look that is under way.
    pub fn look(&self, look: Look) {
        if self.waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        let planner = self.clone();
        tokio::spawn(async move {
            let mut seen = planner.seen.lock().await;
            planner.waiting.store(false, Ordering::Release);
            let term = look.term.clone();
            tokio::select! {
                () = term.cancelled() => {}
                () = look.carry_out(&mut seen, &planner.waiting) => {}
            }
        });
    }
}

impl Look {
    async fn carry_out(&self, seen: &mut Seen, waiting: &AtomicBool) {
        let client = &self.host;
        let pulls = match blocking(client, HostClient::pulls).await {
            Ok(pulls) => pulls,
            Err(error) => {
                tracing::warn!(%error, "pull requests cannot be listed; they are looked at again");
                let mut waited = Duration::ZERO;
                while waited < AGAIN && !(waited >= AGAIN_ASKED && waiting.load(Ordering::Acquire)) {
                    tokio::time::sleep(AGAIN_ASKED).await;
                    waited += AGAIN_ASKED;
                }
                return;
            }
        };
        seen.retain(|number, _| pulls.iter().any(|pull| pull.number == *number));
        let (base, branch) = &self.base;
        for pull in pulls.iter().filter(|pull| pull.base == *branch).take(MOST) {
            if pull.fork && !self.forks {
                tracing::debug!(pull = pull.number, "of a fork, which is not planned (`plan_forks`)");
                continue;
            }
            let known = seen.get(&pull.number).filter(|known| known.head == pull.head);
            if known.is_some_and(|known| known.base == *base) {
                continue;
            }
            match self.plan(client, pull, known.map(|known| known.said.clone())).await {
                Ok(said) => {
                    seen.insert(pull.number, Planned { head: pull.head.clone(), base: base.clone(), said });
                }
                Err(problem) => tracing::warn!(pull = pull.number, %problem, "a pull request is not planned"),
            }
        }
    }

    /// Plans one, and says what came of it, unless it was said: by this process (`before`), or by an earlier one.
    async fn plan(&self, client: &Arc<HostClient>, pull: &Pull, before: Option<Words>) -> Result<Words, Problem> {
        let (mirror, fetch, wanted) = (self.origin.mirror.clone(), pull.fetch.clone(), pull.head.clone());
        let resolve = move || {
            let head = mirror.resolve(&fetch)?;
            // A pull request that was pushed to while it was closed keeps its old reference on some hosts (Gitea): the
            // commit itself is there all the same, unless it is a fork's.
            let moved = !head.as_str().starts_with(&wanted);
            Ok(if moved { mirror.resolve(&wanted).unwrap_or(head) } else { head })
        };
        let head = off_thread(resolve).await?;
        if !head.as_str().starts_with(&pull.head) {
            return Err(Problem::new("HeadMoved", format!("its head is {} by now", head.short(7))));
        }
        let context = Context::new(&self.config.instance.name, ContextKind::Plan);
        let (revision, mut before) = (head.clone(), before);
        if let Ok(said) = blocking(client, move |client| client.said(&revision)).await {
            let ours: Vec<_> = said.into_iter().filter(|said| said.context == context).collect();
            let last = ours.last().filter(|said| said.state.is_final());
            before = before.or_else(|| last.map(|said| (said.state, said.description.clone())));
            let ours = ours.into_iter().map(|said| (said.context, said.state)).collect();
            let _ = self.say.send(Said::Known(head.clone(), ours));
        }
        let say = |state: State, text: String, again: bool| {
            let _ = self.say.send(Said::Plan { revision: head.clone(), state, text, again });
        };
        // A head that has its final word keeps it until there is another one: a check that is required does not flicker.
        if before.is_none() {
            say(State::Pending, "planning".to_owned(), false);
        }
        let (base, _) = &self.base;
        let ground = Ground { config: &self.config, origin: &self.origin, tools: &self.tools };
        let plan = plan_merge(ground, &self.engines, (base, &head), &[]).await;
        self.keep_reviews(pull.number, &head, &plan).await?;
        let mark = format!("<!-- {}:plan -->", self.config.instance.name);
        let room = client.api().longest_comment().saturating_sub(mark.len() + 1);
        let body = merge_markdown(&plan.report.plan, &plan.diffs, &plan.note(base.as_str()), room);
        // It has a mark of its own, for whoever writes it by hand.
        let body = body.strip_prefix(MARKER).unwrap_or(&body).trim_start();
        let (text, number) = (format!("{mark}\n{body}"), pull.number);
        let asked = mark.clone();
        let shown = blocking(client, move |client| client.shown(number, &asked)).await.ok().flatten();
        if shown.is_none_or(|shown| !differs_in_base_only(&shown, &text)) {
            let _ = self.say.send(Said::Comment(Letter { pull: number, mark, text, written: Timestamp::now() }));
        }
        let (state, words) = verdict(&plan);
        let longest = client.api().longest_description();
        let told = |words: &str| describe(words, longest);
        match &before {
            Some((known, said)) if *known == state && told(said) == told(&words) => {}
            _ => say(state, words.clone(), before.is_some()),
        }
        Ok((state, words))
    }
}

impl Look {
    /// Keeps what the plan takes away from apps that want it seen (`require_plan`): before anybody can see it, and in the
    /// apps' inventories, so that a restart and another instance know it, and nobody who opens a pull request can write
    /// it. An app that was never synced has nothing to lose, and no inventory.
    async fn keep_reviews(&self, pull: u64, head: &Revision, plan: &MergePlan) -> Result<(), Problem> {
        for Taken { app, digest, removes, adds_nothing } in plan.apps.iter().filter(|taken| taken.app.require_plan) {
            let Some(engine) = self.engines.iter().find(|engine| engine.client.name() == app.cluster) else { continue };
            let review = digest.clone().zip(removes.clone());
            let review =
                review.map(|(digest, removes)| Review { pull, head: head.to_string(), digest, removes, merged: None });
            rollback::change(engine, app, |stored| {
                let known = stored.parent.reviews.iter().find(|known| known.pull == pull);
                // Merged a moment ago, and listed as open still, or pushed past it: it adds nothing to the base any more.
                let same = known.is_some_and(|known| {
                    Some(&known.digest) == digest.as_ref() || (*adds_nothing && known.head == head.as_str())
                });
                if stored.resource_version.is_some() && (review.is_some() || !same) {
                    stored.parent.review(pull, review.clone());
                }
            })
            .await?;
        }
        Ok(())
    }
}

/// True where two comments say the same, if perhaps of other commits of the base.
fn differs_in_base_only(one: &str, other: &str) -> bool {
    let without_base = |text: &str| {
        let text = text.trim().replace("\r\n", "\n");
        let named = text.split_once(" merged into `").and_then(|(_, rest)| rest.split_once('`'));
        let Some(base) = named.map(|(base, _)| base.to_owned()).filter(|base| !base.is_empty()) else { return text };
        // Further down it may stand in full.
        let mut parts = text.split(base.as_str());
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |out, part| out + "…" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
    };
    without_base(one) == without_base(other)
}

/// The status of a plan.
fn verdict(plan: &MergePlan) -> (State, String) {
    let first = || {
        let of_apps = plan.report.plan.apps.iter().filter_map(|app| Some((&app.name, app.error.as_ref()?)));
        let of_apps = of_apps.map(|(app, problem)| format!("{app}: {problem}")).next();
        let denied = plan.report.plan.apps.iter().flat_map(|app| &app.policy).find(|finding| finding.action == "deny");
        let denied = denied.map(|f| format!("policy {}: {}:{}: {}", f.policy, f.file, f.line, f.message));
        plan.problems.first().map(ToString::to_string).or(denied).or(of_apps).unwrap_or_default()
    };
    match plan.verdict {
        // A green plan would vouch for what it does not show.
        Verdict::Nothing | Verdict::Changes if plan.unplanned.is_some() => {
            (State::Failure, plan.unplanned.clone().unwrap_or_default())
        }
        Verdict::Nothing | Verdict::Changes => {
            let sentence = plan_sentence(&plan.report.plan, &plan.diffs);
            match cannot_end(&plan.report.plan) {
                None => (State::Success, sentence),
                Some((state, why)) => (state, format!("{sentence}; cannot end well: {why}")),
            }
        }
        Verdict::Refused | Verdict::Wrong => (State::Failure, first()),
    }
}

/// Which workloads cannot become what they are to be, and what that makes of the plan: a failure where nothing in sight
/// makes room; where this plan might, only the words.
fn cannot_end(plan: &PlanReport) -> Option<(State, String)> {
    let foreseen = plan.pending().filter_map(|change| Some((&change.object, change.forecast.as_ref()?)));
    let mut all: Vec<_> =
        foreseen.filter_map(|(object, f)| Some((!f.certain, object, f.impossible.as_deref()?))).collect();
    // What is certain first.
    all.sort_by_key(|(uncertain, ..)| *uncertain);
    let (uncertain, object, why) = all.first()?;
    // What another app changes (a quota, an account), or what makes room, is not in the forecast of this one.
    let changes = |app: &AppPlan| app.changes.iter().any(|change| change.actions != [Action::None]);
    let makes_room = |change: &Change| {
        change.object != **object
            && [Action::Scale, Action::Prune, Action::Replace].iter().any(|a| change.actions.contains(a))
    };
    let uncertain =
        *uncertain || plan.apps.iter().filter(|app| changes(app)).count() > 1 || plan.pending().any(makes_room);
    let more = if all.len() == 1 { String::new() } else { format!(" (and {} more)", all.len() - 1) };
    Some((if uncertain { State::Success } else { State::Failure }, format!("{object}{more}: {why}")))
}

async fn blocking<T: Send + 'static>(
    client: &Arc<HostClient>,
    ask: impl FnOnce(&HostClient) -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    let client = client.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&client)).await;
    asked.unwrap_or_else(|_| Err(SendError::transient(Problem::lost("a worker").message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Gk, ObjectKey};
    use crate::plan::change::Forecast;
    use crate::report::base_note::MergeReport;
    use crate::report::object_diff::ObjectDiffs;

    fn plan(forecasts: &[(bool, &str)]) -> MergePlan {
        let change = |(certain, why): &(bool, &str)| Change {
            object: ObjectKey::new(&Gk::new("apps", "Deployment"), Some("shop"), "web").with_version("v1"),
            actions: vec![Action::Scale],
            restarts: false,
            why: String::new(),
            source: None,
            wave: 0,
            waits_for: Vec::new(),
            fields: Vec::new(),
            hook: None,
            forecast: Some(Forecast { impossible: Some((*why).into()), certain: *certain, ..Forecast::default() }),
        };
        let app = AppPlan { name: "web".into(), changes: forecasts.iter().map(change).collect(), ..AppPlan::default() };
        let plan = PlanReport { revision: None, apps: vec![app], summary: BTreeMap::new(), error: None };
        MergePlan {
            report: MergeReport { plan, base: None },
            diffs: ObjectDiffs::default(),
            verdict: Verdict::Changes,
            problems: Vec::new(),
            apps: Vec::new(),
            unplanned: None,
        }
    }

    #[test]
    fn a_comment_on_another_base_is_the_same_comment() {
        let of = |base: &str, count: u32| {
            let short = &base[..7];
            format!(
                "<!-- a:plan -->\n### Plan for `1234567` merged into `{short}`\n\n**{count} to create**\n\n> base {short} `driftless plan --base {base}`\n"
            )
        };
        let (one, two) = ("a1".repeat(20), "b2".repeat(20));
        assert!(differs_in_base_only(&of(&one, 1), &of(&two, 1).replace('\n', "\r\n")));
        assert!(!differs_in_base_only(&of(&one, 1), &of(&two, 2)));
        assert!(differs_in_base_only("x", "x\n") && !differs_in_base_only("x", "y"));
    }

    #[test]
    fn a_plan_that_cannot_end_well_is_no_silent_success() {
        let fit = "3 of its 9 pods fit";
        let (state, words) = verdict(&plan(&[(true, fit)]));
        assert_eq!(words, "1 to scale; cannot end well: Deployment shop/web: 3 of its 9 pods fit");
        assert_eq!(state, State::Failure, "a quota that is too small stays so");
        let (state, words) = verdict(&plan(&[(false, fit)]));
        assert!(state == State::Success && words.contains("cannot end well"), "this plan makes room as well: {words}");
        let (state, words) = verdict(&plan(&[(false, "a"), (true, "b")]));
        assert!(
            state == State::Failure && words.ends_with("cannot end well: Deployment shop/web (and 1 more): b"),
            "{words}"
        );
        assert_eq!(verdict(&plan(&[])), (State::Success, "nothing would change".to_owned()));
    }
}
