//! The configuration as everything else reads it: defaults filled in, references resolved.

pub use super::format::PruneLimit;
use core::net::SocketAddr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who this is.
    pub instance: Instance,
    /// Repositories, at least one.
    pub repositories: Vec<Repository>,
    /// Clusters, at least one.
    pub clusters: Vec<Cluster>,
    /// Apps as configured: an entry may stand for several, which are known once the tree is read. At least one for
    /// each repository.
    pub apps: Vec<App>,
    /// Reports.
    pub reports: Vec<Report>,
    /// Webhook, if any.
    pub webhook: Option<Webhook>,
    /// Policies.
    pub policy: Policy,
    /// The file, as it was named; empty where flags say it all.
    pub file: String,
}

/// Who this driftless is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name; prefix of its commit statuses.
    pub name: String,
    /// Namespace of its records.
    pub namespace: String,
}

/// A Git repository to follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Repository {
    /// Name in the configuration.
    pub name: String,
    /// URL or path, as written, without credentials. A relative path starts at the configuration's directory.
    pub url: String,
    /// Branch; `None` for the repository's default one.
    pub branch: Option<String>,
    /// Directory that holds the apps, without slashes at the ends; empty for the root. The scope's path root.
    pub path: String,
    /// Time between two fetches.
    pub interval: Duration,
    /// Points in time besides.
    pub schedule: Option<Schedule>,
    /// Credentials.
    pub auth: Option<Auth>,
    /// Certificates trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Settings of `ssh`, if any: then nothing but them.
    pub ssh: Option<Ssh>,
    /// Signatures wanted.
    pub verify: Option<Verify>,
}

impl Repository {
    /// True for a path or a `file://` URL: no host, no network.
    pub fn is_local(&self) -> bool {
        is_local(&self.url)
    }
}

/// True for a path or a `file://` URL. `host:path` is SSH, as Git reads it, unless a slash comes before the colon.
pub fn is_local(url: &str) -> bool {
    if let Some((scheme, _)) = url.split_once("://") {
        return scheme == "file";
    }
    match url.split_once(':') {
        Some((host, _)) => host.contains('/') || host.is_empty(),
        None => true,
    }
}

/// Cron and its time zone, both checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Cron expression.
    pub cron: String,
    /// IANA time zone.
    pub time_zone: String,
}

/// Where a secret is kept. The secret itself is read at use, and never kept here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// Environment variable.
    Env(String),
    /// File.
    File(PathBuf),
}

/// Credentials of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// User name, if given.
    pub username: Option<String>,
    /// Token or password.
    pub token: SecretRef,
}

/// How `ssh` is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ssh {
    /// Private key.
    pub key_file: Option<PathBuf>,
    /// Accepted host keys.
    pub known_hosts: Option<PathBuf>,
    /// Hosts to go through.
    pub jump: Option<String>,
}

/// Whose signatures are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// `allowed_signers` file.
    pub allowed_signers: Option<PathBuf>,
    /// OpenPGP public keys.
    pub openpgp_keys: Option<PathBuf>,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Name in the configuration and in reports.
    pub name: String,
    /// How it is reached.
    pub access: ClusterAccess,
}

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterAccess {
    /// By kubeconfig. Without a path: `KUBECONFIG`, then `~/.kube/config`, then the cluster that this runs in. Without a
    /// context: the current one.
    Kubeconfig {
        /// kubeconfig file.
        path: Option<PathBuf>,
        /// Context.
        context: Option<String>,
    },
    /// By service account, from inside.
    InCluster,
    /// In memory.
    Embedded,
}

