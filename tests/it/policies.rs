//! Each part of a policy does what it says, wherever in the tree it is set.

mod aside;
mod breaker;
mod busy;
mod change;
mod drops;
mod follow_ups;
mod guards;
mod guards_model;
mod guards_storm;
mod later;
mod limits;
mod shutdown;

use callboard::prelude::*;

/// An event with a key.
pub(crate) struct Bill {
    pub(crate) id: u64,
    pub(crate) of: u64,
}

impl Event for Bill {
    const NAME: &'static str = "bill";
    fn key(&self) -> callboard::Key {
        self.of.into()
    }
}

impl Handle<Bill> for crate::support_events::Clerk {
    async fn handle(&mut self, bill: &Bill, cx: &mut Context<Self>) -> Outcome {
        self.see(bill.id, cx).await
    }
}
