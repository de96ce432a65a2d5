//! What is, against what the peers believe.

use std::collections::{BTreeMap, BTreeSet};

use mesh::Mesh;
use wire::PeerName;

use crate::World;

/// The links that stand: both ends' routers hold them up. Pairs of numbers, the smaller one first.
pub fn links(world: &World) -> BTreeSet<(usize, usize)> {
    world.standing().map(|(a, b)| (a.min(b), a.max(b))).collect()
}

/// The routers that run, in groups within which chains of links lead from each to each.
pub fn groups(world: &World) -> Vec<Vec<usize>> {
    let mut near: Vec<Vec<usize>> = vec![Vec::new(); world.peers().len()];
    for (a, b) in world.standing() {
        near[a].push(b);
        near[b].push(a);
    }
    let mut seen = vec![false; near.len()];
    let mut groups = Vec::new();
    for first in (0..near.len()).filter(|&n| world.peers()[n].is_alive()) {
        if std::mem::replace(&mut seen[first], true) {
            continue;
        }
        let mut group = vec![first];
        let mut at = 0;
        while at < group.len() {
            for &next in &near[group[at]] {
                if !std::mem::replace(&mut seen[next], true) {
                    group.push(next);
                }
            }
            at += 1;
        }
        group.sort_unstable();
        groups.push(group);
    }
    groups
}

/// The fingerprint of the facts that all of a group hold, if all hold the same.
pub fn common_fingerprint(world: &World, group: &[usize]) -> Option<u64> {
    let mut held = group.iter().filter_map(|&n| Some(world.mesh(n)?.fingerprint()));
    let first = held.next()?;
    held.all(|other| other == first).then_some(first)
}

/// Whether all who can reach each other hold equal facts and know a way to each other; if not, what is missing first.
///
/// # Errors
/// The first difference.
pub fn agreement(world: &World) -> Result<(), String> {
    for group in groups(world) {
        let meshes = || group.iter().filter_map(|&n| Some((n, world.mesh(n)?)));
        let mut first: Option<(usize, u64)> = None;
        for (n, mesh) in meshes() {
            let held = mesh.fingerprint();
            let (other, expected) = *first.get_or_insert((n, held));
            if held != expected {
                return Err(format!("{n} and {other} hold different facts"));
            }
        }
        for (n, mesh) in meshes() {
            let reached = mesh.routes().count();
            if reached != group.len() - 1 {
                return Err(format!("{n} has routes to {reached} peers of {}", group.len() - 1));
            }
            if let Some(&lost) =
                group.iter().find(|&&to| to != n && mesh.route(world.peers()[to].name()).is_none())
            {
                return Err(format!("{n} has no route to {lost}"));
            }
        }
    }
    Ok(())
}

/// Whether everyone believes what is, and nothing else: the links that stand, and nobody who is gone.
///
/// # Errors
/// The first difference.
pub fn belief(world: &World) -> Result<(), String> {
    let standing = links(world);
    for group in groups(world) {
        let named = |n: usize| world.peers()[n].name();
        let members: BTreeSet<_> = group.iter().map(|&n| named(n)).collect();
        let mut true_links: BTreeMap<PeerName, BTreeSet<PeerName>> = BTreeMap::new();
        for &(a, b) in &standing {
            true_links.entry(named(a)).or_default().insert(named(b));
            true_links.entry(named(b)).or_default().insert(named(a));
        }
        for &n in &group {
            let Some(mesh) = world.mesh(n) else { continue };
            believes(mesh, &members, &true_links).map_err(|e| format!("{n} {e}"))?;
        }
    }
    Ok(())
}

