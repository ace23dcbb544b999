//! `check` finds, without a cluster, what a server with strict field validation refuses.

use super::scratch::Scratch;

const CRD: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foos.x.example.org}
spec:
  group: x.example.org
  scope: Namespaced
  names: {plural: foos, singular: foo, kind: Foo, listKind: FooList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
";

#[test]
fn unknown_fields_wrong_types_and_keys_that_are_there_twice() {
    let app = Scratch::alone("checked");
    for (more, place, words, hint) in [
        (
            ", imagePulPolicy: Always",
            9,
            "containers[0].imagePulPolicy: unknown field",
            "did you mean `imagePullPolicy`?",
        ),
        (", nonsense: 1", 9, "containers[0].nonsense: unknown field", "by the fields of Kubernetes 1.36"),
        (
            ", env: [{name: A, value: one}, {name: A, value: two}]",
            9,
            "env[1]: element 0 has the key name=\"A\" already",
            "keep one",
        ),
        (
            ", securityContext: {runAsUser: \"0\"}",
            9,
            "containers[0].securityContext.runAsUser: must be a whole number, not a text",
            "remove the quotes",
        ),
        (
            ", resources: {limits: {memory: 1 Gi}}",
            9,
            "containers[name=\"main\"].resources.limits.memory: \"1 Gi\" is no quantity",
            "a suffix",
        ),
        (", stdin: \"no\"", 9, "containers[0].stdin: must be true or false, not a text", "remove the quotes"),
    ] {
        app.deployment("a/web.yaml", "web", "web:1", 1, more).commit("wrong");
        let ended =
            app.run("check").exits(1).says(&format!("a/web.yaml:{place}: Deployment web: ")).says(words).says(hint);
        assert_eq!(ended.err.matches("a/web.yaml").count(), 1, "told once: {}", ended.err);
        // The server says no to the same.
        app.run("plan --embedded").exits(1);
    }
    app.deployment("a/web.yaml", "web", "web:1", 1, ", imagePullPolicy: Always, env: [{name: A, value: x}]")
        .commit("right");
    app.run("check").exits(0).says("a: 1 object, ok");
    app.run("plan --embedded").exits(2);

    // What the checks by kind have found is said once, however they write the path.
    app.write("b/b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {a.b: 1}\n").commit("a number");
    let ended = app.run("check b").exits(1).says(".data[\"a.b\"]: must be a text, not a number");
    assert_eq!(ended.err.matches("must be a text").count(), 1, "{}", ended.err);
    app.remove("b").replace("a/web.yaml", "image: \"web:1\"", "image: 1").commit("a number");
    let ended = app.run("check").exits(1).says("image: must be a text, not a number");
    assert_eq!(ended.err.matches("must be a text").count(), 1, "{}", ended.err);
    app.replace("a/web.yaml", "image: 1", "image: \"web:1\"");

    // What is known by name already is said once.
    app.replace("a/web.yaml", "[{name: main,", "[{name: main, image: \"web:1\"}, {name: main,").commit("two of a name");
    let ended = app.run("check").exits(1).says("is used twice");
    assert!(!ended.err.contains("already"), "{}", ended.err);
}

#[test]
fn custom_kinds_by_the_definitions_of_the_repository() {
    let app = Scratch::alone("custom");
    let foo = "# a comment\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: x.example.org/v1\n  kind: Foo\n  metadata: {name: a}\n  spec:\n    sise: 1\n";
    app.write("b/foo.yaml", foo).commit("no definition");
    let text = "fields not checked, since Kubernetes and this repository define no such kind: Foo (x.example.org/v1)";
    app.run("check").exits(0).says(text);
    let told = app.run("check -o json").exits(0).json();
    assert_eq!((&told["unchecked"][0], &told["kubernetes"]), (&"Foo (x.example.org/v1)".into(), &"1.36".into()));
    app.write("a/crd.yaml", CRD).commit("a definition, in another app");
    let ended =
        app.run("check").exits(1).says("b/foo.yaml:10: Foo a: .spec.sise: unknown field").says("did you mean `size`?");
    assert!(!ended.out.contains("not checked"), "{}", ended.out);
}

#[test]
fn what_the_definition_of_a_custom_kind_asks_for() {
    let app = Scratch::alone("asked");
    let crd = CRD.replace(
        "{spec: {type: object, properties: {",
        "{spec: {type: object, required: [mode], properties: {mode: {type: string, enum: [fast, slow]}, ",
    );
    let foo = "apiVersion: x.example.org/v1\nkind: Foo\nmetadata: {name: a}\nspec:\n  size: 1\n";
    app.write("a/crd.yaml", &crd).write("b/foo.yaml", foo).commit("no mode");
    let by = "by the CustomResourceDefinition in this repository";
    app.run("check").exits(1).says("b/foo.yaml:4: Foo a: .spec.mode: is required").says(by);
    app.write("b/foo.yaml", &format!("{foo}  mode: fats\n")).commit("another mode");
    app.run("check").exits(1).says("b/foo.yaml:6: Foo a: .spec.mode: must be one of \"fast\", \"slow\"");
    app.write("b/foo.yaml", &format!("{foo}  mode: fast\n")).commit("a mode");
    app.run("check").exits(0);
}

/// `check` and a plan say the same of a version that nothing serves, and of a namespace where there is none.
#[test]
fn versions_and_namespaces_as_a_plan_takes_them() {
    let app = Scratch::alone("agreed");
    app.write("a/crd.yaml", CRD);
    app.write("a/foo.yaml", "# a comment\napiVersion: x.example.org/v2\nkind: Foo\nmetadata: {name: a}\n").commit("v2");
    let words = "a/foo.yaml:2: Foo a: .apiVersion: the CustomResourceDefinition in this repository does not serve it; it serves x.example.org/v1";
    let ended = app.run("check").exits(1).says(words).says("write apiVersion: x.example.org/v1");
    assert!(!ended.out.contains("no such kind"), "{}", ended.out);
    app.run("plan --embedded").exits(1).says("does not serve version v2");

    app.remove("a/foo.yaml");
    let role =
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r, namespace: x}\nrules: []\n";
    let space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: space, namespace: space}\n";
    app.write("a/role.yaml", role).write("a/space.yaml", space).commit("namespaces");
    app.run("check").exits(0).says("warning: a/role.yaml:1: ClusterRole r").says("has no namespace: \"x\" is ignored");
    app.run("plan --embedded").exits(2).says("is ignored");
}

