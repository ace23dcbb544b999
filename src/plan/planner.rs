//! The plan: verdicts put into words, steps and order.
//!
//! Guarantees: equal input gives an equal plan, whatever the order of files. Nothing outside the inventory is ever
//! deleted. If anything blocks, the graph is empty. An object whose verdict is still open (a question was not answered)
//! is planned by guess and dry-run just before its write.

mod hooks;

use super::adopt::{Standing, deployers, migrate_managed_fields};
use super::analysis::{Analysis, Subject, analyse};
use super::body::{owned_digest, scale_part};
use super::change::{Action, AppPlan, Change, Forecast};
use super::diff::{content, diff};
use super::edge::port_holders;
use super::graph::Graph;
use super::hook::Phase;
use super::input::PlanInput;
use super::judge::{Changed, Verdict, guess, judge};
use super::planned::{Found, Planned, Recorded, Sides};
use super::podspec::rolls_pods;
use super::question::Asked;
use super::redact;
use super::step::{Part, Payload, StepKind};
use super::wave::{depends_on, problem, wave, wave_of_live};
use super::weave::{DraftStep, Node, Weave, weave};
use super::why::{Meaning, meaning};
use super::writes::{Write, writes};
use crate::inventory::Member;
use crate::object::{Live, Manifest, ObjectKey, ObjectRef, Problem};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A change on its way into the plan.
struct Draft {
    change: Change,
    sides: Sides,
    steps: Vec<DraftStep>,
}

/// Makes the plan.
pub fn plan(input: &PlanInput<'_>) -> Planned {
    planned(input, &analyse(input))
}

/// The plan, and what it writes, as policies judge it.
pub fn plan_with_writes<'a>(input: &PlanInput<'a>) -> (Planned, Vec<Write<'a>>) {
    let analysis = analyse(input);
    (planned(input, &analysis), writes(input, &analysis))
}

fn planned(input: &PlanInput<'_>, analysis: &Analysis<'_>) -> Planned {
    let mut planner = Planner::new(input, analysis);
    planner.namespaces();
    for subject in &analysis.subjects {
        planner.subject(subject);
    }
    planner.prunes();
    planner.hooks();
    planner.finish()
}

struct Planner<'p, 'a> {
    input: &'p PlanInput<'a>,
    analysis: &'p Analysis<'a>,
    drafts: BTreeMap<ObjectKey, Draft>,
    rejected: BTreeSet<ObjectKey>,
    unchanged: usize,
    out: Planned,
}

impl<'p, 'a> Planner<'p, 'a> {
    fn new(input: &'p PlanInput<'a>, analysis: &'p Analysis<'a>) -> Self {
        let plan = AppPlan { name: input.app.to_owned(), cluster: input.cluster.to_owned(), ..AppPlan::default() };
        let out = Planned {
            plan,
            graph: Graph::default(),
            sides: Vec::new(),
            problems: analysis.found.clone(),
            refusals: analysis.refusals.clone(),
            withheld: analysis.prunes.withheld.clone().filter(|_| !analysis.prunes.doomed.is_empty()),
            approval: analysis.prunes.approval(),
            record: Vec::new(),
            forget: analysis.prunes.gone.clone(),
            leaving: BTreeSet::new(),
            members: Vec::new(),
            desired: BTreeMap::new(),
            on_failure: Vec::new(),
            unowned: BTreeSet::new(),
            drifted: BTreeSet::new(),
            taken_over: Vec::new(),
            adopted: BTreeMap::new(),
        };
        Self { input, analysis, drafts: BTreeMap::new(), rejected: BTreeSet::new(), unchanged: 0, out }
    }

    /// Namespaces that `create_namespace` makes. They do not become ours, so they are never pruned.
    fn namespaces(&mut self) {
        for key in &self.analysis.namespaces {
            let body = new_namespace(key);
            let sides = Sides { before: None, after: Some(body.clone()) };
            let why = "not in the cluster yet, and `create_namespace` is set".to_owned();
            let change = blank(key.with_version("v1"), vec![Action::Create], why);
            let steps = vec![apply(Action::Create, body, false, Part::Whole, false)];
            self.out.unowned.insert(key.clone());
            self.drafts.insert(key.clone(), Draft { change, sides, steps });
        }
    }

