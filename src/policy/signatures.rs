//! Which types functions and operators take and give, and which fields the API server declares: cel-go's standard library
//! (common/stdlib), its extensions, Kubernetes' libraries (k8s.io/apiserver/pkg/cel/library), and
//! k8s.io/apiserver/pkg/admission/plugin/cel/compile.go.
//!
//! `A` and `B` stand for any type, `O` for each of those that can be ordered, `N` for each that can be summed. Several
//! functions of one signature are written once, with `|`.

use super::types::Type;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Functions and operators by name, in the order in which the API server tries them.
const GLOBAL: &[&str] = &[
    "_?_:_(bool, A, A) A",
    "!_|@not_strictly_false(bool) bool",
    "_==_|_!=_(A, A) bool",
    "_+_(bytes, bytes) bytes",
    "_+_|_-_|_*_|_/_(double, double) double",
    "_+_|_-_(duration, duration) duration",
    "_+_(duration, timestamp) timestamp",
    "_+_|_-_(timestamp, duration) timestamp",
    "_-_(timestamp, timestamp) duration",
    "_+_|_-_|_*_|_/_|_%_(int, int) int",
    "_+_(list(A), list(A)) list(A)",
    "_+_(string, string) string",
    "_+_|_-_|_*_|_/_|_%_(uint, uint) uint",
    "-_(double) double",
    "-_(int) int",
    "_<_|_<=_|_>_|_>=_(O, O) bool",
    "_<_|_<=_|_>_|_>=_(int, double) bool",
    "_<_|_<=_|_>_|_>=_(int, uint) bool",
    "_<_|_<=_|_>_|_>=_(uint, double) bool",
    "_<_|_<=_|_>_|_>=_(uint, int) bool",
    "_<_|_<=_|_>_|_>=_(double, int) bool",
    "_<_|_<=_|_>_|_>=_(double, uint) bool",
    "_[_](list(A), int) A",
    "_[_](map(A, B), A) B",
    "_[_]|_[?_](optional_type(list(A)), int) optional_type(A)",
    "_[_]|_[?_](optional_type(map(A, B)), A) optional_type(B)",
    "_[?_](list(A), int) optional_type(A)",
    "_[?_](map(A, B), A) optional_type(B)",
    "@in(A, list(A)) bool",
    "@in(A, map(A, B)) bool",
    "size(bytes) int",
    "size(list(A)) int",
    "size(map(A, B)) int",
    "size(string) int",
    "type(A) type(A)",
    "bool(bool) bool",
    "bool(string) bool",
    "bytes(bytes) bytes",
    "bytes(string) bytes",
    "double(double) double",
    "double(int) double",
    "double(string) double",
    "double(uint) double",
    "duration(duration) duration",
    "duration(int) duration",
    "duration(string) duration",
    "dyn(A) dyn",
    "int(int) int",
    "int(double) int",
    "int(duration) int",
    "int(string) int",
    "int(timestamp) int",
    "int(uint) int",
    "string(string) string",
    "string(bool) string",
    "string(bytes) string",
    "string(double) string",
    "string(duration) string",
    "string(int) string",
    "string(timestamp) string",
    "string(uint) string",
    "string(net.IP) string",
    "string(net.CIDR) string",
    "timestamp(timestamp) timestamp",
    "timestamp(int) timestamp",
    "timestamp(string) timestamp",
    "uint(uint) uint",
    "uint(double) uint",
    "uint(int) uint",
    "uint(string) uint",
    "@matches(string, string) bool",
    "@format(string, list(dyn)) string",
    "@reverse(list(A)) list(A)",
    "@insert(map(A, B), A, B) map(A, B)",
    "@insert(map(A, B), map(A, B)) map(A, B)",
    "strings.quote(string) string",
    "lists.range(int) list(int)",
    "optional.of|optional.ofNonZeroValue(A) optional_type(A)",
    "optional.none() optional_type(A)",
    "optional.unwrap(list(optional_type(A))) list(A)",
    "sets.contains|sets.equivalent|sets.intersects(list(A), list(A)) bool",
    "quantity(string) kubernetes.Quantity",
    "isQuantity|isURL|isIP|isCIDR|ip.isCanonical|isSemver(string) bool",
    "sign(kubernetes.Quantity) int",
    "url(string) kubernetes.URL",
    "ip(string) net.IP",
    "cidr(string) net.CIDR",
    "semver(string) kubernetes.Semver",
    "semver(string, bool) kubernetes.Semver",
    "isSemver(string, bool) bool",
    "format.named(string) optional_type(kubernetes.NamedFormat)",
    "format.byte|format.date|format.datetime|format.uri|format.uuid() kubernetes.NamedFormat",
    "format.dns1035Label|format.dns1123Label|format.dns1123Subdomain() kubernetes.NamedFormat",
    "format.dns1035LabelPrefix|format.dns1123LabelPrefix|format.dns1123SubdomainPrefix() kubernetes.NamedFormat",
    "format.labelValue|format.qualifiedName() kubernetes.NamedFormat",
];

