//! TCP connections out, to the one of several addresses that answers first (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// A SYN that was not answered by then is not answered soon.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The head start of an address before the next (RFC 8305 section 5, Connection Attempt Delay).
pub(crate) const ADDRESS_GAP: Duration = Duration::from_millis(250);
/// Most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 32;

/// Starts the attempts one after the other, `gap` apart or as soon as one fails. The first to succeed wins, and the others
/// are dropped; otherwise all the reasons, in the order in which they came.
pub(crate) async fn race<T, E>(
    attempts: impl IntoIterator<Item = BoxFuture<'_, Result<T, E>>>,
    gap: Duration,
) -> Result<T, Vec<E>> {
    let mut waiting = attempts.into_iter().peekable();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        running.extend(waiting.next());
        let is_last = waiting.peek().is_none();
        tokio::select! {
            done = running.next() => match done {
                Some(Ok(won)) => return Ok(won),
                Some(Err(e)) => errors.push(e),
                None => return Err(errors),
            },
            () = tokio::time::sleep(gap), if !is_last => {}
        }
    }
}

/// The families of IP in turn, beginning with that of the first address (RFC 8305 section 4).
pub(crate) fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(|a| a.is_ipv6() == first);
    let mut out = Vec::with_capacity(addresses.len());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let before = out.len();
        out.extend(one.next().into_iter().chain(other.next()));
        if out.len() == before {
            out.truncate(MOST_ADDRESSES);
            return out;
        }
    }
}

/// Connects to an address. Says why not.
pub(crate) async fn to(address: SocketAddr) -> Result<TcpStream, String> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s: a firewall on the way?");
    let connected = tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await;
    connected
        .unwrap_or_else(|_| Err(late()))
        .map_err(|e| format!("cannot connect to {address}: {}", plain(&e)))
}

/// Connects to whichever of the addresses answers first.
pub(crate) async fn to_one_of(addresses: Vec<SocketAddr>) -> Result<TcpStream, String> {
    let attempts: Vec<_> = interleaved(&addresses)
        .into_iter()
        .map(|address| -> BoxFuture<'_, _> { Box::pin(to(address)) })
        .collect();
    race(attempts, ADDRESS_GAP).await.map_err(|reasons| reasons.join("; "))
}

/// "Connection refused (os error 111)" without the part nobody reads.
pub(crate) fn plain(e: &io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    type Attempt<'a> = BoxFuture<'a, Result<u8, u8>>;

    #[tokio::test]
    async fn a_silent_attempt_is_joined_by_the_next_after_the_gap() {
        let gap = Duration::from_millis(30);
        let start = Instant::now();
        let attempts: [Attempt<'_>; 2] = [Box::pin(pending()), Box::pin(async { Ok(2) })];
        assert_eq!(race(attempts, gap).await, Ok(2));
        assert!(start.elapsed() >= gap);
    }

    #[tokio::test]
    async fn a_failed_attempt_is_followed_by_the_next_at_once() {
        let attempts: [Attempt<'_>; 3] =
            [Box::pin(async { Err(1) }), Box::pin(async { Err(2) }), Box::pin(async { Ok(3) })];
        let raced = tokio::time::timeout(Duration::from_secs(60), race(attempts, LONG)).await;
        assert_eq!(raced.unwrap(), Ok(3));
    }

    #[tokio::test]
    async fn while_the_first_may_still_win_nobody_else_starts() {
        static STARTED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        let first = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(1)
        };
        let second = async {
            STARTED.store(true, std::sync::atomic::Ordering::Relaxed);
            Ok(2)
        };
        let attempts: [Attempt<'_>; 2] = [Box::pin(first), Box::pin(second)];
        assert_eq!(race(attempts, LONG).await, Ok(1));
        assert!(!STARTED.load(std::sync::atomic::Ordering::Relaxed));
    }

    #[tokio::test]
    async fn when_all_fail_there_are_all_reasons() {
        let attempts: [Attempt<'_>; 2] = [Box::pin(async { Err(1) }), Box::pin(async { Err(2) })];
        assert_eq!(race(attempts, LONG).await, Err(vec![1, 2]));
        assert_eq!(race(Vec::<Attempt<'_>>::new(), LONG).await, Err(vec![]));
    }

    #[test]
    fn both_families_have_their_turn() {
        let of = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = of(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let turns = of(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(interleaved(&found), turns);
        assert_eq!(interleaved(&found[3..]), found[3..]);
        assert_eq!(interleaved(&[]), []);
        assert_eq!(interleaved(&[found[0]; 100]).len(), MOST_ADDRESSES);
    }
}
