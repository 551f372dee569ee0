//! When a child that has ended comes back.
//!
//! Specs carry it; the supervisor's family asks it.
//!
//! Invariant: what was stopped on request never comes back by itself.
//!
//! It does not count restarts.

use crate::exit::Exit;

/// When a child that has ended is started again; OTP's restart types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Restart {
    /// Always, also after a normal end. The default.
    #[default]
    Permanent,
    /// Only after an abnormal end.
    Transient,
    /// Never.
    Temporary,
}

impl Restart {
    /// Tells whether a child that ended so comes back. A requested stop never does.
    pub(crate) fn wants(self, exit: &Exit) -> bool {
        match self {
            _ if matches!(exit, Exit::Shutdown) => false,
            Restart::Permanent => true,
            Restart::Transient => exit.is_abnormal(),
            Restart::Temporary => false,
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_restart_type_wants_what_the_table_says() {
        let escalated = Exit::Escalated {
            path: "shop".into(),
            cause: Box::new(Exit::Killed),
        };
        #[rustfmt::skip]
        let table = [
            // exit                                  permanent transient temporary
            (Exit::Normal,                           [true,    false,    false]),
            (Exit::Shutdown,                         [false,   false,    false]),
            (Exit::Timeout(Duration::from_secs(1)),  [true,    true,     false]),
            (Exit::Killed,                           [true,    true,     false]),
            (escalated,                              [true,    true,     false]),
        ];
        for (exit, wanted) in table {
            let found = [Restart::Permanent, Restart::Transient, Restart::Temporary]
                .map(|restart| restart.wants(&exit));
            assert_eq!(found, wanted, "{exit:?}");
        }
    }
}
