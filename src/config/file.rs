//! The file as it is written. The doc comments are its documentation: they land in the JSON Schema.
//!
//! What is optional here has its default filled in by `resolve.rs`; the model without `Option`s is in `model.rs`.

use super::format::{HumaneDuration, PruneLimit};
use super::model::{ApplyMode, OnFailure, ReportKind};
use core::net::SocketAddr;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// The configuration of driftless. Every key is checked: an unknown one is an error. Secrets never stand in this file;
/// they are named by environment variable or by file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "driftless.toml")]
pub struct File {
    /// Repositories to follow. Default: one, the repository that this file lies in.
    pub repository: Vec<RepositoryEntry>,
    /// Clusters to keep equal to them. Default: one named `default`, the current context of the kubeconfig, or the
    /// cluster that the daemon runs in.
    pub cluster: Vec<ClusterEntry>,
    /// What holds for every app that does not say otherwise.
    pub defaults: DefaultsEntry,
    /// Apps. A repository for which none is listed has its apps found: the topmost directories with manifests, a
    /// `kustomization.yaml` or a `Chart.yaml`.
    pub app: Vec<AppEntry>,
    /// Where to say what happened. Default: Git notes for a local repository, nowhere for a remote one.
    pub report: Vec<ReportEntry>,
    /// Notifications from the Git host, so that a push is seen at once.
    pub webhook: Option<WebhookEntry>,
    /// Policies that every object must pass.
    pub policy: PolicyEntry,
    /// Who this driftless is, where several share a cluster.
    pub instance: InstanceEntry,
}

/// A Git repository to follow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryEntry {
    /// Name, by which apps and reports refer to it.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// URL (`https`, `ssh`, `file`, or `user@host:path`) or a local path; a relative one starts where this file
    /// lies. Credentials go into `auth`.
    #[schemars(extend("format" = "git-url"))]
    pub url: String,
    /// Branch to follow. Default: the repository's own default branch.
    pub branch: Option<String>,
    /// Directory that holds the apps; what lies outside is not looked at, and `path` and `glob` of apps start here.
    /// Default: the root.
    #[schemars(extend("format" = "relative-path"))]
    pub path: Option<String>,
    /// How often to fetch, and to compare with live state whatever was missed. Default: `1m`.
    pub interval: Option<HumaneDuration>,
    /// Besides `interval`: fetch and compare at these times.
    pub schedule: Option<ScheduleEntry>,
    /// Credentials for fetching, and for pushing Git notes.
    pub auth: Option<AuthEntry>,
    /// File of certificates (PEM) to trust besides the system's, for a host with a private authority; it holds for the
    /// repository's reports, too.
    pub ca_file: Option<PathBuf>,
    /// How `ssh` is run for an address with SSH. Without it your own OpenSSH configuration holds, as with `git`; with it,
    /// nothing but this.
    pub ssh: Option<SshEntry>,
    /// Only commits signed by these keys are applied; any other is refused.
    pub verify: Option<VerifyEntry>,
}

/// Points in time, as cron writes them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleEntry {
    /// Five fields (minute, hour, day of month, month, day of week), or six with seconds first: `0 3 * * *`.
    #[schemars(extend("format" = "cron"))]
    pub cron: String,
    /// Time zone of those fields, such as `Europe/Berlin`. Default: `UTC`.
    #[schemars(extend("format" = "time-zone"))]
    pub time_zone: Option<String>,
}

/// Credentials of a repository. Exactly one of `token_env` and `token_file`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthEntry {
    /// User name. Default: what the host takes beside a token.
    pub username: Option<String>,
    /// Environment variable that holds the token or password.
    #[schemars(extend("format" = "environment-variable"))]
    pub token_env: Option<String>,
    /// File that holds the token or password; read again at every use, so that it can be rotated.
    pub token_file: Option<PathBuf>,
}

/// How `ssh` is run. A host whose key is not known or has changed is refused in any case.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshEntry {
    /// Private key, without a passphrase; or the public key of one in the agent. Default: the agent's keys (`SSH_AUTH_SOCK`)
    /// and the user's own.
    pub key_file: Option<PathBuf>,
    /// The only host keys that are accepted, as `ssh-keyscan` prints them. Default: the user's and the machine's.
    pub known_hosts: Option<PathBuf>,
    /// Hosts to go through: `user@jump.example:22`, several with commas, the nearest first.
    #[schemars(extend("format" = "ssh-hosts"))]
    pub jump: Option<String>,
}

