//! What the program does, seen from outside.

mod apps;
mod checked;
mod daemon_changes;
mod daemon_outage;
mod daemon_restart;
mod daemon_settings;
mod daemon_tour;
mod dependants;
mod embedded;
mod forecast;

pub mod cases;
pub mod cluster;
mod gitea;
mod hooks;
mod https_remote;
mod kube_prometheus;
mod meanwhile;
mod messages;

mod oneshot;
mod oneshot_failure;
mod panics;
mod policy_agreement;
mod policy_operations;
mod real_apps;
mod redaction;
mod refused;
mod require_plan;
mod rollouts;
mod running;
pub mod scratch;
mod ssh_remote;
mod waiting_prunes;
mod warnings;
