//! `/openapi/v2` in protobuf, as far as kubectl reads it: which kinds there are and which parameters their PATCH takes.
//! Without it kubectl cannot tell a kind that is not served from a server that is broken.
//! Source: github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto;
//! k8s.io/cli-runtime/pkg/resource/query_param_verifier.go.

use crate::cluster::kinds::Kind;
use crate::cluster::server::{ApiServer, GIT_VERSION};

/// The media type as it is asked for, and as it is answered: Go's parser of media types takes no `@`.
pub const MEDIA_TYPES: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// A field with a message or a text in it.
fn field(number: usize, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = Vec::with_capacity(bytes.len() + 6);
    varint(number << 3 | 2, &mut out);
    varint(bytes.len(), &mut out);
    out.extend_from_slice(bytes);
    out
}

fn parameter(name: &str) -> Vec<u8> {
    // ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema.
    let query = [field(2, "query"), field(4, name), field(6, "string")].concat();
    field(8, field(1, field(2, field(3, query))))
}

fn path(kind: &Kind, version: &str) -> Vec<u8> {
    let group = &kind.gk.group;
    let base = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let name = format!("{base}/{version}{scope}/{}/{{name}}", kind.plural);
    let yaml = format!("group: {group:?}\nkind: {}\nversion: {version}\n", kind.gk.kind);
    let extension = field(13, [field(1, "x-kubernetes-group-version-kind"), field(2, field(2, yaml))].concat());
    let parameters: Vec<u8> =
        ["dryRun", "fieldManager", "fieldValidation", "force"].iter().flat_map(|name| parameter(name)).collect();
    let patch = field(8, [parameters, extension].concat());
    field(2, [field(1, name), field(2, patch)].concat())
}

/// The document.
pub fn document(server: &ApiServer) -> Vec<u8> {
    let versions = server.kinds().iter().flat_map(|kind| {
        kind.versions.iter().filter(|version| version.served).map(move |version| path(kind, &version.name))
    });
    let paths: Vec<u8> = versions.flatten().collect();
    let info = [field(1, "Kubernetes"), field(2, GIT_VERSION)].concat();
    [field(1, "2.0"), field(2, info), field(8, paths)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn lengths_of_more_than_a_byte() {
        assert_eq!(field(1, [7; 3]), [10, 3, 7, 7, 7]);
        assert_eq!(field(16, [0; 300])[..4], [0x82, 0x01, 0xac, 0x02]);
    }

    #[test]
    fn the_document_names_kinds_and_parameters() {
        let document = document(&ApiServer::new(1, Timestamp::UNIX_EPOCH));
        for text in ["fieldValidation", "group: \"apps\"\nkind: Deployment\nversion: v1\n"] {
            assert!(document.windows(text.len()).any(|part| part == text.as_bytes()), "{text}");
        }
    }
}
