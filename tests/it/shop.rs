//! The shop example keeps its word to whoever runs it: answers, messages, exit codes.
//!
//! It is run as a user runs it, as a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output};

use crate::support_example::{example, finish, text};

fn shop(arguments: &[&str]) -> Command {
    let mut command = example("shop", &["--release"], arguments);
    command.env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str], input: &str) -> Output {
    finish(&mut shop(arguments), input.as_bytes())
}

#[test]
fn bad_lines_are_reported_by_number_and_the_others_go_on() {
    let good = r#"{"sku":"tea","quantity":1,"cents":100}"#;
    let input = format!(
        "{good}\n{{\n\n{good}\n{}\n{good}",
        good.replace(":1,", ":0,")
    );
    let out = run(&["--orders", "-", "--poison-every", "3"], &input);
    let (said, complained) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{said}{complained}");
    assert!(complained.contains("line 2: not an order"), "{complained}");
    assert!(
        complained.contains("line 5: quantity must be"),
        "{complained}"
    );
    assert!(
        said.contains("3 orders placed from 6 lines; 2 bad lines"),
        "{said}"
    );
    assert!(
        said.contains("1 dead-lettered"),
        "the third is poison: {said}"
    );
    assert!(said.contains("gap: 0"), "{said}");
    assert!(!said.contains('\u{1b}') && !complained.contains('\u{1b}'));
}

#[test]
fn a_file_that_is_not_there_is_an_error_that_names_it() {
    let out = run(&["--orders", "no/such.jsonl"], "");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("cannot read no/such.jsonl"));
}

struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start() -> Self {
        let mut child = shop(&["--serve", "--port", "0"]).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap()
            .to_owned();
        Self { child, address }
    }

    /// Status and body of the answer.
    fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(body.as_bytes());
        // The end may be a reset, where the shop has not read all of a body that is too long.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = text(&answer);
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        (
            status.unwrap_or_else(|| panic!("no answer: {answer}")),
            answer,
        )
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_bad_request_is_told_what_is_wrong_with_it() {
    let shop = Serving::start();
    let long = format!(
        r#"{{"sku":"{}","quantity":1,"cents":1}}"#,
        "x".repeat(5_000)
    );
    for (body, status, says) in [
        ("{", 400, "not an order"),
        (
            r#"{"sku":"a","quantity":1,"cents":1,"gift":1}"#,
            400,
            "unknown field `gift`",
        ),
        (r#"{"sku":"a","quantity":0,"cents":1}"#, 400, "and is 0"),
        (r#"{"sku":"a","quantity":-1,"cents":1}"#, 400, "and is -1"),
        (
            r#"{"sku":"a","quantity":1000000000,"cents":1}"#,
            400,
            "and is 1000000000",
        ),
        (long.as_str(), 413, "at most 4096 bytes"),
        (r#"{"sku":"a","quantity":1,"cents":1}"#, 202, r#""order":1"#),
    ] {
        let (found, answer) = shop.send("POST", "/orders", body);
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.contains(says), "{body}: {answer}");
    }
    assert_eq!(shop.send("GET", "/orders/1", "").0, 200);
    assert_eq!(shop.send("GET", "/orders/99", "").0, 404);
    assert_eq!(shop.send("GET", "/orders/x", "").0, 400);
    assert_eq!(shop.send("GET", "/health", "").0, 200);
    assert!(shop.send("GET", "/ledger", "").1.contains(r#""gap":0"#));
}
