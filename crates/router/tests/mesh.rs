//! Forwarders joined by memory paths: frames for everyone in any network, whatever its peers believe about trees, and records in
//! any direction.
#![expect(clippy::unwrap_used, reason = "a test's own harness: what is unexpected fails the test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use packet::{Mac, SuperFrame, VnetHdr};
use proptest::prelude::*;
use router::{Forwarder, MacTable, PeerEntry, PeerPaths, TapWriter};
use transport::memory::MemoryPath;
use transport::{Drop, FrameSink, HopPath, HopPaths, Outbox, RecordSink, TapFrame};
use wire::{Hops, PeerName};

/// What a TAP took, or a record's content: its number.
#[derive(Default)]
struct Heard(Mutex<Vec<u32>>);

impl Heard {
    fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Tap(Arc<Heard>);

impl TapWriter for Tap {
    fn write(&self, frame: &TapFrame<'_>) -> bool {
        let number = frame.frame().frame()[14..18].try_into().unwrap();
        self.0.0.lock().unwrap().push(u32::from_be_bytes(number));
        true
    }

    fn takes_udp_trains(&self) -> bool {
        false
    }
}

struct Sessions(Arc<Heard>);

impl RecordSink for Sessions {
    fn record(&self, _: Option<SocketAddr>, record: &mut [u8], _: &mut Outbox) -> Result<(), Drop> {
        self.0.0.lock().unwrap().push(u32::from_be_bytes(record[..4].try_into().unwrap()));
        Ok(())
    }
}

struct Peer {
    forwarder: Arc<Forwarder>,
    tap: Arc<Heard>,
    records: Arc<Heard>,
    hops: Vec<(usize, Arc<MemoryPath>)>,
}

/// Peers by number, and what joins them.
struct Mesh {
    peers: Vec<Peer>,
    edges: BTreeSet<(usize, usize)>,
}

type Trees = Vec<(PeerName, Vec<PeerName>)>;

fn name(n: usize) -> PeerName {
    PeerName::new([2, 0, 0, 0, 0, n as u8 + 1])
}

impl Mesh {
    fn new(count: usize, edges: &BTreeSet<(usize, usize)>) -> Self {
        let peer = |n| {
            let (tap, records) = (Arc::new(Heard::default()), Arc::new(Heard::default()));
            let forwarder = Forwarder::new(
                name(n),
                1,
                Arc::new(Sessions(Arc::clone(&records))),
                Box::new(|_| ()),
                Box::new(Tap(Arc::clone(&tap))),
            );
            Peer { forwarder, tap, records, hops: Vec::new() }
        };
        let mut peers: Vec<_> = (0..count).map(peer).collect();
        for &(a, b) in edges {
            let sink = |n: usize| Arc::clone(&peers[n].forwarder) as Arc<dyn FrameSink>;
            let (to_b, to_a) = MemoryPath::pair((name(a), sink(a)), (name(b), sink(b)), 1500, 1 << 20);
            peers[a].hops.push((b, to_b));
            peers[b].hops.push((a, to_a));
        }
        let mesh = Self { peers, edges: edges.clone() };
        (0..count).for_each(|n| mesh.publish(n, vec![]));
        mesh
    }

    fn publish(&self, n: usize, trees: Trees) {
        let entry = |(neighbour, path): &(usize, Arc<MemoryPath>)| PeerEntry {
            name: name(*neighbour),
            paths: PeerPaths::default(),
            hop: Some(HopPaths { primary: Arc::clone(path) as Arc<dyn HopPath>, fallback: None }),
        };
        let peer = &self.peers[n];
        let peers = peer.hops.iter().map(entry).collect();
        peer.forwarder.publish(MacTable::default().snapshot(name(n), peers, trees));
    }

    fn neighbours(&self, n: usize) -> impl Iterator<Item = usize> {
        self.edges.iter().filter(move |(a, b)| *a == n || *b == n).map(move |(a, b)| a + b - n)
    }

