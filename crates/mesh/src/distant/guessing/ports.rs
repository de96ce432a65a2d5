//! Which ports are guessed, and in what order.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use rand::RngExt;
use rand::rngs::StdRng;

/// Ports that a NAT gives out: those below are for services.
const FIRST: u16 = 1024;
/// What a NAT gave to two neighbours, one after the other, is in sequence if it lies no further apart.
const APART: u16 = 64;
/// Where ports are given out in sequence, so many behind the last one are tried first, so far apart: any of the ports that were
/// opened since will do.
const LIKELY: u16 = 64;
const STRIDE: u16 = 4;

/// Ports of one address, each once.
#[derive(Debug)]
pub(super) struct Ports {
    ip: IpAddr,
    likely: Vec<u16>,
    drawn: BTreeSet<u16>,
    most: u32,
}

impl Ports {
    /// At most so many ports of the address where a peer is `seen` by its neighbours, in the order they became such; nothing if
    /// nobody sees it.
    pub(super) fn new(seen: &[SocketAddr], most: u32) -> Option<Self> {
        let ip = seen.last()?.ip();
        let of_it: Vec<_> = seen.iter().filter(|one| one.ip() == ip).map(SocketAddr::port).collect();
        let mut likely = behind(&of_it);
        likely.reverse();
        Some(Self { ip, likely, drawn: BTreeSet::new(), most })
    }

    /// How many were drawn.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.drawn.len()).unwrap_or(u32::MAX)
    }

    /// The next one, until it is enough.
    pub(super) fn draw(&mut self, rng: &mut StdRng) -> Option<SocketAddr> {
        if self.count() >= self.most {
            return None;
        }
        loop {
            let port = self.likely.pop().unwrap_or_else(|| rng.random_range(FIRST..=u16::MAX));
            if self.drawn.insert(port) {
                return Some(SocketAddr::new(self.ip, port));
            }
        }
    }
}

/// Ports that come soon after these, if they are in sequence.
fn behind(ports: &[u16]) -> Vec<u16> {
    let rises = |pair: &[u16]| pair[0] < pair[1] && pair[1] - pair[0] <= APART;
    match ports.last() {
        Some(last) if ports.len() > 1 && ports.windows(2).all(rises) => {
            (0..LIKELY).map_while(|n| last.checked_add(1 + n * STRIDE)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    fn all(seen: &[(u8, u16)], most: u32) -> Vec<SocketAddr> {
        let seen: Vec<_> = seen.iter().map(|&(n, port)| SocketAddr::from(([203, 0, 113, n], port))).collect();
        let mut rng = StdRng::from_seed([7; 32]);
        let mut ports = Ports::new(&seen, most).unwrap();
        std::iter::from_fn(|| ports.draw(&mut rng)).collect()
    }

    #[test]
    fn ports_behind_a_rising_sequence_come_first() {
        let drawn = all(&[(1, 40_000), (1, 40_002), (1, 40_010)], 100);
        let ports: Vec<_> = drawn.iter().map(SocketAddr::port).collect();
        assert_eq!(ports[..3], [40_011, 40_015, 40_019]);
        assert_eq!(ports[63], 40_011 + 63 * 4);
        let likely = |port: &u16| (40_011..40_267).contains(port);
        assert!(ports[..64].iter().all(likely) && !ports[64..].iter().all(likely));
        let near_the_end = all(&[(1, 65_529), (1, 65_530)], 5);
        assert_eq!(near_the_end[..2].iter().map(SocketAddr::port).collect::<Vec<_>>(), [65_531, 65_535]);
    }

    #[test]
    fn what_does_not_rise_or_leaps_is_no_sequence() {
        for seen in [&[40_000][..], &[40_002, 40_000], &[40_000, 40_065], &[40_000, 40_000]] {
            assert_eq!(behind(seen), [], "{seen:?}");
        }
    }

    #[test]
    fn ports_of_the_newest_address_are_guessed() {
        let drawn = all(&[(1, 40_000), (2, 40_001), (2, 40_002)], 3);
        assert!(drawn.iter().all(|one| one.ip() == IpAddr::from([203, 0, 113, 2])));
        assert_eq!(drawn[0].port(), 40_003);
        assert!(Ports::new(&[], 3).is_none());
    }

    #[test]
    fn with_256_open_a_thousand_guesses_fail_about_once_in_fifty() {
        let mut rng = StdRng::from_seed([3; 32]);
        let mut failed = 0;
        for n in 0..1000_u64 {
            let open: BTreeSet<u16> = (0..256).map(|_| rng.random_range(FIRST..=u16::MAX)).collect();
            let mut ports = Ports::new(&[([203, 0, 113, 1], 1).into()], 1024).unwrap();
            let mut own = StdRng::seed_from_u64(n);
            let hit = std::iter::from_fn(|| ports.draw(&mut own)).any(|one| open.contains(&one.port()));
            failed += u32::from(!hit);
        }
        assert!((5..40).contains(&failed), "{failed} of 1000 failed");
    }

    proptest! {
        #[test]
        fn every_port_is_drawn_once_and_none_is_a_services(
            seen in proptest::collection::vec((1_u8..4, FIRST..=u16::MAX), 1..9),
            most in 1_u32..2000,
        ) {
            let drawn = all(&seen, most);
            prop_assert_eq!(drawn.len() as u32, most);
            prop_assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len() as u32, most);
            prop_assert!(drawn.iter().all(|one| one.port() >= FIRST));
        }
    }
}
