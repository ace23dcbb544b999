use super::*;
use crate::render::process::Limits;
use crate::render::rendered::{Rendered, render};
use std::os::unix::fs::PermissionsExt as _;

/// A program that acts as `helm`: it runs in the copy, with Helm's arguments.
fn tools(dir: &Path, script: &str) -> Tools {
    let file = dir.join("helm");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    Tools::new(None, Some(file), Limits::default())
}

fn app(values: &[&str]) -> AppSource {
    let helm = HelmSource { release: None, values: values.iter().map(|&path| path.to_owned()).collect() };
    AppSource { name: "shop".into(), path: "apps/web".into(), namespace: "prod".into(), helm, ..AppSource::default() }
}

const FILES: [(&str, &str); 4] = [
    ("apps/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
    (
        "apps/web/templates/maps.yaml",
        "{{- $x := 1 }}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
    ),
    ("apps/web/values-prod.yaml", "a: 1\n"),
    ("values.yaml", "b: 1\n"),
];

async fn run(script: &str, values: &[&str]) -> Result<Rendered, Vec<crate::object::Problem>> {
    let dir = tempfile::tempdir().unwrap();
    let tree = SourceTree::from_files(FILES).unwrap();
    render(&tree, &app(values), &tools(dir.path(), script), None).await.map_err(|error| error.problems)
}

const OUTPUT: &str = "/bin/cat <<'X'\n---\n# Source: web/templates/maps.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n# Source: web/templates/maps.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\nX";

#[tokio::test]
async fn objects_know_their_templates() {
    let rendered = run(OUTPUT, &[]).await.unwrap();
    let sources: Vec<(&str, u32)> = rendered.objects.iter().map(|o| (o.source.file.as_str(), o.source.line)).collect();
    assert_eq!(sources, [("apps/web/templates/maps.yaml", 3), ("apps/web/templates/maps.yaml", 7)]);
}

#[tokio::test]
async fn values_files_are_named_and_copied() {
    let script = "printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: x}\\ndata: {args: \"%s\", all: \"%s\"}\\n' \"$*\" \"$(/bin/cat apps/web/values-prod.yaml values.yaml | /usr/bin/tr '\\n' ,)\"";
    let rendered = run(script, &["values-prod.yaml", "/values.yaml"]).await.unwrap();
    let data = &rendered.objects[0].object["data"];
    assert_eq!(
        data["args"],
        "template shop ./apps/web --include-crds --skip-tests --namespace prod --values ./apps/web/values-prod.yaml --values ./values.yaml"
    );
    assert_eq!(data["all"], "a: 1,b: 1,");
    for bad in ["nope.yaml", "../../../x.yaml", "templates"] {
        let problems = run(OUTPUT, &[bad]).await.unwrap_err();
        assert!(problems[0].message.contains(&format!("the values file {bad:?}")), "{problems:?}");
    }
}

#[tokio::test]
async fn a_chart_that_changes_is_refused_by_field_and_without_the_value() {
    let script =
        "echo 'apiVersion: v1'; echo 'kind: Secret'; echo 'metadata: {name: s}'; echo \"data: {password: s$$}\"";
    let problems = run(script, &[]).await.unwrap_err();
    assert_eq!(problems[0].reason, "HelmUnstable");
    assert_eq!(problems[0].message, "the chart renders differently each time: Secret s at `.data.password`");
}

#[tokio::test]
async fn errors_are_at_the_template_s_line() {
    let script = "echo 'Error: template: web/templates/maps.yaml:2:13: executing \"web/templates/maps.yaml\" at <.Values.x.y>: nil pointer evaluating interface {}.y' >&2; exit 1";
    let problem = run(script, &[]).await.unwrap_err().remove(0);
    assert_eq!((problem.file.as_deref(), problem.line), (Some("apps/web/templates/maps.yaml"), Some(2)));
    assert!(problem.message.contains("nil pointer evaluating"), "{}", problem.message);
    let script =
        "echo 'Error: execution error at (web/templates/maps.yaml:2:3): password hunter2 is too short' >&2; exit 1";
    let problem = run(script, &["values-prod.yaml"]).await.unwrap_err().remove(0);
    assert!(!problem.message.contains("hunter2"), "{}", problem.message);
    assert_eq!(problem.line, Some(2));
}

#[tokio::test]
async fn no_helm_is_said() {
    let tree = SourceTree::from_files(FILES).unwrap();
    let tools = Tools::new(None, None, Limits::default());
    let problem = render(&tree, &app(&[]), &tools, None).await.unwrap_err().problems.remove(0);
    assert!(problem.message.contains("`helm` is not on the PATH"), "{}", problem.message);
}