/// Whose signatures are accepted. At least one of the two.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyEntry {
    /// File of SSH signers in the format of `ssh-keygen` (`allowed_signers`), outside the repository.
    pub allowed_signers: Option<PathBuf>,
    /// File of armoured OpenPGP public keys, outside the repository.
    pub openpgp_keys: Option<PathBuf>,
}

/// A cluster. Exactly one of `context` and `kubeconfig` (which may be given together), `in_cluster`, `embedded`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterEntry {
    /// Name, by which apps refer to it, and which stands in reports.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Context of the kubeconfig.
    pub context: Option<String>,
    /// kubeconfig file. Default: `KUBECONFIG`, then `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The cluster that the daemon runs in, by its service account.
    pub in_cluster: Option<bool>,
    /// A cluster in memory, for trying things out.
    pub embedded: Option<bool>,
}

/// What holds for every app that does not say otherwise.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct DefaultsEntry {
    /// Repository of apps that name none. Default: the only one.
    pub repository: Option<String>,
    /// Cluster of apps that name none. Default: the only one.
    pub cluster: Option<String>,
    /// Clusters of apps that name none.
    pub clusters: Option<Vec<String>>,
    /// Settings.
    #[serde(flatten)]
    pub settings: Settings,
}

/// An app: a directory of a repository that becomes objects in a cluster. Exactly one of `path` and `glob`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct AppEntry {
    /// Name, unique in its repository. Default: `path` with `-` for `/`. With `glob` every app is named by its path.
    #[schemars(extend("format" = "name"))]
    pub name: Option<String>,
    /// Repository it comes from. Default: that of `[defaults]`, else the only one.
    pub repository: Option<String>,
    /// Directory, below the repository's `path`.
    #[schemars(extend("format" = "relative-path"))]
    pub path: Option<String>,
    /// Pattern of directories that are an app each, below the repository's `path`: `teams/*/apps/*`.
    #[schemars(extend("format" = "glob"))]
    pub glob: Option<String>,
    /// Cluster it goes to. Default: that of `[defaults]`, else the only one.
    pub cluster: Option<String>,
    /// Clusters it goes to, where there are several.
    pub clusters: Option<Vec<String>>,
    /// Apps that must be synced and healthy first, by name; `repository/name` for one of another repository.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// Settings.
    #[serde(flatten)]
    pub settings: Settings,
}

/// Settings that an app has, and `[defaults]` for all of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Namespace of objects that name none. Default: that of the kubeconfig's context, else `default`.
    #[schemars(extend("format" = "name"))]
    pub namespace: Option<String>,
    /// Create that namespace if it is not there. Default: `false`.
    pub create_namespace: Option<bool>,
    /// Delete what is no longer in Git. Default: `true`.
    pub prune: Option<bool>,
    /// A sync that would delete more than this waits for `driftless approve`: a number of objects, or a share like
    /// `"50%"`. Default: `"50%"`, for apps of more than 5 objects.
    pub prune_limit: Option<PruneLimit>,
    /// Delete and replace only what the plan of a merged pull request showed before its merge; anything else is held until
    /// `driftless approve`, or until it is merged. Needs a Git host that shows plans. Default: `false`.
    pub require_plan: Option<bool>,
    /// Repair what others change in the cluster. Default: `true`; `false` only reports it.
    pub self_heal: Option<bool>,
    /// How long an app may take to become healthy. Default: `5m`.
    pub timeout: Option<HumaneDuration>,
    /// What to do when it does not. Default: `rollback`.
    pub on_failure: Option<OnFailure>,
    /// What to do when an object is rejected before anything is written. Default: `all-or-nothing`.
    pub apply: Option<ApplyMode>,
    /// Fields that others may change. Those of `[defaults]` hold as well.
    pub ignore: Vec<IgnoreEntry>,
    /// Files of the app that are no manifests, by pattern: `**/values.yaml`. Those of `[defaults]` hold as well.
    #[schemars(extend("items" = {"type": "string", "format": "glob"}))]
    pub ignore_files: Vec<String>,
    /// Classes of load balancers and Ingresses whose address is waited for; `*` for all. Default: none.
    pub wait_for_address: Option<Vec<String>>,
    /// How a Helm chart is rendered, where the app is one.
    pub helm: Option<HelmEntry>,
}

