//! What driftless does not do without a person's word (exit 4), and how it says so.

use super::input::PruneLimit;
use crate::object::{ObjectKey, ObjectRef, Problem, Source, counted};

/// Something refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is desired, but the inventory has members: a wrong path rather than an order to delete everything.
    EmptySource {
        /// How many members there are.
        members: usize,
    },
    /// An object of this app belongs to somebody else.
    OwnedByAnother {
        /// The object.
        object: ObjectRef,
        /// Whose it is, such as ``app `db` ``.
        owner: String,
        /// Where Git has it.
        source: Source,
    },
    /// More would be pruned than the limit allows.
    PruneLimit {
        /// How many would be pruned.
        count: usize,
        /// Of how many.
        members: usize,
        /// The limit.
        limit: PruneLimit,
    },
    /// A Namespace or CRD to be pruned holds objects that are not this app's.
    ForeignContents {
        /// The Namespace or CRD.
        object: ObjectRef,
        /// What is in it. Empty: it was not looked into.
        contents: Vec<ObjectKey>,
    },
    /// A volume or a claim to be pruned: its data may go with it.
    Data {
        /// The PersistentVolume or PersistentVolumeClaim.
        object: ObjectRef,
    },
}

impl Refusal {
    /// True if nothing of the app is written because of it; false if only its prunes wait.
    pub fn blocks(&self) -> bool {
        matches!(self, Self::EmptySource { .. } | Self::OwnedByAnother { .. })
    }

    /// As it is told.
    pub fn problem(&self, app: &str) -> Problem {
        let approve = format!("look at the plan, then `driftless approve {app}`");
        match self {
            Self::EmptySource { members } => {
                let which = if *members == 1 { "refused to delete it" } else { "refused to delete them all" };
                let owned = counted(*members, "object");
                Problem::new("EmptySource", format!("app `{app}` renders to nothing, but owns {owned}: {which}"))
            .hint("check the app's path and branch; to delete an app, remove its directory (or its entry) while other apps remain")
            }
            Self::OwnedByAnother { object, owner, source } => {
                Problem::new("OwnedByAnother", format!("{object} belongs to {owner}"))
                    .at(&source.file, source.line)
                    .about(object.clone())
                    .hint("remove it from one of the two; for an object without owner, remove its label `applyset.kubernetes.io/part-of`")
            }
            Self::PruneLimit { count, members, limit } => Problem::new(
                "PruneLimit",
                format!("{count} of {members} objects would be deleted, more than the app's prune_limit ({limit})"),
            )
            .hint(approve),
            Self::ForeignContents { object, contents } => {
                let text = if contents.is_empty() {
                    format!("{object} would be deleted, and what it holds is not known")
                } else {
                    format!("{object} would be deleted with objects that are not this app's: {}", listed(contents))
                };
                Problem::new("ForeignContents", text).about(object.clone()).hint(approve)
            }
            Self::Data { object } => {
                Problem::new("DataLoss", format!("{object} would be deleted, perhaps with its data"))
                    .about(object.clone())
                    .hint(format!("{approve}; to keep it, set its annotation `driftless.dev/prune: disabled`"))
            }
        }
    }
}

fn listed(contents: &[ObjectKey]) -> String {
    let shown: Vec<String> = contents.iter().take(5).map(ToString::to_string).collect();
    let more = contents.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Gk;

    #[test]
    fn messages_name_what_and_what_next() {
        let key = ObjectKey::new(&Gk::new("", "Namespace"), None, "shop");
        let contents: Vec<ObjectKey> =
            (0..7).map(|i| ObjectKey::new(&Gk::new("", "ConfigMap"), Some("shop"), &format!("c{i}"))).collect();
        let refusal = Refusal::ForeignContents { object: key.with_version("v1"), contents };
        let problem = refusal.problem("web");
        assert!(problem.message.ends_with("ConfigMap shop/c4 and 2 more"), "{problem}");
        assert!(problem.hint.unwrap().contains("driftless approve web"));
        assert!(!refusal.blocks());
        assert!(Refusal::EmptySource { members: 1 }.blocks());
    }
}
