//! The tour: what is done, what should come of it, and what did.

use super::stage::{Stage, image};
use super::watcher::number;
use super::{Step, Summary};
use crate::cli::output::print_text;
use crate::object::{Live, Manifest, Problem, counted};
use crate::report::{ContextKind, Note, State};
use crate::source::Revision;
use anstyle::{AnsiColor, Style};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::json;
use std::time::{Duration, Instant};

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
/// A step that takes longer than this is not seen any more.
const PATIENCE: Duration = Duration::from_secs(45);
/// Between two steps, so that a person can read along.
const BREATH: Duration = Duration::from_millis(1200);

/// What a step came to: what was seen, and whether it is what should be.
type Seen = Result<String, String>;

/// Plays every step; after one that failed the others are still tried.
pub async fn tour(stage: &Stage) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut act = Act { stage, revision: None, steps: &mut steps };
    act.play("create", "three apps are created in order, healthy, and said so on the commit", create(stage)).await;
    act.play("scale", "web goes from 1 to 3 pods", scale(stage)).await;
    act.play("rollout", "every pod of web gets image 1.1, never fewer than 3 ready", rollout(stage)).await;
    act.play(
        "bad image",
        "web is Degraded with its reason, rolled back to 1.1, and the bad commit is held",
        bad_image(stage),
    )
    .await;
    act.play("fix", "a fix is taken at once: web runs 1.2 with 3 ready", fix(stage)).await;
    act.play("hand edit", "a hand's change of replicas is named (who, which field) and repaired", hand_edit(stage))
        .await;
    act.play("deletion by hand", "a deleted Service is there again", deletion(stage)).await;
    act.play(
        "removal from Git",
        "the app motd is gone from Git and from the cluster, the others are not",
        removal(stage),
    )
    .await;
    steps
}

struct Act<'a> {
    stage: &'a Stage,
    revision: Option<Revision>,
    steps: &'a mut Vec<Step>,
}

impl Act<'_> {
    async fn play(
        &mut self,
        name: &'static str,
        expected: &'static str,
        step: impl Future<Output = Result<(Option<Revision>, String), (Option<Revision>, String)>>,
    ) {
        let number = self.steps.len() + 1;
        if self.stage.text {
            print_text(&format!("{BOLD}{number}. {name}{BOLD:#}  {DIM}{expected}{DIM:#}\n"));
        }
        let began = Instant::now();
        let (ok, (revision, observed)) = match step.await {
            Ok(seen) => (true, seen),
            Err(seen) => (false, seen),
        };
        self.revision = revision.or_else(|| self.revision.clone());
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.stage.text {
            let sign = if ok { format!("{GREEN}✓{GREEN:#}") } else { format!("{RED}✗{RED:#}") };
            print_text(&format!("   {sign} {observed}  {DIM}{}{DIM:#}\n\n", crate::report::status::took(took_ms)));
            tokio::time::sleep(BREATH).await;
        }
        let revision = self.revision.as_ref().map(ToString::to_string).unwrap_or_default();
        self.steps.push(Step { name, revision, expected, observed, ok, took_ms });
    }
}

type Outcome = Result<(Option<Revision>, String), (Option<Revision>, String)>;

fn outcome(revision: &Revision, seen: Seen) -> Outcome {
    match seen {
        Ok(text) => Ok((Some(revision.clone()), text)),
        Err(text) => Err((Some(revision.clone()), text)),
    }
}

fn failed(problem: &Problem) -> (Option<Revision>, String) {
    (None, problem.to_string())
}

/// Commits, and shows it.
fn push(
    stage: &Stage,
    message: &str,
    edit: impl FnOnce(&mut super::repository::SampleRepository) -> bool,
) -> Result<Revision, Problem> {
    let mut repository =
        stage.repository.lock().map_err(|_| Problem::new("InternalError", "the sample repository is lost"))?;
    if !edit(&mut repository) {
        return Err(Problem::new("InternalError", format!("the sample has nothing to edit for {message:?}")));
    }
    let revision = repository.commit(message)?;
    if stage.text {
        print_text(&format!("   {DIM}$ git push{DIM:#}   {} {message}\n", revision.short(7)));
    }
    Ok(revision)
}

/// Waits for the final `driftless/sync` of a commit and shows each status as it comes.
async fn settled(stage: &Stage, revision: &Revision) -> Option<Note> {
    let shown = std::sync::atomic::AtomicUsize::new(0);
    let found = stage.watcher.until(PATIENCE, || async {
        let notes = stage.watcher.said(revision, ContextKind::Sync);
        for note in notes.iter().skip(shown.swap(notes.len(), std::sync::atomic::Ordering::Relaxed)) {
            show(stage, note);
        }
        notes.into_iter().find(|note| note.state.is_final())
    });
    found.await
}

