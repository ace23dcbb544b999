//! Counts in sentences.

/// `1 app`, `2 apps`. The noun takes a plain `s`.
pub fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
