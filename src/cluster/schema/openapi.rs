//! OpenAPI documents made from the types: enough for `kubectl` to learn fields, merge keys and parameters from.
//!
//! In: the kinds that are served and their types. Out: `/openapi/v3` documents per group and version, and `/openapi/v2` as JSON.
//! kubectl asks them which parameters a PATCH takes (`fieldValidation`), and how lists merge for client-side apply
//! (k8s.io/cli-runtime/pkg/resource/query_param_verifier_v3.go, apimachinery/pkg/util/strategicpatch/meta.go).

use super::openapi_protobuf;
use crate::cluster::kinds::{Kind, Version};
use crate::cluster::request::{ApiRequest, ApiResponse};
use crate::cluster::server::{ApiServer, GIT_VERSION};
use crate::cluster::status::Status;
use crate::object::Digest;
use crate::scheme::{Atom, Field, ListKind, Scalar, TypeId, Types};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The full name of a type of the table.
fn full_name(short: &str) -> String {
    for (prefix, full) in [
        ("meta.", "io.k8s.apimachinery.pkg.apis.meta."),
        ("apiextensions.", "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions."),
        ("apiregistration.", "io.k8s.kube-aggregator.pkg.apis.apiregistration."),
    ] {
        if let Some(rest) = short.strip_prefix(prefix) {
            return format!("{full}{rest}");
        }
    }
    format!("io.k8s.api.{short}")
}

/// Name of the schema of a custom resource: its group backwards.
fn custom_name(kind: &Kind, version: &str) -> String {
    let group: Vec<&str> = kind.gk.group.split('.').rev().collect();
    format!("{}.{version}.{}", group.join("."), kind.gk.kind)
}

struct Writer<'a> {
    types: &'a Types,
    prefix: &'static str,
    done: BTreeMap<String, Value>,
    todo: Vec<TypeId>,
}

impl Writer<'_> {
    fn reference(&mut self, id: TypeId) -> Value {
        let atom = self.types.atom(id);
        let Some(name) = &atom.name else { return self.inline(atom) };
        self.todo.push(id);
        json!({"$ref": format!("{}{}", self.prefix, full_name(name))})
    }

    fn inline(&mut self, atom: &Atom) -> Value {
        if let Some(scalar) = atom.scalar {
            return scalar_schema(scalar);
        }
        if let Some(list) = &atom.list {
            return json!({"type": "array", "items": self.reference(list.element)});
        }
        match atom.map.as_ref().and_then(|m| m.element) {
            Some(element) if element != self.types.deduced() => {
                json!({"type": "object", "additionalProperties": self.reference(element)})
            }
            _ => json!({"type": "object"}),
        }
    }

    fn field(&mut self, field: &Field) -> Value {
        let atom = self.types.atom(field.ty);
        let mut schema = match self.reference(field.ty) {
            // What stands beside a reference is ignored by OpenAPI: the reference is wrapped.
            reference if reference.get("$ref").is_some() => json!({"allOf": [reference]}),
            schema => schema,
        };
        if let Some(list) = &atom.list
            && atom.scalar.is_none()
        {
            let (kind, keys) = match &list.kind {
                ListKind::Atomic => ("atomic", None),
                ListKind::Set => ("set", None),
                ListKind::Map(keys) => ("map", Some(keys)),
            };
            schema["x-kubernetes-list-type"] = kind.into();
            if let Some(keys) = keys {
                schema["x-kubernetes-list-map-keys"] = keys.clone().into();
            }
        }
        if atom.map.as_ref().is_some_and(|m| m.atomic) && atom.scalar.is_none() {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        if let Some(patch) = &field.patch {
            schema["x-kubernetes-patch-strategy"] = patch.replace('+', ",").into();
        }
        if let Some(key) = &field.merge_key {
            schema["x-kubernetes-patch-merge-key"] = key.clone().into();
        }
        if let Some(default) = &field.default {
            schema["default"] = default.clone();
        }
        schema
    }

    fn schemas(mut self, root: TypeId) -> BTreeMap<String, Value> {
        self.todo.push(root);
        while let Some(id) = self.todo.pop() {
            let atom = self.types.atom(id);
            let (Some(name), Some(map)) = (&atom.name, &atom.map) else { continue };
            let name = full_name(name);
            if self.done.contains_key(&name) {
                continue;
            }
            self.done.insert(name.clone(), Value::Null);
            let properties: Map<String, Value> = map.fields.iter().map(|f| (f.name.clone(), self.field(f))).collect();
            let required: Vec<&str> = map.fields.iter().filter(|f| f.required).map(|f| f.name.as_str()).collect();
            let mut schema = json!({"type": "object", "properties": properties});
            if !required.is_empty() {
                schema["required"] = required.into();
            }
            if map.atomic {
                schema["x-kubernetes-map-type"] = "atomic".into();
            }
            self.done.insert(name, schema);
        }
        self.done
    }
}

