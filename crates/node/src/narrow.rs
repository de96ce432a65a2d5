//! Dials where packets that are too long vanish and nobody tells (RFC 2923 section 2.1).
//!
//! TCP connects there, and then repeats its first full segment again and again. So where a handshake stalls (P2.12), a second
//! connection of short segments is opened beside the first. Which of them gets through is the link.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use transport_tls::connect_short;

use crate::connect::plain;

/// For so long nothing has to come, at least: before that TCP repeats what got lost by chance.
const PATIENCE: Duration = Duration::from_millis(500);
/// The same where a link has just fallen silent, which may have come of a way that became narrow. Then that chance is the better guess.
const SUSPICIOUS: Duration = Duration::from_millis(150);
/// The same in round trips, where that is more, and the most that they make of it.
const ROUND_TRIPS: u32 = 4;
const MOST_PATIENCE: Duration = Duration::from_secs(3);
/// The other connection answered its SYN a moment ago.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it is remembered of an address. Then full segments are tried first again.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long it is remembered that a link fell silent: for the next dial.
const SUSPECTED: Duration = Duration::from_secs(10);
/// Most addresses remembered.
const MOST: usize = 256;

/// What is remembered of ways where packets that are too long vanish.
#[derive(Debug)]
pub(crate) struct Narrow {
    /// Where only short segments got through.
    known: Lately,
    /// Where a link fell silent.
    suspected: Lately,
}

impl Default for Narrow {
    fn default() -> Self {
        Self { known: Lately::of(REMEMBERED), suspected: Lately::of(SUSPECTED) }
    }
}

impl Narrow {
    /// Whether short segments are to be used from the start.
    pub(crate) fn is_known(&self, now: Instant, ip: IpAddr) -> bool {
        self.known.holds(now, ip)
    }

    /// Full segments do not reach this address, or are not likely to.
    pub(crate) fn note(&self, now: Instant, ip: IpAddr) {
        self.known.note(now, ip);
    }

    /// A link with this address fell silent: full segments may not reach it any more.
    pub(crate) fn suspect(&self, now: Instant, ip: IpAddr) {
        self.suspected.note(now, ip);
    }

    /// How long nothing has to come in a handshake with this address until it counts as stalled, where connecting took so long.
    pub(crate) fn patience(&self, now: Instant, ip: IpAddr, connecting: Duration) -> Duration {
        let least = if self.suspected.holds(now, ip) { SUSPICIOUS } else { PATIENCE };
        connecting.saturating_mul(ROUND_TRIPS).clamp(least, MOST_PATIENCE)
    }
}

/// Addresses that something is true of for a while.
#[derive(Debug)]
struct Lately {
    lasts: Duration,
    since: Mutex<BTreeMap<IpAddr, Instant>>,
}

impl Lately {
    const fn of(lasts: Duration) -> Self {
        Self { lasts, since: Mutex::new(BTreeMap::new()) }
    }

    fn holds(&self, now: Instant, ip: IpAddr) -> bool {
        self.since().get(&ip).is_some_and(|at| now < *at + self.lasts)
    }

    fn note(&self, now: Instant, ip: IpAddr) {
        let mut since = self.since();
        since.retain(|_, at| now < *at + self.lasts);
        if since.len() >= MOST
            && let Some(oldest) = since.iter().min_by_key(|(_, at)| **at).map(|(ip, _)| *ip)
        {
            since.remove(&oldest);
        }
        since.insert(ip, now);
    }