    /// What every peer believes when all agree: for each source the children of each peer, breadth first.
    fn agreed(&self) -> Vec<Trees> {
        let mut trees = vec![Trees::new(); self.peers.len()];
        for source in 0..self.peers.len() {
            let (mut children, mut seen) = (BTreeMap::<_, Vec<_>>::new(), BTreeSet::from([source]));
            let mut queue = VecDeque::from([source]);
            while let Some(n) = queue.pop_front() {
                for next in self.neighbours(n).filter(|next| seen.insert(*next)) {
                    children.entry(n).or_default().push(name(next));
                    queue.push_back(next);
                }
            }
            for (n, trees) in trees.iter_mut().enumerate() {
                trees.push((name(source), children.remove(&n).unwrap_or_default()));
            }
        }
        trees
    }

    /// A broadcast from this peer's TAP.
    fn broadcast(&self, from: usize, number: u32) {
        let mut frame = [&Mac::BROADCAST.bytes()[..], &[2, 9, 9, 9, 9, from as u8, 0x88, 0xb5]].concat();
        frame.extend(number.to_be_bytes());
        let mut outbox = Outbox::new();
        let frame = SuperFrame::checked(VnetHdr::default(), &frame).unwrap();
        self.peers[from].forwarder.outgoing(&mut outbox).forward(&frame);
    }

    /// How often each peer's TAP got each of the frames from `first` on.
    fn arrived(&self) -> Vec<BTreeMap<u32, usize>> {
        let count = |heard: Vec<u32>| {
            heard.into_iter().fold(BTreeMap::new(), |mut counts, n| {
                *counts.entry(n).or_default() += 1;
                counts
            })
        };
        self.peers.iter().map(|p| count(p.tap.take())).collect()
    }

    fn drops(&self, reason: Drop) -> u64 {
        self.peers.iter().map(|p| p.forwarder.drops().get(reason)).sum()
    }

    fn all_drops(&self) -> u64 {
        self.peers.iter().flat_map(|p| p.forwarder.drops().nonzero()).map(|(_, n)| n).sum()
    }

    /// Each peer broadcasts `rounds` times.
    fn everyone_broadcasts(&self, rounds: u32) {
        for round in 0..rounds {
            (0..self.peers.len()).for_each(|n| self.broadcast(n, round * 100 + n as u32));
        }
    }

