//! Links by peer, in flat vectors.

use std::collections::BTreeMap;

use super::Edge;

/// A row of links for each peer, side by side; each in the order of the other ends, each of them once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// Where each row begins, and one more for where the last one ends.
    starts: Vec<u32>,
    edges: Vec<Edge>,
}

impl Rows {
    /// No rows, and room for so many, with so many links.
    pub(super) fn with_capacity(rows: usize, edges: usize) -> Self {
        let mut starts = Vec::with_capacity(rows + 1);
        starts.push(0);
        Self { starts, edges: Vec::with_capacity(edges) }
    }

    /// Appends a row.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = Edge>) {
        self.edges.extend(row);
        self.starts.push(self.edges.len() as u32);
    }

    /// How many links all rows have.
    pub(super) const fn len(&self) -> usize {
        self.edges.len()
    }

    /// Gives back memory that was kept for more.
    pub(super) fn shrink(&mut self) {
        self.edges.shrink_to_fit();
    }

    pub(super) fn row(&self, n: u16) -> &[Edge] {
        let n = usize::from(n);
        &self.edges[self.starts[n] as usize..self.starts[n + 1] as usize]
    }

    pub(super) fn get(&self, from: u16, to: u16) -> Option<Edge> {
        let row = self.row(from);
        row.binary_search_by_key(&to, |e| e.to).ok().map(|at| row[at])
    }

    /// Puts others in the place of some rows. What lies between them is copied as a whole.
    pub(super) fn replace(&mut self, rows: &BTreeMap<u16, Vec<Edge>>) {
        let old: usize = rows.keys().map(|&n| self.row(n).len()).sum();
        let room = self.len() - old + rows.values().map(Vec::len).sum::<usize>();
        let mut new = Self::with_capacity(self.starts.len() - 1, room);
        let mut next = 0;
        for (&n, row) in rows {
            new.copy(self, next, usize::from(n));
            new.push(row.iter().copied());
            next = usize::from(n) + 1;
        }
        new.copy(self, next, self.starts.len() - 1);
        *self = new;
    }

    /// Appends the rows from `first` to before `end` of another.
    fn copy(&mut self, other: &Self, first: usize, end: usize) {
        let (from, to) = (other.starts[first], other.starts[end]);
        let at = self.edges.len() as u32;
        self.edges.extend_from_slice(&other.edges[from as usize..to as usize]);
        self.starts.extend(other.starts[first + 1..=end].iter().map(|start| start - from + at));
    }
}
