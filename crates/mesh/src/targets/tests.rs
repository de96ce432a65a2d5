//! Back-off, refusals, discovery and limits, step by step.

use super::*;
use crate::testing::{link_up, name, start};
use rand::SeedableRng;

const OWN: u8 = 5;

struct Rig {
    targets: Targets,
    links: Links,
    rng: StdRng,
    start: Instant,
}

fn address(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 6783).into()
}

impl Rig {
    fn new(limit: usize) -> Self {
        let rng = StdRng::from_seed([1; 32]);
        Self { targets: Targets::new(name(OWN), true, limit), links: Links::default(), rng, start: start() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn discover(&mut self, ms: u64, reachable: &[u8], heard: &[(u8, u8)]) {
        let mut addresses: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for &(peer, at) in heard {
            addresses.entry(name(peer)).or_default().insert(address(at));
        }
        // All within reach are wanted.
        for &n in reachable {
            addresses.entry(name(n)).or_default();
        }
        self.want(ms, reachable, Wanted { peers: addresses, ..Wanted::default() });
    }

    fn want(&mut self, ms: u64, reachable: &[u8], wanted: Wanted) {
        let (now, reached) = (self.at(ms), reachable.iter().map(|&n| name(n)).collect());
        self.targets.want(now, &reached, &wanted, &mut self.rng);
    }

    /// What is dialled now: targets by text, addresses by their last byte.
    fn dials(&mut self, ms: u64) -> Vec<(DialId, String)> {
        let begun = self.targets.poll_dials(self.at(ms), &self.links);
        let text = |to| match to {
            DialTo::Target(text) => text,
            DialTo::Addresses { addresses, expect } => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                format!("{} {}", addresses.join(" "), expect.bytes()[5])
            }
        };
        begun.into_iter().map(|(id, to)| (id, text(to))).collect()
    }

    fn dial(&mut self, ms: u64) -> DialId {
        let begun = self.dials(ms);
        assert_eq!(begun.len(), 1, "{begun:?}");
        begun[0].0
    }

    fn fail(&mut self, ms: u64, id: DialId, code: Option<RefuseCode>) {
        let (now, failure) = (self.at(ms), Failure { reason: "no", code });
        self.targets.failed(now, id, failure, &mut self.rng);
    }

    fn link(&mut self, ms: u64, link: u64, peer: u8, dial: Option<DialId>) {
        let up = crate::mesh::LinkUp { peer: name(peer), ..link_up(peer, dial.is_some()) };
        let now = self.at(ms);
        self.links.add(now, LinkId(link), &up, (name(peer), 0));
        self.targets.link_up(now, LinkId(link), dial, name(peer), Some(address(peer)));
    }

    fn lose(&mut self, ms: u64, link: u64, peer: u8, lived_s: u64, code: Option<RefuseCode>) {
        self.links.remove(LinkId(link));
        let (now, failure) = (self.at(ms), Failure { reason: "lost", code });
        let past =
            Past { lived: Duration::from_secs(lived_s), fell_silent: code == Some(RefuseCode::Silent) };
        self.targets.link_down(now, name(peer), past, failure, &mut self.rng);
    }
}

fn texts(dials: &[(DialId, String)]) -> Vec<&str> {
    dials.iter().map(|(_, text)| text.as_str()).collect()
}

#[test]
fn a_target_is_dialled_at_once_exactly_as_given_and_once() {
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "Host.example:6783");
    rig.targets.connect(rig.start, "Host.example:6783");
    assert_eq!(texts(&rig.dials(0)), ["Host.example:6783"]);
    assert_eq!(rig.dials(60_000), []);
}

#[test]
fn a_target_is_tried_for_ever_and_forgotten_only_by_its_exact_text() {
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "h");
    let mut ms = 0;
    for _ in 0..100 {
        let id = rig.dial(ms);
        rig.fail(ms, id, None);
        let due = rig.targets.next_due(&rig.links).unwrap() - rig.start;
        ms = u64::try_from(due.as_millis()).unwrap() + 1;
    }
    rig.targets.forget("H");
    assert_eq!(rig.targets.views(&rig.links).len(), 1);
    rig.targets.forget("h");
    assert_eq!(rig.targets.next_due(&rig.links), None);
}