/// How a Helm chart is rendered.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HelmEntry {
    /// Release name. Default: the app's name.
    #[schemars(extend("format" = "name"))]
    pub release: Option<String>,
    /// Values files besides the chart's own `values.yaml`, the last one wins: relative to the app's directory, or with a
    /// leading `/` to the repository's root.
    pub values: Vec<String>,
}

/// Fields that are left alone. What is not given matches everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IgnoreEntry {
    /// API group, empty for the core group. Default: every group.
    pub group: Option<String>,
    /// Kind. Default: every kind.
    pub kind: Option<String>,
    /// Namespace. Default: every namespace.
    pub namespace: Option<String>,
    /// Name. Default: every name.
    pub name: Option<String>,
    /// The fields, as JSON pointers: `/spec/replicas`. At least one.
    #[schemars(extend("minItems" = 1, "items" = {"type": "string", "format": "json-pointer"}))]
    pub pointers: Vec<String>,
}

/// A place where commit statuses are written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportEntry {
    /// Kind of host.
    pub kind: ReportKind,
    /// Repository whose commits get the statuses. Default: the only one.
    pub repository: Option<String>,
    /// Address of the host's API, where it cannot be told from the repository's URL; or the repository's own address in it,
    /// `https://api.github.com/repos/acme/shop`, where Git reaches it another way.
    #[schemars(extend("format" = "git-url"))]
    pub url: Option<String>,
    /// User name, where the host wants one beside the token (Bitbucket).
    pub username: Option<String>,
    /// Environment variable that holds the token.
    #[schemars(extend("format" = "environment-variable"))]
    pub token_env: Option<String>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
    /// GitHub: report as an app in the place of a token.
    pub app: Option<GitHubAppEntry>,
    /// Plan pull requests whose head is in another repository, too: whoever opens one can see what the cluster has of these
    /// apps, Secrets aside. Default: false.
    #[serde(default)]
    pub plan_forks: bool,
}

/// A GitHub App, installed on the repository. It may write commit statuses and pull requests. Exactly one of
/// `private_key_file` and `private_key_env`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitHubAppEntry {
    /// Its App ID or client ID, as its settings show it.
    pub id: String,
    /// Number of its installation. Default: the one on the repository, which GitHub is asked for.
    pub installation: Option<u64>,
    /// Environment variable that holds its private key in PEM.
    #[schemars(extend("format" = "environment-variable"))]
    pub private_key_env: Option<String>,
    /// File that holds it: read again with each new token, so that it can be rotated.
    pub private_key_file: Option<PathBuf>,
}

/// Where the Git host's notifications arrive. Exactly one of `secret_env` and `secret_file`: what is not signed is
/// refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookEntry {
    /// Address to listen on. Default: `127.0.0.1:9180`.
    #[schemars(with = "Option<String>", extend("format" = "socket-address"))]
    pub listen: Option<SocketAddr>,
    /// Environment variable that holds the secret that the host signs with.
    #[schemars(extend("format" = "environment-variable"))]
    pub secret_env: Option<String>,
    /// File that holds that secret.
    pub secret_file: Option<PathBuf>,
}

/// Policies that every object must pass before anything is written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyEntry {
    /// Directories of policies, from the root of each repository. They are no apps, unless an `[[app]]` names them.
    #[schemars(extend("items" = {"type": "string", "format": "relative-path"}))]
    pub paths: Vec<String>,
}

/// Who this driftless is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceEntry {
    /// Name; also the prefix of its commit statuses. Default: `driftless`.
    #[schemars(extend("format" = "name"))]
    pub name: Option<String>,
    /// Namespace for its own records in each cluster, out of tenants' reach. Default: `driftless`.
    #[schemars(extend("format" = "name"))]
    pub namespace: Option<String>,
}
