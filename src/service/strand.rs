//! Which account a context writes to: that of its life, or that of an instance.
//!
//! Contexts write to it whatever they take up; tasks beside the life, such as later work, say
//! through it when they are on their thread.
//!
//! Invariant: the account is kept by the vitals of the same service.
//!
//! It reads nothing.

use std::ops::Deref;

use crate::activity::Activity;
use crate::sync::Arc;
use crate::vitals::Vitals;

#[derive(Clone)]
pub(crate) struct Strand {
    vitals: Arc<Vitals>,
    activity: Arc<Activity>,
}

impl Strand {
    pub(crate) fn of_life(vitals: Arc<Vitals>) -> Self {
        let activity = Arc::clone(&vitals.own);
        Strand { vitals, activity }
    }

    pub(crate) fn of_instance(vitals: Arc<Vitals>, activity: Arc<Activity>) -> Self {
        Strand { vitals, activity }
    }

    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }
}

impl Deref for Strand {
    type Target = Activity;

    #[inline]
    fn deref(&self) -> &Activity {
        &self.activity
    }
}
