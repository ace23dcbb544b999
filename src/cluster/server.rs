//! The API server: a pure, synchronous state machine. In: requests and the time. Out: answers, and watches to poll.
//!
//! No clock, no I/O, no task: `http.rs` drives it over the network, a simulation may drive it in virtual time.
//! Everything random (uids, name suffixes) comes from one seeded generator, so that equal runs give equal objects.

use super::aim::Aim;
use super::body::{body, delete_options, patch_body, strict_duplicates};
use super::convert;
use super::discovery;
use super::form::decoded;
use super::kinds::{Kind, Kinds};
use super::policies::Policies;
use super::read::{self, Manner, Watch};
use super::request::{ApiRequest, ApiResponse, FieldValidation, Target, WriteOptions, negotiate};
use super::status::Status;
use super::store::Store;
use super::subresource;
use super::view::Write;
use crate::object::Gk;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// The largest body, as the real server's (`MaxRequestBodyBytes`).
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// The version that the server says it is.
pub const GIT_VERSION: &str = "v1.36.4";

/// A source of uids and name suffixes (SplitMix64): equal seeds, equal objects.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A version 4 UUID (RFC 9562).
    pub fn uid(&mut self) -> String {
        let (a, b) = (self.bits(), self.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }

    /// Text of the letters that generated names use (`k8s.io/apimachinery/pkg/util/rand`).
    pub fn suffix(&mut self, length: usize) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut bits = self.bits();
        (0..length)
            .map(|_| {
                let letter = LETTERS[usize::try_from(bits % 27).unwrap_or(0)];
                bits /= 27;
                char::from(letter)
            })
            .collect()
    }
}

/// What a request leads to.
#[derive(Debug)]
pub enum Answer {
    /// An answer.
    Response(ApiResponse),
    /// A watch: headers at once, then what `ApiServer::poll` gives.
    Watch(Box<Watch>),
}

/// The API server.
#[derive(Debug)]
pub struct ApiServer {
    pub(super) store: Store,
    pub(super) kinds: Kinds,
    pub(super) random: Random,
    /// Warnings of the request under way.
    pub(super) notes: Vec<String>,
    /// Policies in effect.
    pub(super) policies: Policies,
    /// The component that acts; `None` while the user's request is answered.
    pub(super) acting: Option<&'static str>,
}

