use super::*;
use crate::testing::start;
use proptest::prelude::*;

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);
const C: LinkId = LinkId(3);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn line(origin: u16, counter: u64) -> DigestEntry {
    DigestEntry { origin: name_of(origin), kind: FactKind::LINKS, version: (1, counter) }
}

fn name_of(n: u16) -> PeerName {
    let [high, low] = n.to_be_bytes();
    PeerName::new([2, 0, 0, 0, high, low])
}

fn number_of(name: PeerName) -> u16 {
    let [.., high, low] = name.bytes();
    u16::from_be_bytes([high, low])
}

fn bytes(line: &DigestEntry) -> Arc<[u8]> {
    line.to_bytes().into()
}

struct Rig {
    tree: Plumtree,
    start: Instant,
}

impl Rig {
    /// Three links that have been up for two seconds; we announce first on all but the last.
    fn new() -> Self {
        let mut rig = Self { tree: Plumtree::default(), start: start() };
        for link in [A, B, C] {
            rig.tree.link_up(rig.start, link, link != C);
        }
        rig.start += ms(2000);
        rig
    }

    fn at(&self, n: u64) -> Instant {
        self.start + ms(n)
    }

    fn news(&mut self, n: u64, line: DigestEntry, from: Option<LinkId>) {
        self.tree.news(self.at(n), line, bytes(&line), from);
    }

    /// What A told first is told again.
    fn repeats(&mut self, n: u64, link: LinkId, line: DigestEntry) -> bool {
        self.tree.repeated(self.at(n), link, &Repeated { line, is_older: false, first: Some(A) })
    }

    fn due(&mut self, n: u64) -> Vec<Push> {
        self.tree.handle_timeout(self.at(n))
    }

    /// What comes out until `n`, each with its time, when it is asked exactly when it says.
    fn all_until(&mut self, n: u64) -> Vec<(u64, Push)> {
        let mut all = Vec::new();
        while let Some(at) = self.tree.poll_timeout().filter(|&at| at <= self.at(n)) {
            let time = at.duration_since(self.start).as_millis() as u64;
            all.extend(self.tree.handle_timeout(at).into_iter().map(|push| (time, push)));
            assert!(self.tree.poll_timeout().is_none_or(|again| again > at), "due again at once");
        }
        all
    }
}

fn facts(link: LinkId, lines: &[DigestEntry]) -> Push {
    Push::Facts(link, lines.iter().map(bytes).collect())
}

#[test]
fn news_go_at_once_to_all_eager_links_but_the_one_they_came_from() {
    let mut rig = Rig::new();
    rig.news(0, line(1, 1), Some(A));
    assert_eq!(rig.due(0), [facts(B, &[line(1, 1)]), facts(C, &[line(1, 1)])]);
    rig.news(1000, line(9, 1), None);
    let ours = [line(9, 1)];
    assert_eq!(rig.due(1000), [facts(A, &ours), facts(B, &ours), facts(C, &ours)], "our own to everyone");
    assert_eq!(rig.all_until(9000), []);
}

#[test]
fn a_link_that_comes_up_beside_three_by_which_news_come_is_only_told() {
    const D: LinkId = LinkId(4);
    let mut rig = Rig::new();
    assert!(!rig.tree.is_superfluous(rig.at(0), C), "three are not too many");
    rig.tree.link_up(rig.at(0), D, true);
    assert!(rig.tree.is_superfluous(rig.at(0), D));
    rig.news(10, line(1, 1), Some(A));
    assert_eq!(rig.due(10), [facts(B, &[line(1, 1)]), facts(C, &[line(1, 1)])]);
    assert_eq!(rig.all_until(9000), [(360, Push::Announce(D, vec![line(1, 1)]))]);
}

#[test]
fn what_pours_in_is_passed_on_in_one_message_each_20_ms_and_the_newest_only() {
    let mut rig = Rig::new();
    rig.news(0, line(1, 1), Some(A));
    assert_eq!(rig.due(0).len(), 2);
    rig.news(1, line(1, 2), Some(A));
    rig.news(5, line(1, 3), Some(A));
    rig.news(7, line(2, 1), Some(C));
    let expected = [
        (20, facts(A, &[line(2, 1)])),
        (20, facts(B, &[line(1, 3), line(2, 1)])),
        (20, facts(C, &[line(1, 3)])),
    ];
    assert_eq!(rig.all_until(1000), expected);
}

