//! Cheapest paths from one peer to everyone, written out (P8.2).

use wire::{MAX_HOPS, PeerName};

use crate::cost::{CONTROL_ONLY, weight};
use crate::dijkstra::{Cost, FAR, Tree, hops_of, step, weight_of};
use crate::graph::Graph;

/// In the layers of [`Short`]: the path is the one of the layer below.
const SAME: u16 = u16::MAX;

/// For each peer within reach the hops on the way to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    names: Vec<PeerName>,
    /// Where the hops to each begin, and one more for where the last ones end.
    starts: Vec<u32>,
    hops: Vec<PeerName>,
}

impl Routes {
    /// The routes from `source`. What lies behind fifteen hops is not within reach. To a neighbour the link itself is the
    /// route, unless it carries no frames. One that was there `before` stays while its links do, unless another one is cheaper by a fifth.
    pub fn new(graph: &Graph, source: PeerName, before: &Self) -> Self {
        let mut routes = Self { starts: vec![0], ..Self::default() };
        let Some(from) = graph.number(source) else { return routes };
        let tree = Tree::grow(graph, from);
        let too_long = |&cost: &Cost| cost != FAR && hops_of(cost) > MAX_HOPS;
        let short = tree.costs.iter().any(too_long).then(|| Short::grow(graph, from));
        let mut path = Vec::with_capacity(MAX_HOPS);
        for (to, &name) in (0..).zip(graph.names()) {
            if to == from || tree.costs[usize::from(to)] == FAR {
                continue;
            }
            if graph.edge(from, to).is_some_and(|link| link.class < CONTROL_ONLY) {
                routes.push(name, [name]);
                continue;
            }
            let mut cost = tree.costs[usize::from(to)];
            if !too_long(&cost) {
                tree.path(to, &mut path);
            } else if let Some(short) = &short {
                cost = short.path(to, &mut path);
            }
            if cost == FAR {
                continue;
            }
            let names = path.iter().map(|&n| graph.name(n));
            match before.to(name) {
                Some(old) if !names.clone().eq(old.iter().copied()) && stays(graph, source, old, cost) => {
                    routes.push(name, old.iter().copied());
                }
                _ => routes.push(name, names),
            }
        }
        routes
    }

    /// The hops behind the source on the way to this peer, itself the last.
    pub fn to(&self, peer: PeerName) -> Option<&[PeerName]> {
        let n = self.names.binary_search(&peer).ok()?;
        self.hops_at(n)
    }

    /// Everyone within reach, by name, and the hops on the way there.
    pub fn iter(&self) -> impl Iterator<Item = (PeerName, &[PeerName])> {
        self.names.iter().enumerate().filter_map(|(n, &name)| Some((name, self.hops_at(n)?)))
    }

    /// How many peers there is a route to.
    pub const fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no route at all.
    pub const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn hops_at(&self, n: usize) -> Option<&[PeerName]> {
        self.hops.get(*self.starts.get(n)? as usize..*self.starts.get(n + 1)? as usize)
    }

    fn push(&mut self, to: PeerName, hops: impl IntoIterator<Item = PeerName>) {
        self.names.push(to);
        self.hops.extend(hops);
        self.starts.push(u32::try_from(self.hops.len()).unwrap_or(u32::MAX));
    }
}

impl Graph {
    /// What a path weighs, given the hops behind its source; `None` where there is no such link.
    pub fn weight(&self, source: PeerName, hops: &[PeerName]) -> Option<u64> {
        let mut at = self.number(source)?;
        let mut sum = 0;
        for &hop in hops {
            let to = self.number(hop)?;
            sum += u64::from(weight(self.edge(at, to)?.class));
            at = to;
        }
        Some(sum)
    }
}

/// Whether an old path is still there, and the new one is not cheaper by a fifth.
fn stays(graph: &Graph, source: PeerName, old: &[PeerName], new: Cost) -> bool {
    graph.weight(source, old).is_some_and(|old| weight_of(new) * 5 > old * 4)
}

/// Cheapest paths among those of at most [`MAX_HOPS`], for where the cheapest of all are longer. Layer `h` holds those
/// of at most `h` hops.
struct Short {
    costs: Vec<Cost>,
    parents: Vec<Vec<u16>>,
}

impl Short {
    fn grow(graph: &Graph, source: u16) -> Self {
        let n = graph.names().len();
        let mut costs = vec![FAR; n];
        costs[usize::from(source)] = 0;
        let mut parents = vec![vec![SAME; n]];
        let mut edge = vec![source];
        for _ in 0..MAX_HOPS {
            let below = costs.clone();
            let mut layer = vec![SAME; n];
            let mut reached = Vec::new();
            for at in edge {
                for link in graph.edges(at) {
                    let to = usize::from(link.to);
                    let new = below[usize::from(at)] + step(link.class);
                    if new < costs[to] {
                        if layer[to] == SAME {
                            reached.push(link.to);
                        }
                        (costs[to], layer[to]) = (new, at);
                    } else if new == costs[to] && layer[to] != SAME && at < layer[to] {
                        layer[to] = at;
                    }
                }
            }
            edge = reached;
            parents.push(layer);
        }
        Self { costs, parents }
    }

    /// Puts the way to `to` into `path`, and says what it costs.
    fn path(&self, to: u16, path: &mut Vec<u16>) -> Cost {
        path.clear();
        let mut at = to;
        for layer in self.parents.iter().rev() {
            let parent = layer[usize::from(at)];
            if parent != SAME {
                path.push(at);
                at = parent;
            }
        }
        path.reverse();
        self.costs[usize::from(to)]
    }
}

#[cfg(test)]
mod tests;