    fn subject(&mut self, subject: &Subject<'_>) {
        let verdict = match judge(self.input, self.analysis, subject) {
            Verdict::Open => guess(subject),
            verdict => verdict,
        };
        let draft = match verdict {
            Verdict::Open | Verdict::Unchanged => return self.unchanged(subject),
            Verdict::Rejected(found) => {
                self.rejected.insert(subject.key.clone());
                self.out.problems.push(found);
                return;
            }
            Verdict::Create { preflight } => self.create(subject, preflight),
            Verdict::Replace { fields } => self.replace(subject, &fields),
            Verdict::Change(changed) => self.update(subject, changed),
        };
        self.add(subject, draft);
    }

    fn unchanged(&mut self, subject: &Subject<'_>) {
        self.unchanged += 1;
        let Some((live, uid)) = subject.standing.live().and_then(|live| Some((live, live.uid()?))) else { return };
        if !subject.remembered {
            self.out.record.push(Recorded {
                key: subject.key.clone(),
                uid: uid.to_owned(),
                desired: subject.digest.clone(),
                owned: owned_digest(live, &subject.key, self.input.secret_key),
            });
        }
    }

    fn add(&mut self, subject: &Subject<'_>, mut draft: Draft) {
        draft.change.source = Some(subject.desired.source.clone());
        match wave(subject.desired) {
            Ok(wave) => draft.change.wave = wave,
            Err(_) => draft.change.wave = 0,
        }
        let recorded = subject.member.filter(|member| member.uid.is_some());
        if recorded.is_some_and(|member| member.desired.as_ref() == Some(&subject.digest)) {
            self.out.drifted.insert(subject.key.clone());
            draft.change.why = match draft.change.actions.as_slice() {
                [Action::Create] => draft.change.why,
                _ => format!("changed in the cluster: {}", draft.change.why),
            };
            if !self.input.options.self_heal {
                draft.steps.clear();
                draft.change.why = format!("{} (not repaired: `self_heal = false`)", draft.change.why);
            }
        }
        self.out.desired.insert(subject.key.clone(), subject.digest.clone());
        self.drafts.insert(subject.key.clone(), draft);
    }

    fn shown(&self, key: &ObjectKey, value: &Value) -> Value {
        redact::object(key, &content(value), self.input.secret_key)
    }

    fn create(&self, subject: &Subject<'_>, preflight: bool) -> Draft {
        let known = subject.member.is_some_and(|member| member.uid.is_some());
        let (why, first) = match &subject.standing {
            Standing::Terminating(live) => {
                let uid = live.uid().unwrap_or_default().to_owned();
                let wait =
                    DraftStep { action: Action::Create, kind: StepKind::AwaitGone { uid }, after_own_health: false };
                ("is being deleted: created again once it is gone", Some(wait))
            }
            _ if known => ("was deleted in the cluster", None),
            _ => ("not in the cluster yet", None),
        };
        let change = blank(subject.desired.object_ref(), vec![Action::Create], why.to_owned());
        let mut steps: Vec<DraftStep> = first.into_iter().collect();
        let new = subject.body.initial.as_ref().unwrap_or(&subject.body.value);
        let part = if subject.body.initial.is_some() { Part::Initial } else { Part::Whole };
        steps.push(apply(Action::Create, new.clone(), false, part, preflight));
        steps.extend(settle(subject, Action::Create));
        let sides = Sides { before: None, after: Some(self.shown(&subject.key, new)) };
        Draft { change, sides, steps }
    }

    fn replace(&self, subject: &Subject<'_>, fields: &[String]) -> Draft {
        let new = subject.body.initial.as_ref().unwrap_or(&subject.body.value).clone();
        let names = if fields.is_empty() { "a field".to_owned() } else { format!("`{}`", fields.join("`, `")) };
        let why = format!("{names} cannot be changed: deleted and created again");
        let mut change = blank(subject.desired.object_ref(), vec![Action::Replace], why);
        change.restarts = rolls_pods(&subject.key) || subject.key.is("", "Pod");
        let mut sides = Sides { before: None, after: Some(self.shown(&subject.key, &new)) };
        let mut steps = Vec::new();
        if let Some(live) = subject.standing.live() {
            sides.before = Some(self.shown(&subject.key, live.value()));
            let Verdict::Change(guessed) = guess(subject) else { return Draft { change, sides, steps } };
            change.fields = self.fields(&subject.key, &guessed);
            let kind = StepKind::Replace { uid: live.uid().unwrap_or_default().to_owned(), body: Payload(new) };
            steps.push(DraftStep { action: Action::Replace, kind, after_own_health: false });
            steps.extend(settle(subject, Action::Replace));
        }
        Draft { change, sides, steps }
    }

