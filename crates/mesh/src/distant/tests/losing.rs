//! What is lost, doubled, late, replayed, or forgotten.

use super::*;

#[test]
fn whatever_is_lost_the_two_agree_with_the_next_repetition() {
    for lost in 0..256_u32 {
        let mut pair = Pair::new();
        pair.want((lost % 2) as usize);
        let mut sent = 0;
        for step in 1..=400 {
            for (at, parcel) in std::mem::take(&mut pair.flight) {
                if lost >> sent & 1 == 0 || sent >= 8 {
                    let _ = pair.hear(at, &parcel);
                }
                sent += 1;
            }
            pair.pass(f64::from(step) / 10.0);
        }
        assert!(pair.send(0) && pair.send(1), "lost {lost:#b}");
        assert!(pair.ends.iter().all(|e| e.distant.offers.is_empty()), "lost {lost:#b}");
    }
}

#[test]
fn the_same_offer_gets_the_same_answer_and_makes_no_new_keys() {
    let mut pair = Pair::new();
    pair.want(0);
    let (_, offer) = pair.flight.remove(0);
    assert_eq!(pair.hear(1, &offer), Ok(()));
    let (_, answer) = pair.flight.remove(0);
    assert_eq!(pair.hear(1, &offer), Ok(()));
    assert_eq!(pair.flight[0].1.body, answer.body);
    assert_eq!(pair.ends[1].agreed, 1);
    assert_eq!(pair.hear(0, &answer), Ok(()));
    assert_eq!(pair.hear(0, &answer), Err(Dropped::Stale), "nobody asks any more");
}

#[test]
fn an_offer_that_was_kept_makes_no_keys_later() {
    let mut pair = Pair::new();
    pair.want(0);
    let (_, kept) = pair.flight.remove(0);
    pair.hear(1, &kept).unwrap();
    pair.deliver();
    pair.send(0);
    pair.run(1.0);
    let (now, peer) = (pair.now, pair.ends[1].name());
    let end = &mut pair.ends[0];
    end.distant.rekey(now, peer, &mut end.rng);
    pair.after(0);
    pair.deliver();
    let agreed = pair.ends[1].agreed;
    assert_eq!(pair.hear(1, &kept), Err(Dropped::Stale), "a newer one was answered");
    pair.run(400.0);
    assert!(pair.ends[1].keys.is_empty());
    assert_eq!(pair.hear(1, &kept), Err(Dropped::Stale), "the session is over");
    let peer = pair.ends[0].name();
    pair.ends[1].distant.forget(peer);
    assert_eq!(pair.hear(1, &kept), Err(Dropped::Stale), "the source was forgotten");
    pair.restart(0);
    assert_eq!(pair.hear(1, &kept), Err(Dropped::Stale), "the source runs anew");
    assert_eq!(pair.ends[1].agreed, agreed);
}

#[test]
fn a_kept_offer_that_a_new_run_takes_for_new_harms_for_seconds_only() {
    let mut pair = Pair::new();
    pair.want(0);
    let (_, kept) = pair.flight.remove(0);
    pair.hear(1, &kept).unwrap();
    pair.deliver();
    pair.restart(1);
    pair.review(0);
    assert_eq!(pair.hear(1, &kept), Ok(()), "it cannot know");
    pair.flight.clear();
    assert!(!pair.send(1), "nobody has these keys");
    let mut arrived = 0;
    for s in 1..=20 {
        pair.run(f64::from(s));
        arrived += u32::from(pair.send(1));
    }
    assert!(arrived >= 14, "{arrived}");
}

#[test]
fn the_restart_of_either_end_ends_the_session_and_the_next_frame_makes_another() {
    for (restarted, asks) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut pair = Pair::agreed();
        assert!(pair.send(0) && pair.send(1));
        pair.restart(restarted);
        pair.review(1 - restarted);
        assert!(pair.ends[1 - restarted].keys.is_empty());
        pair.want(asks);
        pair.deliver();
        assert!(pair.send(asks) && pair.send(1 - asks));
    }
}

#[test]
fn an_offer_that_is_answered_in_the_last_second_of_a_session_is_answered_again() {
    let mut pair = Pair::agreed();
    assert!(pair.send(0) && pair.send(1));
    pair.pass(299.0);
    pair.want(0);
    let (at, offer) = pair.flight.remove(0);
    assert_eq!(pair.hear(at, &offer), Ok(()));
    // The answer is lost, and so is the next, until the end that gave it would have forgotten what it answered.
    pair.pass(300.2);
    pair.flight.clear();
    pair.run(303.0);
    assert!(pair.send(0) && pair.send(1));
}

