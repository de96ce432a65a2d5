//! Guessing ports (P6.7): the end of index 0 opens, the other one guesses.

use std::collections::BTreeSet;

use wire::{MeetingShare, MeetingStep};

use super::*;
use crate::distant::{Facing, Guess, Part};
use crate::testing::name;

/// Where each end is seen by its neighbours.
const SEEN: [&[(u8, u16)]; 2] = [&[(1, 40_000), (1, 51_000)], &[(2, 6783), (2, 6783)]];

/// Two ends that agreed on keys, what each of them is to do, and when.
struct Guessers {
    pair: Pair,
    done: [Vec<(f64, Guess)>; 2],
}

fn seen(at: usize) -> Vec<SocketAddr> {
    SEEN[at].iter().map(|&(n, port)| ([203, 0, 113, n], port).into()).collect()
}

/// What facts say of the other end.
fn facing(at: usize) -> Facing {
    let part = if at == 0 { Part::Opens } else { Part::Guesses };
    Facing { part: Some(part), at: vec![seen(1 - at)[0].ip()] }
}

impl Guessers {
    fn new(on: [bool; 2]) -> Self {
        let mut pair = Pair::agreed();
        for at in [0, 1] {
            pair.ends[at].distant.set_guessing(on[at]);
            pair.ends[at].distant.set_seen_at(seen(at));
        }
        Self { pair, done: [vec![], vec![]] }
    }

    /// Lets time pass while frames go through others; steps arrive as soon as they are sent, unless `lost` says otherwise.
    fn run_but(&mut self, s: f64, lost: impl Fn(usize) -> bool) {
        let mut second = f64::NEG_INFINITY;
        while self.pair.seconds() < s {
            let now = self.pair.seconds();
            if now >= second + 1.0 {
                second = now;
                self.pair.send(0);
                self.pair.send(1);
                let (now, peer) = (self.pair.now, self.pair.ends[1].name());
                let end = &mut self.pair.ends[0];
                end.distant.want_guess(now, peer, &mut end.rng);
                self.pair.after(0);
            }
            self.deliver(&lost);
            // Most of the time nothing happens.
            let is_busy = self.pair.ends.iter().any(|end| end.distant.guessing_with().is_some());
            self.pair.pass((now + if is_busy { 0.01 } else { 1.0 }).min(s));
            self.deliver(&lost);
        }
    }

    fn run(&mut self, s: f64) {
        self.run_but(s, |_| false);
    }

    fn deliver(&mut self, lost: &impl Fn(usize) -> bool) {
        while !self.pair.flight.is_empty() {
            let (at, parcel) = self.pair.flight.remove(0);
            if parcel.kind != ParcelKind::MEETING {
                let _ = self.pair.hear(at, &parcel);
            } else if !lost(at) {
                let _ = self.step(at, &parcel.body, &facing(at));
            }
        }
        let seconds = self.pair.seconds();
        for (end, done) in self.pair.ends.iter_mut().zip(&mut self.done) {
            done.extend(std::iter::from_fn(|| end.distant.poll_guess()).map(|guess| (seconds, guess)));
        }
    }

    fn step(&mut self, at: usize, body: &[u8], facing: &Facing) -> Result<(), Dropped> {
        let (now, from) = (self.pair.now, self.pair.ends[1 - at].known());
        let end = &mut self.pair.ends[at];
        let heard = end.distant.hear_meeting(now, from, false, facing, body, &mut end.rng);
        self.pair.after(at);
        heard
    }

    fn found(&mut self, at: usize) {
        let (now, peer) = (self.pair.now, self.pair.ends[1 - at].name());
        self.pair.ends[at].distant.guessed(now, peer);
    }

    fn words(&self, at: usize) -> String {
        let (now, peer) = (self.pair.now, self.pair.ends[1 - at].name());
        self.pair.ends[at].distant.guessing_story(now, peer).unwrap_or_default()
    }

    /// When ports were opened or tried, and where that goes to.
    fn sent(&self, at: usize) -> Vec<(f64, SocketAddr)> {
        let sent = |&(s, guess): &(f64, Guess)| match guess {
            Guess::Open(_, to) if at == 0 => Some((s, to)),
            Guess::Try(_, to) if at == 1 => Some((s, to)),
            Guess::Begin(_) | Guess::Over(_) => None,
            guess => panic!("{at} is to do {guess:?}"),
        };
        self.done[at].iter().filter_map(sent).collect()
    }

    fn begun(&self, at: usize) -> Vec<f64> {
        self.done[at].iter().filter(|(_, g)| matches!(g, Guess::Begin(_))).map(|(s, _)| s.floor()).collect()
    }

    fn over(&self, at: usize) -> Vec<f64> {
        self.done[at].iter().filter(|(_, g)| matches!(g, Guess::Over(_))).map(|(s, _)| *s).collect()
    }
}

