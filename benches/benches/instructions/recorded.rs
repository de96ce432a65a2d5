//! The figures to compare with: `instructions.json`, checked in.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::count::Counts;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

/// What is in the file.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// What the figures depend on besides our code.
    made_with: BTreeMap<String, String>,
    /// Instructions by name of the scenario.
    pub(crate) instructions: BTreeMap<String, f64>,
}

impl Recorded {
    /// What would be recorded of these counts.
    pub(crate) fn of(counts: &Counts) -> Self {
        let made_with = counts.made_with.iter().map(|(what, which)| ((*what).to_owned(), which.clone()));
        let tenths = |instructions: f64| (instructions * 10.0).round() / 10.0;
        let instructions = counts.list.iter().map(|c| (c.name.clone(), tenths(c.instructions)));
        Self { made_with: made_with.collect(), instructions: instructions.collect() }
    }

    /// Reads the file.
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(PATH)
            .map_err(|e| format!("cannot read {PATH}: {e}; `-- --record` writes it"))?;
        serde_json::from_str(&text)
            .map_err(|e| format!("cannot understand {PATH}: {e}; `-- --record` writes it anew"))
    }

    /// Replaces the file; gives back its path.
    pub(crate) fn write(&self) -> Result<&'static str, String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        fs::write(PATH, text + "\n").map_err(|e| format!("cannot write {PATH}: {e}"))?;
        Ok(PATH)
    }

    /// What the recorded figures were made with that these counts were not.
    pub(crate) fn made_otherwise(&self, counts: &Counts) -> Vec<String> {
        let was = |what: &str| self.made_with.get(what).map_or("unknown", String::as_str);
        let other = |(what, which): &&(&str, String)| was(what) != which;
        let say = |(what, which): &(&str, String)| {
            format!("made with {what} {:?}; here it is {which:?}", was(what))
        };
        counts.made_with.iter().filter(other).map(say).collect()
    }
}
