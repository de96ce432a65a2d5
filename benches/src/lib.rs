//! What the data path costs. The benchmarks of its parts are in `benches/`; `cargo bench -p benches` runs them. The
//! comparison of the whole with other networks is in `src/compare/`; `cargo run --release -p benches --bin compare`
//! runs it, as root.
