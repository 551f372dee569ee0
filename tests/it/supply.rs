//! What the crate is built upon, read from Cargo.lock and Cargo.toml without a network.
//!
//! `cargo deny` asks the advisory database; this holds the line where that cannot be reached: the
//! versions with known holes, packages to stay away from, doubles of what must exist once, sources
//! other than the one registry, and a budget of packages.
//!
//! Invariant: each rule is a function of a lock file, shown on a bad one to bite.
//!
//! It knows only the advisories written down here. Which features are on is not in a lock file, so
//! the budget counts a few packages too many.

use std::collections::{BTreeMap, BTreeSet};

const LOCK: &str = include_str!("../../Cargo.lock");
const MANIFEST: &str = include_str!("../../Cargo.toml");

/// The least version without a known hole, and why. Not all are used; those in the lock must obey.
const MINIMUM: &[(&str, &str, &str)] = &[
    ("async-nats", "0.29.0", "RUSTSEC-2023-0027"),
    (
        "crossbeam-channel",
        "0.5.15",
        "RUSTSEC-2025-0024: double free on drop",
    ),
    ("dashmap", "6.0.0", "RUSTSEC-2022-0002, and the 6.x line"),
    ("libsqlite3-sys", "0.25.1", "RUSTSEC-2022-0090"),
    ("rusqlite", "0.26.2", "RUSTSEC-2021-0128"),
    ("tokio", "1.44.2", "RUSTSEC-2025-0023: unsound broadcast"),
    (
        "tracing-subscriber",
        "0.3.20",
        "RUSTSEC-2025-0055: terminal escapes in logs",
    ),
];

const BANNED: &[(&str, &str)] = &[
    ("actix-broker", "an event whose handler panics is lost"),
    ("bincode", "RUSTSEC-2025-0141: unmaintained"),
    ("rkyv", "RUSTSEC-2026-0233, -0234, -0235"),
];

/// Two versions of one of these are two worlds that do not see each other.
const ONCE: &[&str] = &[
    "actix",
    "actix-rt",
    "crossbeam-channel",
    "dashmap",
    "serde",
    "thiserror",
    "tokio",
    "tracing",
];

/// Packages that a user's build gets, ourselves not counted.
const PACKAGES_MAX: usize = 75;

/// One `[[package]]` of the lock file.
#[derive(Debug, Default)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    /// `name`, or `name version` where the lock holds several of that name.
    dependencies: Vec<String>,
}

fn parse(lock: &str) -> Vec<Package> {
    lock.split("[[package]]").skip(1).map(package).collect()
}

fn package(block: &str) -> Package {
    let mut package = Package::default();
    for line in block.lines() {
        if let Some((key, value)) = line.split_once(" = ") {
            let value = value.trim_matches('"').to_owned();
            match key {
                "name" => package.name = value,
                "version" => package.version = value,
                "source" => package.source = Some(value),
                "checksum" => package.checksum = Some(value),
                _ => {}
            }
        } else if let Some(item) = line.strip_prefix(" \"") {
            package
                .dependencies
                .push(item.trim_end_matches(['"', ',']).to_owned());
        }
    }
    package
}

/// Major, minor, patch; and whether it is a release, which sorts after its candidates.
fn version(text: &str) -> (Vec<u64>, bool) {
    let bare = text.split('+').next().unwrap_or(text);
    let (numbers, candidate) = bare
        .split_once('-')
        .map_or((bare, false), |(n, _)| (n, true));
    let numbers = numbers
        .split('.')
        .map(|n| n.parse().expect("versions are numbers"))
        .collect();
    (numbers, !candidate)
}

fn too_old(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        for (name, least, why) in MINIMUM {
            if package.name == *name && version(&package.version) < version(least) {
                found.push(format!(
                    "{name} {} is below {least}: {why}",
                    package.version
                ));
            }
        }
    }
    found
}

fn banned(packages: &[Package]) -> Vec<String> {
    let reason = |package: &Package| {
        let row = BANNED.iter().find(|(name, _)| *name == package.name);
        row.map(|(name, why)| format!("{name}: {why}"))
    };
    packages.iter().filter_map(reason).collect()
}

fn doubled_or_candidates(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for name in ONCE {
        let versions: Vec<&str> = packages
            .iter()
            .filter(|p| p.name == *name)
            .map(|p| p.version.as_str())
            .collect();
        if versions.len() > 1 {
            found.push(format!(
                "{name} is there {} times: {versions:?}",
                versions.len()
            ));
        }
        found.extend(
            versions
                .iter()
                .filter(|v| !version(v).1)
                .map(|v| format!("{name} {v}: no release")),
        );
    }
    found
}

/// Everything but ourselves comes from one registry, with a checksum.
fn foreign(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    let mut registries = BTreeSet::new();
    for package in packages.iter().filter(|p| p.name != env!("CARGO_PKG_NAME")) {
        let name = &package.name;
        match package.source.as_deref() {
            Some(source) if source.starts_with("registry+") => {
                registries.insert(source);
                if package.checksum.is_none() {
                    found.push(format!("{name} has no checksum"));
                }
            }
            Some(source) => found.push(format!("{name} comes from {source}")),
            None => found.push(format!("{name} comes from a folder")),
        }
    }
    if registries.len() > 1 {
        found.push(format!(
            "there are {} registries: {registries:?}",
            registries.len()
        ));
    }
    found
}

