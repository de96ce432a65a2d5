//! A graph after some peers stated something else.
//!
//! Of a thousand peers mostly a few have news. To look at these alone takes a tenth of the time that it takes to make the
//! graph anew.

use std::collections::BTreeMap;

use wire::PeerName;

use super::{Edge, Graph};
use crate::cost::CONTROL_ONLY;

/// What is other than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// What links cost.
    Costs,
    /// There is a link that was not there, or one less.
    Links,
}

impl Graph {
    /// Takes the links that the one who sees it has now, and what those peers state now whose statements changed. `None` when
    /// one of them is not in the graph: then it has to be made anew. With more than an eighth of all that is quicker, too.
    pub fn update<L>(
        &mut self,
        links: &[(PeerName, u8)],
        changed: impl IntoIterator<Item = (PeerName, L)>,
    ) -> Option<Change>
    where
        L: IntoIterator<Item = (PeerName, u8)>,
    {
        let own = self.own?;
        if links.iter().any(|&(peer, _)| self.number(peer).is_none()) {
            return None;
        }
        let mut stated = BTreeMap::from([(own, self.resolve(links.iter().copied()))]);
        for (name, links) in changed {
            let number = self.number(name)?;
            if number != own {
                stated.insert(number, self.resolve(links));
            }
        }
        stated.retain(|&n, row| *self.stated.row(n) != **row);
        if stated.is_empty() {
            return Some(Change::Nothing);
        }
        self.stated.replace(&stated);
        let mut rows: BTreeMap<u16, Vec<Edge>> = stated.keys().map(|&n| (n, self.mutual(n))).collect();
        let mut change = Change::Nothing;
        for &at in stated.keys() {
            let differing = differing(self.edges(at), rows.get(&at).map_or(&[], Vec::as_slice));
            for (to, was, is) in differing {
                change =
                    change.max(if was.is_some() == is.is_some() { Change::Costs } else { Change::Links });
                if !stated.contains_key(&to) {
                    set(rows.entry(to).or_insert_with(|| self.edges(to).to_vec()), at, is);
                }
            }
        }
        if change > Change::Nothing {
            self.edges.replace(&rows);
        }
        Some(change)
    }

    /// A statement in numbers: in order, each once, at the greatest class that is stated.
    fn resolve(&self, links: impl IntoIterator<Item = (PeerName, u8)>) -> Vec<Edge> {
        let known =
            |(peer, class): (_, u8)| Some(Edge { to: self.number(peer)?, class: class.min(CONTROL_ONLY) });
        let mut row: Vec<_> = links.into_iter().filter_map(known).collect();
        row.sort_unstable();
        row.reverse();
        row.dedup_by_key(|e| e.to);
        row.reverse();
        row
    }

    /// The links of one, as they follow from what is stated.
    fn mutual(&self, at: u16) -> Vec<Edge> {
        let mut row: Vec<_> = self.stated.row(at).iter().filter_map(|e| self.link(at, e.to)).collect();
        // The one who sees it may have a link of which the other end does not tell yet.
        if let Some(own) = self.own
            && self.stated.get(at, own).is_none()
        {
            set(&mut row, own, self.link(at, own).map(|e| e.class));
        }
        row
    }

    fn link(&self, at: u16, to: u16) -> Option<Edge> {
        let (by, back) = (self.stated.get(at, to).map(|e| e.class), self.stated.get(to, at).map(|e| e.class));
        let class = if self.own == Some(at) {
            by?.max(back.unwrap_or(0))
        } else if self.own == Some(to) {
            back?.max(by.unwrap_or(0))
        } else {
            by?.max(back?)
        };
        (at != to).then_some(Edge { to, class })
    }
}

/// Where two rows differ: the other end, what the link to it cost, and what it costs now.
fn differing(old: &[Edge], new: &[Edge]) -> Vec<(u16, Option<u8>, Option<u8>)> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut differing = Vec::new();
    while let Some(to) = old.peek().into_iter().chain(new.peek()).map(|e| e.to).min() {
        let was = old.next_if(|e| e.to == to).map(|e| e.class);
        let is = new.next_if(|e| e.to == to).map(|e| e.class);
        if was != is {
            differing.push((to, was, is));
        }
    }
    differing
}

/// Has the row hold the link to this one at this class, or none.
fn set(row: &mut Vec<Edge>, to: u16, class: Option<u8>) {
    let at = row.binary_search_by_key(&to, |e| e.to);
    match (at, class) {
        (Ok(at), Some(class)) => row[at].class = class,
        (Ok(at), None) => {
            row.remove(at);
        }
        (Err(at), Some(class)) => row.insert(at, Edge { to, class }),
        (Err(_), None) => {}
    }
}
