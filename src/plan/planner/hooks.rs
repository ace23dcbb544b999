//! Hooks in the plan: which run in this sync, as changes and as steps, and what hooks that are gone from Git left behind.

use super::{Draft, Planner, blank};
use crate::object::{Live, Manifest, ObjectRef};
use crate::plan::body;
use crate::plan::change::Action;
use crate::plan::hook::{self, HookObject, Phase};
use crate::plan::input::PlanInput;
use crate::plan::planned::Sides;
use crate::plan::step::{Payload, Step, StepId, StepKind};
use crate::plan::weave::{DraftStep, Node};

impl<'p, 'a> Planner<'p, 'a> {
    /// Hooks that run in this sync, and what is left of hooks that Git no longer has.
    pub(super) fn hooks(&mut self) {
        let keys = hook::keys(self.input.hooks);
        let members = self.input.parent.into_iter().flat_map(|parent| &parent.members);
        self.out.forget.extend(members.map(|member| member.object.key()).filter(|key| keys.contains(key)));
        for (phase, groups) in self.due() {
            for hook in groups.into_iter().flatten() {
                let desired = &hook.desired;
                let step = self.hook_step(hook, phase);
                let sides = Sides { before: None, after: Some(self.shown(&hook.key, desired.value())) };
                let mut change = blank(desired.object_ref(), vec![Action::Create], format!("hook: {}", phase.words()));
                change.source = Some(desired.source.clone());
                change.wave = hook.hook.weight;
                change.hook = Some(phase);
                self.out.unowned.insert(hook.key.clone());
                self.drafts.entry(hook.key.clone()).or_insert(Draft { change, sides, steps: vec![step] });
            }
        }
        self.out.on_failure = self.on_failure();
        for (object, live) in self.leftovers() {
            let why = "left by a hook that is no longer in Git".to_owned();
            let change = blank(object.clone(), vec![Action::Prune], why);
            let uid = live.uid().unwrap_or_default().to_owned();
            let sides = Sides { before: Some(self.shown(&object.key(), live.value())), after: None };
            let kind = StepKind::Delete { uid };
            let steps = vec![DraftStep { action: Action::Prune, kind, after_own_health: false }];
            self.out.unowned.insert(object.key());
            self.drafts.insert(object.key(), Draft { change, sides, steps });
        }
    }

    /// The hooks of this sync that have not run yet, in groups.
    fn due(&self) -> Vec<(Phase, Vec<Vec<&'p HookObject>>)> {
        if !self.input.hooks_due {
            return Vec::new();
        }
        let phases: &[Phase] = match self.input.options.app_removed {
            true => &[Phase::BeforeDelete, Phase::AfterDelete],
            false => &[Phase::Before, Phase::During, Phase::After],
        };
        let groups = |phase: &Phase| (*phase, hook::groups(self.input.hooks, *phase, self.input.hooks_done));
        phases.iter().map(groups).collect()
    }

    fn hook_step(&self, hook: &HookObject, phase: Phase) -> DraftStep {
        let mut deletion = hook.hook.deletion;
        // Nobody would ever remove it.
        deletion.on_success |= self.input.options.app_removed;
        let body = Payload(body::hook(&hook.desired, self.input.applyset_id));
        DraftStep { action: Action::Create, kind: StepKind::Hook { body, phase, deletion }, after_own_health: false }
    }

    /// Steps of the hooks that run if the sync fails.
    fn on_failure(&self) -> Vec<Step> {
        let groups = match self.input.hooks_due {
            true => hook::groups(self.input.hooks, Phase::OnFailure, self.input.hooks_done),
            false => Vec::new(),
        };
        let mut steps: Vec<Step> = Vec::new();
        let mut needs: Vec<StepId> = Vec::new();
        for group in groups {
            let first = steps.len();
            for hook in group {
                let DraftStep { action, kind, .. } = self.hook_step(hook, Phase::OnFailure);
                steps.push(Step {
                    id: StepId(steps.len()),
                    change: None,
                    object: Some(hook.desired.object_ref()),
                    action: Some(action),
                    kind,
                    needs: needs.clone(),
                    wait_for_health_of: Vec::new(),
                });
            }
            needs = (first..steps.len()).map(StepId).collect();
        }
        steps
    }

    /// Objects of hooks that are no longer in Git, as they ran.
    pub(super) fn leftovers(&self) -> Vec<(ObjectRef, &'p Live)> {
        if !self.input.options.prune || self.analysis.prunes.withheld.is_some() {
            return Vec::new();
        }
        let records = self.input.parent.into_iter().flat_map(|parent| &parent.hooks);
        let wanted = hook::keys(self.input.hooks);
        let gone = records.filter(|record| {
            let key = record.object.key();
            !wanted.contains(&key) && !self.analysis.index.contains_key(&key)
        });
        let input: &'p PlanInput<'a> = self.input;
        gone.filter_map(|record| {
            let live: &'p Live = input.snapshot.present(&record.object.key())?;
            (live.uid() == Some(record.uid.as_str())).then(|| (record.object.clone(), live))
        })
        .collect()
    }

    /// Hooks as nodes of the graph.
    pub(super) fn hook_nodes(&self, wanted: Phase) -> Vec<Vec<Node<'p>>> {
        let due = self.due().into_iter().filter(|(phase, _)| *phase == wanted);
        due.flat_map(|(phase, groups)| groups.into_iter().map(move |group| (phase, group)))
            .map(|(phase, group)| group.into_iter().map(|hook| self.hook_node(hook, phase)).collect())
            .collect()
    }

    fn hook_node(&self, hook: &'p HookObject, phase: Phase) -> Node<'p> {
        Node {
            key: &hook.key,
            object: hook.desired.value(),
            reference: hook.desired.object_ref(),
            wave: hook.hook.weight,
            steps: vec![self.hook_step(hook, phase)],
            depends_on: Vec::new(),
            freed_by: Vec::new(),
            rejected: false,
        }
    }
}
