//! The configuration with its repositories opened and its clusters connected: what every command and the daemon start
//! from.

use crate::app::{App, apps_of, emptied_app, passed_over, removed_app};
use crate::apply::parents::this_process;
use crate::config::model::is_local;
use crate::config::{Auth as AuthConfig, ClusterAccess, Config, ReportKind, Repository, SecretRef};
use crate::engine::Engine;
use crate::inventory::StoredParent;
use crate::inventory::identity::scope_name;
use crate::live::client::{ApiError, Call, Target};
use crate::object::{Problem, Source};
use crate::plan::analysis::namespace_key;
use crate::policy::PolicySet;
use crate::reconcile::default_namespace;
use crate::render::rendered::digest;
use crate::render::yaml::{Document, line_of, parse_yaml};
use crate::render::{AppSource, Rendered, Tools, render};
use crate::scope::{Member, Neighbours, inferred_dependencies, removed, shared_namespaces};
use crate::source::upstream::upstream;
use crate::source::url::Auth;
use crate::source::{Credentials, GitMirror, GitOptions, RepoUrl, Revision, SourceTree, SshOptions};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the configuration file, at a repository's root or in the working directory.
pub const CONFIG_FILE: &str = "driftless.toml";

/// What keeps a host from answering, and not what was asked for from being there.
const OUT_OF_REACH: [&str; 4] =
    ["RepositoryUnreachable", "RepositoryTimeout", "RepositoryUnauthorized", "RepositoryAnswer"];

/// A repository, opened.
#[derive(Clone)]
pub struct Origin {
    /// Its configuration.
    pub repository: Repository,
    /// Git.
    pub mirror: GitMirror,
    /// Its address without credentials: part of its apps' identity.
    pub identity: String,
    /// Its short name, by which an app at its root is named.
    pub name: String,
    /// Where it was cloned from, if it is a working copy.
    pub upstream: Option<RepoUrl>,
}

/// A revision with its content.
#[derive(Clone)]
pub struct Tip {
    /// The commit.
    pub revision: Revision,
    /// Its files.
    pub tree: Arc<SourceTree>,
}

impl Origin {
    /// Opens a repository. Nothing is fetched yet.
    ///
    /// # Errors
    /// When the address is wrong, the credentials cannot be read, or a local repository is none.
    pub fn open(repository: &Repository, base: &Path, cache_dir: &Path) -> Result<Self, Problem> {
        let url = if repository.is_local() && !repository.url.starts_with("file://") {
            RepoUrl::local(&base.join(&repository.url))?
        } else {
            RepoUrl::parse(&repository.url)?
        };
        // What is missing is said at once; what is read counts at each use.
        repository.auth.as_ref().map(read_auth).transpose()?;
        let mirror = GitMirror::open_with(&url, cache_dir, git_options(repository))?;
        let upstream = mirror.local_path().and_then(upstream);
        let (identity, name) = match &upstream {
            Some(upstream) => (upstream.identity.clone(), upstream.name.clone()),
            None => (url.identity(), url.name()),
        };
        Ok(Self {
            repository: repository.clone(),
            identity,
            name,
            mirror,
            upstream: upstream.and_then(|found| found.url),
        })
    }

    /// The repository that this one is a clone of, for reading what was said about its commits there; `None` where there
    /// is none, or its address cannot be used.
    pub fn open_upstream(&self, cache_dir: &Path) -> Option<GitMirror> {
        let url = self.upstream.as_ref()?;
        GitMirror::open_with(url, cache_dir, git_options(&self.repository)).ok()
    }

    /// Where the tracked branch is now, fetched.
    ///
    /// # Errors
    /// When the repository cannot be reached, or the branch is not there.
    pub async fn fetch_head(&self) -> Result<Revision, Problem> {
        let (mirror, branch) = (self.mirror.clone(), self.repository.branch.clone());
        off_thread(move || Ok(mirror.fetch(branch.as_deref())?.revision)).await
    }

    /// The commit that a person names, after a fetch.
    ///
    /// # Errors
    /// When there is no such commit.
    pub async fn resolve(&self, spec: Option<&str>) -> Result<Revision, Problem> {
        let head = self.fetch_head().await?;
        let Some(spec) = spec.map(str::to_owned) else { return Ok(head) };
        let mirror = self.mirror.clone();
        off_thread(move || Ok(mirror.resolve(&spec)?)).await
    }

