//! `plan` and `sync` as text for a terminal.
//!
//! In: the report, and both sides of every object where they are known. Out: text with ANSI styles, to be printed
//! through `anstream`, which removes them where there is no terminal.
//!
//! It begins with what matters most (each app's counts), and ends with the sum and what to do next.

use super::base_note::BaseNote;
use super::object_diff::{Line, ObjectDiffs};
use super::sync_report::{AppSync, Outcome, SyncReport, SyncedChange};
use super::wording::{
    Standing, actions, are_on_several, clean, count, counts, duration, headline, on_cluster, place, plural, problem,
    refusal_shown, restarts, short_revision, standing, symbol,
};
use crate::health::Health;
use crate::object::Problem;
use crate::plan::change::{Action, AppPlan, Change, PlanReport, PolicyFinding};
use anstyle::{AnsiColor, Style};
use std::fmt::Write as _;

/// Lines of one object's diff that are shown.
const MAX_DIFF_LINES: usize = 120;

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// A text in a style.
fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The plan, with diffs where `diffs` has both sides.
pub fn plan_text(report: &PlanReport, diffs: &ObjectDiffs) -> String {
    text(report, diffs, None)
}

/// The plan of a merge: first what the base says of itself, then what the revision adds.
pub fn merge_text(report: &PlanReport, diffs: &ObjectDiffs, base: &BaseNote) -> String {
    text(report, diffs, Some(base))
}

