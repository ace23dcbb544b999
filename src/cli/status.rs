//! `driftless status`: apps with their revision, sync state, health and drift.

use super::args::{Output, Status};
use super::exit::Exit;
use super::output::{print_json, print_text, stopped};
use super::setup::{Scene, Setup};
use crate::apply::lease::ScopeLease;
use crate::config::Config;
use crate::dependants::held_with;
use crate::hosts::{Host, hosts_of};
use crate::inventory::identity::scope_name;
use crate::object::Problem;
use crate::report::Reporter as _;
use crate::report::status_report::{AppStatus, ReportStatus, StatusReport, SyncState};
use crate::report::status_text::status_text;
use crate::scope::Member;
use crate::survey::survey;
use crate::workspace::Origin;
use futures::future::join_all;
use std::time::Duration;

/// A Git host that does not answer by then hides no cluster.
const HOST_PATIENCE: Duration = Duration::from_secs(5);

/// Runs it.
///
/// # Errors
/// What stops every app.
pub async fn run(args: &Status) -> Result<Exit, Vec<Problem>> {
    let mut report = StatusReport::default();
    let ended = survey_all(args, &mut report).await;
    if let Err(problems) = ended {
        report.error = problems.first().cloned();
        if args.output == Output::Text && !report.apps.is_empty() {
            print_text(&status_text(&report));
        }
        return stopped(problems, args.output == Output::Json, &report);
    }
    match args.output {
        Output::Json => print_json(&report),
        Output::Text => print_text(&status_text(&report)),
    }
    Ok(Exit::Done)
}

/// Looks at every repository's apps on every cluster; one that cannot be reached hides no other.
async fn survey_all(args: &Status, report: &mut StatusReport) -> Result<(), Vec<Problem>> {
    let mut setup = Setup::new(&args.common).await?;
    let mut stopped = Vec::new();
    for origin in setup.origins.clone() {
        // Beside the clusters, which take their time too.
        let hosts = tokio::spawn(refusals(setup.config.clone(), origin.clone()));
        let mut denied: Vec<ReportStatus> = Vec::new();
        for cluster in setup.clusters() {
            let scene = Scene::new(&mut setup, &origin, &cluster, None, false).await;
            let ready = scene.and_then(|scene| scene.chosen(&args.apps).map(|chosen| (scene, chosen)));
            match ready {
                Ok((scene, chosen)) => {
                    denied.extend(denials(&setup, &origin, &scene).await);
                    let looked = chosen.iter().map(|member| look(&scene, member));
                    report.apps.extend(join_all(looked).await);
                }
                Err(mut problems) => stopped.append(&mut problems),
            }
        }
        report.reports.extend(hosts.await.unwrap_or_default());
        // What a token may not even read is told once.
        denied.retain(|told| {
            !report.reports.iter().any(|known| known.host == told.host && known.repository == told.repository)
        });
        denied.dedup_by(|a, b| a.host == b.host);
        report.reports.extend(denied);
    }
    if stopped.is_empty() { Ok(()) } else { Err(stopped) }
}

/// The hosts that do not let this repository's statuses in: each is asked what it has of the branch's head.
async fn refusals(config: Config, origin: Origin) -> Vec<ReportStatus> {
    let Ok(head) = origin.resolve(None).await else { return Vec::new() };
    let asked = hosts_of(&config, &origin).into_iter().map(|host| {
        let (head, repository) = (head.clone(), origin.repository.name.clone());
        async move {
            let host = match host {
                Ok(Host::Remote(client)) => client,
                Ok(Host::Notes(_)) => return None,
                Err(problem) => {
                    return Some(ReportStatus { repository, host: "none".to_owned(), message: problem.to_string() });
                }
            };
            let client = host.clone();
            let ask = tokio::task::spawn_blocking(move || client.statuses(&head));
            let message = match tokio::time::timeout(HOST_PATIENCE, ask).await {
                Ok(Ok(Ok(_))) => return None,
                Ok(Ok(Err(error))) => error.message,
                Ok(Err(_)) => Problem::lost("a worker").message,
                Err(_) => format!("{} did not answer in {} s", host.name(), HOST_PATIENCE.as_secs()),
            };
            Some(ReportStatus { repository, host: host.name().to_owned(), message })
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The hosts that the daemon of this scope says let none of its reports in.
async fn denials(setup: &Setup, origin: &Origin, scene: &Scene) -> Vec<ReportStatus> {
    let scope = scope_name(&setup.config.instance.name, &origin.identity, &origin.repository.path);
    let lease = ScopeLease::new(scene.engine.client.clone(), &scene.engine.parents, &scope);
    let repository = &origin.repository.name;
    let told = lease.denials().await.unwrap_or_default().into_iter();
    told.map(|(host, message)| ReportStatus { repository: repository.clone(), host, message }).collect()
}

/// One app's status; one that waits for an app that is held is held with it.
async fn look(scene: &Scene, member: &Member) -> AppStatus {
    let (engine, revision) = (&scene.engine, &scene.tip.revision);
    let mut status = survey(engine, member, revision, &scene.policies, &scene.neighbours, &scene.key).await;
    if status.sync == SyncState::OutOfSync
        && let Ok(Some(held)) = held_with(engine, &scene.members, &member.app, revision).await
    {
        status.sync = SyncState::Held;
        status.message = held.why;
    }
    status
}
