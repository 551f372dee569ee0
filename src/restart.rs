//! When a child that has ended comes back.
//!
//! Specs carry it; the supervisor's family asks it.
//!
//! Invariant: the answer depends on the restart type and the exit alone.
//!
//! It does not count restarts, and is not asked about a stop on request: only the family knows
//! what was requested, and a child may well end as if it had been.

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// When a child that has ended is started again; OTP's restart types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Restart {
    /// Always, also after a normal end, or a shutdown that its supervisor did not request; but not
    /// when its failure policy has [retired](Exit::Retired) it. The default.
    #[default]
    Permanent,
    /// Only after an abnormal end: neither after a normal one nor after a shutdown.
    Transient,
    /// Never, not even together with its group.
    Temporary,
}

impl Restart {
    /// Tells whether a child that ended so, of its own accord, comes back.
    pub(crate) fn wants(self, exit: &Exit) -> bool {
        match (self, exit) {
            (_, Exit::Retired(_) | Exit::Fatal(_)) | (Restart::Temporary, _) => false,
            (Restart::Permanent, _) => true,
            (Restart::Transient, _) => exit.is_abnormal(),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::Failure;
    use crate::panic::guard;

    #[test]
    fn each_restart_type_wants_what_the_table_says() {
        let escalated = Exit::Escalated {
            path: "shop".into(),
            cause: Box::new(Exit::Killed),
        };
        let panic = guard(|| panic!("boom")).unwrap_err();
        #[rustfmt::skip]
        let table = [
            // exit                                  permanent transient temporary
            (Exit::Normal,                           [true,    false,    false]),
            (Exit::Shutdown,                         [true,    false,    false]),
            (Exit::Failure(Failure::new("no disk")), [true,    true,     false]),
            (Exit::Panic(panic),                     [true,    true,     false]),
            (Exit::Timeout(Duration::from_secs(1)),  [true,    true,     false]),
            (Exit::Killed,                           [true,    true,     false]),
            (Exit::Retired(Failure::new("no disk")), [false,   false,    false]),
            (Exit::Fatal(Failure::new("no disk")),   [false,   false,    false]),
            (escalated,                              [true,    true,     false]),
        ];
        for (exit, wanted) in table {
            let found = [Restart::Permanent, Restart::Transient, Restart::Temporary]
                .map(|restart| restart.wants(&exit));
            assert_eq!(found, wanted, "{exit:?}");
        }
    }
}