impl ApiServer {
    /// An empty cluster with the namespaces that every cluster has.
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let mut server = Self {
            store: Store::default(),
            kinds: Kinds::builtin(),
            random: Random::new(seed),
            notes: Vec::new(),
            policies: Policies::default(),
            acting: None,
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            server.bootstrap(object, now);
        }
        for (name, value, what) in [
            (
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
            ),
            (
                "system-node-critical",
                2_000_001_000,
                "Used for system critical pods that must not be moved from their current node.",
            ),
        ] {
            let object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": {"name": name}, "value": value, "description": what});
            server.bootstrap(object, now);
        }
        let object = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"clusterIP": "10.96.0.1",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}]}});
        server.bootstrap(object, now);
        server
    }

    /// Creates an object at the start. What is written here is part of the program and valid.
    fn bootstrap(&mut self, object: Value, now: Timestamp) {
        let created = self.carry_out(&Write::Create { object }, super::view::API_SERVER, now);
        debug_assert!(created.is_ok(), "{created:?}");
    }

    /// The objects.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The kinds.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Forgets what watches could still be told of: from now on they end, and their clients list anew.
    pub fn forget_events(&mut self) {
        self.store.compact();
    }

    /// Answers a request.
    pub fn handle(&mut self, request: &ApiRequest, now: Timestamp) -> Answer {
        self.notes.clear();
        match self.route(request, now) {
            Ok(Answer::Response(mut response)) => {
                response.warnings.append(&mut self.notes);
                Answer::Response(response)
            }
            Ok(watch) => watch,
            Err(status) => {
                let mut response = ApiResponse::from(status);
                response.warnings.append(&mut self.notes);
                Answer::Response(response)
            }
        }
    }

    /// What a watch has to say now; empty if nothing. An error ends the watch after its text.
    pub fn poll(&self, watch: &mut Watch, now: Timestamp) -> Result<Vec<u8>, Vec<u8>> {
        read::poll(self, watch, now)
    }

    fn route(&mut self, request: &ApiRequest, now: Timestamp) -> Result<Answer, Status> {
        if request.body.len() > MAX_BODY {
            let message = format!("Request entity too large: limit is {MAX_BODY}");
            return Err(Status::new(413, "RequestEntityTooLarge", message));
        }
        subresource::refuse_impersonation(request)?;
        let path = request.path.trim_end_matches('/');
        if let Some(response) = discovery::answer(self, request, path)? {
            return Ok(Answer::Response(response));
        }
        let target = Target::parse(path).ok_or_else(Status::no_such_path)?;
        if let Some(response) = subresource::review(&target, request)? {
            return Ok(Answer::Response(response));
        }
        let Some(kind) = self.kinds.by_plural(&target.group, &target.resource).cloned() else {
            // A group that is not served has no handler that could answer with a Status.
            let served = |k: &Arc<Kind>| k.gk.group == target.group && k.version(&target.version).is_some();
            if !self.kinds.iter().any(served) {
                if self.is_aggregated(&target.group, &target.version) {
                    return Ok(Answer::Response(ApiResponse::text(503, "service unavailable\n")));
                }
                return Ok(Answer::Response(ApiResponse::text(404, "404 page not found\n")));
            }
            return Err(Status::no_such_path());
        };
        let version = kind.versions.iter().position(|v| v.name == target.version && v.served);
        let version = version.ok_or_else(Status::no_such_path)?;
        if !kind.namespaced && target.namespace.is_some() {
            return Err(Status::no_such_path());
        }
        let streams = ["attach", "exec", "portforward", "proxy"];
        if kind.is("", "Pod") && streams.contains(&target.subresource.as_str()) {
            let message = format!("pods of this cluster are simulated: there is nothing behind {}", target.subresource);
            return Err(Status::bad_request(message));
        }
        if !target.subresource.is_empty() && !kind.has_subresource(&kind.versions[version], &target.subresource) {
            return Err(Status::no_such_path());
        }
        self.resource(request, &target, &kind, version, now)
    }

    /// True if an APIService says that somebody else serves the group: nobody answers for it here.
    pub(super) fn is_aggregated(&self, group: &str, version: &str) -> bool {
        let name = format!("{version}.{group}");
        let service = self.store.get(&Gk::new("apiregistration.k8s.io", "APIService"), "", &name);
        service.is_some_and(|service| !service["spec"]["service"].is_null())
    }

    fn resource(
        &mut self,
        request: &ApiRequest,
        target: &Target,
        kind: &Arc<Kind>,
        version: usize,
        now: Timestamp,
    ) -> Result<Answer, Status> {
        let manner = Manner { form: negotiate(&request.accept)?, include: read::include(request), now };
        let aim = Aim {
            kind: Arc::clone(kind),
            version,
            namespace: target.namespace.clone().unwrap_or_default(),
            named: target.name.is_some(),
            subresource: target.subresource.clone(),
            now,
            options: WriteOptions {
                dry_run: false,
                manager: String::new(),
                validation: FieldValidation::Ignore,
                force: false,
            },
        };
        match request.method.as_str() {
            "GET" | "HEAD" => self.read(request, target, &aim, manner),
            "DELETE" => self.remove(request, target, &aim, manner),
            _ => self.change(request, target, aim, manner),
        }
    }

    fn read(&self, request: &ApiRequest, target: &Target, aim: &Aim, manner: Manner) -> Result<Answer, Status> {
        let Some(name) = target.name.as_deref().filter(|_| !target.watch && !request.flag("watch")) else {
            return read::list(self, request, target, &aim.kind, aim.version, manner);
        };
        if !target.subresource.is_empty() && target.subresource != "status" {
            return subresource::get(self, aim, name, request).map(Answer::Response);
        }
        let object = self.store.get(convert::stored_as(&aim.kind), &aim.namespace, name);
        let object = object.ok_or_else(|| aim.not_found(name))?;
        let out = read::shown(&aim.kind, aim.version, object, manner);
        Ok(Answer::Response(ApiResponse::json(200, &out)))
    }

    fn remove(&mut self, request: &ApiRequest, target: &Target, aim: &Aim, manner: Manner) -> Result<Answer, Status> {
        if !target.subresource.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let options = delete_options(request)?;
        let Some(name) = target.name.as_deref() else {
            return read::delete_collection(self, aim, target, request, &options).map(Answer::Response);
        };
        let (object, gone) = self.delete(aim, name, &options)?;
        Ok(Answer::Response(deleted(&aim.kind, aim.version, &object, gone, manner)))
    }

    /// POST, PUT and PATCH.
    fn change(
        &mut self,
        request: &ApiRequest,
        target: &Target,
        mut aim: Aim,
        manner: Manner,
    ) -> Result<Answer, Status> {
        let mut warnings = Vec::new();
        let (method, name) = (request.method.as_str(), target.name.as_deref());
        let nowhere = aim.kind.namespaced && target.namespace.is_none();
        let kind = Arc::clone(&aim.kind);
        let (stored, created) = match (method, name, target.subresource.as_str()) {
            ("POST", None, _) if !nowhere => {
                aim.options = WriteOptions::parse(request, "CreateOptions")?;
                let (body, duplicates) = body(request)?;
                let object = decoded(&aim, &body, duplicates, &mut warnings)?;
                (self.create(&aim, object)?, true)
            }
            ("POST", Some(name), subresource) if !subresource.is_empty() => {
                aim.options = WriteOptions::parse(request, "CreateOptions")?;
                let (body, _) = body(request)?;
                return subresource::post(self, &aim, name, &body).map(Answer::Response);
            }
            ("PUT" | "PATCH", Some(name), "scale") => {
                let options = if method == "PATCH" { "PatchOptions" } else { "UpdateOptions" };
                aim.options = WriteOptions::parse(request, options)?;
                return subresource::write_scale(self, &aim, name, request).map(Answer::Response);
            }
            ("PUT", Some(name), _) => {
                aim.options = WriteOptions::parse(request, "UpdateOptions")?;
                let (body, duplicates) = body(request)?;
                let object = decoded(&aim, &body, duplicates, &mut warnings)?;
                self.update(&aim, name, object)?
            }
            ("PATCH", Some(name), _) => {
                let (patch, duplicates) = patch_body(&kind, request)?;
                aim.options = WriteOptions::parse(request, "PatchOptions")?;
                strict_duplicates(&aim, &patch, duplicates, &mut warnings)?;
                self.patch(&aim, name, &patch, &mut warnings)?
            }
            _ => return Err(Status::method_not_allowed()),
        };
        let out = read::shown(&kind, aim.version, &stored, manner);
        let mut response = ApiResponse::json(if created { 201 } else { 200 }, &out);
        response.warnings = warnings;
        Ok(Answer::Response(response))
    }
}

/// The answer to a deletion.
fn deleted(kind: &Kind, version: usize, object: &Value, gone: bool, manner: Manner) -> ApiResponse {
    // Kinds whose storage says `ReturnDeletedObject`.
    let returned = matches!(
        kind.gk.kind.as_str(),
        "Pod"
            | "Service"
            | "ServiceAccount"
            | "PersistentVolume"
            | "PersistentVolumeClaim"
            | "ResourceQuota"
            | "PodTemplate"
            | "Namespace"
            | "StorageClass"
            | "CSIDriver"
            | "CSINode"
    );
    if !gone || returned {
        return ApiResponse::json(200, &read::shown(kind, version, object, manner));
    }
    let mut details = json!({"name": object["metadata"]["name"]});
    if !kind.gk.group.is_empty() {
        details["group"] = kind.gk.group.clone().into();
    }
    details["kind"] = kind.plural.clone().into();
    details["uid"] = object["metadata"]["uid"].clone();
    ApiResponse::json(
        200,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
    )
}