/// What `[dependencies]` and `[target.*.dependencies]` of the manifest name, but for the model
/// checkers.
fn direct(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end().trim_end_matches(']');
            inside = ["dependencies", "build-dependencies"]
                .iter()
                .any(|kind| section == *kind || section.ends_with(&format!(".{kind}")))
                // The model checker comes with a flag that no user sets.
                && !section.contains("cfg(shuttle)");
        } else if inside
            && !line.starts_with(['#', ' ', '}', ']'])
            && let Some((name, _)) = line.split_once('=')
        {
            let name = name.trim().split('.').next().unwrap_or_default();
            names.insert(name.to_owned());
        }
    }
    names
}

/// The packages reached from the manifest's own dependencies, as `name version`.
fn closure(packages: &[Package], manifest: &str) -> BTreeSet<String> {
    let label = |p: &Package| format!("{} {}", p.name, p.version);
    let mut known: BTreeMap<String, &Package> = BTreeMap::new();
    for package in packages {
        known.insert(package.name.clone(), package);
        known.insert(label(package), package);
    }
    let direct = direct(manifest);
    let own = known
        .get(env!("CARGO_PKG_NAME"))
        .expect("the lock names this package");
    let first_word = |item: &str| item.split(' ').next().unwrap_or_default().to_owned();
    let mut todo: Vec<String> = own
        .dependencies
        .iter()
        .filter(|item| direct.contains(&first_word(item)))
        .cloned()
        .collect();
    let mut reached = BTreeSet::new();
    while let Some(item) = todo.pop() {
        let key = item.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let package = known
            .get(&key)
            .unwrap_or_else(|| panic!("the lock has no {key}"));
        if reached.insert(label(package)) {
            todo.extend(package.dependencies.iter().cloned());
        }
    }
    reached
}

fn none(found: Vec<String>) {
    assert!(
        found.is_empty(),
        "\nCargo.lock: {}\n",
        found.join("\nCargo.lock: ")
    );
}

#[test]
fn no_dependency_has_a_known_hole() {
    let packages = parse(LOCK);
    for name in ["tokio", "dashmap", "crossbeam-channel"] {
        assert!(
            packages.iter().any(|p| p.name == name),
            "the lock was not read: no {name}"
        );
    }
    none(too_old(&packages));
}

#[test]
fn nothing_banned_is_used() {
    none(banned(&parse(LOCK)));
}

#[test]
fn core_crates_exist_once_and_are_releases() {
    none(doubled_or_candidates(&parse(LOCK)));
}

#[test]
fn everything_comes_from_the_one_registry() {
    none(foreign(&parse(LOCK)));
}

#[test]
fn the_package_budget_holds() {
    let reached = closure(&parse(LOCK), MANIFEST);
    println!("{} packages of {PACKAGES_MAX}", reached.len());
    assert!(
        reached.len() >= direct(MANIFEST).len(),
        "the lock was not walked"
    );
    assert!(
        reached.len() <= PACKAGES_MAX,
        "{} packages: {reached:#?}",
        reached.len()
    );
}

/// A lock file with one fault of each kind.
const BAD: &str = r#"
[[package]]
name = "callboard"
version = "0.1.0"
dependencies = [
 "bincode",
 "dashmap 7.0.0-rc2",
 "tokio 1.44.1",
]

[[package]]
name = "bincode"
version = "3.0.0"
source = "git+ssh://somewhere/bincode"

[[package]]
name = "dashmap"
version = "7.0.0-rc2"
source = "registry+one"
checksum = "00"
dependencies = [
 "tokio 1.54.1",
]

[[package]]
name = "tokio"
version = "1.44.1"
source = "registry+two"

[[package]]
name = "tokio"
version = "1.54.1"
"#;

#[test]
fn each_rule_bites_on_a_bad_lock() {
    let packages = parse(BAD);
    assert_eq!(packages.len(), 5);
    assert_eq!(too_old(&packages).len(), 1, "tokio 1.44.1");
    assert_eq!(banned(&packages).len(), 1, "bincode");
    assert_eq!(
        doubled_or_candidates(&packages).len(),
        2,
        "tokio twice, a candidate of dashmap"
    );
    assert_eq!(
        foreign(&packages).len(),
        4,
        "git, folder, no checksum, two registries"
    );
}

#[test]
fn the_closure_follows_normal_dependencies_only() {
    let manifest = "[dependencies]\ndashmap = \"7\"\n\n[dev-dependencies]\ntokio = \"1\"\n";
    let reached = closure(&parse(BAD), manifest);
    assert_eq!(
        reached.into_iter().collect::<Vec<_>>(),
        ["dashmap 7.0.0-rc2", "tokio 1.54.1"]
    );
}

#[test]
fn versions_compare_as_numbers() {
    assert!(version("0.5.9") < version("0.5.15"));
    assert!(version("1.0.0-rc1") < version("1.0.0"));
    assert!(version("1.44.2+build") == version("1.44.2"));
}
