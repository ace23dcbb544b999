//! The `driftless` binary: hands over to the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    driftless::cli::main()
}
