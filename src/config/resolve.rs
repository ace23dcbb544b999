//! Fills in defaults and checks what concerns several entries: references, duplicates, alternatives, circles.

use super::apps::app;
use super::error::Fault;
use super::file::{
    AuthEntry, ClusterEntry, File, GitHubAppEntry, ReportEntry, RepositoryEntry, Settings, SshEntry, WebhookEntry,
};
use super::format;
use super::lines::{Lines, Step, Step::Index, Step::Key};
use super::model::{
    AppPaths, Auth, Cluster, ClusterAccess, Config, GitHubApp, Instance, Policy, Report, ReportKind, Repository,
    Schedule, SecretRef, Ssh, Verify, Webhook, is_local,
};
use super::walk::nearest;
use core::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Name of the repository that the file lies in, where none is listed.
pub const HERE: &str = "here";
const INSTANCE: &str = "driftless";
const CLUSTER: &str = "default";
const INTERVAL: Duration = Duration::from_secs(60);
const LISTEN: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

/// What an empty file says, before [`complete`].
pub fn defaults() -> Config {
    Config {
        instance: Instance { name: INSTANCE.to_owned(), namespace: INSTANCE.to_owned() },
        repositories: vec![Repository {
            name: HERE.to_owned(),
            url: ".".to_owned(),
            branch: None,
            path: String::new(),
            interval: INTERVAL,
            schedule: None,
            auth: None,
            ca_file: None,
            ssh: None,
            verify: None,
        }],
        clusters: vec![Cluster {
            name: CLUSTER.to_owned(),
            access: ClusterAccess::Kubeconfig { path: None, context: None },
        }],
        apps: Vec::new(),
        reports: Vec::new(),
        webhook: None,
        policy: Policy::default(),
        file: String::new(),
    }
}

/// Adds what follows from what is there: found apps for a repository that lists none, notes for a local repository that
/// reports nowhere.
pub fn complete(config: &mut Config) {
    let clusters: Vec<String> = config.clusters.iter().map(|cluster| cluster.name.clone()).take(1).collect();
    add_found_apps(config, &Settings::default(), &clusters);
    add_notes(config);
}

pub(super) fn add_found_apps(config: &mut Config, settings: &Settings, clusters: &[String]) {
    let bare: Vec<String> = config
        .repositories
        .iter()
        .map(|repository| repository.name.clone())
        .filter(|name| !config.apps.iter().any(|app| app.repository == *name))
        .collect();
    for repository in bare {
        config.apps.push(app(None, repository, AppPaths::Discover, clusters.to_vec(), &Settings::default(), settings));
    }
}

fn add_notes(config: &mut Config) {
    for repository in config.repositories.iter().filter(|repository| repository.is_local()) {
        if !config.reports.iter().any(|report| report.repository == repository.name) {
            config.reports.push(Report {
                kind: ReportKind::GitNotes,
                repository: repository.name.clone(),
                url: None,
                username: None,
                token: None,
                app: None,
                plan_forks: false,
            });
        }
    }
}

/// The configuration that a file means, or all that is wrong with it.
pub fn resolve(file: File, lines: &Lines<'_>) -> Result<Config, Vec<(u32, Fault)>> {
    let mut config = defaults();
    let mut resolver = Resolver { lines, faults: Vec::new() };
    if !file.repository.is_empty() {
        config.repositories = resolver.repositories(file.repository);
    }
    if !file.cluster.is_empty() {
        config.clusters = resolver.clusters(file.cluster);
    }
    if let Some(name) = file.instance.name {
        config.instance.name = name;
    }
    if let Some(namespace) = file.instance.namespace {
        config.instance.namespace = namespace;
    }
    config.policy.paths = file.policy.paths.iter().filter_map(|path| format::relative_path(path).ok()).collect();
    resolver.apps(&mut config, file.app, &file.defaults);
    resolver.reports(&mut config, file.report);
    config.webhook = file.webhook.and_then(|entry| resolver.webhook(entry));
    add_notes(&mut config);
    if resolver.faults.is_empty() { Ok(config) } else { Err(resolver.faults) }
}

/// What has been found wrong so far.
pub(super) struct Resolver<'a> {
    pub(super) lines: &'a Lines<'a>,
    pub(super) faults: Vec<(u32, Fault)>,
}

