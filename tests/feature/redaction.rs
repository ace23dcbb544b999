//! No value of a Secret, and no credential, in anything that a person, a log or a host can see.
//!
//! Canaries lie wherever a secret can; everything that the program says is driven and collected, and searched for each of
//! them, as it is and in base64.

use super::gitea::Hosted;
use crate::support::daemon::{Cluster, Daemon, PATIENCE};
use crate::support::gitea::OWNER;
use crate::support::scratch::Scratch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;

/// A value that stands nowhere else.
fn canary(name: &str) -> String {
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("canary{name}{random:016x}")
}

fn secret(name: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\n{rest}\n")
}

/// What was said, and where.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn add(&mut self, wher: &str, text: impl AsRef<[u8]>) {
        self.0.push((wher.to_owned(), String::from_utf8_lossy(text.as_ref()).into_owned()));
    }

    /// Every file below a directory.
    fn files(&mut self, directory: &Path) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.files(&path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                self.add(&path.display().to_string(), bytes);
            }
        }
    }

    /// Where any of these stands, as it is or in base64.
    fn places_of(&self, canaries: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for canary in canaries {
            let coded = STANDARD.encode(canary);
            for (wher, text) in &self.0 {
                let at = text.find(canary.as_str()).or_else(|| text.find(coded.as_str()));
                if let Some(at) = at {
                    let around = text.get(at.saturating_sub(200)..(at + 60).min(text.len())).unwrap_or(canary);
                    found.push(format!("{canary} in {wher}: …{around}…"));
                }
            }
        }
        found
    }
}

