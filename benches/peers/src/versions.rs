//! Which versions are compared: those of the lock file that this program was built with.
//!
//! The table asks. It parses Cargo.lock as far as names and versions go.
//!
//! Invariant: a version is never written by hand, so it cannot drift.
//!
//! It knows nothing of features.

const LOCK: &str = include_str!("../Cargo.lock");

/// `name version`, for each of the packages.
pub fn of(packages: &[&str]) -> String {
    let version = |package: &&str| format!("{package} {}", version(LOCK, package));
    packages.iter().map(version).collect::<Vec<_>>().join(", ")
}

fn version<'a>(lock: &'a str, package: &str) -> &'a str {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines
        .nth(1)
        .and_then(|line| line.strip_prefix("version = "));
    version.map_or("unknown", |version| version.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::CONTENDERS;

    #[test]
    fn every_package_of_a_contender_is_in_the_lock_file() {
        for contender in CONTENDERS {
            let about = contender.about();
            assert!(!of(about.packages).contains("unknown"), "{}", about.name);
        }
        assert_eq!(version(LOCK, "no-such-package"), "unknown");
    }
}