/// An app, or a pattern of apps, with every setting filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Name. `None` where each app is named by its path.
    pub name: Option<String>,
    /// Name of the repository.
    pub repository: String,
    /// Which directories.
    pub paths: AppPaths,
    /// Names of the clusters, at least one.
    pub clusters: Vec<String>,
    /// Namespace of objects that name none.
    pub namespace: Option<String>,
    /// Create that namespace.
    pub create_namespace: bool,
    /// Apps that come first.
    pub depends_on: Vec<AppRef>,
    /// Delete what is no longer in Git.
    pub prune: bool,
    /// More than this waits for approval; `None` for the default of half an app of more than 5 objects.
    pub prune_limit: Option<PruneLimit>,
    /// Delete and replace only what the plan of a merged pull request showed.
    pub require_plan: bool,
    /// Repair drift.
    pub self_heal: bool,
    /// Time to become healthy.
    pub timeout: Duration,
    /// What to do when it does not.
    pub on_failure: OnFailure,
    /// What a rejected object stops.
    pub apply: ApplyMode,
    /// Fields left alone.
    pub ignore: Vec<IgnoreRule>,
    /// Files that are no manifests.
    pub ignore_files: Vec<String>,
    /// Classes whose address is waited for.
    pub wait_for_address: Vec<String>,
    /// How a chart is rendered.
    pub helm: Helm,
    /// Line of its `path` or `glob` in the file; `None` where no entry stands for it.
    pub line: Option<u32>,
}

/// How a Helm chart is rendered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Helm {
    /// Release name; `None`: the app's name.
    pub release: Option<String>,
    /// Values files, as written.
    pub values: Vec<String>,
}

/// Which directories an entry stands for, below the repository's `path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppPaths {
    /// One directory; empty for the repository's `path` itself.
    Directory(String),
    /// Every directory that matches is an app.
    Glob(String),
    /// The topmost directories with manifests, a `kustomization.yaml` or a `Chart.yaml` are apps.
    Discover,
}

/// An app by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppRef {
    /// Name of its repository.
    pub repository: String,
    /// Name.
    pub name: String,
}

/// What to do when an app does not become healthy in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Apply the last healthy revision again, and hold the bad one.
    Rollback,
    /// Hold the bad revision and leave what was applied.
    Hold,
    /// Only report it.
    Report,
}

/// What a rejected object stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyMode {
    /// An app with a rejected object changes nothing.
    AllOrNothing,
    /// What is accepted is applied.
    BestEffort,
}

/// Fields left alone; what is `None` matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreRule {
    /// API group.
    pub group: Option<String>,
    /// Kind.
    pub kind: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// JSON pointers.
    pub pointers: Vec<String>,
}

/// Kind of a Git host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReportKind {
    /// GitHub, also Enterprise.
    #[serde(rename = "github")]
    GitHub,
    /// GitLab.
    #[serde(rename = "gitlab")]
    GitLab,
    /// Gitea.
    Gitea,
    /// Forgejo, also Codeberg.
    Forgejo,
    /// Bitbucket Cloud.
    BitbucketCloud,
    /// Bitbucket Data Center.
    BitbucketDataCenter,
    /// Azure DevOps.
    #[serde(rename = "azure-devops")]
    AzureDevOps,
    /// Notes in the repository itself (`refs/notes/driftless`); needs no host.
    GitNotes,
}

/// A place where commit statuses are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Kind of host.
    pub kind: ReportKind,
    /// Name of the repository.
    pub repository: String,
    /// Address of the API, if given.
    pub url: Option<String>,
    /// User name, if given.
    pub username: Option<String>,
    /// Token; always there except for [`ReportKind::GitNotes`], and with an app.
    pub token: Option<SecretRef>,
    /// The app that reports in the place of a token.
    pub app: Option<GitHubApp>,
    /// Pull requests whose head is in another repository are planned too.
    pub plan_forks: bool,
}

/// A GitHub App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitHubApp {
    /// App ID or client ID.
    pub id: String,
    /// Installation, if given.
    pub installation: Option<u64>,
    /// Private key in PEM.
    pub private_key: SecretRef,
}

/// Where notifications arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// What the host signs with.
    pub secret: SecretRef,
}

/// Policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Directories, from the root of each repository.
    pub paths: Vec<String>,
}

/// The flags that stand for a file: `--repo URL [--branch B] [--path DIR]`, and which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// URL or path.
    pub repo: String,
    /// Branch.
    pub branch: Option<String>,
    /// Directory that holds the apps.
    pub path: Option<String>,
    /// kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// Context.
    pub context: Option<String>,
    /// In memory.
    pub embedded: bool,
}
