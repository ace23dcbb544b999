//! Reads: one object, lists (paged, at a version), watches, and the forms in which objects are shown.
//!
//! Source: k8s.io/apiserver/pkg/endpoints/handlers/{get,response,watch}.go, and the semantics of resourceVersion at
//! kubernetes.io/docs/reference/using-api/api-concepts.

use super::aim::{Aim, DeleteOptions};
use super::convert;
use super::kinds::Kind;
use super::request::{ApiRequest, ApiResponse, Form, Target};
use super::selectors::{FieldSelector, LabelSelector};
use super::server::{Answer, ApiServer};
use super::status::Status;
use super::store::{EventKind, TooOld};
use super::table;
use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A watch under way.
#[derive(Debug)]
pub struct Watch {
    kind: Arc<Kind>,
    version: usize,
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
    form: Form,
    include: Include,
    after: u64,
    /// Objects to tell as `ADDED` first; taken once.
    initial: Option<Vec<Arc<Value>>>,
    bookmarks: bool,
    initial_bookmark: bool,
    bookmarked: u64,
    headed: bool,
    /// When the client wants it to end.
    pub timeout: Option<Duration>,
}

impl Watch {
    /// True if bookmarks were asked for.
    pub fn wants_bookmarks(&self) -> bool {
        self.bookmarks
    }
}

/// What a table row holds of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// Reads `includeObject`.
pub fn include(request: &ApiRequest) -> Include {
    match request.param("includeObject") {
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        _ => Include::Metadata,
    }
}

/// In which form, with what in a table's rows, and at what time objects are shown.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// The form.
    pub form: Form,
    /// What a table's rows hold.
    pub include: Include,
    /// For ages.
    pub now: Timestamp,
}

/// An object in the form that was asked for.
pub fn shown(kind: &Kind, version: usize, object: &Value, manner: Manner) -> Value {
    let name = version_name(kind, version);
    let object = convert::from_storage(kind, name, object);
    match manner.form {
        Form::Object => object.into_owned(),
        Form::Metadata => partial(&object),
        Form::Table => {
            let meta = list_meta(object.get("metadata").unwrap_or(&Value::Null));
            let view = table::View { include: manner.include, head: true, now: manner.now };
            table::table(kind, version, &[&object], &meta, view)
        }
    }
}

fn list_meta(metadata: &Value) -> Value {
    json!({"resourceVersion": metadata.get("resourceVersion").cloned().unwrap_or_default()})
}

fn version_name(kind: &Kind, version: usize) -> &str {
    kind.versions.get(version).map_or("v1", |v| v.name.as_str())
}

/// `PartialObjectMetadata`.
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_default()})
}

struct Query {
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Query {
    fn parse(request: &ApiRequest, target: &Target, kind: &Kind) -> Result<Self, Status> {
        let labels = LabelSelector::parse(request.param("labelSelector").unwrap_or_default())
            .map_err(|e| Status::bad_request(format!("unable to parse requirement: {e}")))?;
        let text = request.param("fieldSelector").unwrap_or_default();
        let mut fields = FieldSelector::parse(text, kind).map_err(Status::bad_request)?;
        if let Some(name) = &target.name {
            fields = FieldSelector::parse(&format!("metadata.name={name}"), kind).map_err(Status::bad_request)?;
        }
        Ok(Self { namespace: target.namespace.clone(), labels, fields })
    }

    fn matches(&self, kind: &Kind, version: &str, object: &Value) -> bool {
        matches(&self.labels, &self.fields, kind, version, object)
    }
}

fn matches(labels: &LabelSelector, fields: &FieldSelector, kind: &Kind, version: &str, object: &Value) -> bool {
    labels.matches(object) && (fields.is_empty() || fields.matches(&convert::from_storage(kind, version, object)))
}

fn expired(error: TooOld) -> Status {
    Status::expired(format!("too old resource version: {} ({})", error.asked, error.oldest))
}

fn parse_version(request: &ApiRequest) -> Result<Option<u64>, Status> {
    let Some(text) = request.param("resourceVersion") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let why =
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        if request.flag("watch") {
            Status::plain_error(why)
        } else {
            Status::bad_request(format!("invalid resource version: {why}"))
        }
    })
}

