//! Cases 25 to 31: rollouts, health, rollbacks.

use super::facts::{app as of_app, change, changes, pods, text};
use super::table::seen;
use crate::feature::cluster::Cluster;
use crate::feature::running::Running;
use crate::feature::scratch::Scratch;
use crate::on_every_cluster;
use crate::support::control_plane::spawn_bound_to_process;
use crate::support::daemon::Process;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

/// Ready pods of a Deployment in every state that a watch shows.
struct Watch {
    _kubectl: Process,
    lines: PathBuf,
}

impl Watch {
    fn start(cluster: &Cluster, app: &Scratch, name: &str) -> Self {
        let lines = app.path().with_extension("watch");
        let mut command = cluster.command();
        command.args([
            "-n",
            &app.namespace,
            "get",
            "deployment",
            name,
            "--watch",
            r#"-o=jsonpath=x{.status.readyReplicas}{"\n"}"#,
        ]);
        command.stdin(Stdio::null()).stdout(File::create(&lines).unwrap()).stderr(Stdio::null());
        let watch = Self { _kubectl: Process(spawn_bound_to_process(command).unwrap()), lines };
        cluster.eventually("the watch shows something", || !watch.ready().is_empty());
        watch
    }

    fn ready(&self) -> Vec<u32> {
        let text = fs::read_to_string(&self.lines).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix('x')).map(|ready| ready.parse().unwrap_or(0)).collect()
    }
}

/// A Deployment that never has fewer pods than it promises.
fn careful(app: &Scratch, image: &str, replicas: u32) {
    app.deployment("a/web.yaml", "web", image, replicas, "");
    app.replace(
        "a/web.yaml",
        "  selector:",
        "  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}\n  selector:",
    );
}

fn image(cluster: &Cluster, namespace: &str, object: &str) -> String {
    text(&cluster.object(namespace, object)["spec"]["template"]["spec"]["containers"][0]["image"]).to_owned()
}

fn config(on_failure: &str) -> String {
    format!("[defaults]\ntimeout = \"6s\"\non_failure = \"{on_failure}\"\n")
}

/// The health of an app and what is said of it.
fn health(app: &Scratch, name: &str) -> (String, String) {
    let report = app.run("status -o json").exits(0).json();
    let of = of_app(&report, name);
    (text(&of["health"]).to_owned(), of["objects"].to_string() + text(&of["message"]))
}

/// Waits until an app's health is this and these words are said.
fn becomes(cluster: &Cluster, app: &Scratch, name: &str, wanted: &str, words: &str) {
    let begun = std::time::Instant::now();
    loop {
        let (found, said) = health(app, name);
        if found == wanted && said.contains(words) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{name} is {found}, not {wanted} with {words:?}: {said}");
        cluster.eventually("a moment", || true);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// A pod template with these annotations of simulated pods.
fn template(labels: &str, annotations: &str, image: &str) -> String {
    format!(
        "template: {{metadata: {{labels: {{app: {labels}}}, annotations: {{{annotations}}}}}, spec: {{containers: [{{name: main, image: '{image}'}}]}}}}"
    )
}

fn workload(kind: &str, name: &str, spec: &str, annotations: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}selector: {{matchLabels: {{app: {name}}}}}, {}}}\n",
        template(name, annotations, image)
    )
}