fn scalar_schema(scalar: Scalar) -> Value {
    match scalar {
        Scalar::String => json!({"type": "string"}),
        Scalar::Bytes => json!({"type": "string", "format": "byte"}),
        Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
        Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
        Scalar::Number => json!({"type": "number", "format": "double"}),
        Scalar::Bool => json!({"type": "boolean"}),
        Scalar::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Scalar::IntOrString => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        Scalar::Time | Scalar::MicroTime => json!({"type": "string", "format": "date-time"}),
        Scalar::Untyped => json!({}),
    }
}

fn group_version_kind(kind: &Kind, version: &str) -> Value {
    json!({"group": kind.gk.group, "version": version, "kind": kind.gk.kind})
}

/// Adds the schemas of a kind at a version. Out: the name of its own.
fn add_schemas(
    kind: &Kind,
    version: &Version,
    prefix: &'static str,
    out: &mut BTreeMap<String, Value>,
) -> Option<String> {
    let gvk = json!([group_version_kind(kind, &version.name)]);
    if let Some(schema) = &version.schema {
        let name = custom_name(kind, &version.name);
        let mut schema = (**schema).clone();
        for (key, value) in [
            ("apiVersion", json!({"type": "string"})),
            ("kind", json!({"type": "string"})),
            ("metadata", json!({"allOf": [{"$ref": format!("{prefix}{}", full_name("meta.v1.ObjectMeta"))}]})),
        ] {
            schema["properties"][key] = value;
        }
        schema["x-kubernetes-group-version-kind"] = gvk;
        out.insert(name.clone(), schema);
        if let Some(meta) = Types::builtin().named("meta.v1.ObjectMeta") {
            out.extend(writer(Types::builtin(), prefix).schemas(meta));
        }
        return Some(name);
    }
    let root = version.root?;
    let name = full_name(kind.types.get().atom(root).name.as_deref()?);
    let mut schemas = writer(kind.types.get(), prefix).schemas(root);
    if let Some(own) = schemas.get_mut(&name) {
        own["x-kubernetes-group-version-kind"] = gvk;
    }
    // Others of the group may have marked their own roots already.
    for (key, schema) in schemas {
        out.entry(key).or_insert(schema);
    }
    if let Some(own) = out.get_mut(&name) {
        own["x-kubernetes-group-version-kind"] = json!([group_version_kind(kind, &version.name)]);
    }
    Some(name)
}

fn writer<'a>(types: &'a Types, prefix: &'static str) -> Writer<'a> {
    Writer { types, prefix, done: BTreeMap::new(), todo: Vec::new() }
}

fn parameters(names: &[(&str, &str)]) -> Value {
    names
        .iter()
        .map(|(name, ty)| json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}}))
        .collect()
}

/// The paths of a kind at a version, each with its operations.
fn add_paths(kind: &Kind, version: &Version, out: &mut Map<String, Value>) {
    let base = if kind.gk.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.gk.group) };
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}/{}{scope}/{}", version.name, kind.plural);
    let operation = |action: &str, names: &[(&str, &str)]| {
        json!({"operationId": format!("{action}{}", kind.gk.kind), "x-kubernetes-action": action, "parameters": parameters(names),
            "x-kubernetes-group-version-kind": group_version_kind(kind, &version.name), "responses": {"200": {"description": "OK"}}})
    };
    let write = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
    let patch = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
    let list = [
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    let delete = [
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ];
    out.insert(
        collection.clone(),
        json!({"get": operation("list", &list), "post": operation("post", &write), "delete": operation("deletecollection", &delete)}),
    );
    let item = format!("{collection}/{{name}}");
    out.insert(
        item.clone(),
        json!({"get": operation("get", &[]), "put": operation("put", &write), "patch": operation("patch", &patch),
            "delete": operation("delete", &delete)}),
    );
    for name in ["status", "scale"].into_iter().filter(|name| kind.has_subresource(version, name)) {
        out.insert(
            format!("{item}/{name}"),
            json!({"get": operation("get", &[]), "put": operation("put", &write), "patch": operation("patch", &patch)}),
        );
    }
}

