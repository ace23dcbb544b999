//! What holds for every app: planning is idempotent, does not depend on the order of files, never deletes what is not in
//! the inventory, and its graph is acyclic, total and the same every time.

use super::change::Action;
use super::model::{Model, config_map, deployment, hpa, key_of};
use super::planned::Planned;
use super::step::StepKind;
use crate::object::ObjectRef;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
struct Item {
    kind: u8,
    name: u8,
    value: u8,
    wave: Option<i8>,
    uses: Option<u8>,
}

fn item() -> impl Strategy<Value = Item> {
    (0_u8..4, 0_u8..5, 0_u8..4, proptest::option::of(-2_i8..3), proptest::option::of(0_u8..5))
        .prop_map(|(kind, name, value, wave, uses)| Item { kind, name, value, wave, uses })
}

fn objects(items: &[Item]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let build = |item: &Item| {
        let name = format!("n{}", item.name);
        let mut out = match item.kind {
            0 | 1 => config_map(&name, &item.value.to_string()),
            2 => deployment(&name, (item.value > 0).then_some(i64::from(item.value)), &format!("i:{}", item.value)),
            _ => hpa(&name, &format!("n{}", item.value)),
        };
        if let (2, Some(used)) = (item.kind, item.uses) {
            out["spec"]["template"]["spec"]["volumes"] =
                json!([{"name": "v", "configMap": {"name": format!("n{used}")}}]);
        }
        if let Some(wave) = item.wave {
            out["metadata"]["annotations"] = json!({"driftless.dev/wave": wave.to_string()});
        }
        out
    };
    items.iter().map(build).filter(|object| seen.insert(key_of(object))).collect()
}

fn check_graph(planned: &Planned) {
    for (i, step) in planned.graph.steps.iter().enumerate() {
        assert_eq!(step.id.0, i);
        assert!(step.needs.iter().all(|need| need.0 < i), "needs only earlier steps");
    }
    let with_steps: BTreeSet<_> =
        planned.graph.steps.iter().filter_map(|s| s.object.as_ref()).map(ObjectRef::key).collect();
    for change in planned.plan.changes.iter().filter(|change| change.actions != [Action::None]) {
        let waits = change.actions == [Action::Prune] && planned.withheld.is_some();
        assert!(waits || planned.is_blocked() || with_steps.contains(&change.object.key()), "every change has a step");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn plans_converge_and_never_touch_what_is_not_theirs(
        first in proptest::collection::vec(item(), 1..12),
        second in proptest::collection::vec(item(), 1..12),
        before in proptest::collection::vec(item(), 0..5),
        seed in any::<u64>(),
    ) {
        let mut model = Model::new();
        model.options.prune_limit = super::input::PruneLimit::Off;
        for (i, object) in objects(&before).iter().enumerate() {
            model.put(object, if i % 2 == 0 { "kubectl-client-side-apply" } else { "someone" });
        }
        for items in [&first, &second] {
            let git = objects(items);
            model.git(&git);
            let planned = model.plan();
            check_graph(&planned);
            prop_assert!(planned.plan.error.is_none(), "{:?}", planned.plan.error);

            // The order of files does not matter.
            let mut shuffled = model.desired.clone();
            let shift = usize::try_from(seed % 7).unwrap_or(0) % shuffled.len();
            shuffled.rotate_left(shift);
            if seed % 2 == 0 {
                shuffled.reverse();
            }
            model.desired = shuffled;
            let other = model.plan();
            prop_assert_eq!(&planned.plan, &other.plan);
            prop_assert_eq!(&planned.graph, &other.graph);

            // Only members are deleted.
            let members: BTreeSet<_> =
                model.parent.iter().flat_map(|parent| &parent.members).map(|member| member.object.key()).collect();
            for step in &planned.graph.steps {
                if let (StepKind::Delete { .. }, Some(object)) = (&step.kind, &step.object) {
                    prop_assert!(members.contains(&object.key()));
                }
            }

            // Carried out, nothing is left to do, and nothing is asked.
            model.carry_out(&planned);
            let again = model.plan();
            prop_assert!(again.plan.changes.is_empty(), "{:?}", again.plan.changes);
            prop_assert!(model.asked.is_empty());
        }
    }
}
