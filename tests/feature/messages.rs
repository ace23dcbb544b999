//! What is said is true, and reads well.

use super::scratch::Scratch;
use crate::on_every_cluster;
use crate::support::daemon::eventually;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Configuration for commands that bring their own cluster.
fn config(app: &Scratch, rest: &str) {
    app.write(
        "driftless.toml",
        &format!("[[repository]]\nname = \"main\"\nurl = \".\"\n[[cluster]]\nname = \"c\"\nembedded = true\n{rest}"),
    );
}

#[test]
fn what_is_refused_as_a_whole_counts_as_nothing() {
    let app = Scratch::alone("counts");
    app.config_map("a/good.yaml", "good", "1").config_map("b/b.yaml", "b", "1");
    app.write("a/bad.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\nfield: 1\n").commit("one");
    let ended =
        app.run("plan --embedded").exits(1).says("Plan: 1 to create; 0 unchanged").says("1 app cannot be planned");
    assert!(ended.out.contains("a: cannot be planned: nothing of it is done, this would follow"), "{}", ended.out);
    app.run("plan --embedded -o markdown").exits(1).says("**1 to create** in 1 app · ❌ 1 app cannot be planned");
    let plan = app.run("plan --embedded -o json").exits(1).json();
    assert_eq!(plan["summary"]["create"], 1);
    assert_eq!((&plan["apps"][0]["blocked"], &plan["apps"][1]["blocked"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(plan["apps"][0]["changes"][0]["object"]["name"], "good");

    app.remove("b").commit("only the faulty one");
    let ended = app.run("plan --embedded").exits(1);
    assert!(!ended.out.contains("Plan:") && !ended.out.contains("Run `driftless sync`"), "{}", ended.out);
    app.run("plan --embedded -o markdown").exits(1).says("**There is no plan.** · ❌ 1 app cannot be planned");

    // What is carried out around the fault is counted.
    config(&app, "[[app]]\nname = \"a\"\npath = \"a\"\napply = \"best-effort\"\n");
    app.commit("best effort");
    app.run("plan").exits(1).says("1 to create; the rest cannot be planned").says("1 app can be planned in part only");
    app.run("plan -o markdown").exits(1).says("**1 to create** in 1 app · ❌ 1 app can be planned in part only");
}

#[test]
fn an_app_names_those_it_comes_after() {
    let app = Scratch::alone("order");
    app.config_map("db/x.yaml", "db", "1").config_map("shop/x.yaml", "shop", "1").config_map("web/x.yaml", "web", "1");
    config(
        &app,
        "[[app]]\npath = \"db\"\n[[app]]\npath = \"shop\"\n[[app]]\npath = \"web\"\ndepends_on = [\"shop\", \"db\"]\n",
    );
    app.commit("one");
    app.run("plan").exits(2).says("web: 1 to create  after shop, db");
    app.run("plan -o markdown").exits(2).says("(after `shop`, `db`)");
    let plan = app.run("plan -o json").exits(2).json();
    let web = plan["apps"].as_array().unwrap().iter().find(|app| app["name"] == "web").unwrap();
    assert_eq!(web["depends_on"], serde_json::json!(["shop", "db"]));
}

on_every_cluster! {
    /// "applied" is said of what was written.
    fn nothing_is_applied_where_all_is_in_sync(cluster) {
        let app = Scratch::new(cluster, "truth");
        app.config_map("a/a.yaml", "a", "1").config_map("b/b.yaml", "b", "1");
        let one = app.commit("one");
        app.run("sync").exits(0).says("a: 1 step\n");
        assert!(app.said(&one, "sync").last().unwrap().starts_with("success: 2 apps applied in "));
        app.config_map("a/a.yaml", "a", "2");
        let two = app.commit("two");
        app.run("sync").exits(0);
        assert!(app.said(&two, "sync").last().unwrap().starts_with("success: 1 of 2 apps applied in "));
        app.write("a/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {v: '2'} # the same\n");
        let three = app.commit("three");
        app.run("sync").exits(0);
        let said = app.said(&three, "sync");
        assert!(said.iter().all(|said| !said.contains("applied")), "{said:?}");
    }
}

#[test]
fn policies_are_the_owners_and_not_an_apps() {
    let app = Scratch::alone("policies");
    app.config_map("a/a.yaml", "a", "1");
    config(&app, "[policy]\npaths = [\"rules\"]\n");
    app.commit("no directory");
    let ended =
        app.run("check").exits(1).says("the policy directory `rules` cannot be used").says("`paths` of `[policy]`");
    assert!(!ended.err.contains("app's path"), "{}", ended.err);
    let policy = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: p}\nspec:\n  matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}\n  validations: [{expression: 'true'}]\n";
    app.write("rules/one.yaml", policy).write("rules/two.yaml", &format!("# again\n{policy}")).commit("twice");
    let ended = app.run("check").exits(1);
    let ended =
        ended.says("rules/two.yaml:2: ").says("twice in the policy directory `rules`: also at rules/one.yaml:1");
    assert!(!ended.err.contains("app"), "{}", ended.err);
}

/// `--path` says where the apps are; everything else is the file's, and what judges apps is none.
#[test]
fn a_flag_does_not_switch_policies_off() {
    let app = Scratch::alone("below");
    let policy = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: p}\nspec:\n  matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}\n  validations: [{expression: \"object.data.v != 'bad'\", message: bad is not allowed}]\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: p}\nspec: {policyName: p, validationActions: [Deny]}\n";
    app.write("rules/p.yaml", policy).config_map("apps/web/web.yaml", "web", "bad");
    config(&app, "[policy]\npaths = [\"rules\"]\n");
    app.commit("bad");
    for command in ["check", "plan --embedded", "sync --embedded"] {
        for more in ["", " --repo . --path apps", " --repo . --path apps/"] {
            let ended = app.run(&format!("{command}{more}")).exits(4).says("bad is not allowed");
            assert!(!format!("{}{}", ended.out, ended.err).contains("rules:"), "{}", ended.out);
        }
    }
    let names = |line: &str| -> Vec<String> {
        let apps = app.run(line).json()["apps"].as_array().cloned().unwrap_or_default();
        apps.iter().filter_map(|app| Some(app["name"].as_str()?.to_owned())).collect()
    };
    assert_eq!(
        (names("check -o json"), names("check --repo . --path apps -o json")),
        (vec!["apps-web".into()], vec!["web".into()])
    );
    config(
        &app,
        "[policy]\npaths = [\"rules\"]\n[[app]]\npath = \"apps/web\"\nname = \"shop\"\n[[app]]\npath = \"rules\"\n",
    );
    app.commit("listed");
    assert_eq!(names("check -o json"), ["rules", "shop"], "it says so");
    app.run("check --repo . --path apps")
        .exits(4)
        .says("web: 1 object")
        .says("--path apps: the 2 apps that driftless.toml lists are passed over");
    app.run("check --repo . --path ../apps").exits(1).says("--path");
}

/// A pull request's own configuration does not count for its plan, and is not passed over either.
#[test]
fn a_pull_requests_configuration_is_looked_at() {
    let app = Scratch::alone("settings");
    app.config_map("web/web.yaml", "web", "1");
    config(&app, "[defaults]\nnamespace = \"default\"\nrequire_plan = true\n");
    app.commit("base");
    app.git("checkout -q -b feature");
    config(&app, "[defaults]\nnamespace = \"default\"\ntimeoutt = \"5m\"\n");
    app.commit("a slip");
    let plan = "plan --embedded --repo . --base main --revision feature --branch main";
    app.run(plan).exits(1).says("driftless.toml:9: unknown key `timeoutt`");
    config(&app, "[defaults]\nnamespace = \"kube-system\"\n");
    app.commit("moves, unguarded");
    app.run(plan)
        .exits(0)
        .says("what driftless.toml moves is not planned here: web: namespace default → kube-system")
        .says("it switches `require_plan` off for web");

    // One that is at fault on the base as well, and one that is gone.
    config(&app, "[defaults]\nnamespace = \"default\"\ntimeoutt = \"5m\"\n");
    app.commit("the same slip");
    app.remove("driftless.toml").commit("none");
    app.run("sync --embedded --repo . --branch feature").exits(1).says("driftless.toml is gone from the branch since");
    app.run("sync --embedded --repo . --branch feature --path web").exits(0);
}

/// A directory that is not there is told where it is named, and what the name is below.
#[test]
fn a_path_that_is_not_there_is_told_at_its_line() {
    let app = Scratch::alone("missing");
    app.config_map("apps/shop/x.yaml", "x", "1");
    let file =
        |path: &str, more: &str| format!("[[repository]]\nname = \"main\"\nurl = \".\"\n{path}[[app]]\n{more}\n");
    let below = "(an app's `path` and `glob` are below the repository's `path`, \"apps\")";
    for (path, more, place, words) in [
        ("", "path = \"apps/nsx\"", 5, "the directory \"apps/nsx\" is not in the repository\n"),
        ("path = \"apps\"\n", "name = \"x\"\npath = \"nsx\"", 7, "the directory \"apps/nsx\" is not in the repository"),
        ("path = \"apps\"\n", "path = \"apps/shop\"", 6, "write `path = \"shop\"`"),
        ("path = \"apps\"\n", "glob = \"x*\"", 6, "the glob \"apps/x*\" matches no directory of the repository"),
    ] {
        app.write("driftless.toml", &file(path, more)).commit("one");
        let ended = app.run("check").exits(1).says(&format!("driftless.toml:{place}: ")).says(words);
        assert_eq!(ended.err.contains(below), !path.is_empty(), "{}", ended.err);
    }
}

/// Commands are about commits: what is edited and not committed is counted, for people, and where it is checked out.
#[test]
fn what_is_not_committed_is_counted() {
    let app = Scratch::alone("edited");
    app.config_map("a/a.yaml", "a", "1").config_map("a/b.yaml", "b", "1").write(".gitignore", "*.tmp\n");
    let one = app.commit("one");
    let commands = ["check", "render", "plan --embedded"];
    let said = |line: &str| app.run(line).err.contains("not committed");
    assert!(!commands.into_iter().any(said), "nothing is changed");
    app.write("x.tmp", "").config_map("a/b.yaml", "b", "2");
    let about = format!("not committed: this is about {} (the last commit)\n", &one[..7]);
    app.run("check").exits(0).says(&format!("note: 1 file is changed and {about}"));
    app.config_map("c/new.yaml", "c", "1").config_map("c/newer.yaml", "d", "1").remove("a/a.yaml");
    for line in commands {
        app.run(line).says(&format!("note: 4 files are changed and {about}"));
    }
    for line in ["check -o json", "plan --embedded -o json", "plan --embedded -o markdown", "render -o json"] {
        assert!(!said(line), "{line}");
    }
    app.git("branch other");
    assert!(said("check --repo . --branch main") && !said("check --repo . --branch other"));
    assert!(!said("check --revision HEAD"));
    app.git("clone -q --bare . ../bare.git");
    assert!(!said("check --repo ../bare.git"));
}

/// A key that no report could use keeps the daemon from starting, and is named as what it is.
#[test]
fn a_github_apps_key_is_looked_at_when_the_daemon_starts() {
    let app = Scratch::alone("github-app");
    app.config_map("a/a.yaml", "a", "1");
    let key = app.path().join("../key.pem").display().to_string();
    let report = |id: &str| {
        format!(
            "[[repository]]\nname = \"main\"\nurl = \"https://github.com/acme/shop\"\n[[cluster]]\nname = \"c\"\nembedded = true\n[[report]]\nkind = \"github\"\napp = {{ id = \"{id}\", private_key_file = \"{key}\" }}\n"
        )
    };
    app.write("driftless.toml", &report("")).commit("no id");
    app.run("run --listen 127.0.0.1:0").exits(1).says("driftless.toml:9: `id` of `app` is empty");
    app.write("driftless.toml", &report("12")).commit("an id");
    app.run("run --listen 127.0.0.1:0").exits(1).says("the private key is missing").says("key.pem cannot be read");
    for (content, words) in [
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nY2FuYXJ5\n-----END ENCRYPTED PRIVATE KEY-----\n", "is encrypted"),
        ("-----BEGIN PUBLIC KEY-----\nY2FuYXJ5\n-----END PUBLIC KEY-----\n", "is a public key"),
        ("Y2FuYXJ5", "is no private key in PEM"),
    ] {
        std::fs::write(&key, content).unwrap();
        let ended = app.run("run --listen 127.0.0.1:0").exits(1).says(words).says("key.pem");
        assert!(!ended.err.contains("Y2FuYXJ5"), "{}", ended.err);
    }
}

/// A host that shows statuses and takes none.
fn read_only_host() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let heard = heard.clone();
            std::thread::spawn(move || answer(&stream, &heard));
        }
    });
    (address, asked)
}

