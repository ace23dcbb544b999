//! Runs every simulated component: controllers, scheduler, nodes.
//!
//! In: a view (or a store that also takes writes) and the time. Out: writes, and when to run again.
//! [`Control::step_all`] asks every component once about one view. [`Control::settle`] is the driver's whole job: it
//! carries the writes out and goes on until nothing is left to do at this time.
//!
//! Guarantees
//! - Components whose kinds have not changed since their last run, and whose time has not come, are not run.
//! - A write that the API server refused is held back, longer each time; it never loops.
//! - What a controller makes again and again, because something takes it away at once, it makes at a bounded rate.
//! - `settle` ends: after [`MOST_ROUNDS`] it asks to be called again shortly.

use super::controllers::index::{Index, Kinds};
use super::controllers::kind::Kind;
use super::controllers::meta::after_millis;
use super::controllers::pace::Pace;
use super::controllers::recorder::Recorder;
use super::controllers::refusal::Refusals;
use super::controllers::{self, kind};
use super::kubelet::{self, Memory, Nodes};
use super::scheduler;
use super::view::{API_SERVER, CONTROLLER_MANAGER, Refusal, Step, View, Write};
use crate::object::Gk;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Rounds of one [`Control::settle`] before it pauses. A rollout needs a few dozen.
pub const MOST_ROUNDS: usize = 1000;

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Options {
    /// The nodes.
    pub nodes: Nodes,
    /// Certificate authority of the API server (PEM), published to every namespace.
    pub ca_certificate: String,
}

impl Default for Options {
    /// Three nodes with 4 cores and 8 GiB each, no certificate.
    fn default() -> Self {
        Self { nodes: Nodes { count: 3, cpu: "4".into(), memory: "8Gi".into() }, ca_certificate: String::new() }
    }
}

/// A store that takes the components' writes.
pub trait Store: View {
    /// Carries out one write as the field manager `actor`. Out: the name of what was created.
    ///
    /// # Errors
    /// What the API server would answer.
    fn write(&self, actor: &'static str, write: &Write, now: Timestamp) -> Result<String, Refusal>;
}

type Run = fn(&mut Control, &Index<'_>) -> Step;

/// A component: what it reads, and its step.
struct Component {
    /// `None`: every kind. An empty list: nothing, it only has its times.
    reads: Option<&'static [&'static Kind]>,
    run: Run,
}

/// In an order in which one pass gets furthest: what is wanted, then what makes it, then where it runs.
static COMPONENTS: &[Component] = &[
    Component {
        reads: None,
        run: |control, index| controllers::namespace::run(index, &control.options.ca_certificate),
    },
    Component {
        reads: Some(&[&kind::DEPLOYMENT, &kind::REPLICA_SET, &kind::POD]),
        run: |_, index| controllers::deployment::run(index),
    },
    Component { reads: Some(&[&kind::REPLICA_SET, &kind::POD]), run: |_, index| controllers::replicaset::run(index) },
    Component {
        reads: Some(&[&kind::STATEFUL_SET, &kind::CONTROLLER_REVISION, &kind::POD, &kind::PERSISTENT_VOLUME_CLAIM]),
        run: |_, index| controllers::statefulset::run(index),
    },
    Component {
        reads: Some(&[&kind::DAEMON_SET, &kind::CONTROLLER_REVISION, &kind::POD, &kind::NODE]),
        run: |_, index| controllers::daemonset::run(index),
    },
    Component { reads: Some(&[&kind::CRON_JOB, &kind::JOB]), run: |_, index| controllers::cronjob::run(index) },
    Component { reads: Some(&[&kind::JOB, &kind::POD]), run: |_, index| controllers::job::run(index) },
    Component {
        reads: Some(&[&kind::NODE, &kind::POD]),
        run: |control, index| controllers::node::run(index, &mut control.missing),
    },
    Component {
        reads: Some(&[&kind::PERSISTENT_VOLUME_CLAIM, &kind::PERSISTENT_VOLUME, &kind::STORAGE_CLASS, &kind::POD]),
        run: |_, index| controllers::volume::run(index),
    },
    Component {
        reads: Some(&[&kind::POD, &kind::NODE, &kind::PERSISTENT_VOLUME_CLAIM, &kind::STORAGE_CLASS, &kind::NAMESPACE]),
        run: |_, index| scheduler::run(index),
    },
    Component { reads: Some(&[&kind::NODE, &kind::LEASE]), run: |control, index| control.options.nodes.run(index) },
    Component {
        reads: Some(&[&kind::POD, &kind::NODE, &kind::CONFIG_MAP, &kind::SECRET]),
        run: |control, index| kubelet::pod::run(&control.options.nodes, &mut control.memory, index),
    },
    Component {
        reads: Some(&[&kind::SERVICE, &kind::POD, &kind::ENDPOINTS, &kind::ENDPOINT_SLICE]),
        run: |_, index| controllers::endpoints::run(index),
    },
    Component {
        reads: Some(&[
            &kind::POD_DISRUPTION_BUDGET,
            &kind::POD,
            &kind::REPLICA_SET,
            &kind::DEPLOYMENT,
            &kind::STATEFUL_SET,
        ]),
        run: |_, index| controllers::disruption::run(index),
    },
    Component {
        reads: Some(&[&kind::API_SERVICE, &kind::SERVICE, &kind::ENDPOINT_SLICE]),
        run: |_, index| controllers::apiservice::run(index),
    },
    // Any kind can be scaled, and counted.
    Component { reads: None, run: |_, index| controllers::autoscaler::run(index) },
    Component { reads: None, run: |_, index| controllers::quota::run(index) },
    Component { reads: None, run: |_, index| controllers::garbage::run(index) },
    Component { reads: Some(&[]), run: |_, index| controllers::expiry::run(index) },
];

/// A driver may run it on any thread.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Control>();
};

