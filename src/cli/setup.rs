//! From flags to something that can be worked with: the second step after parsing, where files, repositories and clusters
//! are looked at.

use super::args::Common;
use crate::app::App;
use crate::cluster::{ClusterOptions, EmbeddedCluster};
use crate::config::{AppPaths, ClusterAccess, Config, Flags};
use crate::engine::Engine;
use crate::hosts::remote_of;
use crate::live::client::Target;
use crate::object::{Problem, counted};
use crate::policy::PolicySet;
use crate::reconcile::History;
use crate::render::Tools;
use crate::report::host::wire::HostClient;
use crate::scope::{Member, Neighbours};
use crate::source::Revision;
use crate::workspace::{self, CONFIG_FILE, Origin, Tip};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A command's working material.
pub struct Setup {
    /// Configuration.
    pub config: Config,
    /// True if it came from a file: its choices are a person's, not defaults.
    pub from_file: bool,
    /// Repositories.
    pub origins: Vec<Origin>,
    /// Programs that rendering may run.
    pub tools: Tools,
    embedded: Option<EmbeddedCluster>,
}

impl Setup {
    /// Reads the configuration that the flags name, and opens its repositories.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub async fn new(common: &Common) -> Result<Self, Vec<Problem>> {
        Self::read(common, false).await
    }

    /// The same for what applies commits: under no settings but those of a branch that was reached.
    ///
    /// # Errors
    /// As [`Setup::new`], and when the repository cannot be reached.
    pub async fn strict(common: &Common) -> Result<Self, Vec<Problem>> {
        Self::read(common, true).await
    }

    async fn read(common: &Common, strict: bool) -> Result<Self, Vec<Problem>> {
        let cache_dir = workspace::default_cache_dir().join("git");
        let here = Path::new(".");
        let (mut config, from_file, base) = match (&common.config, &common.repo) {
            (Some(file), _) => (read_file(file)?, true, file.parent().unwrap_or(here).to_owned()),
            (None, Some(_)) => {
                let (config, from_file) = of_repository(common, &cache_dir, strict).await?;
                (config, from_file, here.to_owned())
            }
            (None, None) if Path::new(CONFIG_FILE).exists() => {
                (read_file(Path::new(CONFIG_FILE))?, true, here.to_owned())
            }
            (None, None) => {
                return Err(vec![
                    Problem::new("NoSource", format!("no repository is named, and there is no {CONFIG_FILE} here"))
                        .hint("add --repo URL|PATH, or --config FILE"),
                ]);
            }
        };
        override_cluster(&mut config, common)?;
        let origins = open_all(&config, &base, &cache_dir)?;
        let tools = Tools::find(std::env::var_os("PATH").as_deref());
        Ok(Self { config, from_file, origins, tools, embedded: None })
    }

    /// The same with the configuration of another revision of the repository that it lies in: a pull request is planned
    /// under its base's. A file named by `--config` stays.
    ///
    /// # Errors
    /// When that revision is not there, or its configuration is wrong.
    pub async fn at_base(common: &Common, revision: &str, head: Option<&str>) -> Result<Self, Vec<Problem>> {
        let setup = Self::new(common).await?;
        let Some(origin) = setup.origins.first().filter(|_| common.config.is_none()) else { return Ok(setup) };
        let base = origin.resolve(Some(revision)).await.map_err(one)?;
        if !lies_in(origin, common) {
            // A checkout of what is planned, which lies elsewhere: the file here is the revision's own.
            let head = origin.tip(&origin.resolve(head).await.map_err(one)?).await.map_err(one)?;
            let here = std::fs::read(CONFIG_FILE).ok();
            // A repository without such a file: the one here is somebody's own.
            let (Some(here), Ok(there)) = (here, head.tree.file(CONFIG_FILE)) else { return Ok(setup) };
            // What is the base itself is planned by the base's, whatever lies here.
            if head.revision != base && here != **there {
                let text = format!("the {CONFIG_FILE} here is not the one of {}", head.revision.short(7));
                let hint = "whose settings count is not clear, and a branch must not bring its own: add --repo . to plan \
                            by the base's, or --config FILE to name yours";
                return Err(one(Problem::new("WhoseSettings", text).hint(hint)));
            }
        }
        let tip = origin.tip(&base).await.map_err(one)?;
        let mut config = match (tip.tree.file(CONFIG_FILE), &common.repo) {
            (Ok(bytes), _) => of_tree(&String::from_utf8_lossy(bytes), &origin.repository, common.path.as_deref())?,
            (Err(_), Some(_)) => Config::from_flags(&flags(common)).map_err(|e| one(e.into()))?,
            (Err(_), None) => {
                let text = format!("there is no {CONFIG_FILE} in the base {}", tip.revision.short(7));
                return Err(one(Problem::new("NoSource", text).hint("name one with --config FILE, or use --repo")));
            }
        };
        override_cluster(&mut config, common)?;
        let origins = open_all(&config, Path::new("."), &workspace::default_cache_dir().join("git"))?;
        Ok(Self { config, origins, ..setup })
    }

    /// Connects to one cluster; starts it first if it is the embedded one.
    ///
    /// # Errors
    /// What is wrong about the kubeconfig.
    pub async fn engine(&mut self, cluster: &str, role: &str) -> Result<Engine, Problem> {
        let access = self.config.clusters.iter().find(|c| c.name == cluster).map(|c| c.access.clone());
        let Some(access) = access else {
            return Err(Problem::new("NoCluster", format!("the cluster {cluster:?} is not configured")));
        };
        let target = match workspace::target(&access) {
            Some(target) => target,
            None => self.embedded_target().await?,
        };
        workspace::connect(&self.config, cluster, &target, role).await
    }

    async fn embedded_target(&mut self) -> Result<Target, Problem> {
        if self.embedded.is_none() {
            let started = EmbeddedCluster::start(ClusterOptions::default()).await;
            self.embedded = Some(started.map_err(|e| Problem::new("EmbeddedCluster", e.to_string()))?);
        }
        let cluster = self.embedded.as_ref().map(|c| (c.url(), c.token().to_owned()));
        let (url, token) = cluster.unwrap_or_default();
        Ok(Target::Url { url, token })
    }

    /// A fresh setup that keeps the embedded cluster of this one.
    #[must_use]
    pub fn replaced_by(self, fresh: Self) -> Self {
        Self { embedded: self.embedded, ..fresh }
    }

    /// Every cluster's name.
    pub fn clusters(&self) -> Vec<String> {
        self.config.clusters.iter().map(|c| c.name.clone()).collect()
    }
}