impl Resolver<'_> {
    pub(super) fn fault(&mut self, path: &[Step<'_>], fault: Fault) {
        self.faults.push((self.lines.at(path), fault));
    }

    pub(super) fn conflict(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.fault(path, Fault::Conflict(message.into()));
    }

    fn unique(&mut self, what: &'static str, table: &str, names: &[&str]) {
        for (index, name) in names.iter().enumerate() {
            if let Some(first) = names[..index].iter().position(|earlier| earlier == name) {
                let first = self.lines.at(&[Key(table), Index(first), Key("name")]);
                self.fault(
                    &[Key(table), Index(index), Key("name")],
                    Fault::Duplicate { what, name: (*name).to_owned(), first },
                );
            }
        }
    }

    /// True if `name` is among the known ones; a fault otherwise.
    pub(super) fn known(&mut self, path: &[Step<'_>], what: &'static str, name: &str, all: &[String]) -> bool {
        if all.iter().any(|known| known == name) {
            return true;
        }
        let known = match nearest(name, all.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if all.len() == 1 => format!("defined is: {}", all.join(", ")),
            None if all.is_empty() => "none is defined".to_owned(),
            None => format!("defined are: {}", all.join(", ")),
        };
        self.fault(path, Fault::NoSuch { what, name: name.to_owned(), known });
        false
    }

    fn repositories(&mut self, entries: Vec<RepositoryEntry>) -> Vec<Repository> {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        self.unique("repository", "repository", &names);
        let indexed = entries.into_iter().enumerate();
        indexed.map(|(index, entry)| self.repository(index, entry)).collect()
    }

    fn repository(&mut self, index: usize, entry: RepositoryEntry) -> Repository {
        let at = |key| [Key("repository"), Index(index), Key(key)];
        let verify = entry.verify.map(|v| Verify { allowed_signers: v.allowed_signers, openpgp_keys: v.openpgp_keys });
        if verify.as_ref().is_some_and(|v| v.allowed_signers.is_none() && v.openpgp_keys.is_none()) {
            self.conflict(
                &at("verify"),
                "`verify` needs `allowed_signers` or `openpgp_keys`: else nothing would be accepted",
            );
        }
        let by_ssh = !is_local(&entry.url)
            && (!entry.url.contains("://")
                || entry.url.split("://").next().is_some_and(|scheme| scheme.contains("ssh")));
        if entry.ssh.is_some() && !by_ssh {
            self.conflict(&at("ssh"), "`ssh` is for an ssh address, like `git@host:team/apps.git`");
        }
        if entry.auth.is_some() && by_ssh {
            self.conflict(&at("auth"), "`auth` is for https; an ssh address takes a key: ssh = { key_file = \"…\" }");
        }
        Repository {
            name: entry.name,
            url: entry.url,
            branch: entry.branch,
            path: entry.path.and_then(|path| format::relative_path(&path).ok()).unwrap_or_default(),
            interval: entry.interval.map_or(INTERVAL, |interval| interval.0),
            schedule: entry.schedule.map(|schedule| Schedule {
                cron: schedule.cron,
                time_zone: schedule.time_zone.unwrap_or_else(|| "UTC".to_owned()),
            }),
            auth: entry.auth.and_then(|auth| self.auth(&at("auth"), auth)),
            ca_file: entry.ca_file,
            ssh: entry.ssh.map(|SshEntry { key_file, known_hosts, jump }| Ssh { key_file, known_hosts, jump }),
            verify,
        }
    }

    fn auth(&mut self, at: &[Step<'_>], entry: AuthEntry) -> Option<Auth> {
        let before = self.faults.len();
        let token = self.secret(at, "`auth`", "token", entry.token_env, entry.token_file);
        if token.is_none() && self.faults.len() == before {
            self.conflict(at, "`auth` needs `token_env` or `token_file`");
        }
        Some(Auth { username: entry.username, token: token? })
    }

    /// At most one of a variable and a file.
    fn secret(
        &mut self,
        at: &[Step<'_>],
        table: &str,
        what: &str,
        env: Option<String>,
        file: Option<PathBuf>,
    ) -> Option<SecretRef> {
        match (env, file) {
            (Some(_), Some(_)) => {
                self.conflict(at, format!("{table} takes either `{what}_env` or `{what}_file`, not both"));
                None
            }
            (Some(env), None) => Some(SecretRef::Env(env)),
            (None, file) => file.map(SecretRef::File),
        }
    }

    fn clusters(&mut self, entries: Vec<ClusterEntry>) -> Vec<Cluster> {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        self.unique("cluster", "cluster", &names);
        entries.into_iter().enumerate().map(|(index, entry)| self.cluster(index, entry)).collect()
    }

    fn cluster(&mut self, index: usize, entry: ClusterEntry) -> Cluster {
        let by_file = entry.context.is_some() || entry.kubeconfig.is_some();
        let (inside, embedded) = (entry.in_cluster == Some(true), entry.embedded == Some(true));
        let at = [Key("cluster"), Index(index)];
        match usize::from(by_file) + usize::from(inside) + usize::from(embedded) {
            1 => {}
            0 => self.conflict(
                &at,
                format!(
                    "cluster `{}` needs one of `context`, `kubeconfig`, `in_cluster = true`, `embedded = true`",
                    entry.name
                ),
            ),
            _ => self.conflict(
                &at,
                format!(
                    "cluster `{}` can be only one of `context` or `kubeconfig`, `in_cluster`, `embedded`",
                    entry.name
                ),
            ),
        }
        let access = if inside {
            ClusterAccess::InCluster
        } else if embedded {
            ClusterAccess::Embedded
        } else {
            ClusterAccess::Kubeconfig { path: entry.kubeconfig, context: entry.context }
        };
        Cluster { name: entry.name, access }
    }

    fn reports(&mut self, config: &mut Config, entries: Vec<ReportEntry>) {
        let known: Vec<String> = config.repositories.iter().map(|repository| repository.name.clone()).collect();
        for (index, entry) in entries.into_iter().enumerate() {
            if let Some(report) = self.report(index, entry, &known) {
                if config.reports.iter().any(|r| r.kind == report.kind && r.repository == report.repository) {
                    self.conflict(
                        &[Key("report"), Index(index)],
                        "this report is there twice: one kind reports on a repository once",
                    );
                }
                config.reports.push(report);
            }
        }
    }

    fn report(&mut self, index: usize, entry: ReportEntry, known: &[String]) -> Option<Report> {
        let at = [Key("report"), Index(index)];
        let before = self.faults.len();
        let named = entry.repository.is_some();
        let below = [Key("report"), Index(index), Key("repository")];
        let repository = self.reference(&below, "repository", entry.repository, known).or_else(|| only(known));
        if repository.is_none() && !named {
            let all = known.join(", ");
            self.conflict(&at, format!("[[report]] needs `repository`, as there are several: {all}"));
        }
        let token = self.secret(&at, "[[report]]", "token", entry.token_env, entry.token_file);
        let app = entry.app.and_then(|app| self.github_app(index, app));
        if self.faults.len() > before {
            return None;
        }
        match (entry.kind, &token, &app) {
            (ReportKind::GitHub, Some(_), Some(_)) => self.conflict(&at, "[[report]] takes either a token or `app`"),
            (ReportKind::GitHub, ..) if token.is_some() || app.is_some() => {}
            (_, _, Some(_)) => self.conflict(&at, "[[report]] takes `app` for kind \"github\" only"),
            (ReportKind::GitNotes, ..) | (_, Some(_), _) => {}
            (ReportKind::GitHub, ..) => self.conflict(&at, "[[report]] needs `token_env` or `token_file`, or `app`"),
            _ => self.conflict(&at, "[[report]] needs `token_env` or `token_file`"),
        }
        let ReportEntry { kind, url, username, plan_forks, .. } = entry;
        Some(Report { kind, repository: repository?, url, username, token, app, plan_forks })
    }

    fn github_app(&mut self, index: usize, entry: GitHubAppEntry) -> Option<GitHubApp> {
        let at = [Key("report"), Index(index), Key("app")];
        let id = entry.id.trim();
        if id.is_empty() {
            let below = [Key("report"), Index(index), Key("app"), Key("id")];
            self.conflict(&below, "`id` of `app` is empty; write the App ID or client ID that the app's settings show");
        }
        let before = self.faults.len();
        let key = self.secret(&at, "`app`", "private_key", entry.private_key_env, entry.private_key_file);
        if key.is_none() && self.faults.len() == before {
            self.conflict(&at, "`app` needs `private_key_file` or `private_key_env`");
        }
        Some(GitHubApp { id: id.to_owned(), installation: entry.installation, private_key: key? })
    }

    fn webhook(&mut self, entry: WebhookEntry) -> Option<Webhook> {
        let at = [Key("webhook")];
        let before = self.faults.len();
        let secret = self.secret(&at, "[webhook]", "secret", entry.secret_env, entry.secret_file);
        if secret.is_none() && self.faults.len() == before {
            self.conflict(&at, "[webhook] needs `secret_env` or `secret_file`");
        }
        Some(Webhook { listen: entry.listen.unwrap_or(LISTEN), secret: secret? })
    }
}

/// The one name, if there is exactly one.
pub(super) fn only(names: &[String]) -> Option<String> {
    match names {
        [one] => Some(one.clone()),
        _ => None,
    }
}