/// What a component saw at its last run.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Versions of what it reads; `None` where the view does not count, or before the first run.
    version: Option<u64>,
    wake_at: Option<Timestamp>,
}

/// The simulated components with what they remember.
pub struct Control {
    options: Options,
    memory: Memory,
    missing: controllers::node::Missing,
    refusals: Refusals,
    pace: Pace,
    recorder: Recorder,
    seen: Vec<Seen>,
    kept: Kinds,
}

impl Control {
    /// Components that have seen nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            memory: Memory::default(),
            missing: controllers::node::Missing::default(),
            pace: Pace::default(),
            recorder: Recorder::default(),
            refusals: Refusals::default(),
            kept: Kinds::default(),
            seen: vec![Seen::default(); COMPONENTS.len()],
        }
    }

    /// What a new cluster begins with: the system namespaces, the nodes, storage classes as kind has them. To be
    /// carried out once; what exists already may refuse.
    pub fn bootstrap(&self) -> Vec<(&'static str, Write)> {
        let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"].map(|name| {
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        });
        let classes = [("standard", "WaitForFirstConsumer", true), ("standard-immediate", "Immediate", false)]
            .map(|(name, mode, default)| storage_class(name, mode, default));
        let objects = namespaces.into_iter().chain(classes);
        let mut writes: Vec<_> = objects.map(|object| (API_SERVER, Write::Create { object })).collect();
        writes.extend(self.options.nodes.register());
        writes
    }

    /// Asks every component about one view, whether or not anything has changed.
    pub fn step_all(&mut self, view: &dyn View, now: Timestamp) -> Step {
        let mut all = Step::default();
        for component in COMPONENTS {
            let step = self.run(component, view, now);
            all.append(step);
        }
        all
    }

    /// One component's step, without the writes that have to wait.
    fn run(&mut self, component: &Component, view: &dyn View, now: Timestamp) -> Step {
        let refusals = std::mem::take(&mut self.refusals);
        let index = Index::with(view, &refusals, now, std::mem::take(&mut self.kept));
        let mut step = (component.run)(self, &index);
        self.kept = index.into_kept();
        let mut held: Option<Timestamp> = None;
        let pace = &mut self.pace;
        pace.begin(now);
        step.writes.retain(|(actor, write)| {
            match refusals.held_until(actor, write, now).or_else(|| pace.held_until(write, now)) {
                Some(until) => {
                    held = Some(held.map_or(until, |other| other.min(until)));
                    false
                }
                None => true,
            }
        });
        if let Some(until) = held {
            step.wake(until);
        }
        self.refusals = refusals;
        step
    }

    /// Notes how a write ended. Drivers that do not use [`Control::settle`] call it for every write.
    pub fn note(&mut self, actor: &'static str, write: &Write, outcome: Result<(), Refusal>, now: Timestamp) {
        match outcome {
            Ok(()) => self.refusals.forget(actor, write, now),
            // Gone already is what a deletion wanted; somebody else's creation is as good as ours.
            Err(refusal) if refusal.code == 404 && matches!(write, Write::Delete { .. }) => {}
            Err(refusal) => self.refusals.record(actor, write, refusal, now),
        }
    }

    /// Runs the components against a store until there is nothing left to do at `now`. Returns when to come back
    /// if nothing is written before.
    pub fn settle(&mut self, store: &dyn Store, now: Timestamp) -> Option<Timestamp> {
        self.refusals.tidy(now);
        for _ in 0..MOST_ROUNDS {
            let mut idle = true;
            // Of all kinds together; counted again after each write.
            let mut whole = None;
            for (at, component) in COMPONENTS.iter().enumerate() {
                let version = match component.reads {
                    Some(kinds) => versions(store, kinds.iter().map(|kind| &***kind)),
                    None => *whole.get_or_insert_with(|| version_of_all(store)),
                };
                let due = self.seen.get(at).is_none_or(|seen| {
                    seen.version.is_none() || seen.version != version || seen.wake_at.is_some_and(|wake| wake <= now)
                });
                if !due {
                    continue;
                }
                let step = self.run(component, store, now);
                if !step.writes.is_empty() {
                    idle = false;
                    whole = None;
                }
                for (actor, write) in &step.writes {
                    let outcome = store.write(actor, write, now);
                    let told = self.recorder.event(store, write, outcome.as_ref().map(String::as_str), now);
                    if let Some(event) = told {
                        // A namespace on its way out takes no Events; nobody waits for them.
                        let _ = store.write(CONTROLLER_MANAGER, &event, now);
                    }
                    self.note(actor, write, outcome.map(|_| ()), now);
                }
                let refused = step.writes.iter().filter_map(|(a, w)| self.refusals.held_until(a, w, now)).min();
                if let Some(seen) = self.seen.get_mut(at) {
                    let wake_at = [step.wake_at, refused].into_iter().flatten().min();
                    *seen = Seen { version, wake_at };
                }
            }
            if idle {
                return self.seen.iter().filter_map(|seen| seen.wake_at).min();
            }
        }
        Some(after_millis(now, 100))
    }
}