#[test]
fn the_result_of_a_dial_to_a_forgotten_target_is_ignored() {
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "h");
    let id = rig.dial(0);
    rig.targets.forget("h");
    rig.fail(1, id, None);
    rig.fail(1, id, None);
    assert_eq!(rig.targets.next_due(&rig.links), None);
}

#[test]
fn the_result_of_an_earlier_dial_does_not_end_the_one_under_way() {
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "h");
    let earlier = rig.dial(0);
    rig.targets.forget("h");
    rig.targets.connect(rig.start, "h");
    rig.dial(0);
    rig.fail(1, earlier, None);
    assert_eq!(rig.targets.views(&rig.links)[0].state, ConnectionState::Connecting);
}

#[test]
fn replacing_targets_keeps_what_is_named_again() {
    let mut rig = Rig::new(0);
    for text in ["a", "b"] {
        rig.targets.connect(rig.start, text);
    }
    rig.dials(0);
    rig.targets.replace(rig.start, &["b".into(), "c".into()]);
    assert_eq!(texts(&rig.dials(0)), ["c"], "b is being dialled already");
    let views = rig.targets.views(&rig.links);
    assert_eq!(views.iter().map(|v| v.target.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn a_target_whose_peer_is_linked_another_way_waits_until_that_ends() {
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "h2");
    let id = rig.dial(0);
    rig.link(1, 1, 2, None);
    rig.targets.duplicate(rig.at(2), id, name(2));
    assert_eq!(rig.dials(100_000), []);
    let view = &rig.targets.views(&rig.links)[0];
    assert_eq!((view.state, view.peer, view.retry_at), (ConnectionState::Waiting, Some(name(2)), None));
    assert_eq!(rig.targets.target_of(LinkId(1), name(2)), Some("h2"));
    assert!(rig.targets.pending(&rig.links).is_empty());
    rig.lose(200_000, 1, 2, 120, None);
    assert_eq!(texts(&rig.dials(200_000)), ["h2"]);
}

#[test]
fn a_target_that_is_this_host_itself_says_so_and_rests() {
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "me");
    let id = rig.dial(0);
    rig.fail(1, id, Some(RefuseCode::Oneself));
    assert_eq!(rig.targets.next_due(&rig.links), None);
    let pending = rig.targets.pending(&rig.links);
    assert_eq!(pending[0].error.as_deref(), Some("is this host itself"));
    rig.targets.connect(rig.at(5), "me");
    assert_eq!(texts(&rig.dials(5)), ["me"]);
}

#[test]
fn of_two_peers_the_one_with_the_higher_name_dials_half_a_second_later() {
    let mut rig = Rig::new(0);
    rig.discover(0, &[2, 9], &[(2, 2), (9, 9)]);
    assert_eq!(texts(&rig.dials(0)), ["10.0.0.9:6783 9"]);
    assert_eq!(rig.targets.next_due(&rig.links), Some(rig.at(500)));
    assert_eq!(texts(&rig.dials(500)), ["10.0.0.2:6783 2"]);
}

#[test]
fn nobody_is_dialled_who_is_out_of_reach_or_linked_or_when_discovery_is_off() {
    let mut rig = Rig::new(0);
    rig.link(0, 1, 8, None);
    rig.discover(0, &[8], &[(7, 7), (8, 8)]);
    assert_eq!(rig.targets.next_due(&rig.links), None);
    rig.discover(1, &[7, 8], &[]);
    assert_eq!(texts(&rig.dials(1)), ["10.0.0.7:6783 7"], "it came into reach");
    let mut rig = Rig::new(0);
    rig.targets.discovery = false;
    rig.discover(0, &[9], &[(9, 9)]);
    assert_eq!(rig.targets.next_due(&rig.links), None);
}

#[test]
fn the_addresses_of_a_peer_are_tried_side_by_side_and_the_one_that_worked_is_the_first_from_then_on() {
    let mut rig = Rig::new(0);
    rig.discover(0, &[9], &[(9, 10), (9, 11), (9, 12)]);
    let first = rig.dials(0);
    assert_eq!(texts(&first), ["10.0.0.10:6783 10.0.0.11:6783 10.0.0.12:6783 9"]);
    rig.fail(1, first[0].0, None);
    assert_eq!(rig.dials(500), [], "all of them wait");
    assert!(rig.targets.is_tried_in_vain(rig.at(500), name(9), Duration::from_secs(2)));
    let (second, texts) = rig.dials(5000).remove(0);
    assert_eq!(texts, "10.0.0.10:6783 10.0.0.11:6783 10.0.0.12:6783 9");
    let now = rig.at(5001);
    rig.links.add(now, LinkId(1), &crate::mesh::LinkUp { peer: name(9), ..link_up(9, true) }, (name(9), 0));
    rig.targets.link_up(now, LinkId(1), Some(second), name(9), Some(address(12)));
    rig.lose(100_000, 1, 9, 90, None);
    rig.discover(100_100, &[9], &[(9, 10), (9, 11), (9, 12)]);
    let again = rig.dials(100_100);
    assert_eq!(again[0].1, "10.0.0.12:6783 10.0.0.10:6783 10.0.0.11:6783 9");
}

#[test]
fn an_address_a_target_is_being_dialled_at_is_not_dialled_twice() {
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "h9");
    let id = rig.dial(0);
    rig.targets.dialling(id, address(9));
    rig.discover(1, &[9], &[(9, 9)]);
    assert_eq!(rig.dials(1), []);
    rig.fail(2, id, None);
    assert_eq!(texts(&rig.dials(2)), ["10.0.0.9:6783 9"]);
}

