//! Kubernetes' protobuf form of objects, read by the type table. Typed clients (`kubectl create configmap`) send it.
//!
//! In: bytes of `application/vnd.kubernetes.protobuf`. Out: the object as JSON. Nothing is written in this form: every
//! client accepts JSON as well. Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf (the envelope `Unknown`), and
//! the field numbers of the Go types. Unknown fields are skipped, as everywhere in protobuf.

use crate::scheme::decode::time_text;
use crate::scheme::{Map as MapType, Scalar, TypeId, Types};
use base64::Engine as _;
use serde_json::{Map, Number, Value, json};

/// First bytes of the envelope.
const MAGIC: &[u8] = b"k8s\0";

/// Deepest nesting of messages.
const MAX_DEPTH: usize = 100;

/// One field on the wire.
enum Wire<'b> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'b [u8]),
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or("unexpected end of protobuf")?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("protobuf integer overflow".into())
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], String> {
        if length > self.0.len() {
            return Err("unexpected end of protobuf".into());
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<Option<(u32, Wire<'b>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| "illegal protobuf tag")?;
        let little = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |acc, b| (acc << 8) | u64::from(*b));
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed(little(self.take(8)?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "protobuf length overflow")?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed(little(self.take(4)?)),
            _ => return Err("illegal protobuf wire type".into()),
        };
        Ok(Some((number, wire)))
    }
}

fn bytes_of(message: &[u8], wanted: u32) -> Result<Option<&[u8]>, String> {
    let mut reader = Reader(message);
    let mut found = None;
    while let Some((number, wire)) = reader.field()? {
        if let (true, Wire::Bytes(bytes)) = (number == wanted, wire) {
            found = Some(bytes);
        }
    }
    Ok(found)
}

fn number_of(message: &[u8], wanted: u32) -> Result<i64, String> {
    let mut reader = Reader(message);
    let mut found = 0;
    while let Some((number, wire)) = reader.field()? {
        if let (true, Wire::Varint(value)) = (number == wanted, wire) {
            found = value.cast_signed();
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "protobuf string is not UTF-8".to_owned())
}

/// Reads an object with its envelope. `type_name` finds the type of an `apiVersion` and `kind`.
pub fn parse(bytes: &[u8], type_name: impl Fn(&str, &str) -> Option<String>) -> Result<Value, String> {
    let body = bytes.strip_prefix(MAGIC).ok_or("provided data does not appear to be a protobuf message")?;
    let meta = bytes_of(body, 1)?.unwrap_or_default();
    let api_version = text(bytes_of(meta, 1)?.unwrap_or_default())?;
    let kind = text(bytes_of(meta, 2)?.unwrap_or_default())?;
    let raw = bytes_of(body, 2)?.unwrap_or_default();
    let types = Types::builtin();
    let id = type_name(&api_version, &kind).and_then(|name| types.named(&name));
    let id = id.ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
    let mut object = message(types, id, raw, 0)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Ok(object)
}

fn message(types: &Types, id: TypeId, bytes: &[u8], depth: usize) -> Result<Value, String> {
    let mut out = Map::new();
    if let Some(map) = &types.atom(id).map {
        fill(types, map, &[], bytes, depth, &mut out)?;
    }
    Ok(Value::Object(out))
}

/// Fields whose numbers begin with `prefix`: those of the struct itself, or of a struct inlined into it.
fn fill(
    types: &Types,
    map: &MapType,
    prefix: &[u32],
    bytes: &[u8],
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("protobuf nested too deeply".into());
    }
    let mut reader = Reader(bytes);
    let mut path = prefix.to_vec();
    while let Some((number, wire)) = reader.field()? {
        path.push(number);
        if let Some(field) = map.fields.iter().find(|f| f.number == path) {
            value(types, field.ty, &wire, depth, out, &field.name)?;
        } else if let Wire::Bytes(inner) = wire
            && map.fields.iter().any(|f| f.number.len() > path.len() && f.number.starts_with(&path))
        {
            fill(types, map, &path, inner, depth + 1, out)?;
        }
        path.pop();
    }
    Ok(())
}

fn value(
    types: &Types,
    id: TypeId,
    wire: &Wire<'_>,
    depth: usize,
    out: &mut Map<String, Value>,
    name: &str,
) -> Result<(), String> {
    let atom = types.atom(id);
    if let (Some(list), true) = (&atom.list, atom.scalar.is_none()) {
        let item = single(types, list.element, wire, depth)?;
        if let Value::Array(items) = out.entry(name).or_insert_with(|| json!([])) {
            items.push(item);
        }
        return Ok(());
    }
    let of_map = atom.map.as_ref().filter(|m| m.fields.is_empty() && atom.name.is_none() && atom.scalar.is_none());
    if let (Some(element), Wire::Bytes(entry)) = (of_map.and_then(|m| m.element), wire)
        && element != types.deduced()
    {
        let key = text(bytes_of(entry, 1)?.unwrap_or_default())?;
        let item = match bytes_of(entry, 2)? {
            Some(bytes) => single(types, element, &Wire::Bytes(bytes), depth)?,
            None => Value::String(String::new()),
        };
        if let Value::Object(entries) = out.entry(name).or_insert_with(|| json!({})) {
            entries.insert(key, item);
        }
        return Ok(());
    }
    let found = single(types, id, wire, depth)?;
    out.insert(name.to_owned(), found);
    Ok(())
}

