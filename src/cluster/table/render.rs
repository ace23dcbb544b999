//! Puts columns and cells together as a `Table` of meta.k8s.io/v1.

use super::cells;
use super::columns::{Column, columns};
use super::custom;
use crate::cluster::kinds::Kind;
use crate::cluster::read::{Include, partial};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What a table shows and how.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// What each row holds of its object.
    pub include: Include,
    /// Whether the columns are told: once per watch.
    pub head: bool,
    /// For ages.
    pub now: Timestamp,
}

/// A table of objects in the form of a version.
pub fn table(kind: &Kind, version: usize, objects: &[&Value], metadata: &Value, view: View) -> Value {
    let own = kind.versions.get(version).filter(|_| kind.custom);
    let columns = own.map_or_else(|| columns(&kind.gk.group, &kind.gk.kind), |v| custom::columns(&v.columns));
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = match own {
                Some(version) => custom::cells(object, &version.columns, view.now),
                None => cells::cells(&kind.gk, object, view.now),
            };
            let shown = match view.include {
                Include::None => Value::Null,
                Include::Metadata => partial(object),
                Include::Object => (*object).clone(),
            };
            let mut row = json!({"cells": cells, "object": shown});
            if let Some(conditions) = completed(kind, object) {
                row["conditions"] = conditions;
            }
            row
        })
        .collect();
    let mut out = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
    if view.head {
        out["columnDefinitions"] = columns.iter().map(definition).collect();
    } else {
        out["columnDefinitions"] = Value::Null;
    }
    out["rows"] = rows.into();
    out
}

/// Rows of pods that ended are marked.
fn completed(kind: &Kind, object: &Value) -> Option<Value> {
    let phase = object.pointer("/status/phase").and_then(Value::as_str)?;
    if !kind.is("", "Pod") {
        return None;
    }
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]))
}

fn definition(column: &Column) -> Value {
    let format = if column.name == "Name" { "name" } else { "" };
    json!({"name": column.name, "type": column.kind, "format": format, "description": column.description,
        "priority": column.priority})
}

/// How long ago a time was, as people read it (`duration.HumanDuration`).
pub fn age(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => human((now - time).total(jiff::Unit::Second).unwrap_or(0.0)),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A duration in seconds, as people read it.
pub fn human(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a cluster's life fit by far")]
    let seconds = seconds.trunc() as i64;
    let two = |first: i64, one: &str, second: i64, other: &str| {
        if second == 0 { format!("{first}{one}") } else { format!("{first}{one}{second}{other}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => two(hours / 24, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        () if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        () => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (5.9, "5s"),
            (119.0, "119s"),
            (120.0, "2m"),
            (125.0, "2m5s"),
            (3600.0, "60m"),
            (11_000.0, "3h3m"),
            (90_000.0, "25h"),
            (200_000.0, "2d7h"),
            (-5.0, "<invalid>"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }
}
