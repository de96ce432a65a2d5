//! The layers of the house: who may use whom. A new edge fails here, so that it is a decision and not an accident.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Which of our crates each of our crates is built on. From the bottom up: a crate uses only crates above its line.
const LAYERS: &[(&str, &[&str])] = &[
    // Pure: bytes and time in, decisions out.
    ("packet", &[]),
    ("wire", &["packet"]),
    ("session", &["wire"]),
    ("topology", &["wire"]),
    ("mesh", &["session", "topology", "wire"]),
    ("transport", &["packet", "wire"]),
    ("router", &["packet", "transport", "wire"]),
    ("records", &["packet", "session", "transport", "wire"]),
    ("transport-relay", &["packet", "records", "session", "transport", "wire"]),
    // Shells: towards the network, the kernel, Docker and people.
    ("transport-udp", &["packet", "records", "session", "transport", "wire"]),
    ("transport-tls", &["packet", "transport", "wire"]),
    ("host", &["packet"]),
    ("docker", &[]),
    ("portmap", &[]),
    ("api", &[]),
    // The daemon puts them together; the command line talks to the daemon.
    (
        "node",
        &[
            "api",
            "docker",
            "host",
            "mesh",
            "packet",
            "portmap",
            "records",
            "router",
            "session",
            "transport",
            "transport-relay",
            "transport-tls",
            "transport-udp",
            "wire",
        ],
    ),
    ("cli", &["api", "node"]),
    // Never shipped.
    ("testbed", &[]),
    ("sim", &["mesh", "packet", "records", "router", "session", "transport", "transport-relay", "wire"]),
    ("benches", &["sim", "testbed"]),
];

/// Crates that neither open a socket, nor ask for the time, nor wait.
const PURE: [&str; 9] =
    ["packet", "wire", "session", "topology", "mesh", "transport", "router", "records", "transport-relay"];

/// What a pure crate must not be built on, however far down.
const IMPURE: [&str; 15] = [
    "axum",
    "bollard",
    "hyper",
    "mio",
    "netlink-sys",
    "nftables",
    "nix",
    "quinn-udp",
    "redb",
    "rtnetlink",
    "rustls",
    "socket2",
    "tokio",
    "tokio-tun",
    "tracing-subscriber",
];

#[test]
fn every_crate_is_built_on_the_crates_of_lower_layers_that_the_table_names() {
    let table: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let ours = members();
    assert_eq!(
        ours.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        table.keys().copied().collect::<BTreeSet<_>>(),
        "the table has a line for each crate of the workspace"
    );
    for (name, uses) in &ours {
        for used in uses.shipped.iter().filter(|used| ours.contains_key(*used)) {
            assert!(table[name.as_str()].contains(&used.as_str()), "{name} must not be built on {used}");
        }
    }
}

#[test]
fn the_table_itself_points_one_way() {
    let mut below = BTreeSet::new();
    for (name, uses) in LAYERS {
        for used in *uses {
            assert!(below.contains(used), "{name} is built on {used}, which has a later line");
        }
        below.insert(name);
    }
}

#[test]
fn nothing_that_is_shipped_is_built_on_what_is_only_for_tests() {
    for (name, uses) in members() {
        for only_for_tests in ["testbed", "benches", "sim", "proptest", "tempfile", "smoltcp"] {
            let shipped = uses.shipped.contains(only_for_tests);
            assert!(
                !shipped || ["testbed", "benches", "sim"].contains(&name.as_str()),
                "{name} is built on {only_for_tests}: make it a dev-dependency"
            );
        }
    }
}

#[test]
fn the_tests_of_a_crate_use_no_crate_that_is_built_on_it_other_than_the_testbed() {
    let ours = members();
    let table: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let order: Vec<_> = LAYERS.iter().map(|(name, _)| *name).collect();
    let place = |name: &str| order.iter().position(|one| *one == name);
    for (name, uses) in &ours {
        for used in
            uses.in_tests.iter().filter(|used| table.contains_key(used.as_str()) && *used != "testbed")
        {
            assert!(place(used) < place(name), "the tests of {name} use {used}, which is above it");
        }
    }
}

#[test]
fn a_pure_crate_reaches_no_socket_no_kernel_interface_and_no_runtime() {
    for name in PURE {
        let reached = reached(name);
        assert!(reached.contains(name), "cargo tree was not understood: {reached:?}");
        let impure: Vec<_> = IMPURE.iter().filter(|one| reached.contains(**one)).collect();
        assert!(
            impure.is_empty(),
            "{name} is built on {impure:?}; `cargo tree -p {name} -i` tells by which way"
        );
    }
}

#[test]
fn a_pure_crate_forbids_unsafe_code() {
    for name in PURE {
        let lib =
            std::fs::read_to_string(root().join(format!("crates/{name}/src/lib.rs"))).unwrap_or_default();
        assert!(
            lib.contains("#![forbid(unsafe_code)]"),
            "crates/{name}/src/lib.rs lacks #![forbid(unsafe_code)]"
        );
    }
}

/// What one of our crates names in its manifest.
#[derive(Default)]
struct Uses {
    shipped: BTreeSet<String>,
    in_tests: BTreeSet<String>,
}

fn members() -> BTreeMap<String, Uses> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--offline", "--locked", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap_or_default();
    let mut members = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let uses: &mut Uses = members.entry(text(&package["name"])).or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let list = if dependency["kind"] == "dev" { &mut uses.in_tests } else { &mut uses.shipped };
            list.insert(text(&dependency["name"]));
        }
    }
    assert!(members.contains_key("cli"), "cargo metadata was not understood");
    members
}

/// Every crate that this one is compiled with. Features that only the rest of the workspace switches on do not count.
fn reached(name: &str) -> BTreeSet<String> {
    let edges = ["--edges", "normal,build", "--prefix", "none"];
    let tree = cargo(&[&["tree", "--offline", "--locked", "--package", name][..], &edges].concat());
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
