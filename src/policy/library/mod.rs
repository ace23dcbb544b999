//! Kubernetes' CEL libraries (k8s.io/apiserver/pkg/cel/library), one file each.

pub(super) mod format;
pub(super) mod lists;
pub(super) mod loops;
pub(super) mod net;
pub(super) mod optionals;
pub(super) mod quantity;
pub(super) mod regex;
pub(super) mod semver;
pub(super) mod sets;
pub(super) mod text;
pub(super) mod url;