    /// The same for what may work with what was fetched last while the repository cannot be reached: reading, and what a
    /// person does to what runs. It is said which commit that is.
    ///
    /// # Errors
    /// As [`Origin::resolve`], where nothing was fetched before either.
    pub async fn resolve_or_known(&self, spec: Option<&str>) -> Result<Revision, Problem> {
        let problem = match self.resolve(spec).await {
            Err(problem) if OUT_OF_REACH.contains(&problem.reason.as_str()) => problem,
            done => return done,
        };
        let (mirror, wanted, branch) = (self.mirror.clone(), spec.map(str::to_owned), self.repository.branch.clone());
        let known = off_thread(move || Ok(mirror.known(wanted.as_deref(), branch.as_deref()))).await?;
        let Some(revision) = known else { return Err(problem) };
        tracing::warn!("{problem}; going on with what was fetched last: {}", revision.short(7));
        Ok(revision)
    }

    /// A commit's files.
    ///
    /// # Errors
    /// When the commit is not here, or its tree is over the limits.
    pub async fn tip(&self, revision: &Revision) -> Result<Tip, Problem> {
        let (mirror, wanted) = (self.mirror.clone(), revision.clone());
        let tree = off_thread(move || Ok(mirror.tree(&wanted, None)?)).await?;
        Ok(Tip { revision: revision.clone(), tree: Arc::new(tree) })
    }

    /// The apps of a tree.
    ///
    /// # Errors
    /// Everything that is wrong about the apps' names and paths.
    pub fn apps(&self, config: &Config, tree: &SourceTree) -> Result<Vec<App>, Vec<Problem>> {
        apps_of(config, &self.repository, &self.identity, &self.name, tree)
    }

    /// What was passed over while they were looked for, and might have been meant as one.
    pub fn passed_over(&self, config: &Config, tree: &SourceTree) -> Vec<Problem> {
        passed_over(config, &self.repository, tree)
    }
}

/// What a configuration asks for and this version does not do: it must not be passed over silently.
pub fn unsupported(config: &Config) -> Vec<Problem> {
    let problem = |what: String, hint: &str| Problem::new("NotSupported", format!("{what} yet")).hint(hint);
    let mut out = Vec::new();
    for repository in config.repositories.iter().filter(|repository| repository.verify.is_some()) {
        let what = format!("the signatures of the repository {:?} cannot be verified", repository.name);
        out.push(problem(what, "remove its `verify`, and protect the branch on the Git host"));
    }
    for report in config.reports.iter().filter(|report| report.kind != ReportKind::GitNotes) {
        let url = config.repositories.iter().find(|r| r.name == report.repository).map(|r| r.url.as_str());
        // The repository that the file lies in has its address from its clone.
        let url = url.filter(|url| !is_local(url)).and_then(|url| RepoUrl::parse(url).ok());
        if let Some(url) = url {
            out.extend(crate::hosts::place(report, &url.web()).err());
        }
    }
    out
}

/// Runs blocking work (Git, parsing) where it holds up nothing else.
///
/// # Errors
/// The work's own; one that says so if it panicked.
pub async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(Problem::lost("a worker")),
    }
}

/// How a repository is reached, by its configuration.
fn git_options(repository: &Repository) -> GitOptions {
    let auth =
        repository.auth.clone().map(|auth| Credentials::reading(move || read_auth(&auth).map_err(|p| p.message)));
    let ssh = repository.ssh.clone().map(|ssh| SshOptions {
        key_file: ssh.key_file,
        known_hosts: ssh.known_hosts,
        jump: ssh.jump,
    });
    GitOptions { auth, ssh, ca_file: repository.ca_file.clone(), ..GitOptions::default() }
}

fn read_auth(auth: &AuthConfig) -> Result<Auth, Problem> {
    Ok(Auth::basic(auth.username.as_deref(), &read_secret(&auth.token)?))
}