#[test]
fn who_sends_what_is_known_is_pruned_once_and_only_told_from_then_on() {
    let mut rig = Rig::new();
    rig.news(0, line(1, 1), Some(A));
    rig.due(0);
    assert!(rig.repeats(3, B, line(1, 1)));
    assert!(!rig.repeats(4, B, line(1, 1)), "it is known to be so already");
    assert_eq!(rig.tree.eager(), 2);
    rig.news(1000, line(1, 2), Some(A));
    let expected = [(1000, facts(C, &[line(1, 2)])), (1350, Push::Announce(B, vec![line(1, 2)]))];
    assert_eq!(rig.all_until(9000), expected);
}

#[test]
fn who_is_asked_to_send_no_more_only_announces_and_the_second_later_than_the_first() {
    let mut rig = Rig::new();
    rig.tree.pruned(B);
    rig.tree.pruned(C);
    rig.news(0, line(1, 1), Some(A));
    rig.news(300, line(2, 1), Some(A));
    let both = vec![line(1, 1), line(2, 1)];
    let expected = [(350, Push::Announce(B, both.clone())), (500, Push::Announce(C, both))];
    assert_eq!(rig.all_until(9000), expected);
}

#[test]
fn nothing_is_announced_to_who_sent_or_announced_it_meanwhile_but_what_is_newer_is() {
    let mut rig = Rig::new();
    rig.tree.pruned(B);
    rig.tree.pruned(C);
    for n in 1..=4 {
        rig.news(0, line(n, 5), Some(A));
    }
    rig.due(0);
    rig.tree.announced_known(B, &line(1, 5));
    rig.repeats(10, B, line(2, 5));
    rig.tree.announced_known(B, &line(3, 4));
    rig.news(20, line(4, 6), Some(B));
    rig.tree.announced_known(C, &line(1, 6));
    let to_c = vec![line(2, 5), line(3, 5), line(4, 6)];
    let expected = [
        (20, facts(A, &[line(4, 6)])),
        (350, Push::Announce(B, vec![line(3, 5)])),
        (500, Push::Announce(C, to_c)),
    ];
    assert_eq!(rig.all_until(9000), expected);
}

#[test]
fn news_that_cross_on_a_link_before_they_are_passed_on_are_not_sent_back() {
    let mut rig = Rig::new();
    rig.news(0, line(1, 1), Some(A));
    rig.due(0);
    rig.news(5, line(2, 1), Some(A));
    rig.tree.announced_known(B, &line(2, 1));
    assert_eq!(rig.all_until(1000), [(20, facts(C, &[line(2, 1)]))]);
}

#[test]
fn a_young_link_or_one_that_compares_is_not_pruned() {
    let mut rig = Rig::new();
    rig.tree.link_up(rig.at(0), B, true);
    assert!(!rig.repeats(299, B, line(1, 1)));
    rig.tree.compared(rig.at(299), B);
    assert!(!rig.repeats(598, B, line(1, 1)));
    assert!(rig.repeats(599, B, line(1, 1)));
}

#[test]
fn what_was_announced_and_does_not_come_is_asked_for_of_one_after_the_other() {
    let mut rig = Rig::new();
    for link in [A, B] {
        rig.tree.pruned(link);
        rig.tree.announced_missing(rig.at(0), link, &line(1, 1));
    }
    rig.tree.announced_missing(rig.at(100), B, &line(2, 1));
    let expected = [
        (250, Push::Want(A, vec![line(1, 1)])),
        (350, Push::Want(B, vec![line(2, 1)])),
        (500, Push::Want(B, vec![line(1, 1)])),
    ];
    assert_eq!(rig.all_until(9000), expected);
    assert_eq!(rig.tree.eager(), 3, "who is asked is eager");
    assert_eq!(rig.tree.waiting(), (0, 0), "whom nobody sends it is left to digests");
}

#[test]
fn what_comes_in_time_is_not_asked_for_nor_what_is_not_worth_keeping() {
    let mut rig = Rig::new();
    for n in 1..=3 {
        rig.tree.announced_missing(rig.at(0), B, &line(n, 2));
    }
    rig.news(150, line(1, 2), Some(A));
    rig.tree.is_unwanted(&line(2, 2));
    rig.news(200, line(3, 1), Some(A));
    rig.due(200);
    assert_eq!(rig.all_until(250), [(250, Push::Want(B, vec![line(3, 2)]))]);
}

