//! Commit statuses and summaries, one file per host, and the outbox.
//!
//! [`status`], [`ledger`], [`note_lines`] and [`recover`] are pure: what is said, when it is said, and how it is kept
//! as text. [`git_notes`] and [`outbox`] do the I/O.
//!
//! Output for people and scripts is pure too: [`plan_text`], [`status_text`] and [`markdown`] make texts of a plan's
//! report, [`sync_report`] and [`status_report`].

pub mod approval;
pub mod base_note;
mod denials;
pub mod git_notes;
pub mod host;
pub mod ledger;
pub mod letters;
pub mod log;
pub mod markdown;
pub mod note_lines;
mod note_tree;
pub mod object_diff;
pub mod outbox;
mod outbox_error;
mod outbox_store;
pub mod plan_text;
pub mod recover;
#[cfg(test)]
mod sample;
pub mod status;
pub mod status_report;
pub mod status_text;
pub mod sync_report;
mod wording;
pub mod yaml_text;

pub use denials::Denials;
pub use git_notes::GitNotes;
pub use ledger::Ledger;
pub use log::{Log, LogCommit};
pub use markdown::plan_markdown;
pub use object_diff::ObjectDiffs;
pub use outbox::{Outbox, Reporter, SendError};
pub use plan_text::{outcome_text, plan_text, sync_text};
pub use status::{Context, ContextKind, Note, State, Timings};
pub use status_report::{StatusReport, SyncState};
pub use status_text::status_text;
pub use sync_report::SyncReport;
pub use wording::counts;