    fn fields(&self, key: &ObjectKey, changed: &Changed) -> Vec<super::change::FieldChange> {
        changed.deltas.iter().map(|delta| redact::field_change(key, delta, self.input.secret_key)).collect()
    }

    fn update(&mut self, subject: &Subject<'_>, changed: Changed) -> Draft {
        let Some(live) = subject.standing.live() else { return self.create(subject, true) };
        let mut said = meaning(&subject.key, &changed.deltas, live.value(), &changed.after);
        if let Some(who) = took_from(&changed) {
            said.why = format!("{} (held by {who}, taken over)", said.why);
        }
        let change = self.change_of(subject, live, &changed, &said);
        let sides = Sides {
            before: Some(self.shown(&subject.key, live.value())),
            after: Some(self.shown(&subject.key, &changed.after)),
        };
        let steps = self.update_steps(subject, live, &changed, &change.actions);
        self.out.taken_over.extend(changed.taken);
        if matches!(subject.standing, Standing::Adoptable { .. }) {
            self.out.adopted.insert(subject.key.clone(), Payload(subject.body.value.clone()));
        }
        Draft { change, sides, steps }
    }

    fn change_of(&self, subject: &Subject<'_>, live: &Live, changed: &Changed, said: &Meaning) -> Change {
        let mut actions = said.actions.clone();
        let mut why = said.why.clone();
        if let Standing::Adoptable { from, .. } = &subject.standing {
            actions.insert(0, Action::Adopt);
            let whose = match from {
                Some(app) => format!("moves here from app `{app}`"),
                None => exists(live),
            };
            why = if why.is_empty() { whose } else { format!("{whose}; {why}") };
        } else if actions.is_empty() {
            actions.push(Action::Update);
            why = match (subject.handover.is_some(), changed.preflight) {
                (true, _) => "some of its fields are the cluster's to set from now on".to_owned(),
                (_, true) => "applied again after what it needs has changed".to_owned(),
                _ => "Git sets fields that the cluster has already, or no longer sets them".to_owned(),
            };
        }
        let mut change = blank(subject.desired.object_ref(), actions, why);
        change.restarts = said.restarts;
        // The one number of it: every text reads it here.
        change.forecast = said.pods.map(|pods| Forecast { pods: Some(pods), ..Forecast::default() });
        change.fields = self.fields(&subject.key, changed);
        change
    }

    fn update_steps(
        &self,
        subject: &Subject<'_>,
        live: &Live,
        changed: &Changed,
        actions: &[Action],
    ) -> Vec<DraftStep> {
        let first = actions.first().copied().unwrap_or(Action::Update);
        let step = |kind: StepKind| DraftStep { action: first, kind, after_own_health: false };
        let mut out = Vec::new();
        if let Some(patch) = migrate_managed_fields(live, &subject.managers).filter(|_| !subject.managers.is_empty()) {
            out.push(step(StepKind::Migrate { managers: subject.managers.clone(), patch: Payload(patch) }));
        }
        if let Some(body) = &subject.handover {
            out.push(step(StepKind::Handover { body: Payload(body.clone()) }));
        }
        // At first contact nothing is taken by force that the plan did not say.
        let force = matches!(subject.standing, Standing::Ours(_)) || !changed.taken.is_empty();
        let body = subject.body.observed(live);
        let both = actions.contains(&Action::Scale) && actions.contains(&Action::Rollout);
        if both && !self.input.unhealthy.contains(&subject.key) {
            let part = scale_part(&body, live, &subject.managers);
            out.push(apply(first, part, force, Part::Scale, changed.preflight));
            let rollout = apply(Action::Rollout, body, force, Part::Rollout, changed.preflight);
            out.push(DraftStep { after_own_health: true, ..rollout });
        } else {
            out.push(apply(first, body, force, Part::Whole, changed.preflight));
        }
        out
    }