/// One repository's apps on one cluster, rendered at a revision: what `plan`, `sync` and `status` work on.
pub struct Scene {
    /// The repository.
    pub origin: Origin,
    /// The cluster.
    pub engine: Engine,
    /// The revision.
    pub tip: Tip,
    /// What every object must pass.
    pub policies: PolicySet,
    /// The apps of Git, and those that are gone from it.
    pub members: Vec<Member>,
    /// What they want from each other.
    pub neighbours: Neighbours,
    /// Key of keyed digests.
    pub key: Vec<u8>,
    /// Programs that rendering may run.
    pub tools: Tools,
    /// The host that says which pull requests were merged, where an app wants to know (`require_plan`).
    pub host: Option<Arc<HostClient>>,
}

impl Scene {
    /// Builds it. `writes` allows to create the digest key in the cluster.
    ///
    /// # Errors
    /// What stops every app: the repository, the configuration of apps, the policies, the cluster.
    pub async fn new(
        setup: &mut Setup,
        origin: &Origin,
        cluster: &str,
        revision: Option<&str>,
        writes: bool,
    ) -> Result<Self, Vec<Problem>> {
        let revision = origin.resolve_or_known(revision).await.map_err(one)?;
        Self::at(setup, origin, cluster, &revision, writes).await
    }