fn text(report: &PlanReport, diffs: &ObjectDiffs, base: Option<&BaseNote>) -> String {
    let mut out = String::new();
    for line in base.into_iter().flat_map(BaseNote::lines) {
        let _ = writeln!(out, "{} {}", paint(YELLOW, "!"), clean(&line));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    if let Some(error) = &report.error {
        tell_problem(error, "", &mut out);
    }
    let several = are_on_several(report.apps.iter().map(|app| app.cluster.as_str()));
    for app in &report.apps {
        app_text(app, diffs, several, &mut out);
    }
    out.push_str(&summary(report, base));
    out
}

fn app_text(app: &AppPlan, diffs: &ObjectDiffs, several: bool, out: &mut String) {
    let pods = |change: &Change| {
        let foreseen = change.forecast.as_ref().and_then(|forecast| forecast.pods);
        foreseen.or_else(|| diffs.pods(&app.name, &app.cluster, &change.object))
    };
    let restart = restarts(app, &pods);
    let headline = headline(app, restart.as_deref());
    let headline = match standing(app) {
        Standing::Whole => headline,
        Standing::Waits => paint(YELLOW, &headline),
        Standing::InPart | Standing::Blocked => paint(RED, &headline),
    };
    let _ = write!(out, "{}{}: {headline}", paint(BOLD, &clean(&app.name)), on_cluster(&app.cluster, several));
    if !app.depends_on.is_empty() {
        let _ = write!(out, "  {}", paint(DIM, &format!("after {}", clean(&app.depends_on.join(", ")))));
    }
    out.push('\n');
    tell_faults(app.error.as_ref(), &app.errors, &app.policy, out);
    if let Some(hold) = app.hold.as_ref().filter(|_| !app.changes.is_empty()) {
        let _ = writeln!(out, "  {} {}", paint(YELLOW, "!"), clean(&hold.sentence()));
    }
    let width = app.changes.iter().map(|change| actions(change).chars().count()).max().unwrap_or(0);
    for change in &app.changes {
        change_text(change, width, out);
        if let Some(lines) = diffs.lines(&app.name, &app.cluster, &change.object) {
            diff_text(&lines, out);
        }
    }
    out.push('\n');
}

fn style_of(change: &Change) -> Style {
    match change.actions.last() {
        Some(Action::Create) => GREEN,
        Some(Action::Prune | Action::Replace) => RED,
        Some(Action::None) | None => DIM,
        Some(_) => YELLOW,
    }
}

/// `  + create   Deployment shop/web  not in the cluster yet  web/deploy.yaml:3  after Namespace shop`
fn change_text(change: &Change, width: usize, out: &mut String) {
    let style = style_of(change);
    let lead = paint(style, &format!("{} {:width$}", symbol(change), actions(change)));
    let _ = write!(out, "  {lead}  {}", paint(BOLD, &clean(&change.object.to_string())));
    if !change.why.is_empty() {
        let _ = write!(out, "  {}", clean(&change.why));
    }
    if let Some(source) = &change.source {
        let _ = write!(out, "  {}", paint(DIM, &place(&source.file, source.line)));
    }
    if change.wave != 0 {
        let _ = write!(out, "  {}", paint(DIM, &format!("wave {}", change.wave)));
    }
    if !change.waits_for.is_empty() {
        let names: Vec<String> = change.waits_for.iter().take(3).map(|object| clean(&object.to_string())).collect();
        let more = match change.waits_for.len().saturating_sub(3) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let _ = write!(out, "  {}", paint(DIM, &format!("after {}{more}", names.join(", "))));
    }
    out.push('\n');
    if let Some(why) = change.forecast.as_ref().and_then(|forecast| forecast.impossible.as_deref()) {
        let _ = writeln!(out, "      {} {}", paint(RED, "✗ cannot end well:"), clean(why));
    }
    for note in change.forecast.iter().flat_map(|forecast| &forecast.notes) {
        let _ = writeln!(out, "      {} {}", paint(YELLOW, "!"), clean(note));
    }
}

fn diff_text(lines: &[Line], out: &mut String) {
    for line in lines.iter().take(MAX_DIFF_LINES) {
        let style = match line {
            Line::Hunk(_) => CYAN,
            Line::Same(_) => Style::new(),
            Line::Removed(_) => RED,
            Line::Added(_) => GREEN,
        };
        let _ = writeln!(out, "      {}", paint(style, &line.text()));
    }
    if let Some(rest) = lines.len().checked_sub(MAX_DIFF_LINES).filter(|rest| *rest > 0) {
        let _ = writeln!(
            out,
            "      {}",
            paint(DIM, &format!("… {} more; `-o json` has every field", plural(rest, "line")))
        );
    }
}

/// What is wrong with an app, and what policies say: each once, a refusal in the form that has its place.
fn tell_faults(error: Option<&Problem>, errors: &[Problem], policy: &[PolicyFinding], out: &mut String) {
    let refusal = refusal_shown(error, policy);
    for error in error.filter(|_| errors.is_empty() && refusal.is_none()).into_iter().chain(errors) {
        tell_problem(error, "  ", out);
    }
    for (i, finding) in policy.iter().enumerate() {
        tell_finding(finding, out);
        if refusal == Some(i) {
            tell_hint(error.and_then(|error| error.hint.as_deref()).map(clean), "  ", out);
        }
    }
}

fn tell_problem(error: &Problem, indent: &str, out: &mut String) {
    let (message, hint) = problem(error);
    let _ = writeln!(out, "{indent}{} {message}", paint(RED, "✗"));
    tell_hint(hint, indent, out);
}

fn tell_hint(hint: Option<String>, indent: &str, out: &mut String) {
    if let Some(hint) = hint {
        let _ = writeln!(out, "{indent}  {} {hint}", paint(CYAN, "→"));
    }
}

fn tell_finding(finding: &PolicyFinding, out: &mut String) {
    let (style, sign) = match finding.action.as_str() {
        "deny" => (RED, "✗"),
        "warn" => (YELLOW, "!"),
        _ => (DIM, "·"),
    };
    let _ = writeln!(
        out,
        "  {} {} {}: {}: {}",
        paint(style, &format!("{sign} {}", clean(&finding.action))),
        paint(DIM, &place(&finding.file, finding.line)),
        clean(&finding.subject()),
        clean(&finding.policy),
        clean(&finding.message),
    );
}

/// The last lines: the sum, and what to run next.
fn summary(report: &PlanReport, base: Option<&BaseNote>) -> String {
    let stand = |wanted: Standing| report.apps.iter().filter(|app| standing(app) == wanted).count();
    let (waiting, in_part) = (stand(Standing::Waits), stand(Standing::InPart));
    let failed = stand(Standing::Blocked);
    let wrong = failed + in_part + waiting + usize::from(report.error.is_some());
    let unchanged: usize = report.apps.iter().map(|app| app.unchanged).sum();
    let total = count(report.pending());
    let revision = short_revision(report.revision.as_deref());
    let mut out = String::new();
    if total.is_empty() && wrong == 0 {
        let _ = writeln!(
            out,
            "{}",
            paint(GREEN, &format!("Nothing to do: {} at {revision}.", plural(unchanged, "object")))
        );
        return out;
    }
    if !total.is_empty() {
        let _ = writeln!(
            out,
            "{} {}; {unchanged} unchanged. Revision {revision}.",
            paint(BOLD, "Plan:"),
            counts(&total, None)
        );
    }
    if failed > 0 {
        let sentence = format!("{} cannot be planned; nothing of it would change.", plural(failed, "app"));
        let _ = writeln!(out, "{}", paint(RED, &sentence));
    }
    if in_part > 0 {
        let sentence =
            format!("{} can be planned in part only: what is wrong is left as it is.", plural(in_part, "app"));
        let _ = writeln!(out, "{}", paint(RED, &sentence));
    }
    if waiting > 0 {
        let verb = if waiting == 1 { "waits" } else { "wait" };
        let sentence = format!("{} {verb} with deletions until they are approved.", plural(waiting, "app"));
        let _ = writeln!(out, "{}", paint(YELLOW, &sentence));
    }
    if !total.is_empty() {
        let next = match base {
            None => next(report),
            Some(base) => format!("This is what merging into {} adds.", short_revision(Some(&base.revision))),
        };
        let _ = writeln!(out, "{}", paint(DIM, &next));
    }
    out
}

/// What to run next. What a sync would refuse is not recommended to be synced.
fn next(report: &PlanReport) -> String {
    let changes = |app: &&AppPlan| app.changes.iter().any(|change| change.actions != [Action::None]);
    let (held, free): (Vec<&AppPlan>, Vec<&AppPlan>) =
        report.apps.iter().filter(changes).partition(|app| app.hold.is_some());
    let commands: Vec<String> =
        held.iter().filter_map(|app| Some(format!("`{}`", app.hold.as_ref()?.command))).collect();
    let commands = commands.join(", ");
    match (held.len(), free.is_empty()) {
        (0, _) => "Run `driftless sync` with the same arguments to carry it out.".to_owned(),
        (_, true) => format!("A sync is refused until {commands}."),
        (n, false) => {
            let held = if n == 1 { "1 app is".to_owned() } else { format!("{n} apps are") };
            format!("Run `driftless sync` with the same arguments to carry it out; {held} refused until {commands}.")
        }
    }
}

/// One change as it ends, for progress and for the result: `  ✓ create  Deployment shop/web  2.3 s`.
pub fn outcome_text(change: &SyncedChange) -> String {
    let (style, sign) = match change.outcome {
        Outcome::Applied => (GREEN, "✓"),
        Outcome::Failed => (RED, "✗"),
        Outcome::Skipped => (DIM, "–"),
    };
    let mut out = format!(
        "  {} {}  {}",
        paint(style, sign),
        actions(&change.change),
        paint(BOLD, &clean(&change.change.object.to_string()))
    );
    if change.outcome != Outcome::Skipped {
        let _ = write!(out, "  {}", paint(DIM, &duration(change.took_ms)));
    }
    if !change.message.is_empty() {
        let _ = write!(out, "  {}", clean(&change.message));
    }
    out
}

/// The result of a sync.
pub fn sync_text(report: &SyncReport) -> String {
    let mut out = String::new();
    if let Some(error) = &report.error {
        tell_problem(error, "", &mut out);
    }
    let several = are_on_several(report.apps.iter().map(|app| app.cluster.as_str()));
    for app in &report.apps {
        app_sync_text(app, several, &mut out);
    }
    let outcomes = || report.apps.iter().flat_map(|app| &app.changes).map(|change| change.outcome);
    let of = |wanted: Outcome| outcomes().filter(|outcome| *outcome == wanted).count();
    let unwell = report.apps.iter().filter(|app| !is_well(app)).count() + usize::from(report.error.is_some());
    let revision = short_revision(report.revision.as_deref());
    let sentence = match (of(Outcome::Applied), of(Outcome::Failed), of(Outcome::Skipped)) {
        (0, 0, 0) if unwell > 0 => format!("{revision}: nothing was applied."),
        (0, 0, 0) => format!("{revision}: nothing to do."),
        (0, 0, skipped) => format!("{revision}: nothing was applied, {skipped} skipped."),
        (applied, 0, 0) => format!("{revision}: {applied} applied."),
        (applied, failed, skipped) => format!("{revision}: {applied} applied, {failed} failed, {skipped} skipped."),
    };
    if unwell == 0 {
        let _ = writeln!(out, "{}", paint(GREEN, &format!("{sentence} In sync and healthy.")));
    } else {
        let hint = "`driftless status` shows what is wrong.";
        let _ = writeln!(out, "{} {hint}", paint(RED, &format!("{sentence} {} not well.", plural_is(unwell))));
    }
    out
}

fn plural_is(n: usize) -> String {
    if n == 1 { "1 app is".into() } else { format!("{n} apps are") }
}

fn is_well(app: &AppSync) -> bool {
    app.error.is_none()
        && app.sync == super::status_report::SyncState::Synced
        && matches!(app.health, Health::Healthy | Health::Suspended)
}

fn app_sync_text(app: &AppSync, several: bool, out: &mut String) {
    let style = if is_well(app) { GREEN } else { RED };
    let state = paint(style, &format!("{}, {}", app.sync.as_str(), app.health));
    let _ = write!(out, "{}{}: {state}", paint(BOLD, &clean(&app.name)), on_cluster(&app.cluster, several));
    // The first refusal again, which follows with all others.
    let message = refusal_shown(app.error.as_ref(), &app.policy).map_or(app.message.as_str(), |_| "refused by policy");
    if !message.is_empty() {
        let _ = write!(out, ": {}", clean(message));
    }
    out.push('\n');
    tell_faults(app.error.as_ref(), &app.errors, &app.policy, out);
    for change in &app.changes {
        let _ = writeln!(out, "{}", outcome_text(change));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_plan() {
        let (report, diffs) = sample::plan();
        insta::assert_snapshot!(plain(&plan_text(&report, &diffs)));
    }

    #[test]
    fn what_is_held_is_not_recommended_to_be_synced() {
        let (mut report, diffs) = sample::plan();
        let hold = |app: &str| crate::plan::change::PlanHold {
            held: false,
            reason: "pull request #7 has this plan but is not merged".into(),
            command: format!("driftless approve {app}"),
            unreviewed: Vec::new(),
        };
        report.apps[0].hold = Some(hold("web"));
        let text = plain(&plan_text(&report, &diffs));
        assert!(
            text.contains("! a sync of this would be refused until `driftless approve web`: pull request #7"),
            "{text}"
        );
        for app in &mut report.apps {
            app.hold = Some(hold("web"));
        }
        let text = plain(&plan_text(&report, &diffs));
        assert!(
            !text.contains("Run `driftless sync`") && text.contains("A sync is refused until `driftless"),
            "{text}"
        );
    }

    #[test]
    fn nothing_to_do() {
        let report = sample::empty_plan();
        insta::assert_snapshot!(plain(&plan_text(&report, &ObjectDiffs::default())));
    }

    #[test]
    fn a_sync() {
        insta::assert_snapshot!(plain(&sync_text(&sample::sync())));
    }

    #[test]
    fn hostile_texts_do_not_reach_the_terminal() {
        let (report, diffs) = sample::hostile_plan();
        let text = plan_text(&report, &diffs);
        assert!(!text.contains("\u{1b}[2J") && !text.contains('\u{202e}') && !text.contains("\u{7}"));
        assert!(plain(&text).lines().all(|line| !line.starts_with("FORGED")));
    }
}
