//! The rules of CONTRIBUTING.md that a machine can check.
//!
//! Reads the sources and the papers of the package. Each rule is a function from a text to what is
//! wrong with it, one test that runs it over the tree, and one that shows on a bad text that it
//! bites.
//!
//! Invariant: a complaint names file and line.
//!
//! It formats nothing and repairs nothing; `cargo fmt` and clippy know the rest.

mod floors;
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use scan::{blank, closing, line_of, name_at, skip_space, words};

const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
/// Where what the papers name by its path lies.
const FOLDERS: [&str; 4] = ["src/", "tests/", "examples/", "benches/"];

/// One text file: its path below the package, with forward slashes, and what it says.
struct File {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn paper(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name} is missing: {e}"))
}

/// All `.rs` files below the named folders, but for what builds leave in a `target`; a folder that
/// does not exist holds none.
fn rust_files(folders: &[&str]) -> Vec<File> {
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, paths);
        } else if path.extension().is_some_and(|end| end == "rs") {
            paths.push(path);
        }
    }
}

fn read(path: &Path) -> File {
    let inside = path
        .strip_prefix(root())
        .expect("files lie below the package");
    File {
        path: inside.to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
    }
}

fn sources() -> Vec<File> {
    rust_files(&["src"])
}

fn all_rust() -> Vec<File> {
    let files = rust_files(&["src", "tests", "examples", "benches"]);
    assert!(
        files.iter().any(|file| file.path == "src/lib.rs"),
        "the walk found no src/lib.rs"
    );
    assert!(
        files.iter().any(|file| file.path == "tests/it/tidy.rs"),
        "the walk skipped folders"
    );
    files
}

/// The papers at the root of the package.
fn papers() -> Vec<File> {
    let listed = fs::read_dir(root()).expect("the package can be listed");
    let paths = listed.map(|entry| entry.expect("an entry can be read").path());
    let mut papers: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    papers.sort();
    papers.iter().map(|path| read(path)).collect()
}

/// Fails with one `file:line: complaint` per finding.
fn check(files: &[File], rule: impl Fn(&File) -> Vec<String>) {
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| {
            rule(file)
                .into_iter()
                .map(move |wrong| format!("{}:{wrong}", file.path))
        })
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn long_functions(source: &str) -> Vec<String> {
    let text: Vec<char> = blank(source).chars().collect();
    let mut found = Vec::new();
    for at in words(&text, "fn") {
        let name = name_at(&text, skip_space(&text, at + 2));
        let Some(open) = body(&text, at) else {
            continue;
        };
        let end = closing(&text, open).unwrap_or(text.len() - 1);
        let first = line_of(&text, at);
        let lines = line_of(&text, end) + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            found.push(format!(
                "{first}: `{name}` has {lines} lines of {FUNCTION_LINES_MAX}"
            ));
        }
    }
    found
}

/// Where the body of the function at `at` opens; declarations and function types have none.
fn body(text: &[char], at: usize) -> Option<usize> {
    if text.get(skip_space(text, at + 2)) == Some(&'(') {
        return None;
    }
    let mut depth = 0_usize;
    let mut i = at;
    while i < text.len() {
        match text[i] {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.checked_sub(1)?,
            ';' if depth == 0 => return None,
            // `Row<{ N }>`: a constant, not the body.
            '{' if depth > 0 || is_const_argument(text, i) => i = closing(text, i)?,
            '{' => return Some(i),
            '}' => return None,
            _ => {}
        }
        i += 1;
    }
    None
}

fn is_const_argument(text: &[char], open: usize) -> bool {
    text[..open].iter().rfind(|c| !c.is_whitespace()) == Some(&'<')
}

fn wide_lines(source: &str) -> Vec<String> {
    numbered(source)
        .map(|(line, text)| (line, text.chars().count()))
        .filter(|(_, columns)| *columns > COLUMNS_MAX)
        .map(|(line, columns)| format!("{line}: {columns} columns of {COLUMNS_MAX}"))
        .collect()
}

/// Trailing white space, tabs, and dashes that no keyboard has.
fn odd_characters(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (line, text) in numbered(source) {
        if text.ends_with(char::is_whitespace) {
            found.push(format!("{line}: white space at the end"));
        }
        let odd = |c: &char| matches!(c, '\t' | '\u{2010}'..='\u{2015}' | '\u{2212}');
        if let Some(c) = text.chars().find(odd) {
            found.push(format!(
                "{line}: {} in place of plain text",
                c.escape_unicode()
            ));
        }
    }
    found
}

/// What is left for later, which belongs into an issue and not into a release.
fn unfinished(source: &str) -> Vec<String> {
    let text: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    for word in ["TODO", "FIXME", "XXX", "todo!", "unimplemented!"] {
        for at in words(&text, word) {
            found.push(format!("{}: {word}", line_of(&text, at)));
        }
    }
    found
}

/// A file counts as named where its path stands in backquotes, from `src/` on.
fn unnamed(path: &str, architecture: &str) -> Vec<String> {
    if architecture.contains(&format!("`{path}`")) {
        return Vec::new();
    }
    vec![format!("1: ARCHITECTURE.md has no row for `{path}`")]
}

/// The paths in backquotes in the tables of a paper, such as `src/topic/`, that lead nowhere.
fn dangling(paper: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let rows = numbered(paper).filter(|(_, text)| text.starts_with('|'));
    let named = rows.flat_map(|(line, text)| {
        let quoted = text.split('`').skip(1).step_by(2);
        quoted.map(move |name| (line, name))
    });
    let is_path = |name: &str| FOLDERS.iter().any(|folder| name.starts_with(folder));
    named
        .filter(|(_, name)| is_path(name) && !exists(name))
        .map(|(line, name)| format!("{line}: there is no `{name}`"))
        .collect()
}