    /// The same at a commit that is known.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub async fn at(
        setup: &mut Setup,
        origin: &Origin,
        cluster: &str,
        revision: &Revision,
        writes: bool,
    ) -> Result<Self, Vec<Problem>> {
        let tip = origin.tip(revision).await.map_err(one)?;
        let apps = origin.apps(&setup.config, &tip.tree)?;
        let policies = workspace::policies_of(&setup.config, &tip.tree, &setup.tools).await?;
        let passed_over = origin.passed_over(&setup.config, &tip.tree);
        policies.notes(false).iter().chain(&passed_over).for_each(|note| eprintln!("warning: {note}"));
        let engine = setup.engine(cluster, "cli").await.map_err(one)?;
        let key = match writes {
            true => engine.digest_key().await.map(<[u8]>::to_vec),
            false => engine.digest_key_or_random().await,
        };
        let key = key.map_err(|e| one(e.into()))?;
        Self::of(setup, origin, engine, tip, (apps, policies), key, writes).await
    }

    /// The same of what is at hand: a tree that need not be a commit's, and a cluster that another scene may share.
    ///
    /// # Errors
    /// When the cluster or an inventory cannot be read.
    pub async fn of(
        setup: &Setup,
        origin: &Origin,
        engine: Engine,
        tip: Tip,
        (apps, policies): (Vec<App>, PolicySet),
        key: Vec<u8>,
        writes: bool,
    ) -> Result<Self, Vec<Problem>> {
        let asks = apps.iter().any(|app| app.require_plan);
        let host = asks.then(|| remote_of(&setup.config, origin)).flatten();
        let here: Vec<App> = apps.into_iter().filter(|app| app.cluster == engine.client.name()).collect();
        // One that owns nothing any more is only there to be taken away.
        let ground = (&setup.config, origin, &setup.tools);
        let (members, neighbours) = workspace::members_on(&engine, ground, here, &tip, &key, writes).await?;
        let (origin, tools) = (origin.clone(), setup.tools.clone());
        Ok(Self { origin, engine, tip, policies, members, neighbours, key, tools, host })
    }

    /// Where it is told which pull requests the revision brings.
    pub fn history(&self) -> History<'_> {
        History { mirror: &self.origin.mirror, host: self.host.as_ref() }
    }

    /// The apps that a command names, or all.
    ///
    /// # Errors
    /// Names that are no apps, with those that are.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<Member>, Vec<Problem>> {
        let unknown: Vec<&String> = names.iter().filter(|n| !self.members.iter().any(|m| m.app.name == **n)).collect();
        if !unknown.is_empty() {
            let known: Vec<&str> = self.members.iter().map(|m| m.app.name.as_str()).collect();
            let hint = format!("its apps are: {}", known.join(", "));
            let problem = |name: &&String| {
                Problem::new("NoSuchApp", format!("there is no app {name:?} in this repository")).hint(hint.clone())
            };
            return Err(unknown.iter().map(problem).collect());
        }
        let named = |m: &&Member| names.is_empty() || names.contains(&m.app.name);
        Ok(self.members.iter().filter(named).cloned().collect())
    }
}

/// Members in the order in which their apps depend on each other: levels that can be synced at the same time.
pub fn levels(members: &[Member]) -> Vec<Vec<Member>> {
    let mut left: Vec<&Member> = members.iter().collect();
    let mut done: BTreeMap<&str, ()> = BTreeMap::new();
    let mut out = Vec::new();
    while !left.is_empty() {
        let known: Vec<&str> = left.iter().map(|m| m.app.name.as_str()).collect();
        let (ready, waiting): (Vec<&Member>, Vec<&Member>) = left.iter().partition(|m| {
            m.app.depends_on.iter().all(|d| done.contains_key(d.as_str()) || !known.contains(&d.as_str()))
        });
        // The configuration refuses cycles; should one get here, it is carried out at once rather than never.
        let (ready, waiting) = if ready.is_empty() { (waiting, Vec::new()) } else { (ready, waiting) };
        done.extend(ready.iter().map(|m| (m.app.name.as_str(), ())));
        out.push(ready.into_iter().cloned().collect());
        left = waiting;
    }
    out
}

/// Nothing to work on: a wrong path rather than an order to do nothing.
pub fn no_apps(setup: &Setup) -> Problem {
    let places: Vec<String> = setup
        .origins
        .iter()
        .map(|origin| match origin.repository.path.as_str() {
            "" => origin.repository.url.clone(),
            path => format!("{} below {path:?}", origin.repository.url),
        })
        .collect();
    let text = format!("no app was found in {}", places.join(", "));
    Problem::new("NoApps", text)
        .hint("an app is a directory with manifests, a kustomization.yaml or a Chart.yaml; check --path and the branch")
}

/// One problem as the list that commands report.
pub fn one(problem: Problem) -> Vec<Problem> {
    vec![problem]
}

fn read_file(file: &Path) -> Result<Config, Vec<Problem>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let problem = Problem::new("ConfigUnreadable", format!("{} cannot be read: {error}", file.display()));
        vec![problem.hint("check --config, or use --repo")]
    })?;
    parse(&text, &file.display().to_string())
}