fn single(types: &Types, id: TypeId, wire: &Wire<'_>, depth: usize) -> Result<Value, String> {
    let atom = types.atom(id);
    Ok(match (atom.scalar, wire) {
        (Some(Scalar::Bool), Wire::Varint(v)) => Value::Bool(*v != 0),
        (Some(Scalar::Int32 | Scalar::Int64), Wire::Varint(v)) => Value::from(v.cast_signed()),
        (Some(Scalar::Number), Wire::Fixed(v)) => {
            Number::from_f64(f64::from_bits(*v)).map_or(Value::Null, Value::Number)
        }
        (Some(Scalar::String), Wire::Bytes(bytes)) => Value::String(text(bytes)?),
        (Some(Scalar::Bytes), Wire::Bytes(bytes)) => {
            Value::String(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        (Some(Scalar::Quantity), Wire::Bytes(bytes)) => Value::String(text(bytes_of(bytes, 1)?.unwrap_or_default())?),
        (Some(Scalar::IntOrString), Wire::Bytes(bytes)) => {
            if number_of(bytes, 1)? == 1 {
                Value::String(text(bytes_of(bytes, 3)?.unwrap_or_default())?)
            } else {
                Value::from(number_of(bytes, 2)?)
            }
        }
        (Some(kind @ (Scalar::Time | Scalar::MicroTime)), Wire::Bytes(bytes)) => {
            let (seconds, nanos) = (number_of(bytes, 1)?, number_of(bytes, 2)?);
            let nanos = i32::try_from(nanos).map_err(|_| "protobuf time out of range")?;
            // An empty message is the zero time, which is written as null.
            let time = jiff::Timestamp::new(seconds, nanos).map_err(|_| "protobuf time out of range")?;
            if bytes.is_empty() { Value::Null } else { time_text(time, kind == Scalar::MicroTime).into() }
        }
        // Free-form JSON: `RawExtension`, `JSON`, `FieldsV1` all hold it in field 1.
        (Some(Scalar::Untyped), Wire::Bytes(bytes)) => raw(bytes)?,
        (None, Wire::Bytes(bytes)) if atom.name.is_none() => raw(bytes)?,
        (None, Wire::Bytes(bytes)) => message(types, id, bytes, depth + 1)?,
        _ => return Err("protobuf field of the wrong wire type".into()),
    })
}

fn raw(bytes: &[u8]) -> Result<Value, String> {
    match bytes_of(bytes, 1)? {
        Some(json) if !json.is_empty() => serde_json::from_slice(json).map_err(|e| e.to_string()),
        _ => Ok(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend(bytes);
        out
    }

    #[test]
    fn an_object_with_a_map_a_list_and_an_inlined_struct() {
        // Probe.handler.httpGet.port is an inlined struct's field: #1.2, its port an IntOrString.
        let int_or_string = [0x08, 0x00, 0x10, 80];
        let http = tagged(2, &int_or_string);
        let probe = [tagged(1, &tagged(2, &http)), vec![0x10, 5]].concat();
        let container = [tagged(1, b"main"), tagged(2, b"web:1"), tagged(10, &probe)].concat();
        let spec = tagged(2, &container);
        let labels = tagged(11, &[tagged(1, b"app"), tagged(2, b"web")].concat());
        let metadata = [tagged(1, b"web"), labels].concat();
        let pod = [tagged(1, &metadata), tagged(2, &spec)].concat();
        let meta = [tagged(1, b"v1"), tagged(2, b"Pod")].concat();
        let envelope = [MAGIC.to_vec(), tagged(1, &meta), tagged(2, &pod)].concat();
        let object = parse(&envelope, |_, kind| Some(format!("core.v1.{kind}"))).unwrap();
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "web:1",
                    "livenessProbe": {"httpGet": {"port": 80}, "initialDelaySeconds": 5}}]}})
        );
    }

    #[test]
    fn hostile_bytes_are_refused() {
        for bytes in [&b"k8s\0\x0a\xff"[..], b"", b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"{}"] {
            assert!(parse(bytes, |_, kind| Some(format!("core.v1.{kind}"))).is_err());
        }
    }
}
