//! What an app owns and what happened to it: the ApplySet parent as data. Pure.
//!
//! Published convention: KEP-3659 (ApplySet: `kubectl apply --prune` redesign). The parent is a ConfigMap.

pub mod codec;
pub mod identity;
pub mod lock;
pub mod parent;

pub use codec::{Request, StoredParent};
pub use lock::{Holder, Lock};
pub use parent::{
    Approval, Hold, HookRecord, Identity, Member, Merge, Parent, Phase, Removal, Review, Standing, SyncRecord,
};