#[test]
fn one_opens_256_ports_then_the_other_tries_1024_a_hundred_a_second_each() {
    let mut two = Guessers::new([true, true]);
    two.run(1.5);
    assert!(two.words(0).contains(" of 256 opened"), "{}", two.words(0));
    two.run(6.0);
    assert!(
        two.words(0).contains("256 opened") && two.words(1).contains(" of 1024 tried"),
        "{}",
        two.words(1)
    );
    two.run(30.0);
    let [opened, tried] = [0, 1].map(|at| two.sent(at));
    assert_eq!((opened.len(), tried.len()), (256, 1024));
    assert!(opened.iter().all(|(_, to)| *to == seen(1)[0]));
    assert!(tried.iter().all(|(_, to)| to.ip() == seen(0)[0].ip() && to.port() >= 1024));
    assert_eq!(tried.iter().map(|(_, to)| to.port()).collect::<BTreeSet<_>>().len(), 1024, "each once");
    assert!(tried[0].0 >= opened[255].0, "all are open before");
    for sent in [&opened, &tried] {
        for (first, later) in sent.iter().zip(&sent[100..]) {
            assert!(later.0 - first.0 > 0.94, "{first:?} {later:?}");
        }
    }
    let (begun, over) = (two.begun(0)[0], [0, 1].map(|at| two.over(at)[0]));
    assert!(over.iter().all(|over| *over - begun < 20.1), "{over:?}");
    assert!(two.words(0).starts_with("guessing ports: 256 were opened and none was guessed, tried again in"));
    assert!(two.words(1).starts_with("guessing ports: 1024 were tried and none was right, tried again in"));
    let counts = [0, 1].map(|at| two.pair.ends[at].distant.guess_counts());
    assert!(counts.iter().all(|counts| (counts.found, counts.failed, counts.refused) == (0, 1, 0)));
}

#[test]
fn what_was_in_vain_is_tried_again_after_a_minute_then_ten_then_an_hour() {
    let mut two = Guessers::new([true, true]);
    two.run(9000.0);
    let (begun, over) = (two.begun(0), two.over(0));
    let waits: Vec<_> = begun[1..].iter().zip(&over).map(|(begun, over)| (begun - over).round()).collect();
    assert_eq!(waits.len(), 4, "{begun:?}");
    for (wait, least) in waits.iter().zip([60.0, 600.0, 3600.0, 3600.0]) {
        assert!((least - 1.0..least + 5.0).contains(wait), "{waits:?}");
    }
    assert_eq!(two.begun(1).len(), begun.len(), "both keep count");
}

#[test]
fn a_way_that_was_found_ends_it_and_ports_stay_open_until_both_have_settled() {
    let mut two = Guessers::new([true, true]);
    two.run(5.0);
    two.found(0);
    two.found(1);
    two.deliver(&|_| false);
    let tried = two.sent(1).len();
    assert!(tried > 0 && two.over(0).is_empty() && two.over(1).len() == 1);
    two.run(6.9);
    assert!(two.over(0).is_empty());
    two.run(7.1);
    assert_eq!((two.over(0).len(), two.sent(1).len()), (1, tried));
    assert_eq!([0, 1].map(|at| two.words(at)), ["guessing ports: found after 5.0 s"; 2].map(String::from));
    assert_eq!(two.pair.ends[0].distant.guess_counts().found, 1);
    // The path broke.
    two.run(70.0);
    assert_eq!(two.begun(0).len(), 2);
}

#[test]
fn who_does_not_allow_it_refuses_and_neither_asks_nor_sends() {
    let mut two = Guessers::new([true, false]);
    two.run(600.0);
    assert_eq!((two.begun(0).len(), two.begun(1).len()), (1, 0));
    assert!(two.sent(0).is_empty() && two.sent(1).is_empty());
    assert!(two.words(0).contains("launched without --guess-ports"), "{}", two.words(0));
    assert_eq!(two.pair.ends[0].distant.guess_counts().refused, 1);
    let mut two = Guessers::new([false, true]);
    two.run(600.0);
    assert!(two.done.iter().all(Vec::is_empty));
}

#[test]
fn lost_steps_end_it_at_both_ends() {
    for deaf in [0, 1] {
        let mut two = Guessers::new([true, true]);
        two.run_but(10.0, |at| at == deaf);
        two.run_but(50.0, |_| true);
        assert!(two.sent(1).is_empty() && two.sent(0).is_empty());
        assert_eq!(two.over(0).len(), 1);
        assert_eq!(two.over(1).len(), two.begun(1).len());
        assert!(two.words(0).starts_with("guessing ports: the peer did not answer"), "{}", two.words(0));
        two.run(70.0);
        assert_eq!(two.begun(0).len(), 2, "asked again after a minute");
    }
}