/// One command's whole output.
fn run(heard: &mut Heard, daemon: &Daemon, cluster: &Cluster, args: &[&str]) -> String {
    let output = daemon.beside(cluster, args);
    heard.add(&format!("stdout of {args:?}"), &output.stdout);
    heard.add(&format!("stderr of {args:?}"), &output.stderr);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The digests that a plan shows for a Secret's changed values, by path.
fn digests(plan: &str, name: &str) -> Vec<(String, Value, Value)> {
    let plan: Value = serde_json::from_str(plan).unwrap();
    let changes = plan["apps"].as_array().into_iter().flatten().filter_map(|app| app["changes"].as_array()).flatten();
    let ours = changes.filter(|change| change["object"]["name"] == name);
    let fields = ours.filter_map(|change| change["fields"].as_array()).flatten();
    fields.map(|f| (f["path"].as_str().unwrap_or_default().to_owned(), f["from"].clone(), f["to"].clone())).collect()
}

#[test]
fn nothing_secret_is_ever_said() {
    let Some(hosted) = Hosted::new("canaries") else { return };
    let cluster = Cluster::embedded();
    let scratch = &hosted.scratch;
    let names = ["data", "string", "applied", "userinfo", "changed", "other", "invalid", "nested", "denied"];
    let mut canaries: Vec<String> = names.iter().map(|name| canary(name)).collect();
    let of = |name: &str, all: &[String]| all.iter().find(|c| c.starts_with(&format!("canary{name}"))).unwrap().clone();
    let [data, string, applied, userinfo, changed, other] =
        ["data", "string", "applied", "userinfo", "changed", "other"].map(|name| of(name, &canaries));
    let [invalid, nested, denied] = ["invalid", "nested", "denied"].map(|name| of(name, &canaries));
    // What lies in the files that the configuration names: the token, and what the host signs notifications with.
    canaries.extend([hosted.host.token().to_owned(), "hook-secret".to_owned()]);

    // One that somebody applied with kubectl, which keeps a copy in an annotation.
    cluster.kubectl(&["create", "namespace", &scratch.namespace]);
    let file = scratch.path("applied.yaml");
    std::fs::write(&file, secret("adopted", &format!("stringData: {{password: {applied}}}"))).unwrap();
    cluster.kubectl(&["-n", &scratch.namespace, "apply", "-f", &file.display().to_string()]);
    std::fs::remove_file(&file).unwrap();

    // Notes besides the host's statuses.
    let config = scratch.path("daemon.toml");
    let text = std::fs::read_to_string(&config).unwrap() + "[[report]]\nkind = \"git-notes\"\n";
    std::fs::write(&config, text).unwrap();
    let file = config.display().to_string();
    let coded = STANDARD.encode(&data);
    scratch.write(
        "motd/secret.yaml",
        &secret("twin", &format!("data: {{a: {coded}, b: {coded}}}\nstringData: {{s: {string}}}")),
    );
    scratch.write("motd/adopted.yaml", &secret("adopted", &format!("stringData: {{password: {string}}}")));
    scratch.push("secrets");

    let mut heard = Heard::default();
    let mut daemon = hosted.start_with(&cluster, &["-vv"]);
    let ended = |commit: &str| {
        daemon.eventually("it ends", || {
            let states = hosted.states(commit, "sync");
            states.last().filter(|state| *state != "pending").cloned()
        })
    };
    assert_eq!(ended(&hosted.head()), "success");

    // A pull request that changes them.
    scratch.git(&["checkout", "-q", "-b", "feature"]);
    let (one, two) = (STANDARD.encode(&changed), STANDARD.encode(&other));
    scratch.write(
        "motd/secret.yaml",
        &secret("twin", &format!("data: {{a: {one}, b: {one}, c: {two}}}\nstringData: {{s: {other}}}")),
    );
    let head = hosted.push_branch("feature", "other secrets");
    let pull = hosted.open("feature");
    daemon.eventually("its plan", || (hosted.states(&head, "plan").last()? == "success").then_some(()));
    let comment = daemon.eventually("its comment", || hosted.comments(pull).pop());
    assert!(comment.1.contains("twin"), "{}", comment.1);
    heard.add("the pull request's comment", comment.1);

    let with =
        |args: &[&str]| -> Vec<String> { args.iter().copied().chain(["--config", &file]).map(str::to_owned).collect() };
    let tell = |heard: &mut Heard, args: &[&str]| {
        let args = with(args);
        run(heard, &daemon, &cluster, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for output in ["text", "json", "markdown"] {
        let said = tell(&mut heard, &["plan", "--revision", &head, "--base", "main", "-o", output]);
        assert!(said.contains("twin"), "{output}: {said}");
        tell(&mut heard, &["plan", "--revision", &head, "-vv", "-o", output]);
    }
    let plan = tell(&mut heard, &["plan", "--revision", &head, "-o", "json"]);

    // Digests: equal for what is equal, different for what is not, and worthless under another key.
    let fields = digests(&plan, "twin");
    let to = |key: &str, fields: &[(String, Value, Value)]| {
        let found = fields.iter().find(|(path, ..)| path.ends_with(&format!(".{key}")));
        found.unwrap_or_else(|| panic!("no {key} in {fields:?}")).clone()
    };
    let (a, b, c) = (to("a", &fields), to("b", &fields), to("c", &fields));
    assert!(a.1 == b.1 && a.2 == b.2 && a.1 != a.2 && a.2 != c.2 && a.2.is_string(), "{fields:?}");
    let stranger = scratch.path("stranger.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("[instance]\nname = \"", "[instance]\nname = \"x");
    let text = text.replace(&format!("namespace = \"{}-system\"", scratch.instance), "namespace = \"stranger\"");
    std::fs::write(&stranger, text).unwrap();
    let args = ["plan", "--revision", &head, "-o", "json", "--config", &stranger.display().to_string()];
    let theirs = digests(&run(&mut heard, &daemon, &cluster, &args), "twin");
    if let Some((_, _, same)) = theirs.iter().find(|(path, ..)| path.ends_with(".a")) {
        assert_ne!(*same, a.2, "another key, another digest");
    }

    // Merged: a sync; then everything else that speaks.
    scratch.git(&["checkout", "-q", "main"]);
    scratch.git(&["merge", "-q", "--ff-only", "feature"]);
    let merged = scratch.push("merged");
    assert_eq!(ended(&merged), "success");

    // Errors: what is no base64, what is no text, what a policy refuses and would quote, a wrong password in an address.
    for (name, rest) in [
        ("invalid", format!("data: {{password: \"{invalid} is no base64!\"}}")),
        ("nested", format!("stringData: {{password: {{deep: {nested}}}}}")),
        ("typed", format!("type: kubernetes.io/dockerconfigjson\nstringData: {{.dockerconfigjson: '{{{nested}'}}")),
    ] {
        scratch.write("motd/broken.yaml", &secret(name, &rest));
        let commit = scratch.push(name);
        let state = ended(&commit);
        assert!(state == "error" || state == "failure", "{name}: {state}");
        for args in [["check", "-v"], ["render", "-v"], ["plan", "-v"], ["status", "-v"]] {
            tell(&mut heard, &args);
        }
    }
    scratch.write("motd/broken.yaml", &secret("denied", &format!("stringData: {{password: {denied}}}")));
    scratch.write("policies/no.yaml", POLICY);
    let text = std::fs::read_to_string(&config).unwrap() + "[policy]\npaths = [\"policies\"]\n";
    std::fs::write(&config, text).unwrap();
    scratch.push("denied");
    daemon.eventually("the policy refuses it", || daemon.has_logged("no-such-secret").then_some(()));
    for args in [&["plan"][..], &["check", "-o", "json"], &["plan", "-o", "markdown"], &["status"]] {
        tell(&mut heard, args);
    }
    let address = hosted.host.url(&hosted.name).replace("http://", &format!("http://bot:{userinfo}@"));
    for args in [["plan", "--repo", &address, "-vv"], ["status", "--repo", &address, "-v"]] {
        run(&mut heard, &daemon, &cluster, &args);
    }
    let nowhere = format!("http://bot:{userinfo}@127.0.0.1:1/a.git");
    run(&mut heard, &daemon, &cluster, &["log", "--repo", &nowhere]);
    std::fs::write(
        scratch.path("bad.toml"),
        format!(
            "[[repository]]\nname = \"a\"\nurl = \"{nowhere}\"\n[[report]]\nkind = \"github\"\ntoken = \"{userinfo}\"\n"
        ),
    )
    .unwrap();
    run(&mut heard, &daemon, &cluster, &["check", "--config", &scratch.path("bad.toml").display().to_string()]);
    for args in [&["log"][..], &["log", "-o", "json"], &["status", "-o", "json"], &["status"], &["render"]] {
        tell(&mut heard, args);
    }

    // The log is taken while all of it is there; what a sync by hand says comes without a daemon to ask.
    heard.add("/metrics", daemon.get("/metrics").unwrap().1);
    heard.add("/readyz", daemon.get("/readyz").unwrap().1);
    daemon.terminate();
    assert!(daemon.wait(PATIENCE).is_some(), "it ends");
    for args in [&["sync", "--timeout", "20s"][..], &["sync", "--timeout", "20s", "-o", "json"]] {
        let said = run(&mut heard, &daemon, &cluster, &[args, &["--config", &file]].concat());
        assert!(said.contains("denied"), "{said}");
    }

    // What lies on the host, in the cluster, and on disk.
    for commit in scratch.git(&["log", "--all", "--format=%H"]).lines() {
        let path = format!("/repos/{OWNER}/{}/commits/{commit}/statuses?limit=50", hosted.name);
        heard.add(&format!("statuses of {commit}"), hosted.host.ask("GET", &path, None).to_string());
    }
    scratch.git(&["fetch", "-q", "origin", "refs/notes/*:refs/notes/*"]);
    let notes = scratch.git(&["log", "-p", "--format=%B", "refs/notes/driftless"]);
    assert!(notes.contains("success"), "{notes}");
    heard.add("the notes", notes);
    heard.add("ConfigMaps", cluster.get("/api/v1/configmaps").unwrap().to_string());
    heard.add("events", cluster.get("/api/v1/events").unwrap().to_string());
    heard.add("leases", cluster.get("/apis/coordination.k8s.io/v1/leases").unwrap().to_string());
    heard.add("the daemon's log", daemon.log());
    heard.files(&scratch.path("cache"));
    heard.files(&scratch.path("cache.cli"));
    // It would be found: asked to, `render` shows them.
    let mut shown = Heard::default();
    run(&mut shown, &daemon, &cluster, &["render", "--show-secrets", "--config", &file]);
    assert!(!shown.places_of(&[changed, other]).is_empty(), "{:?}", shown.0);
    assert!(heard.0.len() > 100, "{}", heard.0.len());
    let found = heard.places_of(&canaries);
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n\n"));
}

/// What needs no Git host: a local repository, its notes, and every command beside the daemon.
#[test]
fn nothing_secret_is_said_without_a_host() {
    let cluster = Cluster::embedded();
    let scratch = Scratch::quickstart("quiet", "");
    let names = ["data", "string", "applied", "changed", "invalid", "nested", "typo", "denied"];
    let canaries = names.map(canary);
    let [data, string, applied, changed, invalid, nested, typo, denied] = canaries.clone();

    cluster.kubectl(&["create", "namespace", &scratch.namespace]);
    let file = scratch.path("applied.yaml");
    std::fs::write(&file, secret("adopted", &format!("stringData: {{password: {applied}}}"))).unwrap();
    cluster.kubectl(&["-n", &scratch.namespace, "apply", "-f", &file.display().to_string()]);
    std::fs::remove_file(&file).unwrap();

    let coded = STANDARD.encode(&data);
    scratch.write("motd/secret.yaml", &secret("twin", &format!("data: {{a: {coded}}}\nstringData: {{s: {string}}}")));
    scratch.write("motd/adopted.yaml", &secret("adopted", &format!("stringData: {{password: {string}}}")));
    let first = scratch.push("secrets");
    let mut heard = Heard::default();
    let repository = scratch.bare().display().to_string();
    let mut daemon = Daemon::start_with(&scratch, &cluster, &["-vv", "--repo", &repository], "cache");
    daemon.succeeds(&scratch, &first);
    let tell = |heard: &mut Heard, args: &[&str]| {
        run(heard, &daemon, &cluster, &[args, &["--repo", &repository]].concat());
    };

    let coded = STANDARD.encode(&changed);
    scratch.write("motd/secret.yaml", &secret("twin", &format!("data: {{a: {coded}}}\nstringData: {{s: {changed}}}")));
    let second = scratch.push("other secrets");
    for output in ["text", "json", "markdown"] {
        tell(&mut heard, &["plan", "--revision", &second, "--base", &first, "-vv", "-o", output]);
        tell(&mut heard, &["plan", "--revision", &first, "-vv", "-o", output]);
    }
    daemon.succeeds(&scratch, &second);

    for (name, rest) in [
        ("invalid", format!("data: {{password: \"{invalid} is no base64!\"}}")),
        ("nested", format!("stringData: {{password: {{deep: {nested}}}}}")),
        ("typed", format!("type: kubernetes.io/dockerconfigjson\nstringData: {{.dockerconfigjson: '{{{nested}'}}")),
        ("typo", format!("stringdata: {{password: {typo}}}")),
    ] {
        scratch.write("motd/broken.yaml", &secret(name, &rest));
        let commit = scratch.push(name);
        let (state, _) = daemon.ended(&scratch, &commit);
        assert!(state == "error" || state == "failure", "{name}: {state}");
        for args in [["check", "-v"], ["render", "-v"], ["plan", "-v"], ["status", "-v"]] {
            tell(&mut heard, &args);
        }
    }
    scratch.write("motd/broken.yaml", &secret("denied", &format!("stringData: {{password: {denied}}}")));
    scratch.write("policies/no.yaml", POLICY);
    let text = scratch.settings_text("") + "[policy]\npaths = [\"policies\"]\n";
    scratch.write("driftless.toml", &text);
    let commit = scratch.push("denied");
    let (_, said) = daemon.ended(&scratch, &commit);
    assert!(said.contains("no-such-secret"), "{said}");
    for args in
        [&["plan"][..], &["check", "-o", "json"], &["plan", "-o", "markdown"], &["log", "-o", "json"], &["status"]]
    {
        tell(&mut heard, args);
    }

    heard.add("/metrics", daemon.get("/metrics").unwrap().1);
    daemon.terminate();
    assert!(daemon.wait(PATIENCE).is_some(), "it ends");
    for args in [&["sync", "--timeout", "20s"][..], &["sync", "--timeout", "20s", "-o", "json"]] {
        run(&mut heard, &daemon, &cluster, &[args, &["--repo", &repository]].concat());
    }
    scratch.git(&["fetch", "-q", "origin", "refs/notes/*:refs/notes/*"]);
    heard.add("the notes", scratch.git(&["log", "-p", "--format=%B", "refs/notes/driftless"]));
    heard.add("ConfigMaps", cluster.get("/api/v1/configmaps").unwrap().to_string());
    heard.add("events", cluster.get("/api/v1/events").unwrap().to_string());
    heard.add("the daemon's log", daemon.log());
    heard.files(&scratch.path("cache/outbox"));
    let mut shown = Heard::default();
    run(&mut shown, &daemon, &cluster, &["render", "--show-secrets", "--repo", &repository]);
    assert!(!shown.places_of(&[changed]).is_empty(), "it would be found: {:?}", shown.0);
    assert!(heard.0.len() > 60, "{}", heard.0.len());
    let found = heard.places_of(&canaries);
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n\n"));
}

/// A policy that would repeat the value that it refuses.
const POLICY: &str = "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-such-secret}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [secrets]}]
  validations:
    - expression: \"object.metadata.name != 'denied'\"
      messageExpression: \"'refused, as it holds ' + string(object.?stringData.password.orValue('nothing'))\"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-such-secret}
spec: {policyName: no-such-secret, validationActions: [Deny]}
";