#[test]
fn nobody_is_asked_on_a_link_that_is_gone() {
    let mut rig = Rig::new();
    rig.tree.announced_missing(rig.at(0), A, &line(1, 1));
    rig.tree.announced_missing(rig.at(0), B, &line(1, 1));
    rig.tree.announced_missing(rig.at(0), LinkId(9), &line(2, 1));
    rig.tree.retain(|link| link != A);
    assert_eq!(rig.all_until(9000), [(250, Push::Want(B, vec![line(1, 1)]))]);
}

#[test]
fn no_link_is_given_up_while_the_one_that_news_came_over_first_is_none_for_news() {
    let mut rig = Rig::new();
    rig.tree.pruned(A);
    assert!(!rig.repeats(0, B, line(1, 1)), "it came over A first");
    rig.tree.wanted(A);
    assert!(!rig.repeats(0, A, line(1, 1)), "it came twice over the same link");
    assert!(rig.repeats(0, B, line(1, 1)));
    let ours = Repeated { line: line(1, 1), is_older: false, first: None };
    assert!(rig.tree.repeated(rig.at(0), C, &ours));
}

#[test]
fn of_many_with_news_at_the_same_moment_only_the_one_with_the_smallest_name_shapes_the_tree() {
    let mut rig = Rig::new();
    rig.news(0, line(5, 1), Some(A));
    rig.news(10, line(7, 1), Some(A));
    assert!(!rig.repeats(20, B, line(7, 1)));
    rig.news(30, line(3, 1), Some(A));
    assert!(!rig.repeats(40, B, line(5, 1)));
    assert!(rig.repeats(50, B, line(3, 1)));
    assert!(!rig.repeats(349, C, line(5, 1)));
    assert!(rig.repeats(350, C, line(5, 1)), "a while after the last of the news of 3");
}

#[test]
fn the_last_link_over_which_news_come_is_not_given_up_by_the_other_end_alone() {
    let mut rig = Rig::new();
    assert_eq!([A, B, C, C].map(|link| rig.tree.pruned(link)), [false, false, true, true]);
    assert_eq!(rig.tree.eager(), 1);
}

#[test]
fn where_an_eager_link_breaks_the_others_take_its_place_at_once() {
    let mut rig = Rig::new();
    rig.tree.pruned(B);
    rig.tree.pruned(C);
    rig.tree.retain(|link| link != C);
    assert_eq!((rig.due(0), rig.tree.eager()), (vec![], 1), "it was none of the tree");
    rig.tree.retain(|link| link == B);
    assert_eq!((rig.due(0), rig.tree.eager()), (vec![Push::Want(B, vec![])], 1));
    assert_eq!(rig.due(9000), []);
}

#[test]
fn who_asks_is_eager_again() {
    let mut rig = Rig::new();
    rig.tree.pruned(B);
    rig.tree.wanted(B);
    rig.news(0, line(1, 1), Some(A));
    assert_eq!(rig.due(0), [facts(B, &[line(1, 1)]), facts(C, &[line(1, 1)])]);
}

#[test]
fn tables_are_bounded() {
    let mut rig = Rig::new();
    rig.tree.pruned(B);
    let other = |n: u64| DigestEntry { kind: FactKind(n as u16), ..line(1, n) };
    for n in 0..10_000 {
        rig.news(0, other(n), None);
        rig.tree.announced_missing(rig.at(0), A, &DigestEntry { origin: name_of(2), ..other(n) });
    }
    rig.due(0);
    assert_eq!(rig.tree.waiting(), (untold::MAX_LINES, 8192));
}

/// A network of trees: who has which facts, and messages that take their time.
struct World {
    now: Instant,
    trees: Vec<Plumtree>,
    /// The greatest counter of each peer's fact that each holds.
    held: Vec<BTreeMap<PeerName, (u64, Option<LinkId>)>>,
    edges: Vec<(usize, usize)>,
    flying: BTreeMap<(Instant, u64), (usize, usize, Sent)>,
    sent: u64,
    facts: usize,
}

#[derive(Debug)]
enum Sent {
    Push(Push),
    Prune,
}

/// The link between two peers, as the first sees it.
fn link_between(a: usize, b: usize) -> LinkId {
    LinkId((a * 1000 + b) as u64)
}

