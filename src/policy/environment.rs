//! The CEL environment that policies are compiled and run in: CEL's standard library, the extensions that Kubernetes
//! enables, and Kubernetes' own libraries (k8s.io/apiserver/pkg/cel/environment/base.go).
//!
//! The tables below say which functions exist. A call of anything else is refused when the policy is loaded: at run
//! time it would only be an error on the path that happens to reach it.

use super::{cost, library};
use cel::{DeclarationError, Env, extensions};
use std::sync::{Arc, LazyLock};

/// Functions called by name, namespaced ones included.
pub(super) const GLOBAL_FUNCTIONS: &[&str] = &[
    library::loops::ENTRIES,
    library::loops::INSERT,
    library::regex::MATCHES,
    library::text::FORMAT,
    library::text::REVERSE,
    "bool",
    "bytes",
    "cidr",
    "double",
    "duration",
    "dyn",
    "format.byte",
    "format.date",
    "format.datetime",
    "format.dns1035Label",
    "format.dns1035LabelPrefix",
    "format.dns1123Label",
    "format.dns1123LabelPrefix",
    "format.dns1123Subdomain",
    "format.dns1123SubdomainPrefix",
    "format.labelValue",
    "format.named",
    "format.qualifiedName",
    "format.uri",
    "format.uuid",
    "int",
    "ip",
    "ip.isCanonical",
    "isCIDR",
    "isIP",
    "isQuantity",
    "isSemver",
    "isURL",
    "lists.range",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "optional.unwrap",
    "quantity",
    "semver",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "sign",
    "size",
    "string",
    "strings.quote",
    "timestamp",
    "type",
    "uint",
    "url",
];

/// Functions called on a value.
pub(super) const MEMBER_FUNCTIONS: &[&str] = &[
    // strings
    "charAt",
    "contains",
    "endsWith",
    "find",
    "findAll",
    "indexOf",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "replace",
    "size",
    "split",
    "startsWith",
    "substring",
    "trim",
    "upperAscii",
    // lists
    "@sortByAssociatedKeys",
    "distinct",
    "first",
    "flatten",
    "isSorted",
    "last",
    "max",
    "min",
    "slice",
    "sort",
    "sum",
    // optionals
    "hasValue",
    "or",
    "orValue",
    "unwrapOpt",
    "value",
    // formats
    "validate",
    // versions
    "major",
    "minor",
    "patch",
    // quantities
    "add",
    "asApproximateFloat",
    "asInteger",
    "compareTo",
    "isGreaterThan",
    "isInteger",
    "isLessThan",
    "sub",
    // urls
    "getEscapedPath",
    "getHost",
    "getHostname",
    "getPort",
    "getQuery",
    "getScheme",
    // addresses
    "containsCIDR",
    "containsIP",
    "family",
    "ip",
    "isGlobalUnicast",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isLoopback",
    "isUnspecified",
    "masked",
    "prefixLength",
    // time
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
];

/// Names of types that an expression may mention: `type(x) == string`.
pub(super) const TYPE_NAMES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "google",
    "int",
    "list",
    "map",
    "null_type",
    "optional_type",
    "string",
    "type",
    "uint",
];

/// The shared environment. Building it registers the same functions every time, so that a failure (two libraries with
/// one signature) is a defect that the tests of this module would show; the environment is then absent and no policy
/// loads.
pub(super) fn environment() -> Option<Arc<Env>> {
    static ENVIRONMENT: LazyLock<Option<Arc<Env>>> = LazyLock::new(|| build().ok().map(Arc::new));
    ENVIRONMENT.clone()
}

fn build() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings)?;
    env.add_extension(extensions::lists)?;
    library::lists::register(&mut env)?;
    library::regex::register(&mut env)?;
    library::sets::register(&mut env)?;
    library::quantity::register(&mut env)?;
    library::url::register(&mut env)?;
    library::net::register(&mut env)?;
    library::semver::register(&mut env)?;
    library::format::register(&mut env)?;
    library::optionals::register(&mut env)?;
    library::loops::register(&mut env)?;
    library::text::register(&mut env)?;
    cost::register(&mut env)?;
    // The last one counts, as on an API server.
    env.set_error_on_duplicate_map_keys(false);
    Ok(env)
}

#[cfg(test)]
mod tests {
    #[test]
    fn builds() {
        assert!(super::build().is_ok());
    }
}