/// A version that is yet to come cannot be waited for: nothing moves while a request is answered.
fn not_in_the_future(server: &ApiServer, asked: u64) -> Result<(), Status> {
    let current = server.store().version();
    if asked <= current {
        return Ok(());
    }
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let mut status = Status::new(504, "Timeout", message);
    status.details =
        Some(json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1}));
    Err(status)
}

/// GET of a collection: a list or a watch.
pub fn list(
    server: &ApiServer,
    request: &ApiRequest,
    target: &Target,
    kind: &Arc<Kind>,
    version: usize,
    manner: Manner,
) -> Result<Answer, Status> {
    let query = Query::parse(request, target, kind)?;
    if target.watch || request.flag("watch") {
        return watch(server, request, kind, version, manner, query).map(|w| Answer::Watch(Box::new(w)));
    }
    let asked = parse_version(request)?;
    let matching = request.param("resourceVersionMatch");
    check_match(matching, asked, request)?;
    let limit: usize = request.param("limit").and_then(|l| l.parse().ok()).unwrap_or(0);
    let (at, start) = match request.param("continue") {
        Some(token) => {
            let (at, start) = parse_token(token)?;
            (at, Some(start))
        }
        None => (server.store().version(), None),
    };
    let at = match (matching, asked) {
        (Some("Exact"), Some(version)) => version,
        (_, Some(version)) if start.is_none() => {
            not_in_the_future(server, version)?;
            at
        }
        _ => at,
    };
    not_in_the_future(server, at)?;
    let objects = server.store().list_at(convert::stored_as(kind), query.namespace.as_deref(), at);
    let objects = objects.map_err(|e| {
        if start.is_some() {
            let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
            Status::expired(message)
        } else {
            expired(e)
        }
    })?;
    let name = version_name(kind, version).to_owned();
    let mut found: Vec<Arc<Value>> = objects.into_iter().filter(|o| query.matches(kind, &name, o)).collect();
    if let Some(start) = &start {
        found.retain(|object| key(object) >= *start);
    }
    let mut metadata = json!({"resourceVersion": at.to_string()});
    if kind.custom && manner.form == Form::Object {
        metadata["continue"] = "".into(); // lists of custom resources are no Go type that could omit it
    }
    if limit > 0 && found.len() > limit {
        let remaining = found.len() - limit;
        metadata["continue"] = token(at, &key(&found[limit])).into();
        if query.labels.is_empty() && query.fields.is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
        found.truncate(limit);
    }
    let shown: Vec<Cow<'_, Value>> = found.iter().map(|o| convert::from_storage(kind, &name, o)).collect();
    let out = match manner.form {
        Form::Table => {
            let refs: Vec<&Value> = shown.iter().map(|o| &**o).collect();
            let view = table::View { include: manner.include, head: true, now: manner.now };
            table::table(kind, version, &refs, &metadata, view)
        }
        Form::Metadata => {
            let items: Vec<Value> = shown.iter().map(|o| partial(o)).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Form::Object => {
            let items: Vec<Value> = shown.into_iter().map(|o| bare(o.into_owned(), kind)).collect();
            json!({"kind": format!("{}List", kind.gk.kind), "apiVersion": kind.api_version(&name),
                "metadata": metadata, "items": items})
        }
    };
    Ok(Answer::Response(ApiResponse::json(200, &out)))
}

/// Items of a list of built-in kinds carry no type.
fn bare(mut object: Value, kind: &Kind) -> Value {
    if !kind.custom
        && let Some(map) = object.as_object_mut()
    {
        map.shift_remove("apiVersion");
        map.shift_remove("kind");
    }
    object
}

fn check_match(matching: Option<&str>, asked: Option<u64>, request: &ApiRequest) -> Result<(), Status> {
    use super::status::FieldError;
    let Some(matching) = matching else { return Ok(()) };
    let error = if !matches!(matching, "Exact" | "NotOlderThan") {
        FieldError::not_supported("resourceVersionMatch", &matching.into(), &["Exact", "NotOlderThan", ""])
    } else if asked.is_none() {
        FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )
    } else if matching == "Exact" && asked == Some(0) {
        FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )
    } else if request.param("continue").is_some() {
        FieldError::forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    } else {
        return Ok(());
    };
    Err(Status::invalid("ListOptions", "meta.k8s.io", "", &[error]))
}

