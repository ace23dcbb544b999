//! Where the log goes and how much of it: standard error, text on a terminal, JSON otherwise.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Sets the log up for this process. `DRIFTLESS_LOG` takes a filter such as `driftless=debug,warn`; else `verbose`
/// decides: 0 warnings (the daemon: what it does), 1 debug, 2 every request.
pub fn init(verbose: u8, daemon: bool) {
    let level = match (verbose, daemon) {
        // kube logs every failed connection as an error, also those that are tried again or given up on purpose.
        (0, false) => "warn,kube_client=off",
        (0, true) => "warn,driftless=info,kube_client=off",
        (1, _) => "warn,driftless=debug",
        _ => "info,driftless=trace",
    };
    let filter = EnvFilter::try_from_env("DRIFTLESS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_span_events(FmtSpan::NONE);
    // A second call (tests in one process) keeps the first subscriber.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_ansi(std::env::var_os("NO_COLOR").is_none()).try_init()
    } else if daemon {
        builder.json().try_init()
    } else {
        builder.with_ansi(false).without_time().try_init()
    };
}
