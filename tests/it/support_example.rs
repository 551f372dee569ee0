//! An example, run as a user runs it: as a process of its own.
//!
//! The modules about examples share it.
//!
//! It asserts nothing.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The example of this name, with all it says and hears piped.
pub(crate) fn example(name: &str, build: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["run", "--quiet", "--example", name])
        .args(build)
        .arg("--")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What has been built already, with the tests, is what is run.
pub(crate) fn built() -> &'static [&'static str] {
    if cfg!(debug_assertions) {
        &["--all-features"]
    } else {
        &["--all-features", "--release"]
    }
}

/// Runs it to its end, with this to read.
pub(crate) fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that ends without reading closes the pipe, which is no failure of the test.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
