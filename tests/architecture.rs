//! Who may know whom. Pure modules hold no runtime, no clock, no file system and no client; the embedded cluster and
//! the engine never import each other; one module writes to a cluster; no source file is forgotten.

use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut todo: Vec<PathBuf> = vec![root.join(folder)];
    let mut out = Vec::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // Test modules stand at the foot of a file and may use what they like.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            out.push((path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), code));
        }
    }
    assert!(!out.is_empty(), "{folder} holds no source");
    out.sort();
    out
}

fn offenders(folders: &[&str], forbidden: &[&str], except: &[&str]) -> Vec<String> {
    folders
        .iter()
        .flat_map(|folder| sources(folder))
        .filter(|(path, _)| !except.contains(&path.as_str()))
        .flat_map(|(path, text)| {
            let code: Vec<String> =
                text.lines().filter(|l| !l.trim_start().starts_with("//")).map(str::to_owned).collect();
            let code = code.join("\n");
            forbidden
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| format!("{path} uses {word}"))
                .collect::<Vec<_>>()
        })
        .collect()
}

const PURE: [&str; 8] = [
    "src/object",
    "src/scheme",
    "src/policy",
    "src/scheduling",
    "src/plan",
    "src/inventory",
    "src/health",
    "src/config",
];

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    let forbidden =
        ["tokio::", "std::fs", "std::net", "SystemTime", "Instant::now", "Timestamp::now", "kube::", "reqwest", "git2"];
    let found = offenders(&PURE, &forbidden, &["src/health/wait.rs"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_engine_and_the_embedded_cluster_meet_over_http_only() {
    let engine = [
        "crate::plan",
        "crate::apply",
        "crate::live",
        "crate::health",
        "crate::inventory",
        "crate::render",
        "crate::source",
        "crate::report",
        "crate::daemon",
        "crate::reconcile",
    ];
    let found = offenders(&["src/cluster"], &engine, &[]);
    assert!(found.is_empty(), "{found:#?}");
    let folders = [
        "src/plan",
        "src/apply",
        "src/live",
        "src/health",
        "src/inventory",
        "src/render",
        "src/source",
        "src/report",
        "src/daemon",
        "src/object",
        "src/scheme",
        "src/policy",
        "src/scheduling",
    ];
    let found = offenders(&folders, &["crate::cluster"], &[]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn one_module_writes_to_a_cluster() {
    let writes = ["Method::PATCH", "Method::POST", "Method::PUT", "Method::DELETE"];
    let folders = ["src/live", "src/plan", "src/health", "src/daemon", "src/cli", "src/report", "src/reconcile.rs"];
    let folders: Vec<&str> =
        folders.into_iter().filter(|f| Path::new(env!("CARGO_MANIFEST_DIR")).join(f).exists()).collect();
    let found = offenders(&folders, &writes, &[]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_test_file_is_declared() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let declared = std::fs::read_to_string(root.join("main.rs")).unwrap();
    for (path, _) in sources("tests") {
        let name = Path::new(&path).file_stem().unwrap().to_string_lossy().into_owned();
        let parent = Path::new(&path).parent().unwrap();
        let by = if parent.ends_with("tests") {
            declared.clone()
        } else {
            // A runner of its own, or a module of the one runner.
            let read = |file: &str| std::fs::read_to_string(root.parent().unwrap().join(parent).join(file));
            read("mod.rs").or_else(|_| read("main.rs")).unwrap_or_default()
        };
        let known = name == "main" || name == "mod" || by.contains(&format!("mod {name};"));
        assert!(known, "{path} is declared nowhere: its tests never run");
    }
}