fn key(object: &Value) -> String {
    let text = |p: &str| object.pointer(p).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

fn token(at: u64, start: &str) -> String {
    let text = json!({"v": "meta.k8s.io/v1", "rv": at, "start": start}).to_string();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

fn parse_token(token: &str) -> Result<(u64, String), Status> {
    let bad = || Status::bad_request("continue key is not valid");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let at = value.get("rv").and_then(Value::as_u64).ok_or_else(bad)?;
    let start = value.get("start").and_then(Value::as_str).ok_or_else(bad)?;
    Ok((at, start.to_owned()))
}

fn watch(
    server: &ApiServer,
    request: &ApiRequest,
    kind: &Arc<Kind>,
    version: usize,
    manner: Manner,
    query: Query,
) -> Result<Watch, Status> {
    use super::status::FieldError;
    let asked = parse_version(request)?;
    let send_initial = request.param("sendInitialEvents").map(|v| v == "true");
    let bookmarks = request.flag("allowWatchBookmarks");
    let matching = request.param("resourceVersionMatch");
    if send_initial.is_some() && matching != Some("NotOlderThan") {
        let text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        let error = if matching.is_none() {
            FieldError::forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )
        } else {
            FieldError::forbidden("resourceVersionMatch", text)
        };
        return Err(Status::invalid("ListOptions", "meta.k8s.io", "", &[error]));
    }
    if matching.is_some() && send_initial.is_none() {
        let text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        let error = FieldError::forbidden("resourceVersionMatch", text);
        return Err(Status::invalid("ListOptions", "meta.k8s.io", "", &[error]));
    }
    let current = server.store().version();
    // Without a version, or from any version, the watch begins with the present objects.
    let from_now = matches!(asked, None | Some(0));
    let initial = match send_initial {
        Some(wanted) => wanted,
        None => from_now,
    };
    // A version that is yet to come is waited for; one that is forgotten ends the watch with an error event.
    let after = if initial || from_now { current } else { asked.unwrap_or(current) };
    let name = version_name(kind, version);
    let objects = initial.then(|| {
        let all = server.store().list(convert::stored_as(kind), query.namespace.as_deref());
        all.into_iter().filter(|o| query.matches(kind, name, o)).cloned().collect()
    });
    let timeout = request.param("timeoutSeconds").and_then(|t| t.parse().ok()).map(Duration::from_secs);
    Ok(Watch {
        kind: Arc::clone(kind),
        version,
        namespace: query.namespace,
        labels: query.labels,
        fields: query.fields,
        form: manner.form,
        include: manner.include,
        after,
        initial: objects,
        bookmarks,
        initial_bookmark: send_initial == Some(true) && bookmarks,
        bookmarked: 0,
        headed: false,
        timeout,
    })
}

/// Events of a watch since the last call, as lines of JSON.
pub fn poll(server: &ApiServer, watch: &mut Watch, now: Timestamp) -> Result<Vec<u8>, Vec<u8>> {
    let mut out = Vec::new();
    for object in watch.initial.take().unwrap_or_default() {
        emit(watch, now, "ADDED", &object, &mut out);
    }
    if watch.initial_bookmark {
        watch.initial_bookmark = false;
        bookmark(watch, true, &mut out);
    }
    let stored = convert::stored_as(&watch.kind).clone();
    let events: Vec<_> = match server.store().events_after(watch.after) {
        Ok(events) => events
            .filter(|e| *e.gk == stored && watch.namespace.as_deref().is_none_or(|n| n == &*e.namespace))
            .cloned()
            .collect(),
        Err(old) => {
            let status = expired(old).to_value();
            line(&json!({"type": "ERROR", "object": status}), &mut out);
            return Err(out);
        }
    };
    watch.after = watch.after.max(server.store().version());
    let name = version_name(&watch.kind, watch.version).to_owned();
    for event in events {
        let fits = |o: &Value| matches(&watch.labels, &watch.fields, &watch.kind, &name, o);
        let before = event.before.as_ref().is_some_and(|o| fits(o));
        let after = event.kind != EventKind::Deleted && fits(&event.object);
        // What leaves a selection is deleted for its watchers, in its last form that fitted, at the version of the change.
        match (before, after) {
            (false, true) => emit(watch, now, "ADDED", &event.object, &mut out),
            (true, true) => emit(watch, now, "MODIFIED", &event.object, &mut out),
            (true, false) => {
                let mut last = event.before.as_ref().map_or_else(|| (*event.object).clone(), |o| (**o).clone());
                if let Some(metadata) = last.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.insert("resourceVersion".into(), event.version.to_string().into());
                }
                emit(watch, now, "DELETED", &last, &mut out);
            }
            (false, false) => {}
        }
    }
    Ok(out)
}