/// `src/topic/mod.rs` is `["topic"]`, `src/topic/block.rs` is `["topic", "block"]`.
fn module_path(path: &str) -> Vec<&str> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.split('/').filter(|part| *part != "mod").collect()
}

fn numbered(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source
        .split('\n')
        .enumerate()
        .map(|(i, text)| (i + 1, text))
}

#[test]
fn functions_fit_a_glance() {
    check(&all_rust(), |file| long_functions(&file.text));
}

#[test]
fn lines_fit_the_column_limit() {
    check(&all_rust(), |file| wide_lines(&file.text));
}

#[test]
fn text_is_plain() {
    check(&all_rust(), |file| odd_characters(&file.text));
    check(&papers(), |file| odd_characters(&file.text));
}

#[test]
fn nothing_in_src_is_left_for_later() {
    check(&sources(), |file| unfinished(&file.text));
}

#[test]
fn every_source_file_is_named_in_the_architecture() {
    let architecture = paper("ARCHITECTURE.md");
    check(&sources(), |file| unnamed(&file.path, &architecture));
}

#[test]
fn every_path_in_a_table_of_the_papers_leads_somewhere() {
    check(&papers(), |file| {
        dangling(&file.text, |path| root().join(path).exists())
    });
}

#[test]
fn imports_go_down_the_floors() {
    check(&sources(), |file| {
        floors::violations(&module_path(&file.path), &file.text)
    });
}

#[test]
fn the_readme_names_the_minimum_rust_version() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(
        paper("README.md").contains(version),
        "README.md:1: does not say Rust {version}"
    );
}

#[test]
fn the_readme_shows_the_program_of_the_example_hello() {
    let example = paper("examples/hello.rs");
    let (_, program) = example
        .split_once("\n\n")
        .expect("a header, and the program");
    assert!(
        paper("README.md").contains(program),
        "README.md:1: its program is not that of examples/hello.rs"
    );
}

#[test]
fn the_changelog_names_the_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        paper("CHANGELOG.md").contains(version),
        "CHANGELOG.md:1: does not say {version}"
    );
}

#[test]
fn a_function_past_the_limit_is_found() {
    let of = |lines: usize| format!("\nfn long() {{\n{}}}\n", "    work();\n".repeat(lines - 2));
    assert_eq!(long_functions(&of(70)), Vec::<String>::new());
    assert_eq!(long_functions(&of(71)), ["2: `long` has 71 lines of 70"]);
    assert_eq!(
        long_functions(&of(71).replace("work()", "work(\"}\")")).len(),
        1
    );
    assert_eq!(long_functions(&of(71).replace("work();", "// }")).len(), 1);
    assert_eq!(
        long_functions(&of(71).replace("()", "(n: [u8; { 4 }]) -> Row<{ 4 }>")).len(),
        1
    );
    assert_eq!(
        long_functions(&format!("trait T {{ fn f(&self);\n{} }}", "\n".repeat(99))).len(),
        0
    );
    assert_eq!(
        long_functions(&format!("struct S {{ f: fn(u8),\n{} }}", "\n".repeat(99))).len(),
        0
    );
}

#[test]
fn a_wide_line_is_found() {
    let line = |columns: usize| format!("\n{}\n", "\u{e9}".repeat(columns));
    assert_eq!(wide_lines(&line(100)), Vec::<String>::new());
    assert_eq!(wide_lines(&line(101)), ["2: 101 columns of 100"]);
}

#[test]
fn odd_text_is_found() {
    assert_eq!(odd_characters("plain - text\n"), Vec::<String>::new());
    assert_eq!(odd_characters("a\nb \n"), ["2: white space at the end"]);
    assert_eq!(odd_characters("a\u{2014}b").len(), 1);
    assert_eq!(odd_characters("\tb").len(), 1);
}

#[test]
fn unfinished_work_is_found() {
    assert_eq!(
        unfinished("let to_do = \"todo\"; // mastodons"),
        Vec::<String>::new()
    );
    assert_eq!(unfinished("x\n// TODO: more"), ["2: TODO"]);
    assert_eq!(unfinished("fn f() { todo!() }"), ["1: todo!"]);
    assert_eq!(
        unfinished("fn f() { unimplemented!(\"x\") } // FIXME").len(),
        2
    );
}

#[test]
fn a_file_without_a_row_is_found() {
    let table = "| 1 | `src/topic/block.rs` | slots |";
    assert_eq!(unnamed("src/topic/block.rs", table), Vec::<String>::new());
    assert_eq!(unnamed("src/block.rs", table).len(), 1);
}

#[test]
fn a_row_without_a_file_is_found() {
    let paper =
        "`src/prose.rs`\n| `Retry`, `tests` | `src/lib.rs`; `src/gone.rs` |\n| `src/gone/` |";
    let found = dangling(paper, |path| path == "src/lib.rs");
    let lines = ["2: there is no `src/gone.rs`", "3: there is no `src/gone/`"];
    assert_eq!(found, lines);
}

#[test]
fn a_path_becomes_a_module() {
    assert_eq!(module_path("src/topic/block.rs"), ["topic", "block"]);
    assert_eq!(module_path("src/topic/mod.rs"), ["topic"]);
    assert_eq!(module_path("src/lib.rs"), ["lib"]);
}