fn answer(stream: &TcpStream, heard: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let writes = head.starts_with("POST");
        heard.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
        let (code, body) = if writes {
            ("403 Forbidden", r#"{"message":"token does not have at least one of required scope(s)"}"#)
        } else {
            ("200 OK", "[]")
        };
        let reply = format!(
            "HTTP/1.1 {code}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if (&mut &*stream).write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// A token that may read and not write looks good until something is written: then it is said, by the daemon and by a
/// sync, and stops neither.
#[test]
fn a_token_that_may_not_write_is_told_with_the_first_status() {
    let app = Scratch::alone("read-only");
    let (address, asked) = read_only_host();
    let token = app.path().join("../token").display().to_string();
    std::fs::write(&token, "canary-token").unwrap();
    app.config_map("a/a.yaml", "a", "1");
    config(
        &app,
        &format!(
            "[[report]]\nkind = \"gitea\"\nurl = \"{address}/api/v1/repos/acme/shop\"\ntoken_file = \"{token}\"\n"
        ),
    );
    app.commit("one");
    let ended = app.run("sync").exits(0);
    let ended = ended.says("the token may not write statuses of this repository").says("required scope");
    assert!(!ended.err.contains("canary") && !ended.out.contains("canary"), "{}", ended.err);
    assert!(!asked.lock().unwrap().is_empty());

    asked.lock().unwrap().clear();
    let child = app.start("run --listen 127.0.0.1:0");
    eventually("a status", || asked.lock().unwrap().iter().any(|line| line.starts_with("POST")).then_some(()));
    let stopped = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let ended =
        Scratch::ended(child).says("the token may not write statuses").says("statuses wait until somebody mends this");
    assert_eq!(ended.err.matches("statuses wait until somebody mends this").count(), 1, "told once: {}", ended.err);
    assert!(!ended.err.contains("canary"), "{}", ended.err);
}
