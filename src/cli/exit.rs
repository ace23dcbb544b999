//! Exit codes, and which one wins over several apps.

use std::process::ExitCode;

/// How a command ended. Ordered so that the greatest wins: 1 before 4 before 3 before 2 before 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Exit {
    /// Done, nothing left to do.
    #[default]
    Done,
    /// `plan`: there are changes.
    Changes,
    /// Synced, but not healthy in time.
    Unhealthy,
    /// Refused: policy, guard, signature, hold, another app's object.
    Refused,
    /// An error, or wrong usage.
    Error,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Changes => 2,
            Self::Unhealthy => 3,
            Self::Refused => 4,
        }
    }
}

impl Exit {
    /// The ending with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Done, Self::Error, Self::Changes, Self::Unhealthy, Self::Refused]
            .into_iter()
            .find(|exit| exit.code() == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence() {
        let worst = |all: &[Exit]| all.iter().copied().max().unwrap_or_default().code();
        assert_eq!(worst(&[]), 0);
        assert_eq!(worst(&[Exit::Done, Exit::Changes]), 2);
        assert_eq!(worst(&[Exit::Unhealthy, Exit::Changes]), 3);
        assert_eq!(worst(&[Exit::Unhealthy, Exit::Refused]), 4);
        assert_eq!(worst(&[Exit::Error, Exit::Refused, Exit::Done]), 1);
    }
}
