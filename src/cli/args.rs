//! The command line as data. Parsing has no side effects; the environment is looked at in a second step
//! ([`super::setup`]).

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// driftless makes a Kubernetes cluster equal to a Git repository, keeps it equal, and says so on every commit.
#[derive(Debug, Parser)]
#[command(
    name = "driftless",
    version,
    about,
    after_help = "Start here:\n  \
        driftless demo --once                          a guided tour on a cluster in memory, half a minute\n  \
        driftless plan --repo . --path apps            what would change in the current kubeconfig context\n  \
        driftless sync --repo . --path apps            make it so, and wait until it is healthy\n  \
        driftless run  --repo https://host/team/apps   keep it so, and say so on every commit\n\n\
        Exit codes: 0 done, nothing left to do; 1 error; 2 `plan` found changes; 3 synced, not healthy in time;\n\
        4 refused (policy, guard, signature, hold, another app's object)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// More on standard error: -v for debug, -vv for every request. DRIFTLESS_LOG takes a filter.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A guided tour: an embedded cluster, a sample repository and the daemon, with commits made for you.
    Demo(Demo),
    /// The embedded cluster alone, for kubectl or any client.
    Cluster(ClusterCommand),
    /// The daemon: follow the repository and keep the cluster equal to it.
    Run(Run),
    /// What a sync would change, exactly, without changing anything.
    Plan(Plan),
    /// Make the cluster equal to the repository once, and wait until it is healthy.
    Sync(Sync),
    /// Apps with their revision, sync state, health and drift.
    Status(Status),
    /// Commits with the statuses each one got.
    Log(Log),
    /// The manifests that an app becomes. Needs no cluster.
    Render(Render),
    /// Render the apps and check fields, values and policies. Needs no cluster.
    Check(Check),
    /// Approve the deletions that an app's sync is waiting for, after listing them.
    Approve(Approve),
    /// Stop syncing an app until `resume`.
    Suspend(OneApp),
    /// Sync an app again after `suspend`, or lift its hold. One that waits for a review needs `approve`.
    Resume(OneApp),
    /// Keep a revision of an app from being applied.
    Hold(Hold),
    /// Go back to an earlier revision of an app and hold the current one.
    Rollback(Rollback),
}

/// Which repository, apps and cluster: common to most commands.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Configuration file. Default: driftless.toml here, or at the root of the tracked branch.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["repo", "branch", "path"], help_heading = "Source")]
    pub config: Option<PathBuf>,
    /// Repository: a path, https://, ssh://, git@HOST:PATH. Needs no configuration file.
    #[arg(long, value_name = "URL|PATH", help_heading = "Source")]
    pub repo: Option<String>,
    /// Branch. Default: the repository's own.
    #[arg(long, value_name = "B", requires = "repo", help_heading = "Source")]
    pub branch: Option<String>,
    /// Directory of the repository that holds the apps. Default: its root.
    #[arg(long, value_name = "DIR", requires = "repo", help_heading = "Source")]
    pub path: Option<String>,
    /// kubeconfig file. Default: KUBECONFIG, then ~/.kube/config.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig. Default: its current one.
    #[arg(long, value_name = "C", help_heading = "Cluster")]
    pub context: Option<String>,
    /// A cluster in memory, for this process only.
    #[arg(long, conflicts_with_all = ["kubeconfig", "context"], help_heading = "Cluster")]
    pub embedded: bool,
}

/// Output for people or for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Output of `plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PlanOutput {
    /// For people at a terminal.
    #[default]
    Text,
    /// For machines.
    Json,
    /// For a pull request's comment.
    Markdown,
}

/// `driftless demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// End after the tour: exit 0 only if every step was observed in the cluster and in the notes.
    #[arg(long)]
    pub once: bool,
    /// Port of the cluster's API. Default: a free one.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// Output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `driftless cluster`
#[derive(Debug, Args)]
pub struct ClusterCommand {
    /// Number of simulated nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub nodes: u32,
    /// CPU of each node.
    #[arg(long, value_name = "C", default_value = "4")]
    pub cpu: String,
    /// Memory of each node.
    #[arg(long, value_name = "M", default_value = "8Gi")]
    pub memory: String,
    /// Port on 127.0.0.1. Default: a free one.
    #[arg(long, value_name = "P", default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// Write the kubeconfig to this file. Default: a temporary one, whose path is printed.
    #[arg(long, value_name = "FILE")]
    pub write_kubeconfig: Option<PathBuf>,
}