/// The versions of some kinds, as one number.
fn versions<'a>(view: &dyn View, kinds: impl Iterator<Item = &'a Gk>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    for kind in kinds {
        kind.hash(&mut hasher);
        view.version(kind)?.hash(&mut hasher);
    }
    Some(hasher.finish())
}

fn version_of_all(view: &dyn View) -> Option<u64> {
    let mut kinds = view.kinds();
    kinds.sort();
    versions(view, kinds.iter())
}

fn storage_class(name: &str, mode: &str, default: bool) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}},
        "provisioner": "sim.driftless.dev/volume", "reclaimPolicy": "Delete", "volumeBindingMode": mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::controllers::kind::{CONFIG_MAP, POD};
    use crate::cluster::embedded::Held;
    use crate::cluster::server::ApiServer;
    use crate::cluster::simulation::{Objects, Simulation, deployment};
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    #[test]
    fn where_nothing_has_changed_nothing_is_read() {
        let mut cluster = Simulation::new();
        cluster.create(deployment(5, &json!(1), &json!(0)));
        cluster.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}));
        cluster.run(3000);
        cluster.objects.reads.set(0);
        cluster.control.settle(&cluster.objects, cluster.now);
        assert_eq!(cluster.objects.reads.get(), 0);
        // A change of one object does not make everything be looked at again.
        cluster.patch(&CONFIG_MAP, "c", json!({"data": {"a": "c"}}));
        cluster.objects.reads.set(0);
        cluster.control.settle(&cluster.objects, cluster.now);
        assert!(cluster.objects.reads.get() < 60, "{}", cluster.objects.reads.get());
    }

    /// A store that refuses to create pods, and counts how often it was asked.
    struct Refusing<'a>(&'a Objects, Cell<usize>);

    impl View for Refusing<'_> {
        fn get(&self, gk: &Gk, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
            self.0.get(gk, namespace, name)
        }
        fn list(&self, gk: &Gk, namespace: Option<&str>) -> Vec<Arc<Value>> {
            self.0.list(gk, namespace)
        }
        fn kinds(&self) -> Vec<Gk> {
            self.0.kinds()
        }
    }

    impl Store for Refusing<'_> {
        fn write(&self, actor: &'static str, write: &Write, now: Timestamp) -> Result<String, Refusal> {
            if matches!(write, Write::Create { object } if object["kind"] == POD.kind) {
                self.1.set(self.1.get() + 1);
                return Err(Refusal { code: 403, reason: "Forbidden".into(), message: "no pods today".into() });
            }
            self.0.write(actor, write, now)
        }
    }

    #[test]
    fn a_refused_write_is_held_back_and_not_repeated_for_ever() {
        let mut cluster = Simulation::new();
        cluster.create(deployment(3, &json!(1), &json!(0)));
        let store = Refusing(&cluster.objects, Cell::new(0));
        let next = cluster.control.settle(&store, cluster.now).unwrap();
        assert_eq!(store.1.get(), 3);
        assert_eq!(next, cluster.now + jiff::SignedDuration::from_secs(1));
        cluster.control.settle(&store, next);
        assert_eq!(store.1.get(), 6);
        let set = cluster.list(&kind::REPLICA_SET).remove(0);
        assert_eq!(set["status"]["conditions"][0]["message"], "no pods today");
    }

    /// Everything at once against the embedded API server, with its defaulting, admission and pruning: each moment
    /// ends in a fixpoint, and all of it comes to rest.
    #[test]
    fn it_settles_over_the_embedded_api_server() {
        let mut now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let mut server = ApiServer::new(1, now);
        let mut control = Control::new(Options::default());
        for (actor, write) in control.bootstrap() {
            let _ = server.carry_out(&write, actor, now);
        }
        control.settle(&Held(RefCell::new(&mut server)), now);
        for object in one_of_each() {
            server.carry_out(&Write::Create { object }, "kubectl", now).unwrap();
            control.settle(&Held(RefCell::new(&mut server)), now);
        }
        let end = now + jiff::SignedDuration::from_secs(90);
        let mut moments = 0;
        while let Some(next) = control.settle(&Held(RefCell::new(&mut server)), now).filter(|at| *at <= end) {
            let mut again = control.step_all(&server, now).writes;
            again.retain(|(actor, _)| *actor != API_SERVER);
            assert_eq!(again, [], "no fixpoint");
            assert!(next > now);
            now = next;
            moments += 1;
        }
        assert!(moments < 60, "{moments}");
        let get = |kind: &Gk, name: &str| server.get(kind, Some("default"), name).unwrap()["status"].clone();
        assert_eq!(get(&kind::DEPLOYMENT, "web")["availableReplicas"], 2);
        assert_eq!(get(&kind::STATEFUL_SET, "db")["readyReplicas"], 2);
        assert_eq!(get(&kind::DAEMON_SET, "agent")["numberReady"], 3);
        assert_eq!(get(&kind::JOB, "task")["succeeded"], 1);
        assert!(get(&kind::CRON_JOB, "cron")["lastSuccessfulTime"].is_string());
        assert_eq!(get(&kind::POD_DISRUPTION_BUDGET, "web")["disruptionsAllowed"], 1);
        assert_eq!(get(&kind::PERSISTENT_VOLUME_CLAIM, "data-db-1")["phase"], "Bound");
        assert_eq!(get(&kind::RESOURCE_QUOTA, "q")["used"]["count/deployments.apps"], "1");
        // And all of it goes again.
        let gone = Write::Delete {
            gk: kind::DEPLOYMENT.clone(),
            namespace: Some("default".into()),
            name: "web".into(),
            uid: None,
            propagation: Some("Foreground".into()),
            grace_seconds: None,
        };
        server.carry_out(&gone, "kubectl", now).unwrap();
        let end = now + jiff::SignedDuration::from_secs(5);
        while let Some(next) = control.settle(&Held(RefCell::new(&mut server)), now).filter(|at| *at <= end) {
            now = next;
        }
        assert!(server.get(&kind::DEPLOYMENT, Some("default"), "web").is_none());
        assert!(server.list(&kind::REPLICA_SET, None).is_empty());
    }

    fn one_of_each() -> Vec<Value> {
        let meta = |name: &str| json!({"name": name, "namespace": "default"});
        let template = |app: &str, policy: &str| {
            json!({"metadata": {"labels": {"app": app}}, "spec": {"restartPolicy": policy,
                "containers": [{"name": "main", "image": "web:1", "resources": {"requests": {"cpu": "10m"}}}]}})
        };
        let workload = |kind: &str, name: &str, more: Value| {
            let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template(name, "Always")});
            controllers::patch::apply_merge(&mut spec, &more);
            json!({"apiVersion": "apps/v1", "kind": kind, "metadata": meta(name), "spec": spec})
        };
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        vec![
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta("q"),
                "spec": {"hard": {"pods": "50", "count/deployments.apps": "2", "requests.cpu": "10"}}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"),
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
            workload("Deployment", "web", json!({"replicas": 2})),
            workload("StatefulSet", "db", json!({"replicas": 2, "serviceName": "db", "volumeClaimTemplates": [claim]})),
            workload("DaemonSet", "agent", json!({})),
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("task"),
                "spec": {"template": template("task", "Never")}}),
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("cron"),
                "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template("cron", "OnFailure")}}}}),
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta("web"),
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta("web"),
                "spec": {"minReplicas": 2, "maxReplicas": 5,
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
        ]
    }
}
