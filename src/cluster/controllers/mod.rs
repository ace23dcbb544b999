//! The controllers of the embedded cluster, one file each: what kube-controller-manager does, as pure functions.

pub mod autoscaler;
pub mod claim;
pub mod condition;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod event;
pub mod expiry;
pub mod garbage;
pub mod index;
pub mod job;
pub mod kind;
pub mod meta;
pub mod namespace;
pub mod node;
pub mod patch;
pub mod pods;
pub mod quota;
pub mod refusal;
pub mod replicaset;
pub mod revision;
pub mod selector;
pub mod statefulset;
pub mod volume;