/// Functions that are called on a value, whose type comes first.
const MEMBERS: &[&str] = &[
    "bytes size() int",
    "list(A) size() int",
    "map(A, B) size() int",
    "string size() int",
    "string contains|startsWith|endsWith(string) bool",
    "string charAt(int) string",
    "string indexOf|lastIndexOf(string) int",
    "string indexOf|lastIndexOf(string, int) int",
    "string lowerAscii|upperAscii|trim() string",
    "string replace(string, string) string",
    "string replace(string, string, int) string",
    "string split(string) list(string)",
    "string split(string, int) list(string)",
    "string substring(int) string",
    "string substring(int, int) string",
    "string find(string) string",
    "string findAll(string) list(string)",
    "string findAll(string, int) list(string)",
    "list(string) join() string",
    "list(string) join(string) string",
    "list(O) isSorted() bool",
    "list(N) sum() N",
    "list(O) min|max() O",
    "list(A) indexOf|lastIndexOf(A) int",
    "list(A) slice(int, int) list(A)",
    "list(list(A)) flatten() list(A)",
    "list(dyn) flatten(int) list(dyn)",
    "list(O) sort() list(O)",
    "list(A) @sortByAssociatedKeys(list(O)) list(A)",
    "list(A) distinct() list(A)",
    "list(A) first|last() optional_type(A)",
    "list(optional_type(A)) unwrapOpt() list(A)",
    "optional_type(A) value() A",
    "optional_type(A) hasValue() bool",
    "optional_type(A) or(optional_type(A)) optional_type(A)",
    "optional_type(A) orValue(A) A",
    "kubernetes.NamedFormat validate(string) optional_type(list(string))",
    "kubernetes.Semver major|minor|patch() int",
    "kubernetes.Semver isLessThan|isGreaterThan(kubernetes.Semver) bool",
    "kubernetes.Semver compareTo(kubernetes.Semver) int",
    "kubernetes.Quantity isLessThan|isGreaterThan(kubernetes.Quantity) bool",
    "kubernetes.Quantity compareTo(kubernetes.Quantity) int",
    "kubernetes.Quantity asApproximateFloat() double",
    "kubernetes.Quantity asInteger() int",
    "kubernetes.Quantity isInteger() bool",
    "kubernetes.Quantity add|sub(kubernetes.Quantity) kubernetes.Quantity",
    "kubernetes.Quantity add|sub(int) kubernetes.Quantity",
    "kubernetes.URL getScheme|getHost|getHostname|getPort|getEscapedPath() string",
    "kubernetes.URL getQuery() map(string, list(string))",
    "net.IP family() int",
    "net.IP isUnspecified|isLoopback|isLinkLocalMulticast|isLinkLocalUnicast|isGlobalUnicast() bool",
    "net.CIDR containsIP(net.IP) bool",
    "net.CIDR containsIP(string) bool",
    "net.CIDR containsCIDR(net.CIDR) bool",
    "net.CIDR containsCIDR(string) bool",
    "net.CIDR ip() net.IP",
    "net.CIDR masked() net.CIDR",
    "net.CIDR prefixLength() int",
    "timestamp getFullYear|getMonth|getDayOfYear|getDayOfMonth|getDate|getDayOfWeek() int",
    "timestamp getFullYear|getMonth|getDayOfYear|getDayOfMonth|getDate|getDayOfWeek(string) int",
    "timestamp getHours|getMinutes|getSeconds|getMilliseconds() int",
    "timestamp getHours|getMinutes|getSeconds|getMilliseconds(string) int",
    "duration getHours|getMinutes|getSeconds|getMilliseconds() int",
];