fn show(stage: &Stage, note: &Note) {
    if stage.text {
        let style = match note.state {
            State::Success => GREEN,
            State::Failure | State::Error => RED,
            _ => DIM,
        };
        let text = format!("   {} {style}{:<8}{style:#} {}\n", note.context, note.state.to_string(), note.description);
        print_text(&text);
    }
}

/// Success in the notes, and `seen` of the cluster.
async fn success(stage: &Stage, revision: &Revision, seen: impl Future<Output = Seen>) -> Seen {
    match settled(stage, revision).await {
        Some(note) if note.state == State::Success => seen.await.map(|text| format!("{text}; {}", note.description)),
        Some(note) => Err(format!("the commit says {}: {}", note.state, note.description)),
        None => Err("the commit has no final status".to_owned()),
    }
}

async fn ready(stage: &Stage, name: &str, pods: i64) -> Seen {
    let well = |live: &Live| {
        number(live, "/status/readyReplicas") == pods
            && number(live, "/status/replicas") == pods
            && number(live, "/status/updatedReplicas") == pods
    };
    let found = stage.watcher.until(PATIENCE, || async { stage.watcher.deployment(name).await.filter(well) }).await;
    match found {
        Some(live) => Ok(format!("{name} {pods}/{pods} ready with {}", image(&live))),
        None => Err(format!("{name} does not have {pods} ready pods")),
    }
}

async fn create(stage: &Stage) -> Outcome {
    let revision = push(stage, "Shop: web, api and a message of the day", |_| true).map_err(|p| failed(&p))?;
    stage.curtain().await.map_err(|p| failed(&p))?;
    let seen = success(stage, &revision, async {
        let (web, api) = (ready(stage, "web", 1).await?, ready(stage, "api", 2).await?);
        match stage.watcher.get("/api/v1/namespaces/shop/configmaps/motd").await {
            Some(_) => Ok(format!("{web}, {api}, ConfigMap motd")),
            None => Err("ConfigMap motd is not there".to_owned()),
        }
    });
    outcome(&revision, seen.await)
}

async fn scale(stage: &Stage) -> Outcome {
    let edit = |r: &mut super::repository::SampleRepository| r.replace("web/app.yaml", "replicas: 1", "replicas: 3");
    let revision = push(stage, "web: three replicas", edit).map_err(|p| failed(&p))?;
    outcome(&revision, success(stage, &revision, ready(stage, "web", 3)).await)
}

async fn rollout(stage: &Stage) -> Outcome {
    stage.watcher.reset_fewest();
    let edit = |r: &mut super::repository::SampleRepository| r.replace("web/app.yaml", "web:1.0", "web:1.1");
    let revision = push(stage, "web: 1.1", edit).map_err(|p| failed(&p))?;
    let seen = success(stage, &revision, async {
        let text = ready(stage, "web", 3).await?;
        let fewest = stage.watcher.fewest();
        let pods = stage.watcher.list("/api/v1/namespaces/shop/pods", "app.kubernetes.io/name=web").await;
        let old = pods
            .iter()
            .filter(|p| !p.to_string().contains("web:1.1") && p.pointer("/metadata/deletionTimestamp").is_none());
        match (fewest, old.count()) {
            (3.., 0) if fewest < i64::MAX => Ok(format!("{text}, never fewer than {fewest} ready")),
            (_, 0) => Err(format!("only {fewest} of 3 pods were ready at one moment")),
            (_, old) => Err(format!("{} with the old image still there", counted(old, "pod"))),
        }
    });
    outcome(&revision, seen.await)
}

async fn bad_image(stage: &Stage) -> Outcome {
    let edit = |r: &mut super::repository::SampleRepository| r.replace("web/app.yaml", "web:1.1", "web:1.2-bad");
    let revision = push(stage, "web: 1.2-bad, which cannot be pulled", edit).map_err(|p| failed(&p))?;
    let seen = async {
        let Some(note) = settled(stage, &revision).await else {
            return Err("the commit has no final status".to_owned());
        };
        let told = note.state == State::Failure
            && note.description.contains("rolled back")
            && note.description.contains("held");
        if !told {
            return Err(format!("the commit says {}: {}", note.state, note.description));
        }
        let back = ready(stage, "web", 3).await?;
        let live = stage.watcher.deployment("web").await;
        if live.as_ref().is_none_or(|live| !image(live).ends_with("web:1.1")) {
            return Err("web does not run 1.1 again".to_owned());
        }
        Ok(format!("{}; {back}", note.description))
    };
    outcome(&revision, seen.await)
}

async fn fix(stage: &Stage) -> Outcome {
    let edit = |r: &mut super::repository::SampleRepository| r.replace("web/app.yaml", "web:1.2-bad", "web:1.2");
    let revision = push(stage, "web: 1.2, repaired", edit).map_err(|p| failed(&p))?;
    let seen = success(stage, &revision, async {
        let text = ready(stage, "web", 3).await?;
        if text.ends_with("web:1.2") { Ok(text) } else { Err(text) }
    });
    outcome(&revision, seen.await)
}

