//! What the documents promise and what the code says: clauses that are cited, metrics that are exported.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust files below `dir`, but not what was built.
fn sources(dir: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", dir.display())).path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
        }
    }
}

fn document(name: &str) -> String {
    let path = root().join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every "P4.2" in a text.
fn clauses(text: &str) -> BTreeSet<&str> {
    let at = |(start, _): (usize, &str)| {
        let rest = &text[start + 1..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = rest[..end].trim_end_matches('.');
        let (chapter, clause) = number.split_once('.')?;
        let is_word = text[..start].ends_with(|c: char| c.is_alphanumeric());
        let is_clause = !is_word && chapter.len() == 1 && !clause.is_empty() && !clause.contains('.');
        is_clause.then_some(&text[start..start + 1 + number.len()])
    };
    text.match_indices('P').filter_map(at).collect()
}

/// Every word of a text that begins so.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let at = |(start, _): (usize, &str)| {
        let end = text[start..].find(|c: char| !c.is_ascii_lowercase() && c != '_')?;
        Some(&text[start..start + end])
    };
    text.match_indices(prefix).filter_map(at).collect()
}

#[test]
fn every_clause_that_is_cited_is_there() {
    let mut code = Vec::new();
    sources(&root().join("crates"), &mut code);
    sources(&root().join("benches"), &mut code);
    let protocol = document("protocol.md");
    let cited: BTreeSet<_> = code.iter().flat_map(|text| clauses(text)).chain(clauses(&protocol)).collect();
    assert!(cited.len() > 50, "the code cites clauses: {cited:?}");
    let missing: Vec<_> =
        cited.iter().filter(|clause| !protocol.contains(&format!("**{clause}**"))).collect();
    assert!(missing.is_empty(), "cited, and not in docs/protocol.md: {missing:?}");
}

#[test]
fn every_metric_is_described_and_every_metric_that_is_described_exists() {
    let path = root().join("crates/node/src/metrics.rs");
    let code = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let described = document("metrics.md");
    let (exported, described) = (words(&code, "weave_"), words(&described, "weave_"));
    assert!(exported.len() > 20, "{exported:?}");
    assert_eq!(exported, described);
}

#[test]
fn a_clause_is_told_from_other_things_with_a_p() {
    let found = clauses("P4.2, (P4.10) and P8.3. Not IP4.2, P12.1, TCP6.5, P2, P3., P1.2.3 or HTTP1.1");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["P4.10", "P4.2", "P8.3"]);
}