/// One object that cannot be read hides nothing that is wrong with the others.
#[test]
fn an_unreadable_object_hides_no_other() {
    let app = Scratch::alone("hidden");
    app.write("a/broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n");
    app.write("a/field.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: f}\nfield: 1\n");
    app.deployment("a/web.yaml", "web", "web:latest", 1, "").commit("three");
    let ended = app.run("check").exits(1).says("a: 2 objects, not ok").says("`metadata.name` is missing");
    ended.says("a/field.yaml:4: ConfigMap f: .field: unknown field").says("deny a/web.yaml:1: ");
    // Nor is anything of it applied.
    app.run("sync --embedded").exits(1).says("`metadata.name` is missing");
}

#[test]
fn only_the_apps_that_are_named() {
    let app = Scratch::alone("named");
    app.config_map("good/x.yaml", "good", "1").config_map("also/x.yaml", "also", "1");
    app.write("bad/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\nfield: 1\n").commit("one");
    app.run("check").exits(1);
    let ended = app.run("check good also").exits(0).says("good: 1 object, ok").says("also: 1 object, ok");
    assert!(!ended.out.contains("bad"), "{}", ended.out);
    app.run("check good bad").exits(1).says(".field: unknown field");
    app.run("check goood").exits(1).says("there is no app \"goood\"").says("its apps are: also, bad, good");
    let told = app.run("check goood -o json").exits(1).json();
    assert_eq!((&told["error"]["reason"], &told["ok"]), (&"NoSuchApp".into(), &false.into()));
    // An object of an app that is not named is an object all the same.
    app.config_map("bad/x.yaml", "good", "1").commit("whose");
    app.run("check good").exits(4).says("is in app `bad` too");
    app.run("check bad").exits(4).says("is in app `good` too");
}

#[test]
fn a_secrets_unknown_field_is_named_and_its_value_is_not() {
    let app = Scratch::alone("secret");
    app.write("a/s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringdata: {p: canary-value}\n")
        .commit("a slip");
    for (command, words) in [
        ("check", "a/s.yaml:4: Secret s: .stringdata: unknown field"),
        ("plan --embedded", "the API server rejected it: unknown field .stringdata"),
        ("plan --embedded -o json", "the API server rejected it: unknown field .stringdata"),
        ("plan --embedded -o markdown", "unknown field .stringdata"),
        ("sync --embedded", "unknown field .stringdata"),
    ] {
        let ended = app.run(command).exits(1).says(words);
        assert!(!format!("{}{}", ended.out, ended.err).contains("canary-value"), "{command}");
    }
}

/// What cannot be read, or is passed over by its name, is told: an app must not be missing without a word.
#[test]
fn files_in_another_encoding_names_in_capitals_and_links_are_told() {
    let app = Scratch::alone("encoding");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    app.config_map("apps/good/x.yaml", "good", "1").config_map("shared/x.yaml", "shared", "1");
    app.write("apps/power/x.yaml", "");
    std::fs::write(app.path().join("apps/power/x.yaml"), utf16).unwrap();
    app.write("apps/capitals/X.YAML", text);
    std::fs::create_dir(app.path().join("apps/links")).unwrap();
    std::os::unix::fs::symlink("../../shared", app.path().join("apps/links/shared")).unwrap();
    app.commit("one");
    let words = "apps/power/x.yaml:1: the file is not UTF-8 text; it looks like UTF-16, as PowerShell's `>` writes it";
    let capitals = "warning: apps/capitals/X.YAML:1: this file is not read";
    let link = "warning: apps/links/shared:1: what a link to a directory leads to is not read";
    app.run("check --repo . --path apps").exits(1).says(words).says("save it as UTF-8").says(capitals).says(link);
    for command in ["plan --embedded", "sync --embedded"] {
        app.run(&format!("{command} --repo . --path apps")).exits(1).says(words).says("X.YAML:1").says(link);
    }
    app.run("render --repo . --path apps").exits(1).says(words).says(link);
}
