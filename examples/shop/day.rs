//! Where orders come from when nobody types them: a busy day over HTTP, or a file.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};

use crate::order::{BODY_MAX, NewOrder, parse};
use crate::shop::{Refused, Shop};

/// Requests under way at the same time.
const IN_FLIGHT: usize = 64;
/// How often a request that got no answer at all is sent again.
const TRIES: u32 = 5;

#[derive(Default)]
struct Tally {
    sent: Cell<u64>,
    overloads: Cell<u64>,
}

/// Places `count` orders over real HTTP and waits for the last of them to end; says how it went.
pub(crate) async fn busy(shop: &Shop, to: SocketAddr, count: u64, seed: u64) -> io::Result<String> {
    let client = awc::Client::builder()
        .timeout(Duration::from_secs(30))
        .finish();
    let tally = Rc::new(Tally::default());
    let bar = bar(count);
    let watch = actix_rt::spawn(follow(shop.clone(), bar.clone()));
    let url = format!("http://{to}/orders");
    let customer = |number: usize| {
        let (client, url, tally) = (client.clone(), url.clone(), Rc::clone(&tally));
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
        async move {
            while tally.sent.get() < count {
                tally.sent.set(tally.sent.get() + 1);
                place(&client, &url, &some_order(&mut rng), &tally).await?;
            }
            Ok::<(), io::Error>(())
        }
    };
    let ended = join_all((0..IN_FLIGHT).map(customer)).await;
    shop.board.settle().await.map_err(io::Error::other)?;
    watch.abort();
    bar.finish_and_clear();
    ended.into_iter().collect::<io::Result<()>>()?;
    Ok(format!(
        "{count} orders placed over HTTP; {} times the answer was 503, and the order sent again",
        tally.overloads.get()
    ))
}

async fn place(client: &awc::Client, url: &str, order: &NewOrder, tally: &Tally) -> io::Result<()> {
    let mut left = TRIES;
    loop {
        let mut response = match client.post(url).send_json(order).await {
            Ok(response) => response,
            Err(error) => {
                left -= 1;
                if left == 0 {
                    return Err(io::Error::other(format!("no answer from {url}: {error}")));
                }
                continue;
            }
        };
        // Read to its end, or the connection cannot be used again.
        let body = response.body().await.unwrap_or_default();
        match response.status().as_u16() {
            202 => return Ok(()),
            503 => {
                tally.overloads.set(tally.overloads.get() + 1);
                let hint = response.headers().get("retry-after");
                let hint = hint.and_then(|value| value.to_str().ok()?.parse().ok());
                tokio::time::sleep(Duration::from_secs(hint.unwrap_or(1))).await;
            }
            status => {
                let body = String::from_utf8_lossy(&body);
                return Err(io::Error::other(format!("the shop said {status}: {body}")));
            }
        }
    }
}

fn some_order(rng: &mut fastrand::Rng) -> NewOrder {
    let skus = ["tea", "coffee", "cocoa", "sugar", "biscuits"];
    NewOrder {
        sku: skus[rng.usize(..skus.len())].into(),
        quantity: rng.i64(1..=5),
        cents: rng.i64(100..=20_000),
    }
}

/// Shown on a terminal only.
fn bar(count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} orders ended, {elapsed}");
    ProgressBar::new(count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

async fn follow(shop: Shop, bar: ProgressBar) {
    loop {
        bar.set_position(shop.book.ended());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Places one order for each good line, and calls `complain` for each bad one; says how it went.
pub(crate) fn from_lines(
    shop: &Shop,
    mut input: impl BufRead,
    mut complain: impl FnMut(String),
) -> io::Result<String> {
    let (mut number, mut placed, mut bad) = (0_u64, 0_u64, 0_u64);
    while let Some(line) = next_line(&mut input)? {
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse(&line) {
            Ok(order) => {
                if !patiently(shop, &order) {
                    return Err(io::Error::other("the shop has closed"));
                }
                placed += 1;
            }
            Err(what) => {
                bad += 1;
                complain(format!("line {number}: {what}"));
            }
        }
    }
    Ok(format!(
        "{placed} orders placed from {number} lines; {bad} bad lines"
    ))
}

/// The next line without its end, cut off where it is too long for an order anyway.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = BODY_MAX as u64 + 2;
    if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() as u64 == most && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    while line.ends_with(b"\n") || line.ends_with(b"\r") {
        line.pop();
    }
    Ok(Some(line))
}

fn patiently(shop: &Shop, order: &NewOrder) -> bool {
    loop {
        match shop.place(order) {
            Ok(_) => return true,
            Err(Refused::Closed) => return false,
            Err(Refused::Full) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_long_ones_are_cut() {
        let text = format!("a\r\n\n{}\nlast", "x".repeat(3 * BODY_MAX));
        let mut input = text.as_bytes();
        let mut next = || next_line(&mut input).unwrap();
        assert_eq!(next().unwrap(), b"a");
        assert_eq!(next().unwrap(), b"");
        assert!(next().unwrap().len() > BODY_MAX);
        assert_eq!(next().unwrap(), b"last");
        assert_eq!(next(), None);
    }
}