/// `driftless run`
#[derive(Debug, Args)]
pub struct Run {
    /// Source and cluster.
    #[command(flatten)]
    pub common: Common,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "DRIFTLESS_LISTEN")]
    pub listen: std::net::SocketAddr,
    /// Directory for caches and reports that wait to be sent.
    #[arg(long, value_name = "DIR", env = "DRIFTLESS_CACHE")]
    pub cache_dir: Option<PathBuf>,
}

/// `driftless plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// Apps. Default: all.
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Source and cluster.
    #[command(flatten)]
    pub common: Common,
    /// Revision: a commit, tag or branch. Default: the branch's head.
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Plan the merge of the revision into this one, and show only what the revision adds.
    #[arg(long, value_name = "REV")]
    pub base: Option<String>,
    /// Output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: PlanOutput,
}

/// `driftless sync`
#[derive(Debug, Args)]
pub struct Sync {
    /// Apps. Default: all.
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Source and cluster.
    #[command(flatten)]
    pub common: Common,
    /// Revision: a commit, tag or branch. Default: the branch's head.
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Do not wait for health once everything is applied.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for health. Default: each app's timeout, 5m if it has none.
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `driftless status`
#[derive(Debug, Args)]
pub struct Status {
    /// Apps. Default: all.
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Source and cluster.
    #[command(flatten)]
    pub common: Common,
    /// Output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `driftless log`
#[derive(Debug, Args)]
pub struct Log {
    /// Source; a cluster is not needed.
    #[command(flatten)]
    pub common: Common,
    /// How many commits.
    #[arg(short = 'n', value_name = "N", default_value_t = 10)]
    pub number: usize,
    /// One commit.
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Wait for the final status of the commit, and end as `sync` would.
    #[arg(long)]
    pub wait: bool,
    /// With --wait: give up after so long.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub timeout: String,
    /// Output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `driftless render`
#[derive(Debug, Args)]
pub struct Render {
    /// Apps. Default: all.
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Source.
    #[command(flatten)]
    pub common: Common,
    /// Revision. Default: the branch's head.
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Print the values of Secrets instead of placeholders.
    #[arg(long)]
    pub show_secrets: bool,
    /// Output: YAML, or a JSON list.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `driftless check`
#[derive(Debug, Args)]
#[command(after_help = "What is found, each at its file and line:\n  \
        - unknown fields, values of another type, list keys that are there twice: by the fields of\n    \
        Kubernetes 1.36 and by the CustomResourceDefinitions in the repository\n  \
        - what these definitions ask for (required fields, enums, bounds), and what common kinds\n    \
        do (selectors that match, ports, names)\n  \
        - objects that two apps have; kinds and versions that are gone\n  \
        - what policies refuse or warn of: all is judged as created\n\n\
        Whether the cluster takes it all the same, only `driftless plan` can say.\n\
        Exit codes: 0 all would pass; 1 something is wrong; 4 refused: a policy, another app's object.")]
pub struct Check {
    /// Apps. Default: all.
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// Source.
    #[command(flatten)]
    pub common: Common,
    /// Revision. Default: the branch's head.
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `driftless approve`
#[derive(Debug, Args)]
#[command(
    after_help = "Each object that would be deleted or replaced is listed, then exactly these are approved, for this revision alone.\n\
        An app waits for that where its deletions pass `prune_limit`, take data or a namespace with foreign contents, or,\n\
        with `require_plan`, were in the plan of no merged pull request. `driftless plan APP` shows the diff beforehand:\n  \
        driftless plan web\n  \
        driftless approve web --revision 1a2b3c4       not if something else was pushed meanwhile"
)]
pub struct Approve {
    /// App.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Source and cluster.
    #[command(flatten)]
    pub common: Common,
    /// Approve only if this revision is what waits: what was pushed since is then refused. Default: the branch's head.
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    /// Output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Commands on one app.
#[derive(Debug, Args)]
pub struct OneApp {
    /// App.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Source and cluster.
    #[command(flatten)]
    pub common: Common,
}

/// `driftless hold`
#[derive(Debug, Args)]
pub struct Hold {
    /// App.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Source and cluster.
    #[command(flatten)]
    pub common: Common,
    /// Revision to hold. Default: the branch's head.
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
}

/// `driftless rollback`
#[derive(Debug, Args)]
pub struct Rollback {
    /// App.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Source and cluster.
    #[command(flatten)]
    pub common: Common,
    /// Revision to go back to. Default: the last one that was healthy.
    #[arg(long, value_name = "REV")]
    pub to: Option<String>,
}
