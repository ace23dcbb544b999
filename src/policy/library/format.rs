//! `format.named()`, `format.dns1123Label()` and its like, and `validate()`: the formats that Kubernetes gives to texts.
//! Source: k8s.io/apiserver/pkg/cel/library/format.go; the rules and their words are those of
//! k8s.io/apimachinery/pkg/util/validation and k8s.io/kube-openapi/pkg/validation/strfmt.

#![expect(clippy::needless_pass_by_value, reason = "the signature of a CEL function")]

use super::url;
use cel::common::types::{CelList, CelOptional, CelString, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use regex::Regex;
use std::any::Any;
use std::sync::LazyLock;

static TYPE: Type = Type::new_unspecified_type("kubernetes.NamedFormat");

/// A rule for texts: what is wrong with one, in Kubernetes' words.
type Rule = fn(&str) -> Vec<String>;

/// The formats by name.
const FORMATS: [(&str, Rule); 13] = [
    ("dns1123Label", dns1123_label),
    ("dns1123Subdomain", dns1123_subdomain),
    ("dns1035Label", dns1035_label),
    ("qualifiedName", qualified_name),
    ("dns1123LabelPrefix", |text| dns1123_label(&masked(text))),
    ("dns1123SubdomainPrefix", |text| dns1123_subdomain(&masked(text))),
    ("dns1035LabelPrefix", |text| dns1035_label(&masked(text))),
    ("labelValue", label_value),
    ("uri", uri),
    ("uuid", |text| unless(matches(&UUID, text), "does not match the UUID format")),
    ("byte", |text| unless(matches(&BASE64, text), "invalid base64")),
    ("date", |text| unless(is_date(text), "invalid date")),
    ("datetime", |text| unless(is_datetime(text), "invalid datetime")),
];

/// One of the formats.
#[derive(Debug, Clone, Copy)]
struct Format {
    name: &'static str,
    rule: Rule,
}

impl Val for Format {
    fn get_type(&self) -> &Type {
        &TYPE
    }
    fn cel_type() -> &'static Type {
        &TYPE
    }
    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| other.name == self.name)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Format {}

/// Registers one of the functions without arguments.
macro_rules! constants {
    ($env:ident: $($name:literal),+) => {$(
        $env.add_overload(concat!("format.", $name), concat!("format.", $name), vec![], |_| {
            let found = named($name).ok_or_else(|| ExecutionError::function_error("format", "no such format"))?;
            Ok(CowVal::owned(found))
        })?;
    )+};
}

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    constants!(env: "dns1123Label", "dns1123Subdomain", "dns1035Label", "qualifiedName", "dns1123LabelPrefix",
        "dns1123SubdomainPrefix", "dns1035LabelPrefix", "labelValue", "uri", "uuid", "byte", "date", "datetime");
    env.add_overload("format.named", "format-named", vec![STRING_TYPE], format_named)?;
    cel::add_member_overload!(env, fn validate: (Format, CelString) -> CelOptional)
}

/// What a format says against a text, in Kubernetes' words; nothing where there is no such format.
pub(in crate::policy) fn faults(format: &str, text: &str) -> Vec<String> {
    named(format).map(|format| (format.rule)(text)).unwrap_or_default()
}

fn named(name: &str) -> Option<Format> {
    FORMATS.iter().find(|(known, _)| *known == name).map(|(name, rule)| Format { name, rule: *rule })
}

fn format_named<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let name = args.first().and_then(|arg| arg.downcast_ref::<CelString>());
    let name = name.ok_or_else(|| ExecutionError::function_error("format.named", "a name is needed"))?;
    Ok(CowVal::owned(named(name.inner()).map_or_else(CelOptional::none, |format| CelOptional::of(Box::new(format)))))
}

fn validate(format: &Format, text: &CelString<'_>) -> CelOptional<'static> {
    let faults = (format.rule)(text.inner());
    if faults.is_empty() {
        return CelOptional::none();
    }
    let faults: Vec<Box<dyn Val>> =
        faults.into_iter().map(|fault| Box::new(CelString::from(fault)) as Box<dyn Val>).collect();
    CelOptional::of(Box::new(CelList::from(faults)))
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";

/// A pattern for the whole text. All of them are constants that the tests compile.
type Pattern = LazyLock<Option<Regex>>;

macro_rules! patterns {
    ($($name:ident = $pattern:expr;)+) => {
        $(static $name: Pattern = LazyLock::new(|| Regex::new(&format!(r"\A(?:{})\z", $pattern)).ok());)+
    };
}

patterns! {
    IS_LABEL = LABEL;
    IS_LABEL_1035 = LABEL_1035;
    IS_SUBDOMAIN = SUBDOMAIN;
    IS_LABEL_KEY = LABEL_KEY;
    IS_LABEL_VALUE = LABEL_VALUE;
    UUID = "(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}";
    BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})";
    DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}";
    TIME = "([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))";
}

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

