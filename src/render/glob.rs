//! Ignore patterns of an app: `values.yaml`, `docs/`, `**/*.tpl.yaml`.
//!
//! A pattern without `/` matches a name at any depth, any other one a path from the app's directory; a pattern that
//! matches a directory covers all below it. `*` and `?` do not match `/`; `**` does. No other character is special, and
//! matching takes linear time (the `regex` crate), so that a hostile pattern costs nothing.

use regex::RegexSet;

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ignore pattern: it must not be empty or longer than {MAX_PATTERN_BYTES} bytes")]
pub struct BadPattern(String);

/// An app's ignore patterns.
#[derive(Debug, Clone)]
pub struct Globs(RegexSet);

impl Globs {
    /// Compiles patterns.
    ///
    /// # Errors
    /// The first one that is empty or too long.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, BadPattern> {
        let mut sources = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let text = pattern.as_ref();
            let bad = || BadPattern(text.chars().take(80).collect());
            if text.trim_matches('/').is_empty() || text.len() > MAX_PATTERN_BYTES {
                return Err(bad());
            }
            sources.push(to_regex(text));
        }
        let set = RegexSet::new(&sources).map_err(|error| BadPattern(error.to_string().chars().take(80).collect()))?;
        Ok(Self(set))
    }

    /// True if the path, relative to the app's directory, is ignored.
    pub fn is_match(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

fn to_regex(pattern: &str) -> String {
    let trimmed = pattern.trim_end_matches('/').trim_start_matches("./");
    let anchored = trimmed.contains('/');
    let trimmed = trimmed.trim_start_matches('/');
    let mut out = String::from(if anchored { "^" } else { "^(?:.*/)?" });
    let mut rest = trimmed;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            out.push_str("(?:.*/)?");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**") {
            out.push_str(".*");
            rest = after;
        } else {
            match c {
                '*' => out.push_str("[^/]*"),
                '?' => out.push_str("[^/]"),
                c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    out.push_str("(?:/.*)?$");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("values.yaml", "values.yaml", true),
            ("values.yaml", "a/b/values.yaml", true),
            ("values.yaml", "my-values.yaml", false),
            ("*.tpl.yaml", "a/x.tpl.yaml", true),
            ("a/*.yaml", "a/x.yaml", true),
            ("a/*.yaml", "a/b/x.yaml", false),
            ("a/*.yaml", "b/a/x.yaml", false),
            ("a/**/x.yaml", "a/x.yaml", true),
            ("a/**/x.yaml", "a/b/c/x.yaml", true),
            ("docs/", "docs/x.yaml", true),
            ("docs", "a/docs/b/x.yaml", true),
            ("/docs", "a/docs/x.yaml", false),
            ("./a/x.yaml", "a/x.yaml", true),
            ("**", "a/b", true),
            ("x?.yaml", "xy.yaml", true),
            ("x.yaml", "xzyaml", false),
            ("[a].yaml", "a.yaml", false),
        ] {
            assert_eq!(Globs::new(&[pattern]).unwrap().is_match(path), expected, "{pattern} {path}");
        }
        assert!(Globs::new(&["", "a"]).is_err());
        assert!(Globs::new(&["/"]).is_err());
        assert!(!Globs::new::<&str>(&[]).unwrap().is_match("a"));
    }

    #[test]
    fn hostile_patterns_cost_nothing() {
        let globs = Globs::new(&["*a".repeat(400)]).unwrap();
        assert!(!globs.is_match(&"a".repeat(300)));
    }
}