#[test]
fn an_offer_of_a_later_run_replaces_what_the_earlier_one_had_before_the_facts_arrive() {
    let mut pair = Pair::agreed();
    assert!(pair.send(0) && pair.send(1));
    pair.restart(0);
    pair.want(0);
    pair.deliver();
    assert_eq!(pair.ends[1].keys.len(), 1);
    assert!(pair.send(1) && pair.send(0));
}

#[test]
fn who_lost_the_session_has_it_back_although_frames_go_one_way_only() {
    for from in [0, 1] {
        let mut pair = Pair::agreed();
        for s in 1..=10 {
            pair.run(f64::from(s));
            assert!(pair.send(from));
        }
        let peer = pair.ends[from].name();
        pair.ends[1 - from].distant.forget(peer);
        pair.after(1 - from);
        let lost = (11..=60).filter(|&s| {
            pair.run(f64::from(s));
            !pair.send(from)
        });
        let lost: Vec<_> = lost.collect();
        assert!(lost.len() < 35 && lost.last() < Some(&45), "from {from}: {lost:?}");
    }
}

#[test]
fn a_peer_that_is_forgotten_has_no_session_and_no_offer() {
    let mut pair = Pair::agreed();
    let peer = pair.ends[1].name();
    pair.ends[0].distant.rekey(pair.now, peer, &mut StdRng::from_seed([1; 32]));
    pair.ends[0].distant.review(|_| None);
    pair.ends[0].obey();
    assert!(pair.ends[0].keys.is_empty());
    assert!(pair.ends[0].distant.indices.is_empty() && pair.ends[0].distant.offers.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Want(usize),
    Send(usize),
    Rekey(usize),
    Restart(usize),
    Deliver(prop::sample::Index),
    Double(prop::sample::Index),
    Lose(prop::sample::Index),
    Pass(f64),
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0..2_usize).prop_map(Step::Want),
        4 => (0..2_usize).prop_map(Step::Send),
        2 => (0..2_usize).prop_map(Step::Rekey),
        1 => (0..2_usize).prop_map(Step::Restart),
        8 => which().prop_map(Step::Deliver),
        2 => which().prop_map(Step::Double),
        2 => which().prop_map(Step::Lose),
        3 => (0.0..10.0).prop_map(Step::Pass),
        1 => (0.0..400.0).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happened_frames_pass_soon_after_it_is_over(steps in proptest::collection::vec(step(), 0..60)) {
        let mut pair = Pair::new();
        for step in steps {
            let pick = |index: prop::sample::Index, pair: &Pair| {
                (!pair.flight.is_empty()).then(|| index.index(pair.flight.len()))
            };
            match step {
                Step::Want(at) => pair.want(at),
                Step::Send(at) => drop(pair.send(at)),
                Step::Rekey(at) => {
                    let (now, peer) = (pair.now, pair.ends[1 - at].name());
                    let end = &mut pair.ends[at];
                    end.distant.rekey(now, peer, &mut end.rng);
                    pair.after(at);
                }
                Step::Restart(at) => {
                    pair.restart(at);
                    pair.review(1 - at);
                }
                Step::Deliver(n) => {
                    if let Some(n) = pick(n, &pair) {
                        let (at, parcel) = pair.flight.remove(n);
                        let _ = pair.hear(at, &parcel);
                    }
                }
                Step::Double(n) => {
                    if let Some(n) = pick(n, &pair) {
                        let (at, parcel) = (pair.flight[n].0, &pair.flight[n].1);
                        let parcel = Outgoing { to: parcel.to, kind: parcel.kind, body: parcel.body.clone() };
                        let _ = pair.hear(at, &parcel);
                    }
                }
                Step::Lose(n) => {
                    if let Some(n) = pick(n, &pair) {
                        pair.flight.remove(n);
                    }
                }
                Step::Pass(s) => {
                    let until = pair.seconds() + s;
                    pair.pass(until);
                }
            }
        }
        let end = pair.seconds();
        for tenth in 1..=600 {
            pair.run(end + f64::from(tenth) / 10.0);
            let passed = [pair.send(0), pair.send(1)];
            prop_assert!(tenth < 150 || passed == [true, true], "{} s after: {:?}", tenth / 10, passed);
        }
        for end in &pair.ends {
            prop_assert!(end.distant.indices.len() <= 8, "{:?}", end.distant.indices);
            prop_assert!(end.keys.keys().all(|index| end.distant.indices.contains(index)));
        }
    }
}