    fn prunes(&mut self) {
        let prunes = &self.analysis.prunes;
        for doomed in &prunes.doomed {
            let key = doomed.object.key();
            let why = match &prunes.withheld {
                None => "no longer in Git".to_owned(),
                Some(why) => format!("no longer in Git; not deleted now: {why}"),
            };
            let mut change = blank(doomed.object.clone(), vec![Action::Prune], why);
            change.wave = wave_of_live(doomed.live.value());
            let sides = Sides { before: Some(self.shown(&key, doomed.live.value())), after: None };
            let kind = StepKind::Delete { uid: doomed.uid.clone() };
            let delete = DraftStep { action: Action::Prune, kind, after_own_health: false };
            let steps = if prunes.withheld.is_none() { vec![delete] } else { Vec::new() };
            self.drafts.insert(key, Draft { change, sides, steps });
        }
        for spared in &prunes.spared {
            let change = blank(spared.object.clone(), vec![Action::None], spared.why.clone());
            self.drafts.insert(spared.object.key(), Draft { change, sides: Sides::default(), steps: Vec::new() });
            let key = spared.object.key();
            if spared.released {
                self.out.forget.push(key);
            } else if self.input.other_apps.contains_key(&key) {
                self.out.leaving.insert(key);
            }
        }
    }

    fn finish(mut self) -> Planned {
        let woven = self.woven();
        let graph = match woven {
            Ok(graph) => graph,
            Err(found) => {
                self.out.problems.extend(found);
                Graph::default()
            }
        };
        let blocked = self.out.refusals.iter().any(super::refusal::Refusal::blocks)
            || (self.out.problems.iter().any(|found| found.blocks) && !self.input.options.best_effort);
        self.out.members = self.members(blocked);
        let order = self.order(&graph);
        let place: BTreeMap<&ObjectKey, usize> = order.iter().enumerate().map(|(i, key)| (key, i)).collect();
        self.out.graph = if blocked { Graph { steps: Vec::new(), ..graph.clone() } } else { graph.clone() };
        for step in &mut self.out.graph.steps {
            step.change = step.object.as_ref().and_then(|object| place.get(&object.key()).copied());
        }
        let references: BTreeMap<ObjectKey, ObjectRef> = self
            .analysis
            .subjects
            .iter()
            .map(|subject| subject.desired.object_ref())
            .chain(self.drafts.values().map(|draft| draft.change.object.clone()))
            .map(|object| (object.key(), object))
            .collect();
        for key in &order {
            let Some(mut draft) = self.drafts.remove(key) else { continue };
            let reasons = graph.reasons.get(key).into_iter().flatten().filter_map(|reason| reason.object.as_ref());
            let waits: BTreeSet<&ObjectRef> = reasons.filter_map(|object| references.get(object)).collect();
            draft.change.waits_for = waits.into_iter().cloned().collect();
            self.out.plan.changes.push(draft.change);
            self.out.sides.push(draft.sides);
        }
        self.out.plan.unchanged = self.unchanged;
        self.out.plan.blocked = blocked;
        (self.out.plan.error, self.out.plan.errors) = errors(&self.out, self.input.app);
        self.out
    }

    /// Changes in the order of their first steps; those without steps after them, by key.
    fn order(&self, graph: &Graph) -> Vec<ObjectKey> {
        let mut seen = BTreeSet::new();
        let steps = graph.steps.iter().filter_map(|step| step.object.as_ref().map(ObjectRef::key));
        let mut out: Vec<ObjectKey> = steps.filter(|key| seen.insert(key.clone())).collect();
        out.extend(self.drafts.keys().filter(|key| !seen.contains(*key)).cloned());
        out
    }

