//! Syntax of names. Source: k8s.io/apimachinery/pkg/util/validation/validation.go; RFC 1123, RFC 1035, RFC 6335.

/// What kind of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Up to 253 characters of lower-case labels joined by dots.
    Subdomain,
    /// Up to 63 lower-case letters, digits and `-`.
    Label,
    /// Anything that can stand in a URL's path.
    PathSegment,
}

/// Why `name` is not of `syntax`, if it is not.
pub(super) fn fault(name: &str, syntax: Syntax) -> Option<&'static str> {
    match syntax {
        Syntax::Subdomain => (!is_subdomain(name)).then_some(
            "must be an RFC 1123 subdomain: lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit, at most 253 characters",
        ),
        Syntax::Label => (!is_label(name)).then_some(
            "must be an RFC 1123 label: lower-case letters, digits and `-`, beginning and ending with a letter or digit, at most 63 characters",
        ),
        Syntax::PathSegment => (name == "." || name == ".." || name.contains(['/', '%']))
            .then_some("must not be `.` or `..` and must hold neither `/` nor `%`"),
    }
}

/// An RFC 1123 label.
pub(super) fn is_label(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|c| plain(c) || c == b'-')
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
}

/// An RFC 1123 subdomain.
pub(super) fn is_subdomain(name: &str) -> bool {
    // Each part as a label, but for the length, which only the whole has (validation.go, dns1123SubdomainFmt).
    let part = |part: &str| {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        !part.is_empty()
            && part.bytes().all(|c| plain(c) || c == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(part)
}

/// `[prefix/]name` of a label or annotation.
pub(super) fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_key_name(name),
        None => is_key_name(key),
    }
}

/// The part of a label's key after the prefix.
fn is_key_name(name: &str) -> bool {
    !name.is_empty() && is_label_value(name)
}

/// A label's value: empty, or up to 63 of letters, digits, `-`, `_`, `.` with a letter or digit at both ends.
pub(super) fn is_label_value(value: &str) -> bool {
    value.len() <= 63
        && value.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
        && [value.bytes().next(), value.bytes().last()].into_iter().flatten().all(|c| c.is_ascii_alphanumeric())
}

/// A port's name: up to 15 lower-case letters, digits and single `-` inside, with at least one letter.
pub(super) fn is_port_name(name: &str) -> bool {
    name.len() <= 15 && is_label(name) && !name.contains("--") && name.bytes().any(|c| c.is_ascii_lowercase())
}

/// A key of a ConfigMap or Secret.
pub(super) fn is_config_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 253
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "web-1", "0", &"a".repeat(63)] {
            assert!(is_label(good) && is_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "ä", "a/b", &"a".repeat(254)] {
            assert!(!is_label(bad) && !is_subdomain(bad), "{bad}");
        }
        assert!(is_subdomain("a.b-c.d") && !is_subdomain("a..b") && !is_subdomain(".a") && !is_label("a.b"));
        for (key, good) in [
            ("app", true),
            ("app.kubernetes.io/name", true),
            ("a/b/c", false),
            ("/a", false),
            ("a/", false),
            ("A_b.C", true),
            ("Example.com/x", false),
            ("-a", false),
        ] {
            assert_eq!(is_qualified(key), good, "{key}");
        }
        assert!(is_label_value("") && is_label_value("v1.2_3") && !is_label_value("a b") && !is_label_value("-a"));
        assert!(is_port_name("http-2") && !is_port_name("80") && !is_port_name("a--b") && !is_port_name("HTTP"));
        assert!(!is_port_name("sixteen-chars-no") && is_config_key("a.b_C-1") && !is_config_key("..a"));
    }
}
