//! The policy of one path as it stands now, over those above it.
//!
//! Opening a tree makes them; subscriptions take their rules from them, again after a change.
//!
//! Invariant: what is in force at a path is always the nearest setting of each part.
//!
//! It tells nobody of a change: whoever makes one does.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::policy::Policy;

pub(crate) struct Standing {
    path: Arc<str>,
    own: Mutex<Policy>,
    above: Option<Arc<Standing>>,
}

impl Standing {
    pub(crate) fn new(path: &Arc<str>, own: Policy, above: Option<&Arc<Standing>>) -> Arc<Self> {
        Arc::new(Standing {
            path: Arc::clone(path),
            own: Mutex::new(own.made_at(path)),
            above: above.map(Arc::clone),
        })
    }

    /// The policy of this path over those above it.
    pub(crate) fn in_force(&self) -> Policy {
        let own = self.own();
        match &self.above {
            Some(above) => own.over(&above.in_force()),
            None => own,
        }
    }

    /// What would be in force here if the policy of the one at `path`, here or above, were this.
    pub(crate) fn supposing(&self, path: &str, policy: &Policy) -> Policy {
        let own = if *self.path == *path {
            policy.clone().made_at(path)
        } else {
            self.own()
        };
        match &self.above {
            Some(above) => own.over(&above.supposing(path, policy)),
            None => own,
        }
    }

    /// Sets the policy of this very path.
    pub(crate) fn set(&self, policy: Policy) {
        let policy = policy.made_at(&self.path);
        let before = std::mem::replace(&mut *self.lock(), policy);
        // What the user's functions have captured is dropped outside the lock.
        drop(before);
    }

    fn own(&self) -> Policy {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Policy> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Standing({})", self.path)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::policy::Retry;

    fn attempts(policy: &Policy) -> u32 {
        policy.rules().retry.attempts_max()
    }

    fn retrying(attempts: u32) -> Policy {
        Policy::new().retry(Retry::default().attempts(attempts))
    }

    #[test]
    fn the_nearest_setting_is_in_force_and_names_its_path() {
        let top = Standing::new(&"shop".into(), retrying(2), None);
        let low = Standing::new(&"shop/mail".into(), Policy::new(), Some(&top));
        assert_eq!(attempts(&low.in_force()), 2);
        assert!(low.in_force().explain().to_string().contains("(shop)"));
        assert_eq!(attempts(&low.supposing("shop", &retrying(4))), 4);
        assert_eq!(attempts(&low.in_force()), 2);
        low.set(retrying(3));
        assert_eq!(attempts(&low.in_force()), 3);
        assert!(low.in_force().explain().to_string().contains("(shop/mail)"));
        assert_eq!(attempts(&top.in_force()), 2);
    }
}