    fn woven(&self) -> Result<Graph, Vec<Found>> {
        let mut found = Vec::new();
        let mut nodes = Vec::with_capacity(self.analysis.subjects.len());
        for key in &self.analysis.namespaces {
            let Some(draft) = self.drafts.get(key) else { continue };
            let Some(StepKind::Apply { body, .. }) = draft.steps.first().map(|step| &step.kind) else { continue };
            nodes.push(node(key, &body.0, draft));
        }
        for subject in &self.analysis.subjects {
            match self.node(subject) {
                Ok(node) => nodes.push(node),
                Err(problem) => found.push(Found { problem, blocks: true }),
            }
        }
        if !found.is_empty() {
            return Err(found);
        }
        let gone = self.analysis.prunes.doomed.iter().filter(|_| self.analysis.prunes.withheld.is_none());
        let mut keys: Vec<(ObjectKey, &Value)> =
            gone.map(|doomed| (doomed.object.key(), doomed.live.value())).collect();
        keys.extend(self.leftovers().into_iter().map(|(object, live)| (object.key(), live.value())));
        let doomed = keys.iter().filter_map(|(key, value)| Some(node(key, value, self.drafts.get(key)?))).collect();
        nodes.extend(self.hook_nodes(Phase::During).into_iter().flatten());
        let start = if self.input.options.app_removed { Phase::BeforeDelete } else { Phase::Before };
        let end = if self.input.options.app_removed { Phase::AfterDelete } else { Phase::After };
        let (before, after) = (self.hook_nodes(start), self.hook_nodes(end));
        weave(&Weave { nodes, doomed, unhealthy: self.input.unhealthy, before, after })
            .map_err(|members| vec![Found { problem: cycle(self.analysis, &members), blocks: true }])
    }

    fn node<'n>(&'n self, subject: &'n Subject<'_>) -> Result<Node<'n>, Problem> {
        let draft = self.drafts.get(&subject.key);
        let depends_on = depends_on(subject.desired)?;
        for key in &depends_on {
            if !self.analysis.index.contains_key(key) {
                let text = format!("it depends on {key}, which is not in this app");
                return Err(problem(subject.desired, "UnknownDependency", text)
                    .hint("check the annotation `config.kubernetes.io/depends-on`; between apps, use `depends_on` in the configuration"));
            }
        }
        let mut freed_by = if draft.is_some() { port_holders(self.analysis, subject) } else { Vec::new() };
        freed_by.extend(quota_holders(self.input, self.analysis, subject));
        freed_by.extend(self.analysis.autoscaled.freed.get(&subject.key).into_iter().flatten().cloned());
        Ok(Node {
            key: &subject.key,
            object: &subject.body.value,
            reference: subject.desired.object_ref(),
            wave: wave(subject.desired)?,
            steps: draft.map(|draft| draft.steps.clone()).unwrap_or_default(),
            depends_on,
            freed_by,
            rejected: self.rejected.contains(&subject.key),
        })
    }

    /// The inventory before the first write: everything that may exist afterwards (write-ahead).
    fn members(&self, blocked: bool) -> Vec<Member> {
        let parent = self.input.parent.map(|parent| parent.members.as_slice()).unwrap_or_default();
        let mut out: BTreeMap<ObjectKey, Member> = parent.iter().map(|m| (m.object.key(), m.clone())).collect();
        if blocked {
            return out.into_values().collect();
        }
        for key in &self.out.forget {
            out.remove(key);
        }
        for (key, draft) in self.drafts.iter().filter(|(key, _)| !self.out.unowned.contains(*key)) {
            let first = draft.change.actions.first();
            let object = draft.change.object.clone();
            match first {
                // The uid that will be: not known. One that was adopted is ours only once our label is on it.
                Some(Action::Create | Action::Adopt | Action::Replace) if !draft.steps.is_empty() => {
                    out.insert(key.clone(), Member { object, uid: None, desired: None, owned: None, done: false });
                }
                // What is remembered of it ends with the write.
                Some(Action::Update | Action::Scale | Action::Rollout) if !draft.steps.is_empty() => {
                    let uid = self.input.snapshot.present(key).and_then(|live| live.uid()).map(str::to_owned);
                    out.insert(key.clone(), Member { object, uid, desired: None, owned: None, done: false });
                }
                _ => {}
            }
        }
        let done: BTreeSet<ObjectKey> = parent.iter().filter(|m| m.done).map(|m| m.object.key()).collect();
        for record in &self.out.record {
            let version = self.analysis.get(&record.key).map(|s| s.desired.gvk().version).unwrap_or_default();
            out.insert(
                record.key.clone(),
                Member {
                    object: record.key.with_version(&version),
                    uid: Some(record.uid.clone()),
                    desired: Some(record.desired.clone()),
                    owned: Some(record.owned.clone()),
                    done: done.contains(&record.key),
                },
            );
        }
        out.into_values().collect()
    }
}

