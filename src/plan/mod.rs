//! What would make live equal desired: diff, order and prune decisions. Pure.
//!
//! ```text
//! PlanInput ─▶ questions() ─▶ (dry-runs, by the caller) ─▶ questions() … ─▶ plan() ─▶ Planned { plan, graph, … }
//! ```
//!
//! Values in, values out: no I/O and no clock. The caller asks the server what [`questions`] wants to know, adds the
//! answers to the input, repeats until nothing is asked, and then calls [`plan`], or [`plan_with_writes`], which tells
//! besides what policies have to judge.

pub mod added;
pub mod adopt;
pub mod analysis;
pub mod autoscaler;
pub mod body;
pub mod change;
pub mod cycle;
pub mod diff;
pub mod edge;
pub mod forecast;
pub mod graph;
pub mod hook;
pub mod ignore;
pub mod immutable;
pub mod input;
pub mod judge;
pub mod merge;
pub mod order;
pub mod owned;
pub mod planned;
pub mod planner;
pub mod podspec;
pub mod prune;
pub mod question;
pub mod redact;
pub mod refusal;
pub mod rejection;
pub mod step;
mod stranger;
pub mod wave;
pub mod weave;
pub mod why;
pub mod writes;

pub use added::{Added, added};
pub use adopt::migrate_managed_fields;
pub use body::{desired_digest, owned_digest};
pub use graph::Graph;
pub use hook::{HookObject, Phase};
pub use input::{Answers, IgnoreRule, PlanInput, PlanOptions, PruneLimit, Sibling};
pub use planned::{Found, Planned, Recorded};
pub use planner::{plan, plan_with_writes};
pub use question::{Asked, Question, Verb, questions};
pub use refusal::Refusal;
pub use step::{Part, Payload, Step, StepId, StepKind};
pub use writes::{Operation, Write};

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
