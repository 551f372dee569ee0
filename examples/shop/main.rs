//! A shop behind an HTTP API, with a payment gateway that is slow, refuses, and panics.
//!
//! Run: `cargo run --release --example shop`. Places 20,000 orders over HTTP against itself, then
//! prints the ledger, the restarts and the dead letters, and checks that every accepted order was
//! shipped, cancelled or dead-lettered. `-- --serve` keeps it up for curl until Ctrl-C;
//! `-- --orders FILE.jsonl` takes orders from a file (`-` for standard input). `RUST_LOG=info`
//! shows what the supervisors do.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "it is a program, and the gateway's"
)]

mod book;
mod day;
mod events;
mod gateway;
mod order;
mod services;
mod shop;
mod web;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::gateway::Manners;
use crate::shop::Shop;

/// A shop of supervised services. Without arguments it runs a busy day by itself.
#[derive(Parser)]
struct Cli {
    /// Keep serving HTTP until Ctrl-C, instead of the busy day
    #[arg(long)]
    serve: bool,
    /// Take orders from a file, one JSON object a line; - is standard input. Bad lines are
    /// reported and passed over
    #[arg(long, value_name = "FILE")]
    orders: Option<PathBuf>,
    /// The port on 127.0.0.1, 0 for any free one [default: 8080 with --serve, else 0]
    #[arg(long)]
    port: Option<u16>,
    /// Orders of the busy day
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    count: u64,
    /// New orders that may wait before further ones are refused
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    capacity: u32,
    #[command(flatten)]
    manners: Manners,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<bool, Box<dyn Error>> {
    log_if_wanted();
    expect_gateway_panics();
    // First, so that a file that is not there is reported before anything has started.
    let input = cli.orders.as_deref().map(open).transpose()?;
    let shop = Shop::start(cli.manners.clone(), cli.capacity as usize)?;
    let ran = trade(&cli, &shop, input);
    let (report, good) = shop.close();
    if ran.is_ok() {
        say(&report);
    }
    ran.map(|()| good)
}

fn trade(cli: &Cli, shop: &Shop, input: Option<Box<dyn BufRead>>) -> Result<(), Box<dyn Error>> {
    let only_lines = input.is_some() && !cli.serve;
    if let Some(input) = input {
        let complain = |what| {
            let _ = writeln!(io::stderr(), "{what}");
        };
        say(&day::from_lines(shop, input, complain)?);
    }
    if only_lines {
        shop.board.settle_blocking()?;
        return Ok(());
    }
    actix_rt::System::new().block_on(async {
        let port = cli.port.unwrap_or(if cli.serve { 8080 } else { 0 });
        let (address, server) = web::open(shop, port)
            .map_err(|error| format!("cannot listen on 127.0.0.1:{port}: {error}"))?;
        say(&format!("listening on http://{address}"));
        if cli.serve {
            say("Ctrl-C closes the shop");
            tokio::select! {
                heard = tokio::signal::ctrl_c() => heard?,
                ended = shop.board.wait() => ended?,
            }
        } else {
            say(&day::busy(shop, address, cli.count, cli.manners.seed).await?);
        }
        server.stop(true).await;
        Ok(())
    })
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let cannot = |error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err(format!("cannot read {}: it is a folder", path.display()));
    }
    Ok(Box::new(BufReader::new(file)))
}

/// Prints a line. Whoever reads it may have gone (`| head`), which is no reason to panic.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn log_if_wanted() {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(io::stderr)
            .init();
    }
}

/// The gateway's panics are counted in the report; all others are printed as ever.
fn expect_gateway_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        if !text.is_some_and(|text| text.starts_with("gateway: ")) {
            before(info);
        }
    }));
}