#[test]
fn where_facts_do_not_show_the_peer_nothing_is_sent() {
    let mut two = Guessers::new([true, true]);
    let call = MeetingShare {
        incarnation: 1,
        counter: 100,
        step: MeetingStep::CallGuess as u8,
        number: 1,
        addresses: vec![([198, 51, 100, 1], 40_000).into()],
    };
    let (now, peer) = (two.pair.now, two.pair.ends[0].name());
    let guesser = &mut two.pair.ends[1].distant;
    assert_eq!(guesser.hear_guess_call(now, peer, &call, &facing(1)), Err(Dropped::Unusable));
    let call = MeetingShare { addresses: seen(0), ..call };
    let nobody = Facing { part: None, ..facing(1) };
    assert_eq!(guesser.hear_guess_call(now, peer, &call, &nobody), Err(Dropped::Unusable));
    assert_eq!(guesser.hear_guess_call(now, peer, &call, &facing(1)), Ok(()));
    assert_eq!(
        guesser.hear_guess_call(now, name(9), &call, &facing(1)),
        Err(Dropped::Limited),
        "one at a time"
    );
    assert_eq!(guesser.hear_guess_go(now, name(9), &call), Err(Dropped::Stale));
    assert_eq!(guesser.hear_guess_go(now, peer, &MeetingShare { number: 2, ..call }), Err(Dropped::Stale));

    let mut two = Guessers::new([true, true]);
    let (now, peer) = (two.pair.now, two.pair.ends[1].name());
    let end = &mut two.pair.ends[0];
    end.distant.want_guess(now, peer, &mut end.rng);
    let Some((_, called)) = two.pair.ends[0].distant.poll_outgoing().map(|o| (o.to, o.body)) else {
        panic!("no call");
    };
    let number = MeetingShare::decode(&called).unwrap().0.number;
    let answer = MeetingShare { number, addresses: vec![([198, 51, 100, 1], 1).into()], ..call };
    let opener = &mut two.pair.ends[0].distant;
    assert_eq!(opener.hear_guess_answer(now, peer, &answer, &facing(0), true), Err(Dropped::Unusable));
    assert_eq!(opener.guessing_with(), None);
}

#[test]
fn with_fewer_sockets_fewer_are_guessed_and_with_none_it_fails() {
    let mut two = Guessers::new([true, true]);
    two.run(1.0);
    let (now, opened) = (two.pair.now, two.sent(0).len() as u32);
    two.pair.ends[0].distant.no_more_sockets(now);
    two.pair.after(0);
    two.run(2.0);
    assert!(two.words(0).contains(&format!("{} opened", opened - 1)), "{}", two.words(0));
    assert_eq!(two.sent(0).len() as u32, opened);
    assert!(!two.sent(1).is_empty(), "it goes on with these");
    let now = two.pair.now;
    for _ in 1..opened {
        two.pair.ends[0].distant.no_more_sockets(now);
    }
    assert_eq!(two.pair.ends[0].distant.guessing_with(), None);
}

#[test]
fn a_peer_that_is_forgotten_ends_it() {
    let mut two = Guessers::new([true, true]);
    two.run(1.0);
    let peer = two.pair.ends[1].name();
    two.pair.ends[0].distant.forget(peer);
    assert_eq!(two.pair.ends[0].distant.guessing_with(), None);
    let last = std::iter::from_fn(|| two.pair.ends[0].distant.poll_guess()).last();
    assert_eq!(last, Some(Guess::Over(peer)));
}

#[test]
fn what_is_seen_on_this_side_of_the_nat_is_not_told() {
    let mut two = Guessers::new([true, true]);
    let distant = &mut two.pair.ends[0].distant;
    let many = (0..20).map(|port| ([203, 0, 113, 1], 1000 + port).into());
    let inside: SocketAddr = ([192, 168, 1, 1], 6783).into();
    let v6: SocketAddr = "[2001:db8::1]:6783".parse().unwrap();
    distant.set_seen_at([inside, v6].into_iter().chain(many));
    assert_eq!(
        distant.seen_at(),
        (12..20).map(|port| ([203, 0, 113, 1], 1000 + port).into()).collect::<Vec<_>>()
    );
    distant.set_seen_at([inside]);
    assert_eq!(distant.seen_at(), [inside]);
}

#[test]
fn a_path_that_works_by_itself_ends_it_and_counts_for_nothing() {
    let mut two = Guessers::new([true, true]);
    two.run_but(1.0, |at| at == 0);
    two.found(0);
    two.found(1);
    two.deliver(&|_| false);
    for at in [0, 1] {
        assert_eq!((two.begun(at).len(), two.over(at).len(), two.words(at)), (1, 1, String::new()));
        assert_eq!(two.pair.ends[at].distant.guess_counts(), GuessCounts::default());
    }
}
