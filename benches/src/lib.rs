//! What the data path costs. The benchmarks are in `benches/`; `cargo bench -p benches` runs them.
