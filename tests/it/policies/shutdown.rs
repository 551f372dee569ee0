//! A shutdown loses nothing of what waits, whatever it waits for.

use std::sync::Arc;

use callboard::Shutdown;
use callboard::prelude::*;

use super::Bill;
use crate::support_events::{
    Memo, Seen, Step, clerk, failing, gate, here, paused, paused_elsewhere, row, shop,
};

/// Shuts a board down while its events are in every state of waiting there is.
async fn shut_down(retry: Retry, limit: Duration) -> callboard::ShutdownReport {
    let (spec, log) = clerk("clerk", |seen: &Seen| match seen.id {
        1 | 2 => failing(),
        _ => Step::Done,
    });
    let board = here(shop().child(spec.on::<Bill>().policy(Policy::new().retry(retry)))).await;
    for (id, of) in [(1, 7), (2, 8), (3, 7), (4, 7), (5, 9)] {
        board.publish(Bill { id, of }).await.unwrap();
    }
    log.until(1).await;
    let report = board.shutdown(limit).await;
    assert_eq!(report.ledger.gap(), 0, "{report}");
    report
}

#[test]
fn what_is_in_backoff_is_waited_for_and_then_undelivered() {
    paused(async {
        let retry = || Retry::fixed(secs(10)).attempts(2);
        for (retry, acknowledged, undelivered) in [
            (retry().in_place(), 0, 5),
            (retry().deferred(), 3, 2),
            (retry().parked(), 1, 4),
        ] {
            let report = shut_down(retry.clone(), secs(60)).await;
            let row = report.ledger.delivery("shop/clerk", "bill").unwrap();
            assert_eq!((row.acknowledged, row.dead_lettered), (3, 2), "{report}");
            let report = shut_down(retry, secs(5)).await;
            let row = report.ledger.delivery("shop/clerk", "bill").unwrap();
            assert_eq!(
                (row.acknowledged, row.undelivered),
                (acknowledged, undelivered)
            );
            assert_eq!(report.undelivered[0].count, undelivered);
        }
    });
}

#[test]
fn an_event_that_is_being_followed_up_is_undelivered() {
    paused(async {
        let gate = gate();
        let wait = Arc::clone(&gate);
        let then = OnFailure::discard()
            .publish(|bill: &Bill, _: &Failure| Memo(bill.id))
            .waited();
        let policy = Policy::new().retry(Retry::never()).failure(then);
        let (spec, _) = clerk("clerk", |_| failing());
        let (memos, log) = clerk("memos", move |_| Step::Wait(Arc::clone(&wait)));
        let root = shop()
            .child(memos.on::<Memo>())
            .child(spec.on::<Bill>().policy(policy));
        let board = here(root).await;
        board.publish(Bill { id: 1, of: 1 }).await.unwrap();
        log.until(1).await;
        let report = board.shutdown(secs(1)).await;
        assert_eq!(report.ledger.gap(), 0, "{report}");
        let row = report.ledger.delivery("shop/clerk", "bill").unwrap();
        assert_eq!((row.undelivered, row.discarded), (1, 0), "{report}");
    });
}

#[test]
fn one_that_drains_rests_until_what_waits_aside_is_due_whatever_is_published() {
    paused_elsewhere(async || {
        let (spec, log) = clerk("clerk", |seen: &Seen| match seen.attempt {
            1 => failing(),
            _ => Step::Done,
        });
        let retry = Retry::fixed(secs(10)).attempts(2).deferred();
        let spec = spec
            .shutdown(Shutdown::Drain(secs(60)))
            .policy(Policy::new().retry(retry));
        let board = here(shop().child(spec.on::<Bill>())).await;
        board.publish(Bill { id: 1, of: 1 }).await.unwrap();
        log.until(1).await;
        let publishing = async {
            // All that can be done has been by then, the order to stop included.
            tokio::time::sleep(secs(1)).await;
            board.publish(Bill { id: 2, of: 2 }).await.unwrap();
        };
        let (ended, ()) = tokio::join!(board.stop("shop/clerk"), publishing);
        ended.unwrap();
        assert_eq!(log.attempts(), [(1, 1), (1, 2)]);
        let row = row(&board, "shop/clerk", "bill");
        assert_eq!((row.acknowledged, row.undelivered), (1, 1));
    });
}
