//! `status` as text for a terminal: a table of apps, then what is not as it should be.

use super::status_report::{AppStatus, DriftEntry, StatusReport, SyncState};
use super::wording::{are_on_several, clean, on_cluster, plural, short_revision};
use crate::health::Health;
use comfy_table::{Cell, Color, Table};
use std::fmt::Write as _;

/// Characters of a message in the table; the whole is below it or in JSON.
const MAX_MESSAGE: usize = 72;

/// Objects and drifted fields listed per app.
const MAX_LISTED: usize = 20;

/// The table, then drift and objects that are not healthy, then one line of sum. Print it through `anstream`.
pub fn status_text(report: &StatusReport) -> String {
    if report.apps.is_empty() {
        return "No apps here yet. `driftless plan` shows which apps a repository has.\n".into();
    }
    let mut out = table(report);
    let several = are_on_several(report.apps.iter().map(|app| app.cluster.as_str()));
    for app in &report.apps {
        details(app, several, &mut out);
    }
    for report in &report.reports {
        let (repository, host) = (clean(&report.repository), clean(&report.host));
        let _ = writeln!(out, "\nReports on {repository} do not reach their host ({host}): {}", clean(&report.message));
    }
    let unwell = report.apps.iter().filter(|app| !is_well(app)).count();
    let suspended = report.apps.iter().filter(|app| app.sync == SyncState::Suspended).count();
    let sentence = match unwell {
        0 if suspended > 0 => {
            let well = report.apps.len() - suspended;
            format!("{} in sync and healthy, {suspended} suspended.", plural(well, "app"))
        }
        0 => format!("{} in sync and healthy.", plural(report.apps.len(), "app")),
        1 => format!("1 of {} needs a look.", plural(report.apps.len(), "app")),
        n => format!("{n} of {} need a look.", plural(report.apps.len(), "app")),
    };
    let _ = writeln!(out, "\n{sentence}");
    out
}

fn is_well(app: &AppStatus) -> bool {
    matches!(app.sync, SyncState::Synced | SyncState::Suspended)
        && matches!(app.health, Health::Healthy | Health::Suspended)
        && app.drift.is_empty()
}

fn table(report: &StatusReport) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).enforce_styling();
    table.set_header(["APP", "CLUSTER", "REVISION", "SYNC", "HEALTH", "SCORE", "MESSAGE"]);
    for app in &report.apps {
        table.add_row([
            Cell::new(clean(&app.name)),
            Cell::new(clean(&app.cluster)),
            Cell::new(revision(app)),
            Cell::new(app.sync.as_str()).fg(sync_color(app.sync)),
            Cell::new(app.health.to_string()).fg(health_color(app.health)),
            Cell::new(app.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"))),
            Cell::new(cut(&clean(&app.message))),
        ]);
    }
    let lines: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    lines
}