/// Reads a configuration's text.
///
/// # Errors
/// Every mistake with its line.
pub fn parse(text: &str, file: &str) -> Result<Config, Vec<Problem>> {
    let config =
        Config::parse(text, file).map_err(|errors| errors.into_iter().map(Problem::from).collect::<Vec<_>>())?;
    let problems: Vec<Problem> = workspace::unsupported(&config).into_iter().map(|found| found.at(file, 1)).collect();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn flags(common: &Common) -> Flags {
    Flags {
        repo: common.repo.clone().unwrap_or_default(),
        branch: common.branch.clone(),
        path: common.path.clone(),
        kubeconfig: common.kubeconfig.clone(),
        context: common.context.clone(),
        embedded: common.embedded,
    }
}

/// True if the configuration lies in this repository: `--repo` says so, or the working directory is its work tree.
fn lies_in(origin: &Origin, common: &Common) -> bool {
    let same = |path: &Path| path.canonicalize().is_ok_and(|found| Some(found) == Path::new(".").canonicalize().ok());
    let url = origin.repository.url.trim_start_matches("file://");
    common.repo.is_some() || (origin.repository.is_local() && same(Path::new(url)))
}

fn open_all(config: &Config, base: &Path, cache_dir: &Path) -> Result<Vec<Origin>, Vec<Problem>> {
    let (mut origins, mut problems) = (Vec::new(), Vec::new());
    for repository in &config.repositories {
        match Origin::open(repository, base, cache_dir) {
            Ok(origin) => origins.push(origin),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(origins) } else { Err(problems) }
}

/// The configuration of `--repo`: the file at the root of the tracked branch if there is one, else what the flags say.
async fn of_repository(common: &Common, cache_dir: &Path, strict: bool) -> Result<(Config, bool), Vec<Problem>> {
    let plain = Config::from_flags(&flags(common)).map_err(|e| one(e.into()))?;
    let Some(repository) = plain.repositories.first() else { return Ok((plain, false)) };
    let origin = Origin::open(repository, Path::new("."), cache_dir).map_err(one)?;
    let head = if strict { origin.resolve(None).await } else { origin.resolve_or_known(None).await };
    let head = head.map_err(one)?;
    let tip = origin.tip(&head).await.map_err(one)?;
    if let Some(config) = in_tree(&plain, common.path.as_deref(), &tip) {
        return Ok((config?, true));
    }
    // Without it every app would be another one, elsewhere, under no policy: what is applied then has to be meant.
    let (mirror, at) = (origin.mirror.clone(), head.clone());
    let gone = workspace::off_thread(move || Ok(mirror.removed(&at, CONFIG_FILE)?)).await.map_err(one)?;
    match gone.filter(|_| strict && common.path.is_none()) {
        Some(by) => {
            let text = format!("{CONFIG_FILE} is gone from the branch since {}", by.short(7));
            let hint = "bring it back; or name one with --config FILE, or the apps' directory with --path DIR, to go on \
                        without it: apps then have other names and settings";
            Err(one(Problem::new("SettingsGone", text).hint(hint)))
        }
        None => Ok((plain, false)),
    }
}

/// The configuration at a tree's root, for the repository that the flags name. With `path` (`--path`) the apps are those
/// below that directory, under everything else that the file says: a flag must not switch policies off.
pub fn in_tree(flags: &Config, path: Option<&str>, tip: &Tip) -> Option<Result<Config, Vec<Problem>>> {
    let named = flags.repositories.first()?;
    let bytes = tip.tree.file(CONFIG_FILE).ok()?;
    let text = String::from_utf8_lossy(bytes).into_owned();
    Some(of_tree(&text, named, path))
}

/// A configuration found in a repository's tree. It speaks of the repository that it lies in; where that is, `named`
/// knows.
fn of_tree(text: &str, named: &crate::config::Repository, path: Option<&str>) -> Result<Config, Vec<Problem>> {
    let mut config = parse(text, CONFIG_FILE)?;
    if let Some(dir) = path.filter(|dir| !dir.is_empty()) {
        let below = Config::parse_below(text, CONFIG_FILE, dir);
        let below = below.map_err(|errors| errors.into_iter().map(Problem::from).collect::<Vec<_>>())?;
        let listed = |config: &Config| config.apps.iter().filter(|app| app.paths != AppPaths::Discover).count();
        let passed_over = listed(&config).saturating_sub(listed(&below));
        if passed_over > 0 {
            let apps = counted(passed_over, "app");
            tracing::warn!(
                "--path {dir}: the {apps} that {CONFIG_FILE} lists {} passed over; leave --path out to have them",
                if passed_over == 1 { "is" } else { "are" }
            );
        }
        config = below;
    }
    if let Some(own) = config.repositories.first_mut() {
        own.url.clone_from(&named.url);
        if named.branch.is_some() {
            own.branch.clone_from(&named.branch);
        }
    }
    Ok(config)
}

/// `--kubeconfig`, `--context` and `--embedded` say where the one cluster is.
fn override_cluster(config: &mut Config, common: &Common) -> Result<(), Vec<Problem>> {
    let access = match (common.embedded, &common.kubeconfig, &common.context) {
        (true, ..) => ClusterAccess::Embedded,
        (false, None, None) => return Ok(()),
        (false, path, context) => ClusterAccess::Kubeconfig { path: path.clone(), context: context.clone() },
    };
    match config.clusters.as_mut_slice() {
        [cluster] => {
            cluster.access = access;
            Ok(())
        }
        clusters => {
            let problem =
                Problem::new("SeveralClusters", format!("the configuration names {} clusters", clusters.len()));
            Err(one(problem.hint("leave --kubeconfig, --context and --embedded out: each cluster says where it is")))
        }
    }
}
