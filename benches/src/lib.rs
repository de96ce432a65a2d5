//! What the data path costs. The benchmarks of its parts are in `benches/`; `cargo bench -p benches` runs them. Each folder
//! beside this file is a program that measures the whole and prints one table: `compare` puts it beside other networks, `relay`
//! beside a way through a third host, `ways` tries NATs and firewalls, `mesh` simulates many peers.
//!
//! Here is what they share: how others' reports are read, and how many runs become one figure.

pub mod iperf;
pub mod stats;