fn unless(fine: bool, fault: &str) -> Vec<String> {
    if fine { Vec::new() } else { vec![fault.to_owned()] }
}

fn too_long(text: &str, limit: usize) -> Vec<String> {
    unless(text.len() <= limit, &format!("must be no more than {limit} characters"))
}

/// `validation.RegexError`.
fn pattern_error(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let examples = examples.iter().map(|example| format!("'{example}', ")).collect::<Vec<_>>().join(" or ");
    format!("{rule} (e.g. {examples}regex used for validation is '{pattern}')")
}

/// `maskTrailingDash`, with its odd arithmetic: the last two characters become one.
fn masked(text: &str) -> String {
    match text.char_indices().rev().nth(1) {
        Some((at, _)) if text.ends_with('-') => format!("{}a", text.get(..at).unwrap_or_default()),
        _ => text.to_owned(),
    }
}

fn dns1123_label(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 63);
    if !matches(&IS_LABEL, text) {
        faults.push(if matches(&IS_SUBDOMAIN, text) {
            "must not contain dots".to_owned()
        } else {
            pattern_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    faults
}

fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 253);
    if !matches(&IS_SUBDOMAIN, text) {
        faults.push(pattern_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    faults
}

fn dns1035_label(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 63);
    if !matches(&IS_LABEL_1035, text) {
        faults.push(pattern_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            LABEL_1035,
            &["my-name", "abc-123"],
        ));
    }
    faults
}

fn label_key_error() -> String {
    pattern_error(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        LABEL_KEY,
        &["MyName", "my.name", "123-abc"],
    )
}

fn qualified_name(text: &str) -> Vec<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let mut faults = Vec::new();
    let name = match parts.as_slice() {
        [name] => *name,
        ["", name] => {
            faults.push("prefix part must be non-empty".to_owned());
            *name
        }
        [prefix, name] => {
            faults.extend(dns1123_subdomain(prefix).into_iter().map(|fault| format!("prefix part {fault}")));
            *name
        }
        _ => {
            let ending = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {} {ending}", label_key_error())];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    }
    faults.extend(too_long(name, 63).into_iter().map(|fault| format!("name part {fault}")));
    if !matches(&IS_LABEL_KEY, name) {
        faults.push(format!("name part {}", label_key_error()));
    }
    faults
}

fn label_value(text: &str) -> Vec<String> {
    let mut faults = too_long(text, 63);
    if !matches(&IS_LABEL_VALUE, text) {
        faults.push(pattern_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            LABEL_VALUE,
            &["MyValue", "my_value", "12345"],
        ));
    }
    faults
}

fn uri(text: &str) -> Vec<String> {
    let why = if text.is_empty() { "empty url" } else { "invalid URI for request" };
    unless(url::is_valid(text), &format!("parse {text:?}: {why}"))
}

fn is_date(text: &str) -> bool {
    matches(&DATE, text) && text.parse::<jiff::civil::Date>().is_ok()
}

/// `strfmt.IsDateTime`: what follows a second `t` is not looked at.
fn is_datetime(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let Some(found) = TIME.as_ref().and_then(|pattern| pattern.captures(time)) else { return false };
    let at_most = |group: usize, limit: &str| found.get(group).is_some_and(|part| part.as_str() <= limit);
    is_date(date) && at_most(1, "23") && at_most(2, "59") && at_most(3, "59")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_compile_and_every_format_refuses_something() {
        for pattern in [&IS_LABEL, &IS_LABEL_1035, &IS_SUBDOMAIN, &IS_LABEL_KEY, &IS_LABEL_VALUE] {
            assert!(pattern.is_some());
        }
        for pattern in [&UUID, &BASE64, &DATE, &TIME] {
            assert!(pattern.is_some());
        }
        for (name, rule) in FORMATS {
            assert!(!rule("-~").is_empty(), "{name}");
        }
    }

    #[test]
    fn what_a_prefix_may_end_with() {
        assert_eq!((masked("ab-").as_str(), masked("-").as_str(), masked("ab").as_str()), ("aa", "-", "ab"));
        assert!(dns1123_label(&masked("my-label-")).is_empty());
    }
}