/// The revision that it is in sync with; else the applied one, and the one it is to become where that is another. One that is
/// in sync was not applied anew by commits that change nothing of it: it does not lag behind.
fn revision(app: &AppStatus) -> String {
    let applied = short_revision(app.applied_revision.as_deref());
    match &app.revision {
        Some(seen) if app.sync == SyncState::Synced => short_revision(Some(seen)),
        Some(seen) if app.applied_revision.as_ref() != Some(seen) => {
            format!("{applied} → {}", short_revision(Some(seen)))
        }
        _ => applied,
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_MESSAGE {
        return text.to_owned();
    }
    text.chars().take(MAX_MESSAGE - 1).chain(['…']).collect()
}

fn sync_color(state: SyncState) -> Color {
    match state {
        SyncState::Synced => Color::Green,
        SyncState::OutOfSync | SyncState::Syncing | SyncState::Suspended => Color::Yellow,
        SyncState::Failed | SyncState::Held => Color::Red,
    }
}

fn health_color(health: Health) -> Color {
    match health {
        Health::Healthy => Color::Green,
        Health::Suspended | Health::Progressing => Color::Yellow,
        Health::Missing | Health::Degraded | Health::Unknown => Color::Red,
    }
}

fn details(app: &AppStatus, several: bool, out: &mut String) {
    let is_long = app.message.chars().count() > MAX_MESSAGE;
    let mut unwell: Vec<String> = app
        .objects
        .iter()
        .filter(|object| !matches!(object.health, Health::Healthy | Health::Suspended))
        .map(|object| {
            let message = if object.message.is_empty() { String::new() } else { format!(": {}", object.message) };
            format!("{} is {}{message}", object.object, object.health)
        })
        .collect();
    // What the table says in full, or the next line anyway, is said once.
    let long_message = is_long && !unwell.contains(&app.message);
    unwell.retain(|line| is_long || *line != app.message);
    if app.drift.is_empty() && unwell.is_empty() && !long_message {
        return;
    }
    let _ = writeln!(out, "\n{}{}", clean(&app.name), on_cluster(&app.cluster, several));
    if long_message {
        let _ = writeln!(out, "  {}", clean(&app.message));
    }
    for entry in app.drift.iter().take(MAX_LISTED) {
        let _ = writeln!(out, "  drift: {}", drift_line(entry));
    }
    for line in unwell.iter().take(MAX_LISTED) {
        let _ = writeln!(out, "  {}", clean(line));
    }
    let hidden = app.drift.len().saturating_sub(MAX_LISTED) + unwell.len().saturating_sub(MAX_LISTED);
    if hidden > 0 {
        let _ = writeln!(out, "  … and {hidden} more; `-o json` has all");
    }
}

/// `Deployment shop/web .spec.replicas, by kubectl-edit since 2026-11-02T10:00:00Z`
fn drift_line(entry: &DriftEntry) -> String {
    let object = clean(&entry.object.to_string());
    let what = match &entry.path {
        Some(path) => format!("{object} {}", clean(path)),
        None => format!("{object} was deleted"),
    };
    let by =
        entry.manager.as_deref().map_or_else(|| ", author not recorded".to_owned(), |by| format!(", by {}", clean(by)));
    let since = entry.since.as_deref().map_or_else(String::new, |since| format!(" since {}", clean(since)));
    format!("{what}{by}{since}")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::super::status_report::ObjectStatus;
    use super::*;
    use crate::object::{Gk, ObjectKey};

    #[test]
    fn a_status() {
        let text = status_text(&sample::status());
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
    }

    #[test]
    fn a_rollout_is_told_once_and_what_is_in_sync_does_not_lag() {
        let mut report = sample::status();
        report.apps.truncate(1);
        let app = &mut report.apps[0];
        let words = |message: &str| format!("Deployment shop/api is Progressing: {message}");
        let object = ObjectStatus {
            object: ObjectKey::new(&Gk::new("apps", "Deployment"), Some("shop"), "api").with_version("v1"),
            health: Health::Progressing,
            message: "1 of 2 ready".into(),
        };
        app.health = Health::Progressing;
        app.applied_revision = Some("b".repeat(40));
        app.message = words("1 of 2 ready");
        app.objects = vec![object];
        let text = status_text(&report);
        assert!(text.matches("Deployment shop/api").count() == 1 && !text.contains('→'), "{text}");
        assert!(text.ends_with("\n1 of 1 app needs a look.\n"), "{text}");
        let long = "x".repeat(90);
        report.apps[0].objects[0].message.clone_from(&long);
        report.apps[0].message = words(&long);
        report.apps[0].sync = SyncState::OutOfSync;
        let text = status_text(&report);
        assert!(text.matches(&long).count() == 1 && text.contains("bbbbbbb → "), "{text}");
        let mut other = report.apps[0].clone();
        other.cluster = "east".into();
        report.apps.push(other);
        assert!(status_text(&report).contains("(cluster east)\n"));
    }

    #[test]
    fn no_apps() {
        assert!(status_text(&StatusReport::default()).starts_with("No apps"));
    }
}