on_every_cluster! {
    /// Create, scale, new image, both at once: each action is named, and never fewer pods are ready than promised.
    fn case_25_never_fewer_ready_than_promised(cluster) {
        let app = Scratch::new(cluster, "promise");
        let ns = app.namespace.clone();
        let mut named = Vec::new();
        let mut sync = |what: &str, expected: &str| {
            app.commit(what);
            let plan = app.run("plan -o json").exits(2).json();
            let found = change(&plan["apps"][0]["changes"][0]);
            assert_eq!(found, format!("Deployment/web: {expected}"));
            let restarts = plan["apps"][0]["changes"][0]["restarts"] == json!(true);
            assert_eq!(restarts, expected.contains("rollout"), "{plan:#}");
            app.run("sync --timeout 60s").exits(0);
            named.push(expected.to_owned());
        };
        careful(&app, "web:1", 2);
        sync("created", "create");
        let watch = Watch::start(cluster, &app, "web");
        let mut least = Vec::new();
        for (image, replicas, what) in [("web:1", 3, "scale"), ("web:2", 3, "rollout"), ("web:3", 4, "scale+rollout"), ("web:4", 2, "scale+rollout")] {
            let from = watch.ready().len();
            let before = cluster.object(&ns, "deployment/web")["status"]["readyReplicas"].as_u64().unwrap();
            careful(&app, image, replicas);
            sync(what, what);
            let live = cluster.object(&ns, "deployment/web");
            assert_eq!((&live["status"]["readyReplicas"], &live["status"]["updatedReplicas"]), (&json!(replicas), &json!(replicas)));
            let promised = u32::try_from(before).unwrap().min(replicas);
            let states = watch.ready();
            let found = states[from..].iter().copied().min().unwrap_or(promised);
            assert!(found >= promised, "{what}: {found} ready of {promised} promised: {states:?}");
            least.push(format!("{found}/{promised}"));
        }
        seen(format!("{}; fewest ready of promised: {}", named.join(", "), least.join(", ")));
    }

    /// A bad image: Degraded with the pod's reason, the next wave does not start, a fix recovers while it scales.
    fn case_26_a_bad_image_and_its_fix(cluster) {
        let app = Scratch::new(cluster, "unhealthy");
        let ns = app.namespace.clone();
        app.deployment("a/web.yaml", "web", "web:1", 1, "").commit("one");
        app.run("sync").exits(0);
        app.deployment("a/web.yaml", "web", "web:bad", 1, "");
        app.write("a/next.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: next, annotations: {driftless.dev/wave: \"1\"}}\n").commit("two");
        let report = app.run("sync --timeout 6s -o json").exits(3).json();
        let message = text(&report["apps"][0]["message"]).to_owned();
        assert!(message.contains("ImagePull") || message.contains("ErrImage"), "{message}");
        let objects = report["apps"][0]["changes"].to_string();
        assert!(!cluster.has(&ns, "configmap/next"), "the next wave does not start: {objects}");
        assert_eq!(health(&app, "a").0, "Degraded");
        assert_eq!(app.states().last().unwrap(), &("failure".to_owned(), Some(3)));
        app.run("log --wait").exits(3);
        app.deployment("a/web.yaml", "web", "web:3", 2, "").commit("three");
        app.run("sync --timeout 60s").exits(0);
        assert_eq!(cluster.object(&ns, "deployment/web")["status"]["readyReplicas"], 2);
        assert!(cluster.has(&ns, "configmap/next"));
        seen(format!("{:?}; wave 1 not started; fixed and scaled in one sync", message.split(": ").last().unwrap_or_default()));
    }

    /// A rollback: the last healthy revision runs again, the bad one is held until the app renders to something else or is
    /// resumed, and the status says so.
    fn case_27_a_a_rollback_holds_what_was_bad(cluster) {
        let app = Scratch::new(cluster, "rollback");
        let ns = app.namespace.clone();
        app.write("driftless.toml", &config("rollback"));
        app.deployment("a/web.yaml", "web", "web:1", 1, "").commit("one");
        app.run("sync").exits(0);
        app.deployment("a/web.yaml", "web", "web:bad", 1, "").commit("two");
        let report = app.run("sync -o json").exits(3).json();
        assert_eq!(image(cluster, &ns, "deployment/web"), "web:1", "{report:#}");
        assert_eq!(report["apps"][0]["sync"], "Held");
        assert!(text(&report["apps"][0]["message"]).contains("rolled back"), "{report:#}");
        let said = app.said("HEAD", "sync").pop().unwrap();
        assert!(said.starts_with("failure") && said.contains("rolled back"), "{said}");
        app.run("sync").exits(4);
        app.run("log --wait").exits(4);
        app.write("README.md", "x").commit("unrelated");
        app.run("sync").exits(4);
        assert_eq!(image(cluster, &ns, "deployment/web"), "web:1");
        app.deployment("a/web.yaml", "web", "web:2", 1, "").commit("fixed");
        app.run("sync").exits(0);
        assert_eq!(image(cluster, &ns, "deployment/web"), "web:2");
        app.run("sync").exits(0);
        // Held again, and resumed: the bad content is tried once more.
        app.deployment("a/web.yaml", "web", "web:worse-bad", 1, "").commit("bad again");
        app.run("sync").exits(3);
        app.run("sync").exits(4);
        app.run("resume a").exits(0);
        app.run("sync").exits(3);
        assert_eq!(image(cluster, &ns, "deployment/web"), "web:2");
        seen(format!("{said:?}; an unrelated commit leaves it held, a fix and resume do not"));
    }

    /// A CronJob whose last run failed and an autoscaler without metrics roll nothing back.
    fn case_27_b_old_troubles_roll_nothing_back(cluster) {
        let app = Scratch::new(cluster, "oldtrouble");
        let ns = app.namespace.clone();
        app.write("driftless.toml", &config("rollback")).deployment("a/web.yaml", "web", "web:1", 1, "");
        app.write("a/cron.yaml", "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec: {schedule: \"0 3 1 1 *\", jobTemplate: {spec: {backoffLimit: 0, template: {metadata: {annotations: {sim.driftless.dev/crash-after: 100ms}}, spec: {restartPolicy: Never, containers: [{name: a, image: 'a:1'}]}}}}}\n");
        app.write("a/hpa.yaml", "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 3, metrics: [{type: External, external: {metric: {name: nobody-knows}, target: {type: Value, value: \"1\"}}}]}\n");
        app.commit("one");
        app.run("sync --no-wait").exits(0);
        cluster.kubectl(&format!("-n {ns} rollout status deployment/web --timeout=60s"));
        cluster.kubectl(&format!("-n {ns} create job failed --from=cronjob/nightly"));
        cluster.eventually("the run fails", || cluster.object(&ns, "job/failed")["status"]["failed"] == 1);
        // As if the schedule had started it, in the year that it did.
        cluster.kubectl(&format!("-n {ns} patch cronjob nightly --subresource=status --type=merge -p {{\"status\":{{\"lastScheduleTime\":\"2020-01-01T03:00:00Z\"}}}}"));
        let troubles = || {
            let report = app.run("status -o json").exits(0).json();
            let objects = report["apps"][0]["objects"].as_array().unwrap().clone();
            let of = |kind: &str| objects.iter().find(|object| object["object"]["kind"] == kind).cloned().unwrap_or_default();
            [of("CronJob"), of("HorizontalPodAutoscaler")].map(|object| format!("{}: {}", text(&object["health"]), text(&object["message"])))
        };
        cluster.eventually("both are in trouble", || troubles()[0].contains("failed") && !troubles()[1].starts_with("Healthy"));
        app.deployment("a/web.yaml", "web", "web:2", 1, "").commit("two");
        let report = app.run("sync -o json --timeout 8s").json();
        let of = &report["apps"][0];
        assert_eq!((image(cluster, &ns, "deployment/web").as_str(), text(&of["sync"])), ("web:2", "Synced"), "{report:#}");
        assert!(!text(&of["message"]).contains("rolled back"), "{of}");
        let [cron, hpa] = troubles();
        assert!(cron.starts_with("Degraded"), "{cron}");
        seen(format!("CronJob {:?}, HPA {:?}: web:2 runs, nothing rolled back", cron, hpa.split(':').next().unwrap_or_default()));
    }

    /// Workloads that wait, stop or have nothing to do, each with its health.
    fn case_28_a_workloads_of_every_condition(cluster) {
        let app = Scratch::new(cluster, "conditions");
        let ns = app.namespace.clone();
        let class = format!("{ns}-late");
        cluster.kubectl_input("apply", &format!("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {class}}}\nprovisioner: example.org/none\nvolumeBindingMode: WaitForFirstConsumer\n"));
        let job = |more: &str| format!("apiVersion: batch/v1\nkind: Job\nmetadata: {{name: job}}\nspec: {{{more}template: {{spec: {{restartPolicy: Never, containers: [{{name: a, image: 'a:1'}}]}}}}}}\n");
        let claim = |class: &str| format!("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: claim-{class}}}\nspec: {{accessModes: [ReadWriteOnce], storageClassName: {class}, resources: {{requests: {{storage: 1Gi}}}}}}\n");
        let cases = [
            ("deadline", workload("Deployment", "deadline", "progressDeadlineSeconds: 1, ", "sim.driftless.dev/never-ready: 'true'", "web:1"), "Degraded", "ProgressDeadlineExceeded"),
            ("paused", workload("Deployment", "paused", "paused: true, ", "", "web:1"), "Suspended", ""),
            ("minready", workload("Deployment", "minready", "minReadySeconds: 2, ", "", "web:1"), "Healthy", ""),
            ("suspended", job("suspend: true, "), "Suspended", ""),
            ("cron", "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: cron}\nspec: {schedule: \"0 3 1 1 *\", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: 'a:1'}]}}}}}\n".to_owned(), "Healthy", ""),
            ("nowhere", workload("DaemonSet", "nowhere", "", "", "web:1").replace("spec: {containers", "spec: {nodeSelector: {no: such}, containers"), "Healthy", ""),
            ("consumer", claim(&class), "Healthy", ""),
            ("claim", claim("none"), "Progressing", "claim-none"),
        ];
        for (name, yaml, ..) in &cases {
            app.write(&format!("{name}/x.yaml"), yaml);
        }
        app.commit("one");
        app.run("sync --no-wait").exits(0);
        for (name, _, wanted, words) in &cases {
            becomes(cluster, &app, name, wanted, words);
        }
        assert_eq!(cluster.object(&ns, "deployment/minready")["status"]["availableReplicas"], 1);
        let all: Vec<String> = cases.iter().map(|(name, _, wanted, _)| format!("{name} {wanted}")).collect();
        cluster.kubectl(&format!("delete storageclass {class}"));
        seen(all.join(", "));
    }

    /// Updates that a StatefulSet holds back by OnDelete or a partition are not waited for, and more of it is.
    fn case_28_b_updates_that_are_held_back(cluster) {
        let app = Scratch::new(cluster, "heldback");
        let ns = app.namespace.clone();
        let set = |name: &str, strategy: &str, image: &str| workload("StatefulSet", name, &format!("serviceName: x, replicas: 2, podManagementPolicy: Parallel, updateStrategy: {{{strategy}}}, "), "", image);
        let both = |image: &str| {
            app.write("a/ondelete.yaml", &set("ondelete", "type: OnDelete", image));
            app.write("b/partition.yaml", &set("partition", "type: RollingUpdate, rollingUpdate: {partition: 1}", image));
            app.write("c/daemon.yaml", &workload("DaemonSet", "daemon", "updateStrategy: {type: OnDelete}, ", "", image));
        };
        both("web:1");
        app.commit("one");
        app.run("sync --timeout 60s").exits(0);
        both("web:2");
        app.commit("two");
        app.run("sync --timeout 60s").exits(0);
        let images = |name: &str| {
            let list: Value = serde_json::from_str(&cluster.kubectl(&format!("-n {ns} get pods -l app={name} -o json"))).unwrap();
            let mut out: Vec<String> = list["items"].as_array().unwrap().iter().map(|pod| text(&pod["spec"]["containers"][0]["image"]).to_owned()).collect();
            out.sort();
            out
        };
        assert_eq!(images("ondelete"), ["web:1", "web:1"]);
        assert_eq!(images("partition"), ["web:1", "web:2"]);
        assert!(images("daemon").iter().all(|image| image == "web:1"));
        for name in ["a", "b", "c"] {
            assert_eq!(health(&app, name).0, "Healthy", "{name}");
        }
        seen(format!("OnDelete: {}; partition 1: {}; both Healthy, exit 0", images("ondelete").join(" "), images("partition").join(" ")));
    }

    /// A Job that has succeeded does not run again once its TTL has removed it; new content does.
    fn case_28_c_a_finished_job_with_a_ttl(cluster) {
        let app = Scratch::new(cluster, "ttl");
        let ns = app.namespace.clone();
        let job = |image: &str| format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once}}\nspec:\n  ttlSecondsAfterFinished: 1\n  template: {{spec: {{restartPolicy: Never, containers: [{{name: a, image: \"{image}\"}}]}}}}\n"
        );
        app.write("web/job.yaml", &job("a:1")).commit("one");
        app.run("sync").exits(0);
        cluster.eventually("its TTL to pass", || !cluster.has(&ns, "job/once"));
        app.run("plan").exits(0);
        app.run("sync").exits(0).says("In sync and healthy");
        let status = app.run("status -o json").exits(0).json();
        assert_eq!((&status["apps"][0]["sync"], &status["apps"][0]["health"]), (&"Synced".into(), &"Healthy".into()), "{status:#}");
        assert!(!cluster.has(&ns, "job/once"));
        app.write("web/job.yaml", &job("a:2")).commit("two");
        app.run("plan").exits(2);
        app.run("sync").exits(0);
        seen("gone by TTL: Synced and Healthy, not run again; new content runs");
    }

    /// A new commit during a health wait: the wait ends at once, the old status is closed, the new revision is synced.
    fn case_29_a_new_commit_ends_a_health_wait(cluster) {
        let app = Scratch::new(cluster, "overtaken");
        let ns = app.namespace.clone();
        app.write("driftless.toml", "[defaults]\ntimeout = \"30m\"\n").deployment("a/web.yaml", "web", "web:1", 1, "").commit("one");
        let daemon = Running::settled(&app, "");
        let stuck = app.deployment("a/web.yaml", "web", "web:bad", 1, "").commit("two");
        daemon.until("the bad image is applied", || image(cluster, &ns, "deployment/web") == "web:bad");
        daemon.until("health is waited for", || app.states_of(&stuck, "sync") == ["pending"]);
        let begun = std::time::Instant::now();
        let fixed = app.deployment("a/web.yaml", "web", "web:2", 1, "").commit("three");
        daemon.until("the old one is closed", || app.states_of(&stuck, "sync") == ["pending", "superseded"]);
        let closed = begun.elapsed();
        daemon.succeeds(&app, &fixed);
        assert_eq!(app.states_of(&fixed, "sync"), ["pending", "success"]);
        assert_eq!(image(cluster, &ns, "deployment/web"), "web:2");
        seen(format!("a wait of up to 30 min ended {} ms after the commit: superseded; the new one: success", closed.as_millis()));
    }

    /// Health that flaps is said as it changes, and no more often; what has no status, or one that says nothing, is judged.
    fn case_30_a_flapping_unknown_and_silent(cluster) {
        let app = Scratch::new(cluster, "flaps");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        cluster.kubectl_input("apply", &format!("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: lamps.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: lamps, singular: lamp, kind: Lamp}}\n  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}]\n"));
        cluster.kubectl(&format!("wait --for=condition=Established crd/lamps.{group} --timeout=60s"));
        let lamp = |name: &str| format!("apiVersion: {group}/v1\nkind: Lamp\nmetadata: {{name: {name}}}\nspec: {{a: 1}}\n");
        app.write("silent/x.yaml", &lamp("silent")).config_map("plain/x.yaml", "plain", "1").write("lamp/x.yaml", &lamp("lamp")).commit("one");
        app.run("sync --no-wait").exits(0);
        for name in ["plain", "silent"] {
            becomes(cluster, &app, name, "Healthy", "");
        }
        let ready = |status: &str| {
            cluster.kubectl(&format!("-n {ns} patch lamps.{group} lamp --type=merge --field-manager=operator -p {{\"status\":{{\"conditions\":[{{\"type\":\"Ready\",\"status\":\"{status}\",\"reason\":\"Flap\",\"lastTransitionTime\":\"2020-01-01T00:00:00Z\",\"message\":\"said-so\"}}]}}}}"));
        };
        ready("True");
        let daemon = Running::settled(&app, "");
        let head = app.git("rev-parse HEAD");
        daemon.until("healthy", || app.states_of(&head, "health").last().is_some_and(|state| state == "success"));
        let mut expected = app.states_of(&head, "health");
        for (status, state, words) in [("False", "failure", "Degraded"), ("True", "success", ""), ("Unknown", "", ""), ("False", "failure", "Degraded"), ("True", "success", "")] {
            ready(status);
            if state.is_empty() {
                // On its way: nothing to say of the commit.
                becomes(cluster, &app, "lamp", "Progressing", "said-so");
                continue;
            }
            daemon.until(&format!("Ready={status} is said"), || app.said(&head, "health").last().is_some_and(|said| said.starts_with(state) && said.contains(words)));
            expected.push(state.to_owned());
        }
        assert_eq!(app.states_of(&head, "health"), expected, "each change once");
        assert_eq!(app.states_of(&head, "sync"), ["pending", "success"]);
        seen("no status: Healthy; Ready False, True, Unknown, False, True: failure, success, nothing (Progressing), failure, success, each once");
    }

    /// A pod that starts and crashes is not healthy because it was ready for a moment.
    fn case_30_b_a_crash_loop_is_not_healthy(cluster) {
        let app = Scratch::new(cluster, "crashes");
        app.write("a/web.yaml", &workload("Deployment", "web", "", "sim.driftless.dev/crash-after: 500ms", "web:1")).commit("one");
        let report = app.run("sync --timeout 15s -o json").json();
        becomes(cluster, &app, "a", "Degraded", "CrashLoopBackOff");
        let first = text(&report["apps"][0]["health"]).to_owned();
        // Where it says how long a pod must hold, no moment is long enough.
        app.write("a/web.yaml", &workload("Deployment", "web", "minReadySeconds: 5, ", "sim.driftless.dev/crash-after: 500ms", "web:2")).commit("two");
        let report = app.run("sync --timeout 10s -o json").exits(3).json();
        assert!(text(&report["apps"][0]["message"]).contains("CrashLoopBackOff"), "{report:#}");
        seen(format!("crash after 500 ms: {first} at first, Degraded by CrashLoopBackOff soon after; with minReadySeconds never well: exit 3"));
    }

    /// Nothing wanted is healthy; a Service that leads nowhere though pods are wanted is told.
    fn case_31_scaled_to_zero_and_services_without_endpoints(cluster) {
        let app = Scratch::new(cluster, "zero");
        let ns = app.namespace.clone();
        let service = |selector: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{selector: {{app: {selector}}}, ports: [{{port: 80}}]}}\n");
        let never = |replicas: u32| workload("Deployment", "web", &format!("replicas: {replicas}, "), "sim.driftless.dev/never-ready: 'true'", "web:1");
        app.write("a/web.yaml", &never(0)).write("a/s.yaml", &service("web")).commit("one");
        app.run("sync --timeout 20s").exits(0);
        assert_eq!(health(&app, "a").0, "Healthy");
        assert!(pods(cluster, &ns).is_empty());
        // Scaled up, and no pod is ever ready: the Service is among what is told.
        app.write("a/web.yaml", &never(1)).commit("two");
        app.run("sync --timeout 3s").exits(3);
        let report = app.run("status -o json").exits(0).json();
        let objects = report["apps"][0]["objects"].as_array().unwrap().clone();
        let of_service = objects.iter().find(|object| object["object"]["kind"] == "Service").cloned().unwrap_or_default();
        assert!(text(&of_service["message"]).contains("endpoint"), "{report:#}");
        assert_ne!(of_service["health"], "Healthy");
        assert!(changes(&app.run("plan -o json").exits(0).json()).is_empty());
        // With ready pods it is well again.
        app.deployment("a/web.yaml", "web", "web:2", 1, "").commit("three");
        app.run("sync --timeout 60s").exits(0);
        becomes(cluster, &app, "a", "Healthy", "");
        seen(format!("0 replicas: Healthy; no ready pod: the Service is {}: {:?}", text(&of_service["health"]), text(&of_service["message"])));
    }
}