fn emit(watch: &mut Watch, now: Timestamp, kind: &str, object: &Value, out: &mut Vec<u8>) {
    let name = version_name(&watch.kind, watch.version).to_owned();
    let object = convert::from_storage(&watch.kind, &name, object);
    let shown = match watch.form {
        Form::Object => object.into_owned(),
        Form::Metadata => partial(&object),
        Form::Table => {
            let meta = list_meta(object.get("metadata").unwrap_or(&Value::Null));
            // Only the first table of a watch has column definitions.
            let head = !std::mem::replace(&mut watch.headed, true);
            let view = table::View { include: watch.include, head, now };
            table::table(&watch.kind, watch.version, &[&object], &meta, view)
        }
    };
    line(&json!({"type": kind, "object": shown}), out);
}

fn line(value: &Value, out: &mut Vec<u8>) {
    out.extend(serde_json::to_vec(value).unwrap_or_default());
    out.push(b'\n');
}

/// Adds a bookmark if the watch wants them and has something to say.
pub fn bookmark_if_due(watch: &mut Watch, out: &mut Vec<u8>) {
    if watch.bookmarks && watch.bookmarked != watch.after {
        bookmark(watch, false, out);
    }
}

fn bookmark(watch: &mut Watch, initial: bool, out: &mut Vec<u8>) {
    watch.bookmarked = watch.after;
    let name = version_name(&watch.kind, watch.version);
    let (kind, version) = match watch.form {
        Form::Object => (watch.kind.gk.kind.clone(), watch.kind.api_version(name)),
        Form::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
        Form::Table => return,
    };
    let mut metadata = json!({"resourceVersion": watch.after.to_string()});
    if initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    line(&json!({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": version, "metadata": metadata}}), out);
}

/// DELETE of a collection: everything that a list would show.
pub fn delete_collection(
    server: &mut ApiServer,
    aim: &Aim,
    target: &Target,
    request: &ApiRequest,
    options: &DeleteOptions,
) -> Result<ApiResponse, Status> {
    let query = Query::parse(request, target, &aim.kind)?;
    if aim.kind.is("", "Namespace") || (aim.kind.namespaced && target.namespace.is_none()) {
        return Err(Status::method_not_allowed());
    }
    let name = aim.version().name.clone();
    let objects = server.store().list(convert::stored_as(&aim.kind), query.namespace.as_deref());
    let found: Vec<Arc<Value>> = objects.into_iter().filter(|o| query.matches(&aim.kind, &name, o)).cloned().collect();
    let mut items = Vec::with_capacity(found.len());
    for object in found {
        let own = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        match server.delete(aim, own, options) {
            Ok((last, _)) => items.push(bare(convert::from_storage(&aim.kind, &name, &last).into_owned(), &aim.kind)),
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let metadata = json!({"resourceVersion": server.store().version().to_string()});
    Ok(ApiResponse::json(
        200,
        &json!({"kind": format!("{}List", aim.kind.gk.kind), "apiVersion": aim.kind.api_version(&name),
            "metadata": metadata, "items": items}),
    ))
}
