//! Everything we build from may be shipped: the licences and bans of deny.toml hold for what is compiled.

use std::path::Path;
use std::process::Command;

#[test]
fn every_crate_we_build_from_has_a_licence_that_we_take() {
    let allowed = entries("allow");
    assert!(allowed.iter().any(|licence| licence == "MIT"), "deny.toml was not understood: {allowed:?}");
    let built = built();
    assert!(built.len() > 100, "only {} crates: cargo tree was not understood", built.len());
    let refused: Vec<_> = built
        .iter()
        .filter(|(_, licence)| !Expression(licence).is_met_by(&|term| allowed.iter().any(|one| one == term)))
        .collect();
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:?}");
}

#[test]
fn no_banned_crate_is_built() {
    let banned = entries("deny");
    assert!(banned.iter().any(|name| name == "ring"), "deny.toml was not understood: {banned:?}");
    let found: Vec<_> = built().into_iter().filter(|(name, _)| banned.contains(name)).collect();
    assert!(found.is_empty(), "banned by deny.toml: {found:?}; `cargo tree -i` tells who wants it");
}

#[test]
fn a_licence_expression_is_met_as_spdx_says() {
    let allowed = |term: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&term);
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "GPL-3.0 OR MIT AND ISC",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(Expression(met).is_met_by(&allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR BSD)", "Apache-2.0", "MITX"] {
        assert!(!Expression(unmet).is_met_by(&allowed), "{unmet}");
    }
}

/// An SPDX licence expression (SPDX 2.3 annex D), and the older spelling of OR as a slash.
struct Expression<'a>(&'a str);

impl Expression<'_> {
    fn is_met_by(&self, allowed: &dyn Fn(&str) -> bool) -> bool {
        let text = self.0.trim();
        for (operator, all) in [(" OR ", false), ("/", false), (" AND ", true)] {
            if let Some((left, right)) = split_outside_parentheses(text, operator) {
                let [left, right] = [left, right].map(|side| Expression(side).is_met_by(allowed));
                return if all { left && right } else { left || right };
            }
        }
        match text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            Some(inner) => Expression(inner).is_met_by(allowed),
            None => allowed(text),
        }
    }
}

fn split_outside_parentheses<'a>(text: &'a str, operator: &str) -> Option<(&'a str, &'a str)> {
    text.match_indices(operator)
        .find(|(at, _)| text[..*at].matches('(').count() == text[..*at].matches(')').count())
        .map(|(at, _)| (&text[..at], &text[at + operator.len()..]))
}

/// The first string of every line of a list in deny.toml.
fn entries(list: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap_or_default();
    text.lines()
        .skip_while(|line| *line != format!("{list} = ["))
        .skip(1)
        .take_while(|line| *line != "]")
        .filter_map(|line| line.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}

/// Name and licence of every crate that is compiled into something of ours, tests left out.
///
/// `cargo tree` and not `cargo metadata`: the latter also lists optional crates that no feature switches on.
fn built() -> Vec<(String, String)> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "--workspace", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}|{l}|"])
        .output();
    let tree = tree.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut crates: Vec<_> = tree
        .lines()
        .filter_map(|line| {
            let (name, licence) = line.split_once('|')?;
            Some((name.split(' ').next()?.to_owned(), licence.split('|').next()?.to_owned()))
        })
        .collect();
    crates.sort();
    crates.dedup();
    crates
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
