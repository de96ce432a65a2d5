//! How long the steps of a frame's way take in user space. Run by `cargo bench -p benches --bench frames`.

mod scenarios;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use scenarios::{Entry, Scenario, links, packets, records, tables};

fn main() {
    divan::main();
}

#[divan::bench(args = packets::ALL)]
fn packet(bencher: Bencher<'_, '_>, entry: &Entry) {
    time(bencher, entry);
}

#[divan::bench(args = records::ALL)]
fn record(bencher: Bencher<'_, '_>, entry: &Entry) {
    time(bencher, entry);
}

#[divan::bench(args = tables::ALL)]
fn table(bencher: Bencher<'_, '_>, entry: &Entry) {
    time(bencher, entry);
}

#[divan::bench(args = links::ALL)]
fn link(bencher: Bencher<'_, '_>, entry: &Entry) {
    time(bencher, entry);
}

/// Times one run; the rates shown are those of frames (or what else the scenario counts) and of their bytes.
fn time(bencher: Bencher<'_, '_>, entry: &Entry) {
    let Scenario { units, bytes, prepare, run, .. } = (entry.build)();
    let mut bencher = bencher.counter(ItemsCount::new(units));
    if bytes > 0 {
        bencher = bencher.counter(BytesCount::new(bytes));
    }
    bencher.with_inputs(prepare).bench_local_refs(run);
}
