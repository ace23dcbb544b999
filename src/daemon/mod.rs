//! The long-running process: repositories are followed, apps are synced, drift is repaired, and all of it is said.
//!
//! ```text
//! repository ─▶ scope (one per repository) ─▶ app (one task each) ─▶ reconcile::sync
//!    ▲ push          │        ▲ outcomes            ▲ what changed in the cluster (dispatch)
//!    └── statuses ◀── herald (outbox, ledger)
//! ```
//!
//! One task per app keeps order within an app and lets nothing of one app wait for another. A scope is the only one that
//! speaks about its revisions. Idle costs nothing: no timer per app, no request for an unchanged one.

pub mod app;
pub mod board;
pub mod dispatch;
pub mod herald;
pub mod hints;
pub mod leader;
mod line;
mod pulls;
pub mod run;
pub mod scope;
pub mod vitals;
mod voice;