/// Reads a secret from where the configuration says it is. The value goes nowhere but to its user.
///
/// # Errors
/// Which variable or file is missing.
pub fn read_secret(secret: &SecretRef) -> Result<String, Problem> {
    match secret {
        SecretRef::Env(name) => std::env::var(name).map_err(|_| {
            Problem::new("SecretMissing", format!("the environment variable {name} is not set"))
                .hint("driftless.toml names it as the place of a secret")
        }),
        SecretRef::File(path) => std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| Problem::new("SecretMissing", format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Policies: the built-in ones, and those of the configured directories in the tree.
///
/// # Errors
/// Every fault of every policy file: a policy that cannot be evaluated must not pass silently.
pub async fn policies_of(config: &Config, tree: &SourceTree, tools: &Tools) -> Result<PolicySet, Vec<Problem>> {
    let mut all = PolicySet::builtin();
    for path in &config.policy.paths {
        // A policy may bring its cases along: `policies/NAME/testdata`.
        let ignore = vec!["**/testdata/**".to_owned()];
        let source = AppSource { name: "policies".into(), path: path.clone(), ignore, ..AppSource::default() };
        let rendered = render(tree, &source, tools, None).await.map_err(|error| {
            error.problems.into_iter().map(|problem| of_policies(problem, path)).collect::<Vec<_>>()
        })?;
        let files = RefCell::new(BTreeMap::new());
        let lines = |at: &Source, field: &str| line_in(tree, &files, at, field);
        let loaded = PolicySet::load_with_lines(&rendered.objects, &lines)
            .map_err(|errors| errors.into_iter().map(Problem::from).collect::<Vec<_>>())?;
        if loaded.is_empty() {
            let text = format!("there is no policy in `{path}`");
            let hint = "put ValidatingAdmissionPolicies there, or take it off `paths` in `[policy]`";
            return Err(vec![Problem::new("NoPolicy", text).hint(hint)]);
        }
        all = all.and(loaded);
    }
    Ok(all)
}

/// The line of a field in a file of the tree, as far as the file can be read: what a chart makes has no lines of its own.
fn line_in(tree: &SourceTree, files: &RefCell<PolicyFiles>, at: &Source, field: &str) -> Option<u32> {
    let mut files = files.borrow_mut();
    let read = || tree.file(&at.file).map(|bytes| parse_yaml(bytes).documents).unwrap_or_default();
    line_of(files.entry(at.file.clone()).or_insert_with(read), at.line, field)
}

/// Files that were read for the lines of their fields.
type PolicyFiles = BTreeMap<String, Vec<Document>>;

/// A problem of a policy directory, which is the owner's and no app's, in its own words.
fn of_policies(mut problem: Problem, path: &str) -> Problem {
    let names = "`paths` of `[policy]` names it, and it is looked for at the revision's own root";
    match problem.reason.as_str() {
        "BadPath" => {
            let why = problem.message.rsplit_once(" cannot be used: ").map_or("", |(_, why)| why);
            problem.message = format!("the policy directory `{path}` cannot be used: {why}");
            problem.hint = Some(names.to_owned());
        }
        "DuplicateObject" => {
            let also = problem.message.rsplit_once("also at ").map_or("", |(_, also)| also);
            problem.message = format!("this policy is there twice in the policy directory `{path}`: also at {also}");
        }
        _ => problem.message = problem.message.replace("in this app", "in the policy directory"),
    }
    problem
}

/// What rendering has to know of an app; `namespace` is that of objects that name none.
pub fn source_of(app: &App, namespace: String) -> AppSource {
    AppSource {
        name: app.name.clone(),
        path: app.path.clone(),
        namespace,
        ignore: app.ignore_files.clone(),
        helm: app.helm.clone(),
    }
}

/// Renders apps, several at a time. `namespace_of` gives the namespace of objects that name none.
pub async fn render_apps(
    apps: Vec<App>,
    tree: &Arc<SourceTree>,
    tools: &Tools,
    namespace_of: impl Fn(&App) -> String,
    key: &[u8],
) -> Vec<Member> {
    let tasks: Vec<_> = apps
        .into_iter()
        .map(|app| {
            let source = source_of(&app, namespace_of(&app));
            let (tree, tools, key) = (tree.clone(), tools.clone(), key.to_vec());
            let task = tokio::spawn(async move { render(&tree, &source, &tools, Some(&key)).await });
            (Arc::new(app), task)
        })
        .collect();
    let mut members = Vec::with_capacity(tasks.len());
    for (app, task) in tasks {
        let rendered: Result<Rendered, Vec<Problem>> = match task.await {
            Ok(rendered) => rendered.map_err(|error| error.problems),
            Err(_) => Err(vec![Problem::lost("rendering")]),
        };
        members.push(Member { app, rendered: Arc::new(rendered) });
    }
    members
}

/// The apps of one repository on one cluster: those of a tree, rendered, and those that are gone from it and still have an
/// inventory; and what they want from each other. `keep_empty` keeps the gone ones that own nothing any more.
///
/// # Errors
/// When the cluster or an inventory cannot be read.
pub async fn members_on(
    engine: &Engine,
    (config, origin, tools): (&Config, &Origin, &Tools),
    apps: Vec<App>,
    tip: &Tip,
    key: &[u8],
    keep_empty: bool,
) -> Result<(Vec<Member>, Neighbours), Vec<Problem>> {
    let kinds = engine.kinds().await.map_err(|e| vec![e.problem()])?;
    let scope = scope_name(&config.instance.name, &origin.identity, &origin.repository.path);
    let parents = engine.parents.load_scope(&scope).await.map_err(|e| vec![e.into()])?;
    let mut apps = apps;
    let emptied = emptied_apps(config, origin, engine.client.name(), &apps, &parents, &tip.tree);
    apps.extend(emptied);
    let mut members = render_apps(apps, &tip.tree, tools, |app| default_namespace(engine, app), key).await;
    let namespaces = missing_namespaces(engine, &members).await.map_err(|e| vec![e.problem()])?;
    for (app, first) in inferred_dependencies(&members, &kinds, engine.client.default_namespace(), &namespaces) {
        if let Some(member) = members.iter_mut().find(|member| member.app.name == app) {
            Arc::make_mut(&mut member.app).depends_on.push(first);
        }
    }
    let neighbours = Neighbours::new(
        &members,
        &parents,
        &kinds,
        engine.client.default_namespace(),
        engine.parents.namespace(),
        &tip.revision,
    );
    // All apps gone is a wrong path or an emptied branch rather than an order to delete everything.
    let all_gone = members.is_empty();
    for gone in removed(&members, &parents) {
        // One that is suspended may not even be taken away.
        if gone.parent.members.is_empty() && (all_gone || !keep_empty || gone.parent.suspended) {
            continue;
        }
        let namespace = &gone.parent.namespace;
        let app = removed_app(config, &origin.repository, &gone.parent.identity, namespace, engine.client.name());
        let Some(mut app) = app else { continue };
        app.plan.app_removed = !all_gone;
        let nothing = Rendered { objects: Vec::new(), digest: digest(&[], namespace, Some(key)), warnings: Vec::new() };
        members.push(Member { app: Arc::new(app), rendered: Arc::new(Ok(nothing)) });
    }
    Ok((members, neighbours))
}

/// Apps that are not found any more though their directories are there.
fn emptied_apps(
    config: &Config,
    origin: &Origin,
    cluster: &str,
    apps: &[App],
    parents: &[StoredParent],
    tree: &SourceTree,
) -> Vec<App> {
    let others: Vec<&str> = apps.iter().map(|app| app.path.as_str()).collect();
    let gone = parents
        .iter()
        .map(|stored| &stored.parent)
        .filter(|parent| !parent.members.is_empty() && !apps.iter().any(|app| app.identity == parent.identity));
    gone.filter_map(|parent| {
        let known = (&parent.identity, parent.namespace.as_str(), parent.path.as_deref()?);
        emptied_app(config, &origin.repository, known, cluster, tree, &others)
    })
    .collect()
}

/// Of the namespaces that one app holds and another one uses, those that are not in the cluster.
async fn missing_namespaces(engine: &Engine, members: &[Member]) -> Result<BTreeSet<String>, ApiError> {
    let mut out = BTreeSet::new();
    for name in shared_namespaces(members, engine.client.default_namespace()) {
        if engine.eyes.members.find(&namespace_key(&name)).is_some() {
            continue;
        }
        match engine.client.send_patiently(&Call::get(format!("/api/v1/namespaces/{name}"))).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => drop(out.insert(name)),
            Err(error) => return Err(error),
        }
    }
    Ok(out)
}

/// How a cluster is reached, as the client wants it.
pub fn target(access: &ClusterAccess) -> Option<Target> {
    match access {
        ClusterAccess::Kubeconfig { path, context } => {
            Some(Target::Kubeconfig { file: path.clone(), context: context.clone() })
        }
        ClusterAccess::InCluster => Some(Target::InCluster),
        // Whoever starts the embedded cluster knows its address.
        ClusterAccess::Embedded => None,
    }
}

/// Connects to a cluster of the configuration.
///
/// # Errors
/// What is wrong about the kubeconfig.
pub async fn connect(config: &Config, name: &str, target: &Target, role: &str) -> Result<Engine, Problem> {
    let daemon = role == "daemon";
    Ok(Engine::connect(name, target, &config.instance.namespace, this_process(role), daemon).await?)
}

/// Where mirrors and waiting reports are kept: `DRIFTLESS_CACHE`, else below `XDG_CACHE_HOME` or `~/.cache`.
pub fn default_cache_dir() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("DRIFTLESS_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("driftless")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache/driftless")))
        .unwrap_or_else(|| std::env::temp_dir().join("driftless"))
}