    /// Each frame at everyone but its source, once.
    fn expected(&self, rounds: u32) -> Vec<BTreeMap<u32, usize>> {
        let count = self.peers.len() as u32;
        let others = |n| (0..count).filter(move |other| *other != n);
        let of = |n| (0..rounds).flat_map(move |round| others(n).map(move |other| (round * 100 + other, 1)));
        (0..count).map(|n| of(n).collect()).collect()
    }
}

/// A connected network of three to eight peers: a tree, and what is joined beside that.
fn networks() -> impl Strategy<Value = (usize, BTreeSet<(usize, usize)>)> {
    (3usize..=8).prop_flat_map(|count| {
        let tree = (1..count).map(|n| (0..n).prop_map(move |parent| (parent, n))).collect::<Vec<_>>();
        let pair =
            (0..count, 0..count).prop_filter_map("itself", |(a, b)| (a != b).then_some((a.min(b), a.max(b))));
        let more = proptest::collection::btree_set(pair, 0..=count);
        (Just(count), tree, more).prop_map(|(count, tree, mut edges)| {
            edges.extend(tree);
            (count, edges)
        })
    })
}

fn ring(count: usize) -> BTreeSet<(usize, usize)> {
    (0..count).map(|n| (n.min((n + 1) % count), n.max((n + 1) % count))).collect()
}

#[test]
fn in_a_ring_without_trees_everyone_gets_each_frame_once() {
    for count in [3, 4, 7] {
        let mesh = Mesh::new(count, &ring(count));
        mesh.everyone_broadcasts(3);
        assert_eq!(mesh.arrived(), mesh.expected(3));
        assert!(mesh.drops(Drop::Duplicate) > 0, "both ways round meet somewhere");
    }
}

#[test]
fn a_circle_of_beliefs_ends() {
    // Each takes the next in the ring for the only child, whatever the source.
    let mesh = Mesh::new(3, &ring(3));
    for n in 0..3 {
        mesh.publish(n, (0..3).map(|source| (name(source), vec![name((n + 1) % 3)])).collect());
    }
    mesh.everyone_broadcasts(1);
    assert_eq!(mesh.arrived(), mesh.expected(1));
    assert_eq!(mesh.drops(Drop::Loop), 3, "each came back to its source");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn where_all_agree_everyone_gets_each_frame_once_and_nothing_is_sent_for_nothing((count, edges) in networks()) {
        let mesh = Mesh::new(count, &edges);
        mesh.agreed().into_iter().enumerate().for_each(|(n, trees)| mesh.publish(n, trees));
        mesh.everyone_broadcasts(3);
        prop_assert_eq!(mesh.arrived(), mesh.expected(3));
        prop_assert_eq!(mesh.all_drops(), 0);
    }

    #[test]
    fn where_nobody_knows_a_tree_everyone_gets_each_frame_once((count, edges) in networks()) {
        let mesh = Mesh::new(count, &edges);
        mesh.everyone_broadcasts(3);
        prop_assert_eq!(mesh.arrived(), mesh.expected(3));
    }

    /// Trees that some lack, that name anyone at all, or that changed on half of the peers.
    #[test]
    fn whatever_anyone_believes_nobody_gets_a_frame_twice_or_back(
        (count, edges) in networks(),
        beliefs in proptest::collection::vec((0usize..8, 0usize..8, proptest::collection::vec(0usize..10, 0..8)), 0..40),
        rounds in 1u32..4,
    ) {
        let mesh = Mesh::new(count, &edges);
        let mut trees = mesh.agreed();
        for (n, source, children) in beliefs {
            let of = &mut trees[n % count];
            of.retain(|(known, _)| *known != name(source % count));
            if !children.is_empty() {
                of.push((name(source % count), children.into_iter().map(name).collect()));
            }
        }
        trees.into_iter().enumerate().for_each(|(n, trees)| mesh.publish(n, trees));
        mesh.everyone_broadcasts(rounds);
        for (n, heard) in mesh.arrived().into_iter().enumerate() {
            prop_assert!(heard.values().all(|times| *times == 1), "twice at {}: {:?}", n, heard);
            prop_assert!(heard.keys().all(|number| *number as usize % 100 != n), "back at {}: {:?}", n, heard);
        }
    }

    /// A record ends at the last of its names, or is dropped and counted at one place: it is never lost, and never in two places.
    #[test]
    fn a_record_arrives_once_or_is_dropped_once(
        (count, edges) in networks(),
        start in 0usize..8,
        names in proptest::collection::vec(0usize..9, 1..=8),
        follow: bool,
    ) {
        let mesh = Mesh::new(count, &edges);
        let start = start % count;
        // Half of the ways are ways of the network that do not turn round; the others go anywhere.
        let mut way = vec![start];
        for n in &names {
            let here = *way.last().unwrap();
            let before = way.len().checked_sub(2).map(|i| way[i]);
            let on: Vec<_> = mesh.neighbours(here).filter(|next| Some(*next) != before).collect();
            match on.get(n % on.len().max(1)) {
                Some(next) if follow => way.push(*next),
                None if follow => break,
                _ => way.push(*n),
            }
        }
        let good = way.windows(2).all(|step| mesh.neighbours(step[0]).any(|next| next == step[1]))
            && way.windows(3).all(|step| step[0] != step[2]);
        let bytes: Vec<_> = way[1..].iter().map(|n| name(*n).bytes()).collect();
        let (mut record, mut out) = ([&7u32.to_be_bytes()[..], &[0; 40]].concat(), Outbox::new());
        let forwarder = &mesh.peers[start].forwarder;
        forwarder.relay(name(99), Hops::new(&bytes).unwrap(), &mut record, &mut out);
        out.flush();
        let arrived: Vec<_> = mesh.peers.iter().map(|p| p.records.take().len()).collect();
        prop_assert_eq!(arrived.iter().sum::<usize>() as u64 + mesh.all_drops(), 1);
        prop_assert_eq!(mesh.all_drops() == 0, good, "{:?}", way);
        if good {
            prop_assert_eq!(arrived[*way.last().unwrap()], 1);
        }
    }
}