fn believes(
    mesh: &Mesh,
    members: &BTreeSet<PeerName>,
    true_links: &BTreeMap<PeerName, BTreeSet<PeerName>>,
) -> Result<(), String> {
    let peers = mesh.peers();
    let known: BTreeSet<_> = peers.iter().map(|peer| peer.name).collect();
    if known != *members {
        return Err(format!("knows {known:?}, there are {members:?}"));
    }
    for peer in peers {
        let both = peer.links.iter().filter(|link| link.established_both_ways).map(|link| link.entry.peer);
        let both: BTreeSet<_> = both.collect();
        let is = true_links.get(&peer.name).cloned().unwrap_or_default();
        if both != is {
            return Err(format!(
                "believes that {} has links to {both:?}, it has them to {is:?}",
                peer.nickname
            ));
        }
        if peer.links.len() != is.len() {
            return Err(format!(
                "heard of {} links of {}, it has {}",
                peer.links.len(),
                peer.nickname,
                is.len()
            ));
        }
    }
    Ok(())
}

/// What must hold of a peer at every moment, whatever has happened: no route runs in a circle, each begins with a neighbour, and
/// its links are connections that are up.
///
/// # Errors
/// What does not hold.
pub fn always(world: &World, n: usize) -> Result<(), String> {
    let Some(mesh) = world.mesh(n) else { return Ok(()) };
    let own = world.peers()[n].name();
    for (to, route) in mesh.routes() {
        let repeats = route.iter().enumerate().any(|(i, hop)| *hop == own || route[..i].contains(hop));
        if repeats || route.last() != Some(&to) || route.len() > MAX_HOPS {
            return Err(format!("the route of {n} to {to} is none: {route:?}"));
        }
    }
    for link in mesh.links() {
        if !world.holds_up(n, link.link) {
            return Err(format!(
                "{n} believes in link {} to {}, which is closed",
                link.link.0, link.nickname
            ));
        }
    }
    Ok(())
}

/// What must hold of a peer's tables at every moment: none has room for more than there can be in a network of so few peers.
///
/// # Errors
/// The first table that holds more.
pub fn bounded(world: &World, n: usize) -> Result<(), String> {
    let Some(mesh) = world.mesh(n) else { return Ok(()) };
    let (sizes, peers) = (mesh.table_sizes(), world.peers().len());
    let others = peers - 1;
    let facts = KINDS * peers;
    let mut tables = vec![
        ("peers", sizes.peers, peers),
        ("facts", sizes.facts, facts),
        ("bytes of facts", sizes.fact_bytes, peers * (PEER_BYTES + peers * LINK_BYTES)),
        ("links", sizes.links, others),
        ("eager links", sizes.eager_links, sizes.links),
        ("announcements", sizes.to_announce, facts),
        ("facts waited for", sizes.missing, facts),
        ("peers within reach", sizes.reached, peers),
        ("routes", sizes.routes, others),
        ("trees", sizes.trees, peers),
        ("targets", sizes.targets, others),
        ("peers to be dialled", sizes.dialable, others),
        ("peers wanted", sizes.wanted, others),
    ];
    if let Some([macs, sessions, trees]) = world.data_sizes(n) {
        // Each bridge sends from one address.
        tables.extend([
            ("addresses", macs, peers),
            ("sessions", sessions, KEYS * others),
            ("trees of the data path", trees, peers),
        ]);
    }
    match tables.into_iter().find(|&(_, holds, bound)| holds > bound) {
        Some((table, holds, bound)) => Err(format!("{n} holds {holds} {table}, there can be {bound}")),
        None => Ok(()),
    }
}

/// Kinds of facts that there are (P5.4).
const KINDS: usize = 4;
/// Most bytes that a peer's facts take, apart from its links: twice what they need, since tables grow by doubling.
const PEER_BYTES: usize = 4096;
/// The same for each link, or identity seen twice, or removed peer.
const LINK_BYTES: usize = 64;
/// Sets of keys of one session: those in use, those agreed on, and older ones (P6.3).
const KEYS: usize = 6;
/// Most names of a route (P6.1).
const MAX_HOPS: usize = wire::MAX_HOPS;