const ORDERED: [&str; 8] = ["int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes"];
const SUMMED: [&str; 4] = ["int", "uint", "double", "duration"];

/// The fields that the API server declares, by the type that has them.
const FIELDS: &[(&str, &[(&str, &str)])] = &[
    (
        "kubernetes.AdmissionRequest",
        &[
            ("kind", "kubernetes.GroupVersionKind"),
            ("resource", "kubernetes.GroupVersionResource"),
            ("subResource", "string"),
            ("requestKind", "kubernetes.GroupVersionKind"),
            ("requestResource", "kubernetes.GroupVersionResource"),
            ("requestSubResource", "string"),
            ("name", "string"),
            ("namespace", "string"),
            ("operation", "string"),
            ("userInfo", "kubernetes.UserInfo"),
            ("dryRun", "bool"),
            ("options", "dyn"),
        ],
    ),
    ("kubernetes.GroupVersionKind", &[("group", "string"), ("version", "string"), ("kind", "string")]),
    ("kubernetes.GroupVersionResource", &[("group", "string"), ("version", "string"), ("resource", "string")]),
    (
        "kubernetes.UserInfo",
        &[
            ("username", "string"),
            ("uid", "string"),
            ("groups", "list(string)"),
            ("extra", "map(string, list(string))"),
        ],
    ),
    (
        "kubernetes.Namespace",
        &[
            ("metadata", "kubernetes.NamespaceMetadata"),
            ("spec", "kubernetes.NamespaceSpec"),
            ("status", "kubernetes.NamespaceStatus"),
        ],
    ),
    (
        "kubernetes.NamespaceMetadata",
        &[
            ("name", "string"),
            ("generateName", "string"),
            ("namespace", "string"),
            ("labels", "map(string, string)"),
            ("annotations", "map(string, string)"),
            ("UID", "string"),
            ("creationTimestamp", "timestamp"),
            ("deletionGracePeriodSeconds", "int"),
            ("deletionTimestamp", "timestamp"),
            ("generation", "int"),
            ("resourceVersion", "string"),
            ("finalizers", "list(string)"),
        ],
    ),
    ("kubernetes.NamespaceSpec", &[("finalizers", "list(string)")]),
    ("kubernetes.NamespaceStatus", &[("conditions", "list(kubernetes.NamespaceCondition)"), ("phase", "string")]),
    (
        "kubernetes.NamespaceCondition",
        &[
            ("status", "string"),
            ("type", "string"),
            ("lastTransitionTime", "timestamp"),
            ("message", "string"),
            ("reason", "string"),
        ],
    ),
];

/// One way to call a function.
#[derive(Debug, Clone)]
pub(super) struct Overload {
    /// What it takes; first of all the value that it is called on, where it is called on one.
    pub takes: Vec<Type>,
    pub gives: Type,
}

type Table = HashMap<&'static str, Vec<Overload>>;

/// The ways to call a function of a name, on a value or not; nothing where the function is not known.
pub(super) fn overloads(name: &str, on_value: bool) -> &'static [Overload] {
    static TABLES: LazyLock<[Table; 2]> = LazyLock::new(|| [table(GLOBAL, false), table(MEMBERS, true)]);
    let [global, members] = &*TABLES;
    let table = if on_value { members } else { global };
    table.get(name).map_or(&[], Vec::as_slice)
}

