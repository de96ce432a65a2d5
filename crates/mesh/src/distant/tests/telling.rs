//! Where the ends may be reached, told anew.

use super::*;

fn at(port: u16) -> Vec<SocketAddr> {
    vec![([192, 0, 2, 1], port).into()]
}

impl Pair {
    /// The first end may be reached at another port now, and tells the other, who hears of it now or when the pace allows.
    fn tell(&mut self, port: u16) {
        let (now, to) = (self.now, self.ends[1].name());
        let end = &mut self.ends[0];
        assert!(end.distant.set_reachable_at(at(port)));
        end.distant.tell_later(now, [to]);
        self.tick(0);
    }
}

#[test]
fn a_new_address_is_told_at_once_and_the_next_one_2_s_later() {
    let mut pair = Pair::agreed();
    pair.tell(1);
    pair.deliver();
    assert_eq!(pair.ends[1].told, [at(1)]);
    pair.tell(2);
    pair.tell(3);
    pair.run(1.9);
    assert_eq!(pair.ends[1].told.len(), 1);
    pair.run(2.1);
    assert_eq!(pair.ends[1].told, [at(1), at(3)], "what holds then");
    assert!(pair.ends[0].distant.to_tell.is_empty());
}

#[test]
fn what_was_told_before_is_not_believed_again() {
    let mut pair = Pair::agreed();
    pair.tell(1);
    let (_, kept) = pair.flight.remove(0);
    assert_eq!(pair.hear(1, &kept), Ok(()));
    assert_eq!(pair.hear(1, &kept), Err(Dropped::Stale));
    pair.pass(3.0);
    pair.tell(2);
    pair.deliver();
    assert_eq!(pair.hear(1, &kept), Err(Dropped::Stale));
    assert_eq!(pair.ends[1].told, [at(1), at(2)]);
}

#[test]
fn an_offer_that_was_repeated_counts_although_an_update_overtook_it() {
    let mut pair = Pair::agreed();
    let (now, to) = (pair.now, pair.ends[1].name());
    let end = &mut pair.ends[0];
    end.distant.rekey(now, to, &mut end.rng);
    let offer = end.distant.poll_outgoing().unwrap();
    pair.tell(1);
    pair.deliver();
    assert_eq!(pair.hear(1, &offer), Ok(()));
    pair.deliver();
    assert!(pair.send(0) && pair.send(1));
}

#[test]
fn only_who_has_keys_is_listened_to_and_only_itself() {
    let mut pair = Pair::new();
    pair.tell(1);
    let (_, told) = pair.flight.remove(0);
    assert_eq!(pair.hear(1, &told), Err(Dropped::Stale), "there is neither a session nor a link");
    let (now, from) = (pair.now, pair.ends[0].known());
    let to = &mut pair.ends[1].distant;
    let mut forged = told.body.clone();
    forged[1] ^= 1;
    assert!(to.hear_update(now, from, true, &forged).is_err());
    let another = Known { name: PeerName::new([2; 6]), ..from };
    assert_eq!(
        to.hear_update(now, another, true, &told.body),
        Err(Dropped::Forged),
        "of whom it is, is signed"
    );
    assert_eq!(to.hear_update(now, from, true, &told.body), Ok(()), "a neighbour has keys of its link");
}