    fn since(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another hold on a connection, for [`reset`].
pub(crate) fn hold(tcp: &TcpStream) -> Option<OwnedFd> {
    tcp.as_fd().try_clone_to_owned().ok()
}

/// Ends a connection that stalled. Its end would wait behind the bytes that do not get through, and the other end for both.
pub(crate) fn reset(tcp: &OwnedFd) {
    // What cannot be reset ends when the other end loses patience.
    let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}

/// Connects for short segments.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let late = || io::Error::new(ErrorKind::TimedOut, "no answer");
    let connected = tokio::time::timeout(CONNECT, connect_short(address)).await;
    connected
        .unwrap_or_else(|_| Err(late()))
        .map_err(|e| format!("cannot connect to {address}: {}", plain(&e)))
}

/// `full`, and once it has stalled `short` beside it. Gives what the first that succeeds does, and whether that is `short`; where
/// none does, the reason of the first.
pub(crate) async fn beside<T, E>(
    full: impl Future<Output = Result<T, E>>,
    stalled: impl Future<Output = ()>,
    short: impl Future<Output = Result<T, E>>,
) -> Result<(T, bool), E> {
    let (mut full, mut short) = (std::pin::pin!(full), std::pin::pin!(short));
    tokio::select! {
        biased;
        outcome = &mut full => return outcome.map(|won| (won, false)),
        () = stalled => {}
    }
    tokio::select! {
        biased;
        outcome = &mut full => match outcome {
            Ok(won) => Ok((won, false)),
            Err(reason) => short.await.map(|won| (won, true)).map_err(|_| reason),
        },
        outcome = &mut short => match outcome {
            Ok(won) => Ok((won, true)),
            Err(_) => full.await.map(|won| (won, false)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::net::Ipv4Addr;

    use super::*;

    type Outcome = Result<u8, &'static str>;

    async fn after(millis: u64, outcome: Outcome) -> Outcome {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        outcome
    }

    #[tokio::test]
    async fn while_the_first_goes_on_there_is_no_second() {
        let never = async { panic!("it has not stalled") };
        assert_eq!(beside(after(20, Ok(1)), pending(), never).await, Ok((1, false)));
        let never = async { panic!("it has not stalled") };
        assert_eq!(beside(after(20, Err("refused")), pending(), never).await, Err("refused"));
    }

    #[tokio::test]
    async fn once_it_stalled_the_first_to_get_through_wins() {
        for (full, short, won) in [
            (after(5, Ok(1)), after(200, Ok(2)), Ok((1, false))),
            (after(200, Ok(1)), after(5, Ok(2)), Ok((2, true))),
            (after(5, Err("full")), after(50, Ok(2)), Ok((2, true))),
            (after(50, Ok(1)), after(5, Err("short")), Ok((1, false))),
            (after(50, Err("full")), after(5, Err("short")), Err("full")),
            (after(5, Err("full")), after(50, Err("short")), Err("full")),
        ] {
            assert_eq!(beside(full, ready(()), short).await, won);
        }
    }

    #[test]
    fn a_slow_way_is_given_more_time_and_one_where_a_link_fell_silent_less_for_a_while() {
        let (narrow, now, ip) = (Narrow::default(), Instant::now(), IpAddr::from([10, 0, 0, 1]));
        let patience =
            |at, connecting| narrow.patience(at, ip, Duration::from_millis(connecting)).as_millis();
        let connecting = [0, 120, 300, 5000];
        assert_eq!(connecting.map(|ms| patience(now, ms)), [500, 500, 1200, 3000]);
        narrow.suspect(now, ip);
        assert_eq!(connecting.map(|ms| patience(now, ms)), [150, 480, 1200, 3000]);
        assert!(!narrow.is_known(now, ip), "it is a guess");
        assert_eq!(patience(now + SUSPECTED, 0), 500);
    }

    #[test]
    fn an_address_is_remembered_for_a_while_and_only_so_many_are() {
        let (narrow, now) = (Narrow::default(), Instant::now());
        let ip = |n: u32| IpAddr::from(Ipv4Addr::from(n));
        narrow.note(now, ip(1));
        assert!(narrow.is_known(now + REMEMBERED / 2, ip(1)) && !narrow.is_known(now, ip(2)));
        assert!(!narrow.is_known(now + REMEMBERED, ip(1)));
        let later = now + Duration::from_secs(1);
        (2..2 + MOST as u32).for_each(|n| narrow.note(later, ip(n)));
        assert_eq!(narrow.known.since().len(), MOST);
        assert!(!narrow.is_known(later, ip(1)), "the oldest gave way");
    }
}
