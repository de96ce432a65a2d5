//! From a seed to a schedule.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::{Schedule, Step};
use crate::{Conditions, PeerConfig};

/// How long things go wrong for.
const TROUBLE_MS: std::ops::Range<u64> = 8_000..40_000;
/// In milliseconds.
const HOUR: i64 = 3_600_000;
/// One in so many pairs has a wall between it, in networks that have walls.
const WALLED: u32 = 4;

impl Schedule {
    /// The schedule of this seed: 3 to 8 peers.
    pub fn draw(seed: u64) -> Self {
        // Not the world's own sequence.
        let mut rng = StdRng::seed_from_u64(seed ^ 0x7363_6865_6475_6c65);
        let n = rng.random_range(3..=8);
        let mut peers: Vec<_> = (0..n).map(|i| peer(&mut rng, i)).collect();
        peers[0].listens = true;
        let walls = if rng.random_ratio(1, 3) { walls(&mut rng, n) } else { Vec::new() };
        let mut steps = joins(&mut rng, &peers, &walls);
        for _ in 0..rng.random_range(0..10) {
            trouble(&mut rng, n, &mut steps);
        }
        for _ in 0..rng.random_range(0..60) {
            steps.push(frame(&mut rng, n));
        }
        // Those of one moment keep their order: a trouble ends after it began.
        steps.sort_by_key(|&(at, _)| at);
        Self { seed, conditions: conditions(&mut rng), peers, steps, walls }
    }
}

fn conditions(rng: &mut StdRng) -> Conditions {
    let micros = |rng: &mut StdRng| Duration::from_micros([50, 500, 5_000, 60_000][rng.random_range(0..4)]);
    let frame_loss = [0, 0, 10_000, 200_000][rng.random_range(0..4)];
    Conditions {
        latency: micros(rng),
        spread: micros(rng),
        jitter: micros(rng),
        frame_loss,
        ..Conditions::default()
    }
}

fn peer(rng: &mut StdRng, number: u64) -> PeerConfig {
    let clock_skew = if rng.random_ratio(1, 8) { rng.random_range(-30 * HOUR..30 * HOUR) } else { 0 };
    PeerConfig { identity: number, listens: !rng.random_ratio(1, 6), clock_skew, conn_limit: 0 }
}

fn walls(rng: &mut StdRng, n: u64) -> Vec<(usize, usize)> {
    let n = n as usize;
    let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
    pairs.filter(|_| rng.random_ratio(1, WALLED)).collect()
}

/// Everyone starts in the first seconds, and most know somebody who listens.
fn joins(rng: &mut StdRng, peers: &[PeerConfig], walls: &[(usize, usize)]) -> Vec<(Duration, Step)> {
    let mut steps = Vec::new();
    let at_once = rng.random_ratio(1, 4);
    let free = |a: usize, b: usize| a != b && !walls.contains(&(a.min(b), a.max(b)));
    for n in 0..peers.len() {
        let at = if at_once { 0 } else { rng.random_range(0..5_000) };
        steps.push((Duration::from_millis(at), Step::Start(n)));
        let mut others: Vec<_> = (0..peers.len()).filter(|&to| peers[to].listens && free(n, to)).collect();
        others.shuffle(rng);
        let known = if n == 0 { rng.random_range(0..2) } else { rng.random_range(1..3) };
        for &to in others.iter().take(known) {
            steps.push((Duration::from_millis(at), Step::Connect(n, to)));
        }
    }
    steps
}

/// Somebody sends a frame, at any time.
fn frame(rng: &mut StdRng, n: u64) -> (Duration, Step) {
    let n = n as usize;
    let a = rng.random_range(0..n);
    let b = (a + rng.random_range(1..n)) % n;
    let step = if rng.random_bool(0.4) { Step::Broadcast(a) } else { Step::Unicast(a, b) };
    (Duration::from_millis(rng.random_range(0..TROUBLE_MS.end + 5_000)), step)
}

/// Something goes wrong, and mostly right again.
fn trouble(rng: &mut StdRng, n: u64, steps: &mut Vec<(Duration, Step)>) {
    let n = n as usize;
    let begin = rng.random_range(TROUBLE_MS);
    let lasts = [50, 1_000, 8_000, 15_000][rng.random_range(0..4)];
    let end = begin + rng.random_range(1..=lasts);
    let a = rng.random_range(0..n);
    let b = (a + rng.random_range(1..n)) % n;
    let both = rng.random_bool(0.5);
    let (first, then) = match rng.random_range(0..10) {
        0 | 1 => (vec![Step::Reset(a, b)], vec![]),
        2 | 3 if both => {
            let and_back = |x: fn(usize, usize) -> Step| vec![x(a, b), x(b, a)];
            (and_back(Step::Silence), and_back(Step::Unsilence))
        }
        2 | 3 => (vec![Step::Silence(a, b)], vec![Step::Unsilence(a, b)]),
        4 if both => (
            vec![Step::Kill(a)],
            vec![Step::SetClock(a, rng.random_range(-30 * HOUR..30 * HOUR)), Step::Start(a)],
        ),
        4 => (vec![Step::Kill(a)], vec![Step::Start(a)]),
        // An old disk alone, not together with an old clock: nothing could tell such a host from its own copy (P3.7).
        5 if both => {
            (vec![Step::Kill(a)], vec![Step::RestoreDisk(a), Step::SetClock(a, 40 * HOUR), Step::Start(a)])
        }
        5 => (vec![Step::Kill(a)], vec![]),
        6 => (vec![Step::PowerOff(a)], vec![Step::Start(a)]),
        7 => (vec![Step::Split(rng.random_range(1..(1 << n) - 1))], vec![Step::Merge]),
        8 => (vec![Step::Starve(a)], vec![Step::Feed(a)]),
        _ => (vec![Step::Block(a, b), Step::Reset(a, b)], vec![Step::Unblock(a, b)]),
    };
    let at = Duration::from_millis;
    steps.extend(first.into_iter().map(|step| (at(begin), step)));
    steps.extend(then.into_iter().map(|step| (at(end), step)));
}