fn served<'s>(
    server: &'s ApiServer,
    group: &'s str,
    version: &'s str,
) -> impl Iterator<Item = (&'s Kind, &'s Version)> {
    server.kinds().iter().filter(move |k| k.gk.group == group).filter_map(move |kind| {
        let version = kind.version(version).filter(|v| v.served)?;
        Some((&**kind, version))
    })
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": GIT_VERSION})
}

/// `/openapi/v3`: where the documents are. The hash changes with the content: clients keep what they read.
pub fn v3_index(server: &ApiServer) -> Value {
    let mut paths = Map::new();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for kind in server.kinds().iter() {
        for version in kind.versions.iter().filter(|v| v.served) {
            let pair = (kind.gk.group.clone(), version.name.clone());
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    for (group, version) in pairs {
        let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let parts: Vec<Value> = served(server, &group, &version)
            .map(|(kind, v)| json!([kind.gk.kind, v.schema.as_deref(), env!("CARGO_PKG_VERSION"), GIT_VERSION]))
            .collect();
        let hash = Digest::of_value(&Value::Array(parts));
        let url = format!("/openapi/v3/{path}?hash={}", hash.as_str().to_uppercase());
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// `/openapi/v3/…`: the document of a group and version.
pub fn v3(server: &ApiServer, path: &[&str]) -> Result<Value, Status> {
    let (group, version) = match path {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return Err(Status::no_such_path()),
    };
    let (mut schemas, mut paths) = (BTreeMap::new(), Map::new());
    for (kind, version) in served(server, group, version) {
        add_schemas(kind, version, "#/components/schemas/", &mut schemas);
        add_paths(kind, version, &mut paths);
    }
    if paths.is_empty() {
        return Err(Status::no_such_path());
    }
    Ok(json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}}))
}

/// `/openapi/v2`: whole in JSON, in protobuf as far as kubectl reads it.
pub fn v2(server: &ApiServer, request: &ApiRequest) -> Result<ApiResponse, Status> {
    let json = request.accept.is_empty()
        || request
            .accept
            .split(',')
            .any(|a| matches!(a.split(';').next().unwrap_or_default().trim(), "application/json" | "*/*"));
    if !json && request.accept.split(',').any(|a| openapi_protobuf::MEDIA_TYPES.contains(&a.trim())) {
        let mut response = ApiResponse::json(200, &Value::Null);
        (response.content_type, response.body) = (openapi_protobuf::MEDIA_TYPES[1], openapi_protobuf::document(server));
        return Ok(response);
    }
    if !json {
        let message = "only the following media types are accepted: application/json";
        return Err(Status::new(406, "NotAcceptable", message));
    }
    let (mut definitions, mut paths) = (BTreeMap::new(), Map::new());
    for kind in server.kinds().iter() {
        for version in kind.versions.iter().filter(|v| v.served) {
            add_schemas(kind, version, "#/definitions/", &mut definitions);
            add_paths(kind, version, &mut paths);
        }
    }
    let document = json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions});
    Ok(ApiResponse::json(200, &document))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_document_has_schemas_and_parameters() {
        let server = ApiServer::new(1, Timestamp::UNIX_EPOCH);
        let document = v3(&server, &["apis", "apps", "v1"]).unwrap();
        let schemas = &document["components"]["schemas"];
        let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
        let kinds = &schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"];
        assert_eq!(kinds[0]["kind"], "Deployment");
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        let names: Vec<&str> =
            patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
        assert!(names.contains(&"fieldValidation"));
    }
}
