//! Whole apps: which files are read, every problem at once, digests.

use super::*;
use crate::object::Manifest;
use crate::render::process::Limits;
use crate::source::tree::Revision;
use proptest::prelude::*;

fn no_tools() -> Tools {
    Tools::new(None, None, Limits::default())
}

fn app(path: &str) -> AppSource {
    AppSource { name: "web".into(), path: path.into(), namespace: "shop".into(), ..AppSource::default() }
}

fn now<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn run(files: &[(&str, &str)], app: &AppSource) -> Result<Rendered, RenderError> {
    let tree = SourceTree::from_files(files.iter().copied()).unwrap();
    now(render(&tree, app, &no_tools(), None))
}

fn cm(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: \"{name}\"}}\n")
}

#[test]
fn which_files_are_read() {
    let (a, b, c, d) = (cm("a"), cm("b"), cm("c"), cm("d"));
    let files = [
        ("web/a.yaml", a.as_str()),
        ("web/sub/b.yml", b.as_str()),
        ("web/c.json", "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"c\"}}"),
        ("web/package.json", "{\"name\": \"x\"}"),
        ("web/values.yaml", "a: 1"),
        ("web/README.md", "a: 1"),
        ("web/.hidden.yaml", c.as_str()),
        ("web/.github/x.yaml", "a: ["),
        ("web/chart/Chart.yaml", "a: 1"),
        ("web/chart/templates/x.yaml", "{{ a }}"),
        ("webby/d.yaml", d.as_str()),
    ];
    let mut source = app("web");
    source.ignore = vec!["values.yaml".into(), "chart/".into()];
    let rendered = run(&files, &source).unwrap();
    let names: Vec<_> = rendered.objects.iter().map(Manifest::name).collect();
    assert_eq!(names, ["a", "c", "b"]);
    assert_eq!(rendered.warnings.len(), 1, "{:?}", rendered.warnings);
    source.ignore.clear();
    let error = run(&files, &source).unwrap_err();
    let places: Vec<_> = error.problems.iter().map(|p| (p.file.as_deref().unwrap(), p.reason.as_str())).collect();
    assert_eq!(places, [("web/chart/Chart.yaml", "NestedChart"), ("web/values.yaml", "NotAnObject")]);
}

#[test]
fn every_problem_is_told() {
    let good = cm("good");
    let files = [
        (
            "a.yaml",
            "apiVersion: v1\nkind: ConfigMap\n---\na: [\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: S}\n",
        ),
        ("b.yaml", good.as_str()),
        ("c.yaml", good.as_str()),
        ("k/kustomization.yaml", "resources: []"),
    ];
    let error = run(&files, &app("")).unwrap_err();
    let places: Vec<_> = error.problems.iter().map(|p| (p.file.as_deref().unwrap(), p.line.unwrap())).collect();
    assert_eq!(places, [("a.yaml", 1), ("a.yaml", 4), ("a.yaml", 8), ("c.yaml", 1), ("k/kustomization.yaml", 1)]);
    assert!(Problem::from(error).message.contains("4 more problems"));
}

#[test]
fn apps_that_cannot_be() {
    for (files, path, reason) in [
        (vec![("x", "")], "nope", "BadPath"),
        (vec![("x", "")], "x", "BadPath"),
        (vec![("x", "")], "../y", "BadPath"),
        (vec![("web/Chart.yaml", "")], "web", "HelmFailed"),
        (vec![("web/kustomization.yaml", "resources: [https://x/y]")], "web", "KustomizeReference"),
        (vec![("web/kustomization.yaml", "namePrefix: x-")], "web", "KustomizeFailed"),
    ] {
        let error = run(&files, &app(path)).unwrap_err();
        assert_eq!(error.problems[0].reason, reason, "{error}");
    }
    let mut bad = app("");
    bad.ignore = vec![String::new()];
    assert_eq!(run(&[("x", "")], &bad).unwrap_err().problems[0].reason, "BadIgnore");
    let empty = run(&[("web/README.md", "")], &app("web")).unwrap();
    assert_eq!(empty.warnings[0].reason, "EmptyApp");
}

#[test]
fn links_never_leave_the_tree() {
    let link = |target: &str| Entry::Symlink(target.into());
    let entries = [
        ("web/in.yaml", link("../base/a.txt")),
        ("web/dir", link("../base")),
        ("base/a.txt", Entry::File(cm("a").into_bytes().into())),
        ("bad/out.yaml", link("../../etc/passwd")),
        ("bad/big.yaml", Entry::Oversized(1 << 40)),
        ("bad/x.png", Entry::Oversized(1 << 40)),
        ("bad/sub", Entry::Submodule),
    ];
    let entries = entries.map(|(path, entry)| (path.to_owned(), entry));
    let tree = SourceTree::new(Revision::parse(&"0".repeat(40)).unwrap(), entries).unwrap();
    let good = now(render(&tree, &app("web"), &no_tools(), None)).unwrap();
    assert_eq!((good.objects.len(), good.warnings.len()), (1, 1));
    assert_eq!(good.objects[0].source.file, "web/in.yaml");
    let bad = now(render(&tree, &app("bad"), &no_tools(), None)).unwrap_err();
    assert_eq!(bad.problems.len(), 2, "{bad}");
    assert!(bad.problems[1].message.contains("leads out"));
}

#[test]
fn digests() {
    let digest = |files: &[(&str, &str)], source: &AppSource| run(files, source).unwrap().digest;
    let (a, b) = (cm("a"), cm("b"));
    let both = format!("# comment\n{b}---\n{a}");
    let one = digest(&[("x.yaml", &a), ("y.yaml", &b)], &app(""));
    assert_eq!(one, digest(&[("z.yaml", &both)], &app("")));
    assert_ne!(one, digest(&[("x.yaml", &a)], &app("")));
    let mut elsewhere = app("");
    elsewhere.namespace = "other".into();
    assert_ne!(one, digest(&[("x.yaml", &a), ("y.yaml", &b)], &elsewhere));
    let tree = SourceTree::from_files([("x.yaml", &a)]).unwrap();
    let keyed = |key: &[u8]| now(render(&tree, &app(""), &no_tools(), Some(key))).unwrap().digest;
    assert_ne!(keyed(b"k"), keyed(b"l"));
}

proptest! {
    #[test]
    fn the_digest_knows_no_order(names in prop::collection::btree_set("[a-z]{1,8}", 1..12), seed in any::<u64>()) {
        let names: Vec<String> = names.into_iter().collect();
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|i| (*i as u64 + 1).wrapping_mul(seed | 1));
        let files = |order: &[usize]| -> Vec<(String, String)> {
            order.iter().enumerate().map(|(at, i)| (format!("f{at:02}.yaml"), cm(&names[*i]))).collect()
        };
        let digest = |files: Vec<(String, String)>| {
            let tree = SourceTree::from_files(files).unwrap();
            now(render(&tree, &app(""), &no_tools(), None)).unwrap().digest
        };
        let straight: Vec<usize> = (0..names.len()).collect();
        prop_assert_eq!(digest(files(&straight)), digest(files(&order)));
    }

    #[test]
    fn never_panics(content in "(apiVersion: v1\n)?(kind: (List|App|X)\n)?(metadata: )?[-a-z:{}\\[\\]'\" \n]{0,80}") {
        let files = [("a.yaml", content.as_str()), ("k/kustomization.yaml", content.as_str())];
        let _ = run(&files, &app(""));
        let _ = run(&files, &app("k"));
    }
}
