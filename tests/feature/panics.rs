//! What was being handled when something panicked is told by nobody: not by the panic, nor by who waited for it.

use driftless::cli::panics;
use driftless::object::Problem;
use driftless::workspace::off_thread;
use std::process::Command;

/// Stands for a Secret's value.
const CANARY: &str = "canary-é-of-a-secret";

/// The variable that makes a test of this file play the program.
const CHILD: &str = "DRIFTLESS_TEST_PANICS";

/// Three panics while a Secret is handled: of a worker that is waited for, of a task, of a thread.
fn child() {
    panics::install();
    driftless::cli::logging::init(2, true);
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let told: Problem = runtime
        .block_on(off_thread(|| -> Result<(), Problem> {
            let secret = std::hint::black_box(CANARY.to_owned());
            // The standard library's message quotes the text.
            let (_, _) = secret.split_at(8);
            Ok(())
        }))
        .unwrap_err();
    tracing::error!(problem = %told, hint = told.hint, "a worker is gone");
    println!("{}", serde_json::to_string(&told).unwrap());
    let task = runtime.spawn(async {
        let parsed: Result<u8, String> = std::hint::black_box(Err(CANARY.to_owned()));
        parsed.unwrap()
    });
    assert!(runtime.block_on(task).is_err());
    assert!(std::thread::Builder::new().name("sender".into()).spawn(|| panic!("{CANARY}")).unwrap().join().is_err());
    assert!(std::thread::spawn(|| panic!("a text of the source")).join().is_err());
}

#[test]
fn a_panic_tells_where_and_not_what_of() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "feature::panics::a_panic_tells_where_and_not_what_of", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "1")
        .env_remove("DRIFTLESS_LOG")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("driftless has a bug").count(), 4, "{said}");
    assert!(said.contains("tests/feature/panics.rs:") && said.contains("thread sender panicked"), "{said}");
    assert_eq!(said.matches("its message is withheld").count(), 3, "{said}");
    assert!(said.contains(": a text of the source;"), "what stands in the source is shown: {said}");
    assert_eq!(said.matches("a worker ended unexpectedly").count(), 2, "in the log and in the problem: {said}");
    assert!(!said.contains("canary"), "{said}");
}
