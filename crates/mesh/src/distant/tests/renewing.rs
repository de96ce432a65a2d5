//! New keys in place of old ones, and the end of it all.

use super::*;

/// The frames that were lost while these ends sent one every 10 s.
fn lost(pair: &mut Pair, senders: &[usize], until: u32) -> Vec<(u32, usize)> {
    let mut lost = Vec::new();
    for tens in 1..until / 10 {
        pair.run(f64::from(tens * 10));
        for &from in senders {
            if !pair.send(from) {
                lost.push((tens * 10, from));
            }
        }
    }
    lost
}

#[test]
fn new_keys_take_over_without_a_lost_frame() {
    let mut pair = Pair::agreed();
    assert!(pair.send(0) && pair.send(1));
    let before = [pair.ends[0].seals, pair.ends[1].seals];
    let (now, peer) = (pair.now, pair.ends[0].name());
    let end = &mut pair.ends[1];
    end.distant.rekey(now, peer, &mut end.rng);
    pair.after(1);
    assert!(pair.send(0) && pair.send(1));
    let (at, offer) = pair.flight.remove(0);
    pair.hear(at, &offer).unwrap();
    assert!(pair.send(0) && pair.send(1));
    assert_eq!(pair.ends[0].seals, before[0], "who answers waits");
    pair.deliver();
    assert_ne!(pair.ends[1].seals, before[1], "who offered does not");
    let late = pair.ends[0].seal().unwrap();
    assert!(pair.send(1));
    assert_ne!(pair.ends[0].seals, before[0], "a record came under the new keys");
    assert!(pair.send(0));
    pair.run(19.9);
    assert!(pair.ends[1].open(&late).is_some(), "old keys open for 20 s");
    pair.run(20.0);
    assert!(pair.ends.iter().all(|e| e.keys.len() == 1));
    assert!(pair.ends[1].open(&late).is_none());
}

#[test]
fn keys_are_renewed_within_the_hour_and_no_frame_is_lost_with_either_or_both_sending() {
    let hours = 3;
    for senders in [&[0, 1][..], &[0], &[1]] {
        let mut pair = Pair::agreed();
        assert_eq!(lost(&mut pair, senders, hours * 3600), [], "senders {senders:?}");
        let agreed = pair.ends[0].agreed;
        if senders.len() == 2 {
            assert_eq!(agreed as u32, hours + 1);
        }
        // One that hears nothing asks anew every half minute, and no more often.
        assert!(agreed as u32 <= hours * 3600 / 30, "senders {senders:?}: {agreed}");
        assert!(pair.ends.iter().all(|e| e.keys.len() <= 6));
    }
}

#[test]
fn no_keys_are_sealed_with_for_more_than_an_hour() {
    let mut pair = Pair::agreed();
    let mut since = [(None, 0); 2];
    for tens in 1..1440 {
        // Half of what the control side says is lost.
        pair.flight.retain({
            let mut n = tens;
            move |_| {
                n += 1;
                n % 2 == 0
            }
        });
        pair.run(f64::from(tens * 10));
        for at in [0, 1] {
            pair.send(at);
            if since[at].0 != pair.ends[at].seals {
                since[at] = (pair.ends[at].seals, tens);
            }
            assert!(pair.ends[at].seals.is_none() || tens - since[at].1 <= 360);
        }
    }
}

#[test]
fn when_no_renewal_gets_through_the_hour_is_the_end() {
    let mut pair = Pair::agreed();
    for s in 1..=359 {
        pair.pass(f64::from(s * 10));
        assert!(pair.send(0) && pair.send(1), "{s}");
        pair.flight.clear();
    }
    pair.pass(3600.0);
    assert!(pair.ends.iter().all(|e| e.keys.is_empty() && e.seals.is_none()));
}

#[test]
fn five_minutes_without_a_frame_end_the_session_and_leave_nothing_behind() {
    let mut pair = Pair::agreed();
    pair.run(100.0);
    assert!(pair.send(0) && pair.send(1));
    pair.run(399.0);
    assert!(pair.ends.iter().all(|e| e.keys.len() == 1));
    pair.run(400.0);
    for end in &pair.ends {
        assert!(end.keys.is_empty() && end.distant.indices.is_empty() && end.distant.len() == 0);
        assert_eq!(end.distant.next_due(), None);
    }
}
