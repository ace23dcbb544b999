//! What is said of a panic: where it was, and never what of.
//!
//! A panic's message may quote what was being handled (`byte index 1 is not a char boundary; it is inside \'é\' of …`), which
//! may be a Secret. Only a text that stands in the source is shown. Whoever waits for a
//! task that panicked must not tell what it ended with either: see [`crate::object::Problem::lost`].

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::PanicHookInfo;

/// What stands for a message that was put together while running.
const WITHHELD: &str = "its message is withheld, since it may quote what was handled";

/// Tells panics in our own words from here on.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        // Standard error may be closed: a panic in here would end the process.
        let mut out = std::io::stderr().lock();
        let _ = writeln!(out, "{}", told(info));
        // Names and places of functions, if RUST_BACKTRACE asks for them: no values.
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            let _ = writeln!(out, "{trace}");
        }
    }));
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    // `panic!("text")` has the literal itself; anything formatted is a `String`.
    let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or(WITHHELD);
    format!(
        "driftless has a bug, and thread {thread} panicked at {place}: {message}; please report it, with the version ({})",
        env!("CARGO_PKG_VERSION")
    )
}
