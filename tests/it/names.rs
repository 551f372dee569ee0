//! No two event types have the same name on a board, whenever they come to it.

use ::tracing::Level;
use callboard::prelude::*;
use callboard::{ChildError, SubscribeError};

use crate::support_events::{here, paused, shop};
use crate::tracing::watched;

/// Two types with one name, and one without any.
struct Paid;
struct Settled;
struct Nameless;
impl Event for Paid {
    const NAME: &'static str = "paid";
}
impl Event for Settled {
    const NAME: &'static str = "paid";
}
impl Event for Nameless {
    const NAME: &'static str = "";
}

/// Subscribes itself to what it is not to.
struct Till;
impl Service for Till {}
impl Handle<Paid> for Till {
    async fn handle(&mut self, _: &Paid, cx: &mut Context<Self>) -> Outcome {
        let refused = cx.subscribe::<Settled>().unwrap_err();
        Err(Failure::permanent(refused.to_string()))
    }
}
impl Handle<Settled> for Till {
    async fn handle(&mut self, _: &Settled, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}
impl Handle<Nameless> for Till {
    async fn handle(&mut self, _: &Nameless, _: &mut Context<Self>) -> Outcome {
        Ok(())
    }
}

/// What is said of a type whose name another has.
fn clash(new: &str, first: &str) -> String {
    let here = module_path!();
    format!("shop/till, on paid: `{here}::{new}` has the same NAME as `{here}::{first}`")
}

#[test]
fn a_subscription_made_while_running_is_refused_the_name_of_another_event() {
    paused(async {
        let spec = service("till", || Till).on::<Paid>();
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        let refused = board.subscribe::<Settled>(&address).await.unwrap_err();
        assert!(matches!(refused, SubscribeError::Impossible { .. }));
        assert_eq!(refused.to_string(), clash("Settled", "Paid"));
        board.publish(Paid).await.unwrap();
        board.settle().await.unwrap();
        let letters = board.dead_letters();
        let said = letters[0].failure().unwrap().to_string();
        assert_eq!(said, clash("Settled", "Paid"));
        let refused = board.subscribe::<Nameless>(&address).await.unwrap_err();
        let expected = format!("the NAME of `{}::Nameless` is empty", module_path!());
        assert!(refused.to_string().ends_with(&expected), "{refused}");
        let ledger = board.ledger();
        assert_eq!((ledger.deliveries.len(), ledger.gap()), (1, 0));
    });
}

#[test]
fn the_name_of_an_event_that_is_only_published_or_subscribed_to_is_taken_as_well() {
    paused(async {
        let spec = service("till", || Till);
        let address = spec.address();
        let board = here(shop().child(spec)).await;
        board.publish(Settled).await.unwrap();
        let refused = board.subscribe::<Paid>(&address).await.unwrap_err();
        assert_eq!(refused.to_string(), clash("Paid", "Settled"));
        board.subscribe::<Settled>(&address).await.unwrap();
        let shop = board.supervisor("shop").unwrap();
        shop.terminate_child("till").await.unwrap();
        shop.delete_child("till").await.unwrap();
        let again = service("till", || Till).on::<Paid>();
        let Err(ChildError::Refused { problems, .. }) = shop.start_child(again).await else {
            panic!("it has started");
        };
        assert_eq!(problems[0].to_string(), clash("Paid", "Settled"));
    });
}

#[test]
fn publishing_under_the_name_of_another_event_is_logged_once() {
    let seen = watched("callboard=error", || {
        paused(async {
            let board = here(shop().child(service("till", || Till).on::<Paid>())).await;
            board.publish(Settled).await.unwrap();
            board.publish(Settled).await.unwrap();
            board.publish(Paid).await.unwrap();
            let topics = board.ledger().topics;
            assert_eq!(topics.iter().filter(|row| row.event == "paid").count(), 2);
        });
    });
    let said = seen.events("callboard::board", Level::ERROR);
    assert_eq!(said.len(), 1);
    let here = module_path!();
    let clash = format!("`{here}::Settled` has the same NAME as `{here}::Paid`");
    assert!(said[0].field("message").ends_with(&clash));
    assert_eq!(said[0].field("event"), "paid");
}