#[test]
fn where_a_target_leads_is_left_to_the_target() {
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "h9");
    let id = rig.dial(0);
    rig.targets.dialling(id, address(9));
    rig.link(1, 1, 9, Some(id));
    rig.discover(2, &[9], &[(9, 9), (9, 10)]);
    rig.lose(100_000, 1, 9, 1, None);
    assert_eq!(texts(&rig.dials(110_000)), ["h9"]);
    let id = *rig.targets.dials.keys().last().unwrap();
    rig.fail(111_000, id, None);
    assert_eq!(texts(&rig.dials(111_000)), ["10.0.0.10:6783 9"]);
    assert_eq!(rig.targets.pending(&rig.links).len(), 1, "one line for one peer");
}

#[test]
fn discovery_stays_within_the_limit_and_targets_do_not_count() {
    let mut rig = Rig::new(2);
    rig.link(0, 1, 3, None);
    rig.discover(0, &[3, 7, 8, 9], &[(7, 7), (8, 8), (9, 9)]);
    rig.targets.connect(rig.start, "h");
    assert_eq!(texts(&rig.dials(0)), ["h", "10.0.0.7:6783 7"]);
    rig.lose(1, 1, 3, 1, None);
    assert_eq!(texts(&rig.dials(1)), ["10.0.0.8:6783 8"]);
}

#[test]
fn a_lost_neighbour_is_dialled_until_it_is_forgotten_even_if_nobody_else_reaches_it() {
    let mut rig = Rig::new(0);
    rig.link(0, 1, 9, None);
    rig.discover(1, &[9], &[]);
    rig.lose(100_000, 1, 9, 100, None);
    rig.discover(100_100, &[], &[]);
    assert_eq!(texts(&rig.dials(100_100)), ["10.0.0.9:6783 9"]);
    rig.targets.forget_peer(name(9));
    assert_eq!(rig.targets.next_due(&rig.links), None);
}

#[test]
fn a_neighbour_that_shut_down_is_not_dialled_until_it_is_back() {
    let mut rig = Rig::new(0);
    rig.link(0, 1, 9, None);
    rig.discover(1, &[9], &[]);
    rig.lose(100_000, 1, 9, 100, Some(RefuseCode::ShuttingDown));
    rig.discover(100_100, &[], &[]);
    assert_eq!(rig.targets.next_due(&rig.links), None);
    rig.discover(110_000, &[9], &[]);
    assert_eq!(texts(&rig.dials(110_000)), ["10.0.0.9:6783 9"]);
}