impl World {
    fn new(peers: usize, edges: &[(usize, usize)]) -> Self {
        let mut world = Self {
            now: start(),
            trees: (0..peers).map(|_| Plumtree::default()).collect(),
            held: vec![BTreeMap::new(); peers],
            edges: edges.to_vec(),
            flying: BTreeMap::new(),
            sent: 0,
            facts: 0,
        };
        for &(a, b) in edges {
            world.trees[a].link_up(world.now, link_between(a, b), a < b);
            world.trees[b].link_up(world.now, link_between(b, a), b < a);
        }
        world.now += ms(2000);
        world
    }

    fn state(&mut self, peer: usize, counter: u64) {
        let line = line(peer as u16, counter);
        self.held[peer].insert(line.origin, (counter, None));
        self.trees[peer].news(self.now, line, bytes(&line), None);
    }

    fn cut(&mut self, (a, b): (usize, usize)) {
        self.edges.retain(|&edge| edge != (a, b));
        self.trees[a].retain(|link| link != link_between(a, b));
        self.trees[b].retain(|link| link != link_between(b, a));
        self.flying.retain(|_, (from, to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
    }

    /// Latency of a link, the same both ways, so that order is kept.
    fn latency(a: usize, b: usize) -> Duration {
        ms(((a.min(b) * 7 + a.max(b) * 13) % 40 + 1) as u64)
    }

    fn send(&mut self, from: usize, to: usize, push: Sent) {
        if let Sent::Push(Push::Facts(_, facts)) = &push {
            self.facts += facts.len();
        }
        self.sent += 1;
        self.flying.insert((self.now + Self::latency(from, to), self.sent), (from, to, push));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for peer in 0..self.trees.len() {
                for push in self.trees[peer].handle_timeout(self.now) {
                    let (Push::Facts(link, _) | Push::Announce(link, _) | Push::Want(link, _)) = push;
                    let to = (link.0 % 1000) as usize;
                    self.send(peer, to, Sent::Push(push));
                }
            }
            let due = self.trees.iter().filter_map(Plumtree::poll_timeout).min();
            let arrives = self.flying.keys().next().map(|&(at, _)| at);
            match (due, arrives) {
                (_, Some(at)) if at <= end && due.is_none_or(|due| at <= due) => {
                    self.now = at;
                    let (_, (from, to, push)) = self.flying.pop_first().unwrap();
                    self.arrive(from, to, push);
                }
                (Some(due), _) if due <= end => self.now = due,
                _ => break,
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, from: usize, to: usize, sent: Sent) {
        let link = link_between(to, from);
        let push = match sent {
            Sent::Push(push) => push,
            Sent::Prune => {
                if self.trees[to].pruned(link) {
                    self.send(to, from, Sent::Push(Push::Want(link, Vec::new())));
                }
                return;
            }
        };
        match push {
            Push::Facts(_, facts) => {
                let mut prune = false;
                for fact in facts {
                    let counter = u64::from(fact[23]);
                    let line = line(u16::from_be_bytes([fact[4], fact[5]]), counter);
                    let (held, first) = self.held[to].get(&line.origin).copied().unwrap_or_default();
                    if held < counter {
                        self.held[to].insert(line.origin, (counter, Some(link)));
                        self.trees[to].news(self.now, line, fact, Some(link));
                    } else {
                        let repeated = Repeated { line, is_older: counter < held, first };
                        prune |= self.trees[to].repeated(self.now, link, &repeated);
                    }
                }
                if prune {
                    self.send(to, from, Sent::Prune);
                }
            }
            Push::Announce(_, lines) => {
                for line in lines {
                    let (held, _) = self.held[to].get(&line.origin).copied().unwrap_or_default();
                    if held < line.version.1 {
                        self.trees[to].announced_missing(self.now, link, &line);
                    } else {
                        self.trees[to].announced_known(link, &line);
                    }
                }
            }
            Push::Want(_, lines) => {
                self.trees[to].wanted(link);
                let facts =
                    lines.iter().map(|l| bytes(&line(number_of(l.origin), self.held[to][&l.origin].0)));
                let facts = facts.collect();
                self.send(to, from, Sent::Push(Push::Facts(link, facts)));
            }
        }
    }

    fn all_have(&self, peer: usize, counter: u64) -> bool {
        self.held.iter().all(|held| held.get(&name_of(peer as u16)).is_some_and(|held| held.0 == counter))
    }

    fn is_connected_without(&self, edge: (usize, usize)) -> bool {
        let mut reached = vec![false; self.trees.len()];
        let mut at = vec![0];
        while let Some(peer) = at.pop() {
            if !std::mem::replace(&mut reached[peer], true) {
                let ends = self.edges.iter().filter(|&&other| other != edge);
                at.extend(ends.filter_map(|&(a, b)| match peer {
                    p if p == a => Some(b),
                    p if p == b => Some(a),
                    _ => None,
                }));
            }
        }
        reached.iter().all(|&reached| reached)
    }
}

/// A ring with chords: some graph in which everyone reaches everyone.
fn graph(peers: usize, chords: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let ring = (0..peers).map(|n| (n, (n + 1) % peers));
    let all = ring.chain(chords.iter().map(|&(a, b)| (a % peers, b % peers)));
    let all = all.filter(|(a, b)| a != b).map(|(a, b)| (a.min(b), a.max(b)));
    all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// Peers on five rings, each in another order: ten links each.
fn rings(peers: usize) -> Vec<(usize, usize)> {
    let mut chords = Vec::new();
    for ring in 1..5_u64 {
        // Any order that differs from ring to ring: the finaliser of SplitMix64.
        let place = |&n: &usize| {
            let mixed = (n as u64 ^ ring << 32).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 31
        };
        let mut order: Vec<_> = (0..peers).collect();
        order.sort_by_key(place);
        chords.extend((0..peers).map(|n| (order[n], order[(n + 1) % peers])));
    }
    graph(peers, &chords)
}

#[test]
fn a_storm_of_news_from_everyone_leaves_a_tree() {
    let peers = 100;
    let mut world = World::new(peers, &rings(peers));
    for round in 1..=4 {
        for peer in 0..peers {
            world.state(peer, round);
            world.run(ms(1));
        }
    }
    world.run(ms(3000));
    assert!((0..peers).all(|peer| world.all_have(peer, 4)));
    assert!(world.edges.len() > 4 * peers);
    assert_eq!(world.parts(), 1);
    assert!(world.eager() < peers + peers / 5, "{} eager links", world.eager());
    for counter in 5..7 {
        world.facts = 0;
        world.state(7, counter);
        world.run(ms(1000));
        assert!(world.all_have(7, counter));
    }
    assert_eq!(world.facts, peers - 1, "once to each");
}

impl World {
    /// How many links are eager at both ends.
    fn eager(&self) -> usize {
        self.edges.iter().filter(|&&edge| self.is_eager(edge)).count()
    }

    /// Into how many parts they divide the peers.
    fn parts(&self) -> usize {
        let mut part: Vec<_> = (0..self.trees.len()).collect();
        for &(a, b) in self.edges.iter().filter(|&&edge| self.is_eager(edge)) {
            let (old, new) = (part[a], part[b]);
            part.iter_mut().filter(|part| **part == old).for_each(|part| *part = new);
        }
        part.into_iter().collect::<std::collections::BTreeSet<_>>().len()
    }

    fn is_eager(&self, (a, b): (usize, usize)) -> bool {
        self.trees[a].is_eager(link_between(a, b)) && self.trees[b].is_eager(link_between(b, a))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn after_the_first_news_each_of_the_next_crosses_as_many_links_as_a_tree_has(
        peers in 3usize..20,
        chords in proptest::collection::vec((0usize..20, 0usize..20), 0..40),
        from in 0usize..20,
    ) {
        let mut world = World::new(peers, &graph(peers, &chords));
        for counter in 1..=3 {
            world.state(from % peers, counter);
            world.run(ms(3000));
            prop_assert!(world.all_have(from % peers, counter));
        }
        world.facts = 0;
        world.state(from % peers, 4);
        world.run(ms(3000));
        prop_assert!(world.all_have(from % peers, 4));
        prop_assert_eq!(world.facts, peers - 1);
        prop_assert_eq!(world.trees.iter().map(Plumtree::eager).sum::<usize>(), 2 * (peers - 1));
    }

    #[test]
    fn news_reach_everyone_within_2_s_of_any_cut_that_leaves_a_way(
        peers in 3usize..16,
        chords in proptest::collection::vec((0usize..16, 0usize..16), 1..30),
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..16), 1..6),
    ) {
        let mut world = World::new(peers, &graph(peers, &chords));
        for peer in 0..peers {
            world.state(peer, 1);
        }
        world.run(ms(3000));
        for (n, (cut, from)) in (2..).zip(cuts) {
            let edge = *cut.get(&world.edges);
            if world.is_connected_without(edge) {
                world.cut(edge);
            }
            world.state(from % peers, n);
            world.run(ms(2000));
            prop_assert!(world.all_have(from % peers, n));
        }
    }
}
