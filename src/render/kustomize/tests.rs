//! Against a real kubectl or kustomize, where there is one: the plain build, with files and lines.

use crate::object::Manifest as _;
use crate::render::kustomize::Tools;
use crate::render::rendered::{AppSource, RenderError, Rendered, render};
use crate::source::tree::SourceTree;

/// `None` where there is no tool to try.
async fn build(files: &[(&str, &str)]) -> Option<Result<Rendered, RenderError>> {
    let tools = Tools::find(std::env::var_os("PATH").as_deref());
    let found = !format!("{tools:?}").contains("kustomizer: None");
    let tree = SourceTree::from_files(files.iter().copied()).unwrap();
    let app = AppSource { name: "web".into(), path: "over".into(), namespace: "shop".into(), ..AppSource::default() };
    if found { Some(render(&tree, &app, &tools, None).await) } else { None }
}

const CM: &str = "# first\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  \
    name: ab\n  annotations: {x: y}\n";

#[tokio::test]
async fn objects_have_their_files_and_lines() {
    let files = [
        ("over/kustomization.yaml", "resources: [../base, app.yaml]\nnamePrefix: p-\n"),
        ("over/app.yaml", "apiVersion: driftless.dev/v1alpha1\nkind: App\nmetadata: {name: x}\nspec: {image: x}\n"),
        ("base/kustomization.yaml", "resources:\n- cm.yaml\nconfigMapGenerator:\n- name: gen\n  literals: [a=b]\n"),
        ("base/cm.yaml", CM),
    ];
    let Some(rendered) = build(&files).await else { return };
    let rendered = rendered.unwrap();
    let found: Vec<_> = rendered
        .objects
        .iter()
        .map(|o| (o.object_ref().to_string(), o.source.file.as_str(), o.source.line))
        .filter(|(name, ..)| name.starts_with("ConfigMap"))
        .collect();
    assert_eq!(found[0], ("ConfigMap p-a".to_owned(), "base/cm.yaml", 2));
    assert_eq!(found[1], ("ConfigMap p-ab".to_owned(), "base/cm.yaml", 6));
    assert!(found[2].0.starts_with("ConfigMap p-gen-"));
    assert_eq!((found[2].1, found[2].2), ("base/kustomization.yaml", 4));
    // Nothing of the tracing is left.
    assert_eq!(
        rendered.objects[0].object,
        serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p-a"}})
    );
    assert_eq!(rendered.objects[1].at("/metadata/annotations"), Some(&serde_json::json!({"x": "y"})));
    // The shorthand is expanded after the build.
    let app = rendered.objects.iter().find(|o| o.gvk().kind == "Deployment").unwrap();
    assert_eq!((app.name(), app.source.file.as_str()), ("p-x", "over/app.yaml"));
}

#[tokio::test]
async fn errors_name_the_kustomization() {
    let files =
        [("over/kustomization.yaml", "resources: [a.yaml]\npatches: [{path: nope.yaml}]\n"), ("over/a.yaml", CM)];
    let Some(rendered) = build(&files).await else { return };
    let error = rendered.unwrap_err();
    assert_eq!(error.problems[0].file.as_deref(), Some("over/kustomization.yaml"));
    assert_eq!(error.problems[0].reason, "KustomizeFailed");
    assert!(!error.to_string().contains("driftless-render"), "{error}");
    let files =
        [("over/kustomization.yaml", "resources: [a.yaml]\n"), ("over/a.yaml", "apiVersion: v1\nkind: ConfigMap\n")];
    let Some(rendered) = build(&files).await else { return };
    assert!(rendered.is_err());
}

#[tokio::test]
async fn links_are_followed_inside_the_repository() {
    let files = [("base/kustomization.yaml", "resources: [cm.yaml]\n"), ("base/cm.yaml", CM)];
    let mut tree = SourceTree::from_files(files).unwrap();
    let entry = |target: &str| crate::source::tree::Entry::Symlink(target.to_owned());
    tree.entries.insert("over/base".into(), entry("../base"));
    let kustomization = crate::source::tree::Entry::File(b"resources: [base]\n".as_slice().into());
    tree.entries.insert("over/kustomization.yaml".into(), kustomization);
    let tools = Tools::find(std::env::var_os("PATH").as_deref());
    let app = AppSource { name: "web".into(), path: "over".into(), ..AppSource::default() };
    match render(&tree, &app, &tools, None).await {
        Ok(rendered) => assert_eq!(rendered.objects.len(), 2),
        Err(error) => assert!(error.to_string().contains("on the PATH"), "{error}"),
    }
}