/// The head, for what happens in the cluster and not in Git.
fn head(stage: &Stage) -> Option<Revision> {
    let repository = stage.repository.lock().ok()?;
    let repo = git2::Repository::open_bare(repository.path()).ok()?;
    let id = repo.refname_to_id("refs/heads/main").ok()?;
    Revision::parse(&id.to_string()).ok()
}

/// Waits for drift that is named with `what`, and its repair; shows both.
async fn drift_repaired(stage: &Stage, revision: &Revision, what: &str, after: usize) -> Seen {
    let found = stage.watcher.until(PATIENCE, || async {
        let notes: Vec<Note> = stage.watcher.said(revision, ContextKind::Drift).into_iter().skip(after).collect();
        let named = notes.iter().find(|n| n.state == State::Failure && n.description.contains(what)).cloned()?;
        let repaired = notes.into_iter().find(|n| n.state == State::Success)?;
        Some((named, repaired))
    });
    match found.await {
        Some((named, repaired)) => {
            show(stage, &named);
            show(stage, &repaired);
            Ok(named.description)
        }
        None => Err(format!("no drift status that names {what:?}, or no repair")),
    }
}

fn api(stage: &Stage, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(stage.client.kube().clone(), "shop", &resource)
}

async fn hand_edit(stage: &Stage) -> Outcome {
    let Some(revision) = head(stage) else { return Err((None, "the repository has no head".into())) };
    let before = stage.watcher.said(&revision, ContextKind::Drift).len();
    if stage.text {
        print_text(&format!("   {DIM}$ kubectl -n shop scale deployment web --replicas=1{DIM:#}\n"));
    }
    let hand = PatchParams { field_manager: Some("kubectl".into()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"replicas": 1}}));
    if let Err(error) = api(stage, "apps", "Deployment").patch("web", &hand, &patch).await {
        return Err((Some(revision), error.to_string()));
    }
    let seen = async {
        let named = drift_repaired(stage, &revision, ".spec.replicas changed by kubectl", before).await?;
        Ok(format!("{named}; {}", ready(stage, "web", 3).await?))
    };
    outcome(&revision, seen.await)
}

async fn deletion(stage: &Stage) -> Outcome {
    let Some(revision) = head(stage) else { return Err((None, "the repository has no head".into())) };
    let before = stage.watcher.said(&revision, ContextKind::Drift).len();
    let path = "/api/v1/namespaces/shop/services/api";
    let old = stage.watcher.get(path).await.and_then(|live| live.uid().map(str::to_owned));
    if stage.text {
        print_text(&format!("   {DIM}$ kubectl -n shop delete service api{DIM:#}\n"));
    }
    if let Err(error) = api(stage, "", "Service").delete("api", &DeleteParams::default()).await {
        return Err((Some(revision), error.to_string()));
    }
    let seen = async {
        let named = drift_repaired(stage, &revision, "Service shop/api was deleted", before).await?;
        let back = stage.watcher.get(path).await.and_then(|live| live.uid().map(str::to_owned));
        if back.is_some() && back != old {
            Ok(format!("{named}; it is there again"))
        } else {
            Err("it is not there".into())
        }
    };
    outcome(&revision, seen.await)
}

async fn removal(stage: &Stage) -> Outcome {
    let edit = |r: &mut super::repository::SampleRepository| {
        r.remove("motd");
        true
    };
    let revision = push(stage, "no message of the day any more", edit).map_err(|p| failed(&p))?;
    let seen = success(stage, &revision, async {
        let path = "/api/v1/namespaces/shop/configmaps/motd";
        let gone =
            stage.watcher.until(PATIENCE, || async { stage.watcher.get(path).await.is_none().then_some(()) }).await;
        let left = stage.watcher.deployment("web").await.is_some() && stage.watcher.deployment("api").await.is_some();
        match (gone, left) {
            (Some(()), true) => Ok("ConfigMap motd is gone; web and api are there".to_owned()),
            (None, _) => Err("ConfigMap motd is still there".to_owned()),
            (_, false) => Err("more is gone than was removed".to_owned()),
        }
    });
    outcome(&revision, seen.await)
}

/// The end of the tour.
pub fn summary_text(summary: &Summary) -> String {
    let took: u64 = summary.steps.iter().map(|step| step.took_ms).sum();
    let good = summary.steps.iter().filter(|step| step.ok).count();
    let style = if summary.ok { GREEN } else { RED };
    let all = summary.steps.len();
    format!(
        "{style}{good} of {all} steps observed in the cluster and in the notes{style:#} ({}).\n",
        crate::report::status::took(took)
    )
}