#[test]
fn only_wanted_peers_are_dialled_and_a_target_within_reach_is_spared() {
    let mut rig = Rig::new(0);
    let wants = |peers: &[u8]| Wanted {
        peers: peers.iter().map(|&n| (name(n), BTreeSet::from([address(n)]))).collect(),
        sparing: true,
        spread: Duration::ZERO,
        blindly: false,
    };
    rig.targets.connect(rig.start, "h3");
    let id = rig.dial(0);
    rig.link(1, 1, 3, Some(id));
    rig.want(2, &[3, 8, 9], wants(&[8]));
    assert_eq!(texts(&rig.dials(2)), ["10.0.0.8:6783 8"]);
    rig.lose(3, 1, 3, 0, Some(RefuseCode::NotNeeded));
    assert_eq!(rig.dials(100_000), [], "it is within reach by others");
    assert_eq!(rig.targets.views(&rig.links)[0].state, ConnectionState::Waiting);
    rig.want(100_001, &[3, 8, 9], wants(&[3]));
    assert_eq!(texts(&rig.dials(101_000)), ["h3"], "it is wanted now");
    let mut rig = Rig::new(0);
    rig.targets.connect(rig.start, "h3");
    let id = rig.dial(0);
    rig.link(1, 1, 3, Some(id));
    rig.lose(3, 1, 3, 0, Some(RefuseCode::NotNeeded));
    rig.want(4, &[3, 8, 9], wants(&[8]));
    rig.dials(5000);
    rig.want(100_000, &[8, 9], wants(&[8]));
    assert_eq!(texts(&rig.dials(100_000)), ["h3"], "nobody else reaches it any more");
}

#[test]
fn first_dials_are_spread_over_the_time_that_is_asked_for() {
    let mut rig = Rig::new(0);
    let all = 10..250;
    let peers = all.clone().map(|n| (name(n), BTreeSet::from([address(n)]))).collect();
    let reachable: Vec<_> = all.collect();
    rig.want(
        0,
        &reachable,
        Wanted { peers, sparing: true, spread: Duration::from_millis(400), blindly: false },
    );
    let begun: Vec<_> = (0..=8).map(|n| rig.dials(n * 50).len()).collect();
    assert_eq!(begun.iter().sum::<usize>(), 240);
    assert!(begun.iter().all(|&n| n <= 60), "{begun:?}");
}

#[test]
fn a_peer_is_held_for_closed_when_it_has_no_address_or_each_failed_twice_or_is_full() {
    let mut rig = Rig::new(0);
    rig.discover(0, &[8, 9], &[(9, 9)]);
    assert!(rig.targets.is_closed(name(8)));
    assert_eq!(rig.targets.trouble(name(8)), Some("nobody knows an address it listens on"));
    assert_eq!(rig.targets.trouble(name(9)), None);
    for ms in [0, 10_000] {
        assert!(!rig.targets.is_closed(name(9)));
        let id = rig.dial(ms);
        rig.fail(ms, id, None);
    }
    assert!(rig.targets.is_closed(name(9)));
    assert_eq!(rig.targets.trouble(name(9)), Some("no"));
    let id = rig.dial(100_000);
    rig.fail(100_000, id, Some(RefuseCode::LimitReached));
    assert!(rig.targets.is_closed(name(9)));
    assert_eq!(rig.targets.trouble(name(9)), None, "that is no fault");
}

#[test]
fn who_has_no_link_dials_whom_it_wants_though_nothing_reaches_them() {
    let mut rig = Rig::new(0);
    let peers = || [(name(8), BTreeSet::from([address(8)]))].into();
    rig.want(0, &[], Wanted { peers: peers(), ..Wanted::default() });
    assert_eq!(rig.dials(1000).len(), 0);
    rig.want(1000, &[], Wanted { peers: peers(), blindly: true, ..Wanted::default() });
    assert_eq!(rig.dials(2000).len(), 1);
}
