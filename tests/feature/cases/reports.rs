//! Cases 35 to 41: what is said of commits and pull requests, and who writes.

use super::facts::{app as of_app, changes, text};
use super::table::seen;
use crate::feature::cluster::{Cluster, runtime};
use crate::feature::running::Running;
use crate::feature::scratch::{Ended, Scratch};
use crate::on_every_cluster;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A repository with the apps `web` (ConfigMaps one and two) and `old` on its branch `main`, nothing of it synced.
fn world(cluster: &Cluster, name: &str) -> Scratch {
    let app = Scratch::new(cluster, name);
    let settings = format!("[defaults]\nnamespace = \"{}\"\ntimeout = \"20s\"\n", app.namespace);
    app.write("driftless.toml", &settings).config_map("web/one.yaml", "one", "first").config_map(
        "web/two.yaml",
        "two",
        "first",
    );
    app.config_map("old/old.yaml", "old", "first").commit("everything");
    app
}

/// A host with GitHub's statuses (docs.github.com/en/rest/commits/statuses) that first is down, then limits its rate.
struct LimitedHost {
    address: String,
    took: Arc<Mutex<Vec<(String, Value)>>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl LimitedHost {
    fn start() -> Self {
        let (took, asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (kept, times) = (took.clone(), asked.clone());
        let post = move |axum::extract::Path(commit): axum::extract::Path<String>, body: String| async move {
            let mut times = times.lock().unwrap();
            times.push(Instant::now());
            match times.len() {
                1 => (StatusCode::SERVICE_UNAVAILABLE, [("x", "")], String::new()),
                2 => (
                    StatusCode::TOO_MANY_REQUESTS,
                    [("retry-after", "2")],
                    r#"{"message": "You have exceeded a secondary rate limit"}"#.to_owned(),
                ),
                _ => {
                    kept.lock().unwrap().push((commit, serde_json::from_str(&body).unwrap()));
                    (StatusCode::CREATED, [("x", "")], "{}".to_owned())
                }
            }
        };
        let routes = axum::Router::new()
            .route("/repos/acme/shop/statuses/{commit}", axum::routing::post(post))
            .route("/repos/acme/shop/commits/{commit}/statuses", axum::routing::get(|| async { "[]" }));
        let listener = runtime().block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime().spawn(async move { axum::serve(listener, routes).await });
        Self { address, took, asked }
    }

    /// The states of a commit, in the order in which they came.
    fn told(&self, commit: &str, kind: &str) -> Vec<String> {
        let took = self.took.lock().unwrap();
        let of = took.iter().filter(|(about, status)| about == commit && text(&status["context"]).ends_with(kind));
        of.map(|(_, status)| text(&status["state"]).to_owned()).collect()
    }

    /// Seconds from the refusal to the next request.
    fn waited(&self) -> f64 {
        let asked = self.asked.lock().unwrap();
        (asked[2] - asked[1]).as_secs_f64()
    }
}

/// What is checked out says nothing about what is to run.
const MAIN: &str = "--repo . --branch main";

fn value_of(cluster: &Cluster, app: &Scratch, name: &str) -> String {
    text(&cluster.object(&app.namespace, &format!("configmap/{name}"))["data"]["v"]).to_owned()
}

fn requests(cluster: &Cluster, app: &Scratch) -> String {
    let root = app.path().canonicalize().unwrap().display().to_string();
    let list: Value = serde_json::from_str(&cluster.kubectl("get configmaps -n driftless -o json")).unwrap();
    let ours =
        list["items"].as_array().unwrap().iter().filter(|item| item.to_string().contains(&root)).map(Value::to_string);
    ours.filter(|text| text.contains("driftless.dev/request")).collect()
}

/// `context/state` of everything that was said of a commit.
fn everything(app: &Scratch, revision: &str) -> Vec<String> {
    app.notes(revision)
        .iter()
        .map(|note| format!("{} {} {}", text(&note["context"]), text(&note["state"]), text(&note["description"])))
        .collect()
}

/// The same state of one context is never said twice in a row.
fn nothing_twice(app: &Scratch, revision: &str) {
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for note in app.notes(revision) {
        let (context, said) =
            (text(&note["context"]).to_owned(), format!("{} {}", text(&note["state"]), text(&note["description"])));
        let before = last.insert(context.clone(), said.clone());
        assert_ne!(before.as_ref(), Some(&said), "{context} of {revision}");
    }
}

on_every_cluster! {
    /// Pending, then exactly one final state: for a success, a render failure, a rollback, a revision that is overtaken,
    /// one that was pushed while nobody looked, and one that a restart fell into.
    fn case_35_pending_then_one_final_state(cluster) {
        let app = Scratch::new(cluster, "states");
        let ns = app.namespace.clone();
        app.write("driftless.toml", "[defaults]\ntimeout = \"5s\"\non_failure = \"rollback\"\n");
        let good = app.deployment("a/web.yaml", "web", "web:1", 1, "").commit("good");
        let daemon = Running::settled(&app, "");
        let ends = |daemon: &Running, revision: &str, state: &str| {
            daemon.until(state, || app.states_of(revision, "sync") == ["pending", state]);
        };
        let broken = app.write("a/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [\n").commit("broken");
        ends(&daemon, &broken, "error");
        app.remove("a/x.yaml");
        let bad = app.deployment("a/web.yaml", "web", "web:bad", 1, "").commit("bad");
        ends(&daemon, &bad, "failure");
        let said = app.said(&bad, "sync").pop().unwrap();
        assert!(said.contains("rolled back"), "{said}");
        // Overtaken while it waits.
        app.replace("driftless.toml", "5s", "30m");
        let overtaken = app.deployment("a/web.yaml", "web", "web:2-bad", 1, "").commit("waits for ever");
        let image = || text(&cluster.object(&ns, "deployment/web")["spec"]["template"]["spec"]["containers"][0]["image"]).to_owned();
        daemon.until("it is applied", || image() == "web:2-bad");
        let restarted = app.deployment("a/web.yaml", "web", "web:3-bad", 1, "").commit("waits too");
        ends(&daemon, &overtaken, "superseded");
        daemon.until("the next is applied", || image() == "web:3-bad");
        // A restart falls into it, and a commit comes while nobody looks.
        drop(daemon);
        assert_eq!(app.states_of(&restarted, "sync"), ["pending"]);
        let skipped = app.deployment("a/web.yaml", "web", "web:3.5", 1, "").commit("never the head that a daemon sees");
        let unseen = app.deployment("a/web.yaml", "web", "web:4", 1, "").commit("while nobody looks");
        let daemon = Running::start(&app, "");
        ends(&daemon, &unseen, "success");
        ends(&daemon, &restarted, "superseded");
        assert_eq!(image(), "web:4");
        let ended = app.run(&format!("log --wait --revision {skipped}")).exits(1);
        assert!(ended.err.contains(&format!("superseded by {}", &unseen[..7])), "{}", ended.err);
        assert!(ended.out.starts_with(&format!("{} never-the-head", &skipped[..7])), "{}", ended.out);
        let all = [(&good, "success"), (&broken, "error"), (&bad, "failure"), (&overtaken, "superseded"), (&restarted, "superseded"), (&unseen, "success")];
        for (revision, state) in all {
            assert_eq!(app.states_of(revision, "sync"), ["pending", state], "{:?}", everything(&app, revision));
        }
        seen("success, render error, rollback, superseded, superseded over a restart, success: each pending and one final state");
    }

    /// Where reports cannot be delivered they wait, and arrive in order, once.
    fn case_36_a_reports_wait_and_come_in_order(cluster) {
        let app = Scratch::new(cluster, "outbox");
        let first = app.config_map("a/a.yaml", "a", "0").commit("zero");
        let daemon = Running::settled(&app, "");
        daemon.until("health is said", || app.states_of(&first, "health").contains(&"success".to_owned()));
        // As another Git process that died would: the notes' reference is locked.
        let lock = app.path().join(".git/refs/notes/driftless.lock");
        fs::write(&lock, "").unwrap();
        let mut commits = Vec::new();
        for round in 1..=3 {
            commits.push(app.config_map("a/a.yaml", "a", &round.to_string()).commit("next"));
            daemon.until("it is synced", || value_of(cluster, &app, "a") == round.to_string());
        }
        assert!(commits.iter().all(|commit| app.notes(commit).is_empty()), "nothing can be said");
        fs::remove_file(&lock).unwrap();
        for commit in &commits {
            daemon.until("it is said after all", || app.states_of(commit, "sync").last().is_some_and(|state| state != "pending"));
        }
        let mut times = Vec::new();
        for commit in &commits {
            let states = app.states_of(commit, "sync");
            assert!(states.len() == 2 && states[0] == "pending", "{states:?}");
            nothing_twice(&app, commit);
            times.extend(app.notes(commit).iter().filter(|note| text(&note["context"]).ends_with("/sync")).map(|note| text(&note["time"]).to_owned()));
        }
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(app.states_of(commits.last().unwrap(), "sync"), ["pending", "success"]);
        // A restart says nothing again.
        daemon.until("health is said", || app.states_of(commits.last().unwrap(), "health").contains(&"success".to_owned()));
        let before: Vec<_> = commits.iter().map(|commit| everything(&app, commit)).collect();
        drop(daemon);
        let daemon = Running::start(&app, "");
        let next = app.config_map("a/a.yaml", "a", "9").commit("after the restart");
        daemon.succeeds(&app, &next);
        assert_eq!(commits.iter().map(|commit| everything(&app, commit)).collect::<Vec<_>>(), before);
        seen("notes locked for 3 commits: all came afterwards, in order, once; a restart repeats nothing");
    }

    /// A host that is down and then limits its rate: it is left alone as long as it asks for, and gets everything, in order.
    fn case_36_b_a_host_that_limits_its_rate(cluster) {
        let host = LimitedHost::start();
        let app = Scratch::new(cluster, "limited");
        fs::write(app.path().with_extension("token"), "t0ken").unwrap();
        let token = app.path().with_extension("token").display().to_string();
        app.write("driftless.toml", &format!("[[report]]\nkind = \"github\"\nurl = \"{}/repos/acme/shop\"\ntoken_file = \"{token}\"\n", host.address));
        let first = app.config_map("a/a.yaml", "a", "0").commit("zero");
        let daemon = Running::start(&app, "");
        daemon.until("the first is told", || host.told(&first, "sync").len() == 2);
        let next = app.config_map("a/a.yaml", "a", "1").commit("one");
        daemon.until("the next is told", || host.told(&next, "sync").len() == 2);
        for commit in [&first, &next] {
            assert_eq!(host.told(commit, "sync"), ["pending", "success"]);
        }
        let waited = host.waited();
        assert!(waited >= 2.0, "asked again after {waited} s");
        daemon.until("health is told", || host.told(&next, "health").contains(&"success".to_owned()));
        seen(format!("503, then 429 with Retry-After: 2: asked again after {waited:.1} s; each commit pending and success, once"));
    }

    /// Of a pull request whose base has moved on, only what it adds is shown; the newer commit is not reverted.
    fn case_37_a_only_what_the_revision_adds_is_shown(cluster) {
        let app = world(cluster, "merge");
        app.run(&format!("sync {MAIN}")).exits(0);
        let first = app.git("rev-parse main");
        // The base moves on and is not synced; somebody edits an object by hand.
        let base = app.config_map("web/two.yaml", "two", "newer").commit("the base moves on");
        cluster.kubectl(&format!("-n {} patch configmap old -p {{\"data\":{{\"v\":\"by-hand\"}}}}", app.namespace));
        app.git(&format!("checkout -q -b feature {first}"));
        let head = app.config_map("web/one.yaml", "one", "better").config_map("fresh/fresh.yaml", "fresh", "first").commit("a feature");
        let plan = format!("plan --revision feature --base main {MAIN}");
        let report = app.run(&format!("{plan} -o json")).exits(2).json();
        assert_eq!(changes(&report), ["ConfigMap/fresh: create", "ConfigMap/one: update"], "{report:#}");
        assert_eq!((text(&report["revision"]), text(&report["base"]["revision"])), (head.as_str(), base.as_str()));
        assert_eq!((&report["base"]["pending"]["update"], &report["base"]["drifted"]), (&json!(2), &json!(1)), "{report:#}");
        for output in ["text", "markdown"] {
            let said = app.run(&format!("{plan} -o {output}")).exits(2).out;
            assert!(said.contains("better") && !said.contains("by-hand") && !said.contains("newer"), "{said}");
            assert!(said.contains("not fully applied yet"), "{said}");
        }
        // Nothing is left of the difference once it is merged.
        let merged = app.run(&format!("plan --revision {first} --base main -o json {MAIN}")).exits(0).json();
        assert!(changes(&merged).is_empty());
        assert_eq!(value_of(cluster, &app, "two"), "first", "a plan changes nothing");
        seen("shows 1 create and 1 update of its own; 2 pending and 1 drifted of the base are told apart");
    }

    /// A conflict names its files.
    fn case_37_b_a_conflict_is_said(cluster) {
        let app = world(cluster, "conflict");
        let first = app.git("rev-parse main");
        app.config_map("web/one.yaml", "one", "base").commit("the base");
        app.git(&format!("checkout -q -b feature {first}"));
        app.config_map("web/one.yaml", "one", "feature").commit("a feature");
        let plan = format!("plan --revision feature --base main {MAIN}");
        let report = app.run(&format!("{plan} -o json")).exits(1).json();
        assert_eq!((text(&report["error"]["reason"]), text(&report["base"]["conflicts"][0])), ("MergeConflict", "web/one.yaml"));
        app.run(&plan).exits(1).says("web/one.yaml");
        seen("MergeConflict: web/one.yaml");
    }

    /// Of objects that are not this app's yet, only that they exist and whose they are, and what Git would make of them.
    fn case_37_c_of_a_strangers_object_only_that_it_exists(cluster) {
        let app = world(cluster, "stranger");
        app.run(&format!("sync {MAIN}")).exits(0);
        cluster.kubectl(&format!("-n {} create configmap stranger --from-literal=v=hidden --from-literal=other=hidden", app.namespace));
        app.git("checkout -q -b feature");
        app.config_map("web/stranger.yaml", "stranger", "mine").config_map("web/old.yaml", "old", "mine").commit("claims both");
        let plan = format!("plan --revision feature --base main {MAIN}");
        for output in ["text", "json", "markdown"] {
            let ended = app.run(&format!("{plan} -o {output}"));
            assert!(ended.out.contains("stranger") && !ended.out.contains("hidden"), "{}", ended.out);
            assert!(ended.out.contains("old"), "whose it is: {}", ended.out);
            assert!(ended.out.contains("mine"), "what it would be: {}", ended.out);
        }
        let report = app.run(&format!("{plan} -o json")).json();
        let all = || report["apps"].as_array().unwrap().iter().flat_map(|app| app["changes"].as_array().unwrap());
        let change = all().find(|change| change["object"]["name"] == "stranger").unwrap();
        let expected = json!([{"path": ".data.v", "from": "(not shown)", "to": "mine"}]);
        assert_eq!(change["fields"], expected, "{report:#}");
        assert!(text(&change["why"]).ends_with("; data v changes; 1 field that Git does not set changes too"), "{report:#}");
        seen("exists, adopted; not one value of it; the other app's object names app `old`");
    }

    /// An app that the revision removes is shown to be pruned, and is not.
    fn case_37_d_an_app_that_the_revision_removes(cluster) {
        let app = world(cluster, "removes");
        app.run(&format!("sync {MAIN}")).exits(0);
        app.git("checkout -q -b feature");
        app.remove("old").commit("without old");
        let report = app.run(&format!("plan --revision feature --base main -o json {MAIN}")).exits(2).json();
        assert_eq!(changes(&report), ["ConfigMap/old: prune"], "{report:#}");
        assert_eq!(value_of(cluster, &app, "old"), "first");
        seen("its one object is shown to be pruned, and stays");
    }

    /// A plan that is too long is cut between objects, its fences closed, with the way to the whole text.
    fn case_38_a_long_plan_is_cut_between_objects(cluster) {
        let app = Scratch::new(cluster, "long");
        let lines: String = (0..40).map(|i| format!("  key-{i}: a value that takes some room in a plan, as values do\n")).collect();
        let all: String = (0..150).map(|i| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: long-{i}}}\ndata:\n{lines}")).collect();
        app.write("a/all.yaml", &all).commit("one");
        let comment = app.run("plan -o markdown").exits(2).out;
        let whole = app.run("plan").exits(2).out;
        assert!(comment.len() <= 65_536 && whole.len() > 65_536, "{} of {}", comment.len(), whole.len());
        let fences = comment.lines().filter(|line| line.starts_with("```")).count();
        assert!(fences > 0 && fences % 2 == 0, "{fences} fences");
        assert_eq!(comment.matches("<details>").count(), comment.matches("</details>").count());
        assert!(comment.contains("driftless plan"), "the way to the whole text");
        // Each object that is shown in full has all of its lines.
        for part in comment.split("```diff").skip(1) {
            let fields = part.split("```").next().unwrap().matches("key-").count();
            assert_eq!(fields % 40, 0, "{part}");
        }
        assert_eq!(app.run("plan -o json").exits(2).json()["apps"][0]["changes"].as_array().unwrap().len(), 150);
        seen(format!("{} KiB cut to {} KiB, {} fences, all closed", whole.len() / 1024, comment.len() / 1024, fences));
    }

    /// A Secret that changes is seen to change; its values are nowhere.
    fn case_39_a_secrets_values_are_nowhere(cluster) {
        use base64::Engine as _;
        let app = Scratch::new(cluster, "secret");
        let ns = app.namespace.clone();
        let values = ["first-hunter2-value", "second-hunter2-value", "third-hunter2-value", "by-hand-hunter2-value"];
        let encoded: Vec<String> = values.iter().map(|value| base64::engine::general_purpose::STANDARD.encode(value)).collect();
        let mut looked = 0;
        let mut hides = |what: &str, said: &str| {
            looked += 1;
            for value in values.iter().map(|value| (*value).to_owned()).chain(encoded.iter().map(|text| text[..text.len() - 4].to_owned())) {
                assert!(!said.contains(&value), "{what} tells {value}:\n{said}");
            }
        };
        let secret = |more: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{more}");
        app.write("a/s.yaml", &secret(&format!("stringData: {{password: {}}}\n", values[0]))).config_map("a/c.yaml", "c", "1").commit("one");
        let daemon = Running::settled(&app, MAIN);
        app.git("checkout -q -b feature");
        app.write("a/s.yaml", &secret(&format!("stringData: {{password: {}}}\ndata: {{more: {}}}\n", values[1], encoded[2]))).commit("two");
        for output in ["text", "json", "markdown"] {
            let ended = app.run(&format!("plan --revision feature --base main -o {output} {MAIN}")).exits(2);
            assert!(ended.out.contains("password"), "it is seen to change: {}", ended.out);
            hides(output, &format!("{}{}", ended.out, ended.err));
        }
        for line in ["render", "check -o json", "status -o json", "log -o json"] {
            let ended = app.run(&format!("{line} {MAIN}"));
            hides(line, &format!("{}{}", ended.out, ended.err));
        }
        // Drift in it, and a repair.
        let head = app.git("rev-parse main");
        cluster.kubectl(&format!("-n {ns} patch secret s -p {{\"stringData\":{{\"password\":\"{}\"}}}}", values[3]));
        daemon.until("it is repaired", || app.states_of(&head, "drift") == ["failure", "success"]);
        hides("drift", &everything(&app, &head).join("\n"));
        // Errors: what the server and the reader refuse.
        app.git("checkout -q main");
        for bad in [
            format!("data: {{password: {}!}}\n", values[1]),
            format!("stringData: {{password: [{}]}}\n", values[1]),
            format!("stringData: {{password: {}}}\ntype: kubernetes.io/tls\n", values[1]),
            format!("stringData:\n  password: {0}\n  password: {0}\n", values[1]),
            format!("stringData: {{password: \"{}\"\n", values[1]),
        ] {
            let revision = app.write("a/s.yaml", &secret(&bad)).commit("bad");
            let mut refused = false;
            for line in ["check", "plan -o json", "sync --timeout 10s", "plan -o markdown"] {
                let ended = app.run(&format!("{line} {MAIN}"));
                refused |= ended.code == 1;
                hides(&format!("{line} of {bad:?}"), &format!("{}{}", ended.out, ended.err));
            }
            assert!(refused, "{bad}");
            daemon.until("it ends", || app.states_of(&revision, "sync").last().is_some_and(|state| state != "pending"));
            hides("statuses", &everything(&app, &revision).join("\n"));
        }
        hides("log", &daemon.log());
        hides("metrics", &daemon.get("/metrics").unwrap_or_default());
        hides("records", &cluster.kubectl("-n driftless get configmaps -o yaml"));
        let live = cluster.object(&ns, "secret/s");
        hides("annotations", &live["metadata"].to_string());
        hides("events", &cluster.kubectl(&format!("-n {ns} get events -o yaml")));
        seen(format!("{looked} outputs looked at: plans, errors, statuses, log, metrics, records; no value, in clear or in base64"));
    }

    /// A pull request that changes driftless's own configuration or policies is planned under those of the base.
    fn case_40_configuration_and_policies_are_the_bases(cluster) {
        let app = world(cluster, "settings");
        app.run(&format!("sync {MAIN}")).exits(0);
        app.git("checkout -q -b feature");
        app.write("driftless.toml", "[defaults]\nnamespace = \"kube-system\"\n").config_map("web/one.yaml", "one", "better").commit("moves itself");
        let plan = format!("plan --revision feature --base main {MAIN}");
        let report = app.run(&format!("{plan} -o json")).exits(2).json();
        assert_eq!(changes(&report), ["ConfigMap/one: update"], "{report:#}");
        assert_eq!(text(&of_app(&report, "web")["changes"][0]["object"]["namespace"]), app.namespace);
        assert!(text(&report["base"]["notices"][0]).contains("driftless.toml"), "{report:#}");
        app.run(&plan).exits(2).says("it changes driftless.toml");

        // A policy of the base that the branch deletes, and breaks.
        app.git("checkout -q main");
        let policy = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: no-nine}\nspec:\n  matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]}\n  validations: [{expression: \"!has(object.data) || !has(object.data.v) || object.data.v != 'nine'\", message: nine is not allowed}]\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: no-nine}\nspec: {policyName: no-nine, validationActions: [Deny]}\n";
        app.write("rules/no-nine/policy.yaml", policy);
        let settings = fs::read_to_string(app.path().join("driftless.toml")).unwrap();
        app.write("driftless.toml", &format!("{settings}\n[policy]\npaths = [\"rules\"]\n\n[[app]]\nglob = \"web\"\n[[app]]\nglob = \"old\"\n")).commit("a policy");
        app.git("checkout -q -b lifted");
        app.remove("rules").config_map("web/one.yaml", "one", "nine").commit("lifts the policy and breaks it");
        let ended = app.run(&format!("plan --revision lifted --base main {MAIN}")).exits(4);
        assert!(format!("{}{}", ended.out, ended.err).contains("nine is not allowed"), "{}{}", ended.out, ended.err);

        // The same in a checkout of the branch, as CI has it: the file that lies there is the branch's own.
        app.git("checkout -q main");
        let settings = fs::read_to_string(app.path().join("driftless.toml")).unwrap();
        let repository = format!("[[repository]]\nname = \"shop\"\nurl = \"{}\"\nbranch = \"main\"\n\n", app.path().display());
        app.write("driftless.toml", &format!("{repository}{settings}")).commit("says where it is");
        app.git("checkout -q -b off");
        app.write("driftless.toml", &format!("{repository}[[app]]\nglob = \"web\"\n[[app]]\nglob = \"old\"\n"));
        app.remove("rules").config_map("web/one.yaml", "one", "nine").commit("switches it off");
        let checkout = tempfile::tempdir().unwrap();
        let place = checkout.path().join("here");
        app.git(&format!("clone -q -b off . {}", place.display()));
        let plan = |line: &str| Ended::of(&app.command(line).current_dir(&place).output().unwrap());
        let ended = plan("plan --revision off --base main").exits(4);
        assert!(format!("{}{}", ended.out, ended.err).contains("nine is not allowed"), "{}{}", ended.out, ended.err);
        plan("plan --base main").says("is the base itself");
        // And as the shipped workflow asks: `--repo`, where the branch also says that its apps are elsewhere.
        let elsewhere = format!("{repository}path = \"web\"\n\n").replace("\n\npath", "\npath");
        app.write("driftless.toml", &elsewhere).commit("moves the root");
        std::process::Command::new("git").args(["pull", "-q"]).current_dir(&place).status().unwrap();
        let ended = plan("plan --repo . --revision off --base main").exits(4);
        assert!(format!("{}{}", ended.out, ended.err).contains("nine is not allowed"), "{}{}", ended.out, ended.err);
        seen("planned under the base's namespace and policies: denied by the policy that it deletes; \"it changes driftless.toml\"");
    }

    /// `sync` beside a daemon is done by the daemon; nothing is written by two.
    fn case_41_a_sync_beside_a_daemon(cluster) {
        let app = world(cluster, "beside");
        let first = app.git("rev-parse main");
        let _daemon = Running::settled(&app, MAIN);
        let report = app.run(&format!("sync -o json {MAIN}")).exits(0).json();
        let states: Vec<&str> = report["apps"].as_array().unwrap().iter().map(|app| text(&app["sync"])).collect();
        assert_eq!(states, ["Synced", "Synced"], "{report:#}");
        assert_eq!(requests(cluster, &app), "");
        // A new commit, asked for at once: whoever was faster, it is there afterwards.
        app.config_map("web/one.yaml", "one", "second").config_map("new/new.yaml", "new", "first").commit("something new");
        let report = app.run(&format!("sync -o json {MAIN}")).exits(0).json();
        assert_eq!(report["apps"].as_array().map(Vec::len), Some(3), "{report:#}");
        assert_eq!((value_of(cluster, &app, "one").as_str(), value_of(cluster, &app, "new").as_str()), ("second", "first"));
        // Another revision than the branch's is a rollback's business.
        let report = app.run(&format!("sync web --revision {first} -o json {MAIN}")).exits(4).json();
        assert_eq!(report["apps"][0]["error"]["reason"], "FollowsBranch", "{report:#}");
        assert_eq!(value_of(cluster, &app, "one"), "second");
        assert_eq!(requests(cluster, &app), "");
        assert_eq!(app.states_of("HEAD", "sync"), ["pending", "success"], "said once");
        seen("done by the daemon, one status per commit, no request left behind; an older revision: FollowsBranch");
    }

    /// A daemon that is paused holds its lease and does nothing: `sync` waits for it, and goes on without it once it is gone.
    fn case_41_b_a_paused_daemon_that_dies(cluster) {
        let app = world(cluster, "dies");
        let daemon = Running::settled(&app, MAIN);
        daemon.signal(libc::SIGSTOP);
        app.config_map("web/one.yaml", "one", "second").commit("something new");
        let mut child = app.start(&format!("sync -o json {MAIN}"));
        cluster.eventually("the request", || requests(cluster, &app).contains("id"));
        assert!(matches!(child.try_wait(), Ok(None)), "it waits for the daemon");
        drop(daemon);
        let ended = Scratch::ended(child).exits(0);
        assert!(ended.err.contains("syncing without it"), "{}", ended.err);
        assert_eq!(value_of(cluster, &app, "one"), "second");
        assert_eq!(requests(cluster, &app), "");
        seen("sync waited for the paused daemon, and did it itself once that was gone");
    }

    /// Two daemons on one scope: one writes, the other stands by, and takes over; a paused one writes nothing when it wakes.
    fn case_41_c_two_daemons_and_one_that_was_paused(cluster) {
        let app = world(cluster, "twodaemons");
        let first = Running::settled(&app, MAIN);
        let second = Running::start(&app, MAIN);
        second.until("the second stands by", || second.log().contains("standing by"));
        let next = app.config_map("web/one.yaml", "one", "second").commit("two");
        first.succeeds(&app, &next);
        // Paused for longer than its lease lasts: the other one takes over.
        first.signal(libc::SIGSTOP);
        let third = app.config_map("web/one.yaml", "one", "third").commit("three");
        second.succeeds(&app, &third);
        let fourth = app.config_map("web/one.yaml", "one", "fourth").commit("four");
        second.succeeds(&app, &fourth);
        first.signal(libc::SIGCONT);
        // It finds that it leads no more, before it writes anything.
        first.until("it notices", || first.log().matches("standing by").count() > 0 || first.log().contains("lease"));
        let fifth = app.config_map("web/one.yaml", "one", "fifth").commit("five");
        second.succeeds(&app, &fifth);
        assert_eq!(value_of(cluster, &app, "one"), "fifth");
        for revision in [&next, &third, &fourth, &fifth] {
            assert_eq!(app.states_of(revision, "sync"), ["pending", "success"], "{:?}", everything(&app, revision));
        }
        seen("the second took over from a paused leader, which wrote nothing when it woke; 4 commits, one status pair each");
    }

    /// Two syncs of one app at once: one writer at a time, both end well.
    fn case_41_d_two_syncs_at_once(cluster) {
        let app = Scratch::new(cluster, "twice");
        for i in 0..30 {
            app.config_map(&format!("a/{i}.yaml"), &format!("c{i}"), "1");
        }
        app.commit("one");
        let both = [app.start("sync -o json"), app.start("sync -o json")];
        let both = both.map(|child| Scratch::ended(child).exits(0).json());
        let created: usize = both.iter().map(|report| report["apps"][0]["changes"].as_array().unwrap().len()).sum();
        assert_eq!(created, 30);
        seen("two at once: 30 objects created, each by one of them");
    }
}