fn node<'n>(key: &'n ObjectKey, object: &'n Value, draft: &'n Draft) -> Node<'n> {
    Node {
        key,
        object,
        reference: draft.change.object.clone(),
        wave: draft.change.wave,
        steps: draft.steps.clone(),
        depends_on: Vec::new(),
        freed_by: Vec::new(),
        rejected: false,
    }
}

fn apply(action: Action, body: Value, force: bool, part: Part, preflight: bool) -> DraftStep {
    let kind = StepKind::Apply { body: Payload(body), force, part, preflight };
    DraftStep { action, kind, after_own_health: false }
}

/// After a create with initial values: they are handed over, and then left out.
fn settle(subject: &Subject<'_>, action: Action) -> Vec<DraftStep> {
    let Some(handover) = subject.body.first_handover() else { return Vec::new() };
    let kind = StepKind::Handover { body: Payload(handover) };
    let settled = apply(action, subject.body.value.clone(), true, Part::Whole, false);
    vec![DraftStep { action, kind, after_own_health: false }, settled]
}

/// What goes from the namespace whose quota is full: it has to be gone first.
fn quota_holders(input: &PlanInput<'_>, analysis: &Analysis<'_>, subject: &Subject<'_>) -> Vec<ObjectKey> {
    let answer = input.dry_runs.get(&(subject.key.clone(), Asked::Apply));
    let full = answer.is_some_and(|answer| answer.as_ref().is_err_and(|no| no.message.contains("exceeded quota")));
    let going = analysis.prunes.deleted().into_iter().filter(|key| full && key.namespace == subject.key.namespace);
    going.collect()
}

/// `exists already (kubectl) and becomes ours`.
fn exists(live: &Live) -> String {
    let makers = deployers(live);
    if makers.is_empty() {
        return "exists already and becomes ours".to_owned();
    }
    format!("exists already (made by {}) and becomes ours", makers.join(", "))
}

fn took_from(changed: &Changed) -> Option<String> {
    let managers: BTreeSet<&str> = changed.taken.iter().map(|taken| taken.manager.as_str()).collect();
    (!managers.is_empty()).then(|| managers.into_iter().collect::<Vec<_>>().join(", "))
}

fn cycle(analysis: &Analysis<'_>, members: &[ObjectKey]) -> Problem {
    let names: Vec<String> = members.iter().map(ToString::to_string).collect();
    let first = members.first().map(ToString::to_string).unwrap_or_default();
    let text = format!("these wait for each other: {} → {first}", names.join(" → "));
    let hint = "change a wave or a `config.kubernetes.io/depends-on`";
    let problem_at = members.iter().find_map(|key| analysis.get(key)).map(|subject| subject.desired);
    match problem_at {
        Some(desired) => problem(desired, "DependencyCycle", text).hint(hint),
        None => Problem::new("DependencyCycle", text).hint(hint),
    }
}

/// What is told as the app's error: what blocks first, and how much more there is.
fn errors(out: &Planned, app: &str) -> (Option<Problem>, Vec<Problem>) {
    let blocking = out.problems.iter().filter(|found| found.blocks).map(|found| found.problem.clone());
    let refused = out.refusals.iter().map(|refusal| refusal.problem(app));
    let rest = out.problems.iter().filter(|found| !found.blocks).map(|found| found.problem.clone());
    let mut all: Vec<Problem> = blocking.chain(refused).chain(rest).collect();
    let Some(mut first) = all.first().cloned() else { return (None, all) };
    if all.len() == 1 {
        all.clear();
    } else {
        first.message = format!("{} (and {} more)", first.message, all.len() - 1);
    }
    (Some(first), all)
}

/// The fields that differ between two objects, as they are shown: for plans of one revision against another.
pub fn fields_between(key: &ObjectKey, from: &Value, to: &Value, secret_key: &[u8]) -> Vec<super::change::FieldChange> {
    diff(&content(from), &content(to)).iter().map(|delta| redact::field_change(key, delta, secret_key)).collect()
}

fn blank(object: ObjectRef, actions: Vec<Action>, why: String) -> Change {
    let (restarts, source, waits_for, fields) = (false, None, Vec::new(), Vec::new());
    Change { object, actions, restarts, why, source, wave: 0, waits_for, fields, hook: None, forecast: None }
}

/// A Namespace that `create_namespace` makes.
pub(super) fn new_namespace(key: &ObjectKey) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": key.name}})
}