/// The fields of a type; `None` where it has none that are declared.
pub(super) fn fields(name: &str) -> Option<&'static [(&'static str, &'static str)]> {
    FIELDS.iter().find(|(known, _)| *known == name).map(|(_, fields)| *fields)
}

fn table(signatures: &[&'static str], on_value: bool) -> Table {
    let mut table = Table::new();
    for signature in signatures {
        let (receiver, rest) = if on_value {
            let (receiver, rest) = Type::read(signature);
            (Some(receiver), rest.trim_start())
        } else {
            (None, *signature)
        };
        let (names, types) = rest.split_at(rest.find('(').unwrap_or(rest.len()));
        let (takes, gives) = arguments(types);
        let takes: Vec<Type> = receiver.into_iter().chain(takes).collect();
        let overload = Overload { takes, gives };
        for name in names.split('|') {
            let all = table.entry(name).or_default();
            all.extend(
                each(&overload, "O", &ORDERED)
                    .unwrap_or_else(|| each(&overload, "N", &SUMMED).unwrap_or_else(|| vec![overload.clone()])),
            );
        }
    }
    table
}

/// `(int, int) bool` in its parts.
fn arguments(text: &'static str) -> (Vec<Type>, Type) {
    let (takes, rest) = match text.strip_prefix("()") {
        Some(rest) => (Vec::new(), rest),
        None => match Type::read(text) {
            (Type::Of(_, takes), rest) => (takes, rest),
            (Type::Free(_), rest) => (Vec::new(), rest),
        },
    };
    (takes, Type::read(rest.trim_start()).0)
}

/// An overload for each of some types, where a letter stands for them.
fn each(overload: &Overload, letter: &str, types: &[&'static str]) -> Option<Vec<Overload>> {
    let mentions = overload.takes.iter().any(|taken| taken.with(letter, &super::types::DYN) != *taken);
    mentions.then(|| {
        let of = |name: &&'static str| {
            let by = Type::of(name);
            let takes = overload.takes.iter().map(|taken| taken.with(letter, &by)).collect();
            Overload { takes, gives: overload.gives.with(letter, &by) }
        };
        types.iter().map(of).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::environment::{GLOBAL_FUNCTIONS, MEMBER_FUNCTIONS};
    use crate::policy::library::loops::ENTRIES;

    #[test]
    fn every_function_that_exists_has_a_signature() {
        for name in GLOBAL_FUNCTIONS.iter().filter(|name| **name != ENTRIES) {
            assert!(!overloads(name, false).is_empty(), "{name}");
        }
        for name in MEMBER_FUNCTIONS {
            assert!(!overloads(name, true).is_empty(), "{name}");
        }
    }

    #[test]
    fn signatures_are_read() {
        let told = |name: &str, on_value: bool| -> Vec<String> {
            let of = |overload: &Overload| {
                let takes: Vec<String> = overload.takes.iter().map(ToString::to_string).collect();
                format!("{} -> {}", takes.join(", "), overload.gives)
            };
            overloads(name, on_value).iter().map(of).collect()
        };
        assert_eq!(told("@in", false), ["A, list(A) -> bool", "A, map(A, B) -> bool"]);
        assert_eq!(told("optional.none", false), ["-> optional_type(A)"].map(|text| format!(" {text}")));
        assert_eq!(told("sum", true)[3], "list(duration) -> duration");
        assert_eq!((told("_<_", false).len(), told("getHours", true).len()), (14, 3));
        for (_, declared) in FIELDS {
            for (field, kind) in *declared {
                let (kind, rest) = Type::read(kind);
                assert!(rest.is_empty() && (!kind.name().contains('.') || fields(kind.name()).is_some()), "{field}");
            }
        }
    }
}
