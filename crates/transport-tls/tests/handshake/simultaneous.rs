//! Two hosts behind NATs of their own that let nothing in: both connect, and a link comes of it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test's own harness: what is unexpected fails the test, and a skip says why"
)]

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpListener, TcpStream};
use transport_tls::{Established, HandshakeError, Turn, dial_simultaneous};

use crate::common::endpoint;

const PATIENCE: Duration = Duration::from_secs(8);
const PORT: u16 = 46783;

/// Two hosts (a, b), each behind a NAT (m, n), which share a network.
struct Nats(String);

impl Nats {
    /// None when this machine cannot have them; says why.
    fn new_or_skip() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root may make namespaces");
            return None;
        }
        let nats = Self(format!("so{}", std::process::id()));
        let of = |x: &str| nats.name(x);
        let [a, b, m, n] = ["a", "b", "m", "n"].map(of);
        for space in [&a, &b, &m, &n] {
            ip(&format!("netns add {space}"));
            ip(&format!("-n {space} link set lo up"));
        }
        for (one, two, name) in [(&a, &m, "in"), (&b, &n, "in"), (&m, &n, "out")] {
            ip(&format!("-n {one} link add {name} type veth peer name {name} netns {two}"));
        }
        for (space, name, address) in [
            (&a, "in", "10.0.1.2/24"),
            (&m, "in", "10.0.1.1/24"),
            (&b, "in", "10.0.2.2/24"),
            (&n, "in", "10.0.2.1/24"),
            (&m, "out", "198.18.0.1/24"),
            (&n, "out", "198.18.0.2/24"),
        ] {
            ip(&format!("-n {space} address add {address} dev {name}"));
            ip(&format!("-n {space} link set {name} up"));
        }
        ip(&format!("-n {a} route add default via 10.0.1.1"));
        ip(&format!("-n {b} route add default via 10.0.2.1"));
        let rules = "table ip t { \
            chain s { type nat hook postrouting priority srcnat; oifname out masquerade; }; \
            chain i { type filter hook input priority filter; iifname out drop; }; \
            chain f { type filter hook forward priority filter; iifname out ct state new drop; }; }";
        for space in [&m, &n] {
            run("ip", &["netns", "exec", space, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
            run("ip", &["netns", "exec", space, "nft", rules]);
        }
        Some(nats)
    }

    fn name(&self, space: &str) -> String {
        format!("{}{space}", self.0)
    }

    /// Does something on a thread of its own in one of the four.
    fn within<T: Send + 'static>(
        &self,
        space: &str,
        work: impl FnOnce(&tokio::runtime::Runtime) -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let file = File::open(format!("/run/netns/{}", self.name(space))).unwrap();
        std::thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            work(&runtime)
        })
    }

    /// The peer with this number connects to the other NAT's address, as the other one knows it.
    fn meet(
        &self,
        space: &str,
        n: u8,
        remote: &str,
        port: u16,
        at: Instant,
    ) -> std::thread::JoinHandle<Result<Established, HandshakeError>> {
        let remote: SocketAddr = format!("{remote}:{port}").parse().unwrap();
        self.within(space, move |runtime| {
            runtime.block_on(async {
                let local = SocketAddr::from(([0, 0, 0, 0], port));
                let tcp = dial_simultaneous(local, remote, at, PATIENCE).await?;
                let (own, other) = (endpoint(n, &[]), endpoint(3 - n, &[]));
                own.meet(tcp, other.hello.name, &Turn::new()).await
            })
        })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for space in ["a", "b", "m", "n"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.name(space)]).status();
        }
    }
}

fn ip(words: &str) {
    run("ip", &words.split(' ').collect::<Vec<_>>());
}

fn run(program: &str, words: &[&str]) {
    let done = Command::new(program).args(words).output().unwrap();
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn two_hosts_behind_nats_link_by_connecting_at_the_same_time_or_nearly() {
    let Some(nats) = Nats::new_or_skip() else { return };
    // One alone gets nowhere: the other's NAT lets nobody in.
    let alone = nats.within("a", |runtime| {
        runtime.block_on(async {
            let remote = SocketAddr::from(([198, 18, 0, 2], PORT));
            let local = SocketAddr::from(([0, 0, 0, 0], PORT));
            dial_simultaneous(local, remote, Instant::now(), Duration::from_millis(500)).await
        })
    });
    assert!(alone.join().unwrap().is_err());
    // Ports of their own: those of a connection that was closed in order stay taken for a minute.
    for (port, late) in [(PORT + 1, 0), (PORT + 2, 300)] {
        let at = Instant::now() + Duration::from_millis(100);
        let one = nats.meet("a", 1, "198.18.0.2", port, at);
        let two = nats.meet("b", 2, "198.18.0.1", port, at + Duration::from_millis(late));
        let (one, two) = (one.join().unwrap().unwrap(), two.join().unwrap().unwrap());
        assert_eq!((one.hello.nickname.as_str(), two.hello.nickname.as_str()), ("h2", "h1"));
        assert!(one.outbound && !two.outbound, "the smaller name is the client");
        assert_eq!(one.session_secret, two.session_secret);
        assert_eq!(one.remote.to_string(), format!("198.18.0.2:{port}"));
    }
}

#[tokio::test]
async fn whoever_connected_the_smaller_name_is_the_client_and_another_name_is_refused() {
    for (connects, accepts) in [(1, 2), (2, 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, two) = (endpoint(connects, &[]), endpoint(accepts, &[]));
        let dial = async {
            let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            one.meet(tcp, two.hello.name, &Turn::new()).await.unwrap()
        };
        let accept = async {
            let (tcp, _) = listener.accept().await.unwrap();
            two.meet(tcp, one.hello.name, &Turn::new()).await.unwrap()
        };
        let (d, a) = tokio::join!(dial, accept);
        assert_eq!((d.outbound, a.outbound), (connects == 1, accepts == 1));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, two, three) = (endpoint(1, &[]), endpoint(2, &[]), endpoint(3, &[]));
    let dial = async {
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        three.meet(tcp, one.hello.name, &Turn::new()).await
    };
    let accept = async { one.meet(listener.accept().await.unwrap().0, two.hello.name, &Turn::new()).await };
    let (_, refused) = tokio::join!(dial, accept);
    assert!(refused.err().unwrap().to_string().contains("expected another peer"));
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    assert!(one.meet(tcp, one.hello.name, &Turn::new()).await.err().unwrap().to_string().contains("itself"));
}

#[tokio::test]
async fn what_another_try_would_not_mend_ends_at_once() {
    let start = Instant::now();
    let (local, remote) = ("127.0.0.1:0".parse().unwrap(), "[::1]:1".parse().unwrap());
    assert!(dial_simultaneous(local, remote, start, Duration::from_secs(60)).await.is_err());
    assert!(start.elapsed() < Duration::from_secs(30));
}
