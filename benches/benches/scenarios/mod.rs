//! What is measured, once for all: `frames` times it, `instructions` counts its instructions, and the tests show that it
//! does what it says and allocates nothing.

// Not every target that includes this uses all of it.
#![allow(dead_code, reason = "shared by targets that each use a part")]
#![allow(clippy::expect_used, reason = "a scenario that cannot be set up shall end the run")]

mod fixture;
pub(crate) mod links;
pub(crate) mod packets;
pub(crate) mod records;
pub(crate) mod tables;

use std::fmt;

/// A scenario's name and how it is set up. Setting up may take long; running may not.
pub(crate) struct Entry {
    /// Group and case, `group/case`.
    pub(crate) name: &'static str,
    /// Sets it up.
    pub(crate) build: fn() -> Scenario,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One thing that can be run over and over.
pub(crate) struct Scenario {
    /// What the cost is stated for: `frame`, `super-frame`, ...
    pub(crate) per: &'static str,
    /// How many of these one run handles, and what `run` gives back when all went well.
    pub(crate) units: usize,
    /// Bytes that one run goes through, zero where it looks at headers only.
    pub(crate) bytes: usize,
    /// Whether running it is allowed to allocate: nothing that is done for each frame is.
    pub(crate) allocates: bool,
    /// Makes what the next run uses up, empty where nothing is used up. Not part of what is measured.
    pub(crate) prepare: Box<dyn FnMut() -> Vec<u8>>,
    /// What is measured. Gives back how many units came out as they should.
    pub(crate) run: Box<Run>,
}

/// One run: takes what was prepared, gives back the number of units done.
type Run = dyn FnMut(&mut Vec<u8>) -> usize;

impl Scenario {
    /// One that uses nothing up and does not allocate.
    fn new(per: &'static str, units: usize, bytes: usize, mut run: impl FnMut() -> usize + 'static) -> Self {
        Self::consuming(per, units, bytes, Vec::new, move |_| run())
    }

    /// One that needs new bytes for each run.
    fn consuming(
        per: &'static str,
        units: usize,
        bytes: usize,
        prepare: impl FnMut() -> Vec<u8> + 'static,
        run: impl FnMut(&mut Vec<u8>) -> usize + 'static,
    ) -> Self {
        Self { per, units, bytes, allocates: false, prepare: Box::new(prepare), run: Box::new(run) }
    }
}

/// Every scenario, in the order of a frame's way.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    [packets::ALL, records::ALL, tables::ALL, links::ALL].into_iter().flatten()
}
