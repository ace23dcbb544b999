//! Writing results: JSON or text on standard output, problems on standard error. Colour only on a terminal.

use super::exit::Exit;
use crate::object::Problem;
use anstream::{eprintln, print, println};
use anstyle::{AnsiColor, Style};
use serde::Serialize;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// Prints a value as JSON.
pub fn print_json<T: Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("the result cannot be written as JSON: {error}"),
    }
}

/// Ends a command that was stopped as a whole: with `json`, the result is printed too, so that a script reads its `error`.
///
/// # Errors
/// The problems, for the caller to print, where no JSON is wanted.
pub fn stopped<T: Serialize>(problems: Vec<Problem>, json: bool, result: &T) -> Result<Exit, Vec<Problem>> {
    if !json {
        return Err(problems);
    }
    print_problems(&problems);
    print_json(result);
    Ok(Exit::Error)
}

/// Prints text that may hold colours.
pub fn print_text(text: &str) {
    print!("{text}");
}

/// Prints what an app's manifests make one want to know, and what stops nothing.
pub fn print_warnings(app: &str, warnings: &[Problem]) {
    for warning in warnings {
        let whose = if warning.file.is_some() { String::new() } else { format!("{app}: ") };
        eprintln!("{YELLOW}warning{YELLOW:#}: {whose}{warning}");
    }
}

/// Prints problems with their hints.
pub fn print_problems(problems: &[Problem]) {
    for problem in problems {
        eprintln!("{RED}error{RED:#}: {problem}");
        if let Some(hint) = &problem.hint {
            eprintln!("  {CYAN}hint{CYAN:#}: {hint}");
        }
    }
}
