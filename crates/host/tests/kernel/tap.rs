//! The router's port: super-frames in and out.

use std::io::{ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use host::HostError;
use host::bridge::hairpin_on;
use host::tap::{HEADER_LEN, MAX_RECV, Offloads, Tap, remove_tap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;

use crate::support::{BRIDGE, Host, MTU, attached, connect, listen};

const TAP: &str = "vethwe-bridge";

/// The largest ordinary frame: the MTU and an Ethernet header.
const FRAME: usize = MTU as usize + 14;

/// How long a transfer may stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one direction of [`wire`] saw.
#[derive(Default)]
struct Seen {
    largest: AtomicUsize,
    /// Frames marked as TCP segments still to be cut (virtio 1.2, `VIRTIO_NET_HDR_GSO_TCPV4`).
    tcp4: AtomicUsize,
}

fn open(host: &Host) -> Tap {
    host.run(|| async { Tap::open(TAP, BRIDGE, MTU).await.unwrap() })
}

fn open_plain(host: &Host) -> Tap {
    host.run(|| async { Tap::open_plain(TAP, BRIDGE, MTU).await.unwrap() })
}

/// Carries frames from one TAP to another, unchanged, until told to stop.
fn wire(from: &Tap, to: &Tap, stop: &AtomicBool, seen: &Seen) {
    let mut buf = vec![0; MAX_RECV];
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(50_u16)).unwrap();
        loop {
            let len = match from.recv(&mut buf) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("recv: {error}"),
            };
            let header = if from.vnet_hdr() { HEADER_LEN } else { 0 };
            seen.largest.fetch_max(len - header, Ordering::Relaxed);
            if from.vnet_hdr() && buf[1] & 0x7f == 1 {
                seen.tcp4.fetch_add(1, Ordering::Relaxed);
            }
            assert_eq!(to.send(&buf[..len]).unwrap(), len);
        }
    }
}

/// Sends bytes by TCP from a container of one host to one of another, with the two TAPs wired together, and returns
/// what was seen on the way there.
fn transfer(hosts: [&Host; 2], taps: [&Tap; 2], len: usize) -> Seen {
    let (near, far) = (hosts[0].container(true), hosts[1].container(true));
    attached(hosts[0], &near, "near", &["10.1.1.1/24"]);
    attached(hosts[1], &far, "far", &["10.1.1.2/24"]);
    let sent: Vec<u8> = (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let stop = AtomicBool::new(false);
    let (there, back) = (Seen::default(), Seen::default());
    let listener = far.run(|| listen("10.1.1.2:5001"));
    thread::scope(|scope| {
        scope.spawn(|| wire(taps[0], taps[1], &stop, &there));
        scope.spawn(|| wire(taps[1], taps[0], &stop, &back));
        let sender = scope.spawn(|| {
            near.run(|| {
                let mut stream = connect("10.1.1.2:5001");
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(&sent).unwrap();
            });
        });
        let mut received = Vec::new();
        let result = listener.accept().and_then(|(mut stream, _)| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_to_end(&mut received)
        });
        let sender = sender.join();
        stop.store(true, Ordering::Relaxed);
        sender.unwrap();
        result.unwrap();
        assert!(
            received == sent,
            "{} of {} bytes arrived, or they are not the same",
            received.len(),
            sent.len()
        );
    });
    there
}

#[test]
fn a_tap_is_a_port_of_the_bridge_with_the_wanted_mtu_and_queue() {
    let Some(host) = Host::with_bridge() else { return };
    let tap = open(&host);
    assert_eq!(tap.name(), TAP);
    let details = host.sh("ip -d link show dev vethwe-bridge");
    for part in
        ["mtu 1400", "master weave", "UP", "qlen 1000", "tun type tap", "pi off", "persist on", "hairpin off"]
    {
        assert!(details.contains(part), "no `{part}` in {details}");
    }
    assert_eq!(host.sh("cat /proc/sys/net/ipv6/conf/vethwe-bridge/disable_ipv6").trim(), "1");
    assert!(!host.run(|| async { hairpin_on(BRIDGE, TAP).await.unwrap() }));
}

#[test]
fn a_modern_kernel_grants_all_offloads() {
    let Some(host) = Host::with_bridge() else { return };
    let tap = open(&host);
    assert!(tap.vnet_hdr());
    assert_eq!(tap.offloads(), Offloads { csum: true, tso: true, uso: true });
    assert!(host.sh("ip -d link show dev vethwe-bridge").contains("vnet_hdr on"));
}

#[test]
fn super_frames_cross_from_tap_to_tap_and_the_data_is_intact() {
    let (Some(a), Some(b)) = (Host::with_bridge(), Host::with_bridge()) else { return };
    let (tap_a, tap_b) = (open(&a), open(&b));
    let seen = transfer([&a, &b], [&tap_a, &tap_b], 20_000_000);
    let largest = seen.largest.load(Ordering::Relaxed);
    assert!(largest > 10 * FRAME, "the largest frame had {largest} bytes");
    assert!(seen.tcp4.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_plain_tap_delivers_only_ordinary_frames_even_after_one_with_offloads() {
    let (Some(a), Some(b)) = (Host::with_bridge(), Host::with_bridge()) else { return };
    drop((open(&a), open(&b)));
    let (tap_a, tap_b) = (open_plain(&a), open_plain(&b));
    assert!(!tap_a.vnet_hdr());
    assert_eq!(tap_a.offloads(), Offloads::default());
    // That checksums are complete shows in that TCP works: the far TAP is told nothing about them.
    let seen = transfer([&a, &b], [&tap_a, &tap_b], 2_000_000);
    assert_eq!(seen.largest.load(Ordering::Relaxed), FRAME);
}

#[test]
fn a_tap_with_offloads_works_on_a_device_that_was_plain() {
    let Some(host) = Host::with_bridge() else { return };
    drop(open_plain(&host));
    assert!(open(&host).vnet_hdr());
}

#[test]
fn a_device_left_behind_is_attached_again_and_stays_the_same() {
    let Some(host) = Host::with_bridge() else { return };
    let index = || host.sh("ip -o link show dev vethwe-bridge | cut -d: -f1");
    drop(open(&host));
    let before = index();
    assert!(open(&host).vnet_hdr());
    assert_eq!(index(), before);
}

#[test]
fn a_device_that_another_router_reads_is_left_to_it() {
    let Some(host) = Host::with_bridge() else { return };
    let tap = open(&host);
    let error = host.run(|| async { Tap::open(TAP, BRIDGE, MTU).await.unwrap_err() });
    assert!(matches!(error, HostError::TapBusy { .. }), "{error:?}");
    assert!(host.sh("ip link show dev vethwe-bridge").contains("UP"));
    drop(tap);
    open(&host);
}

#[test]
fn an_interface_of_another_kind_with_the_taps_name_is_left_alone() {
    let Some(host) = Host::with_bridge() else { return };
    host.sh("ip link add vethwe-bridge type veth peer name other");
    let (opened, removed) =
        host.run(|| async { (Tap::open(TAP, BRIDGE, MTU).await.err(), remove_tap(TAP).await.err()) });
    for error in [opened, removed] {
        assert!(matches!(error, Some(HostError::NotATap { .. })), "{error:?}");
    }
    assert!(host.try_sh("ip link show dev vethwe-bridge"));
}

#[test]
fn without_a_bridge_no_device_is_made() {
    let Some(host) = Host::new() else { return };
    let error = host.run(|| async { Tap::open(TAP, BRIDGE, MTU).await.unwrap_err() });
    assert!(matches!(&error, HostError::NoInterface { name } if name == "weave"), "{error:?}");
    assert!(!host.try_sh("ip link show dev vethwe-bridge"));
}

#[test]
fn removing_the_device_may_be_repeated() {
    let Some(host) = Host::with_bridge() else { return };
    drop(open(&host));
    host.run(|| async {
        remove_tap(TAP).await.unwrap();
        remove_tap(TAP).await.unwrap();
    });
    assert!(!host.try_sh("ip link show dev vethwe-bridge"));
}

#[test]
fn an_idle_tap_sends_nothing_of_its_own() {
    let Some(host) = Host::with_bridge() else { return };
    let tap = open(&host);
    let mac = host.sh("ip -o link show dev vethwe-bridge | sed 's/.*ether \\([0-9a-f:]*\\).*/\\1/'");
    let mac: Vec<u8> = mac.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    // Neighbour discovery would begin within a second.
    thread::sleep(Duration::from_millis(1500));
    let mut buf = vec![0; MAX_RECV];
    while let Ok(len) = tap.recv(&mut buf) {
        let frame = &buf[HEADER_LEN..len];
        assert_ne!(frame[6..12], mac[..], "the device's own address speaks: {frame:02x?}");
    }
}

#[test]
fn a_train_of_datagrams_comes_out_of_the_tap_as_one_frame() {
    let Some(host) = Host::with_bridge() else { return };
    let container = host.container(true);
    let tap = open(&host);
    attached(&host, &container, "ct1", &["10.1.1.1/24"]);
    container.sh("ip neigh add 10.1.1.9 lladdr 02:00:00:00:00:09 dev ethwe");
    container.run(|| {
        let socket = UdpSocket::bind("10.1.1.1:0").unwrap();
        setsockopt(&socket, UdpGsoSegment, &1000).unwrap();
        assert_eq!(socket.send_to(&[7; 9500], "10.1.1.9:9").unwrap(), 9500);
    });
    let mut buf = vec![0; MAX_RECV];
    let mut trains = Vec::new();
    while let Ok(len) = tap.recv(&mut buf) {
        // virtio 1.2 section 5.1.6: `VIRTIO_NET_HDR_GSO_UDP_L4` is 5, and `gso_size` is at offset 4.
        if buf[1] == 5 {
            trains.push((len - HEADER_LEN, u16::from_le_bytes([buf[4], buf[5]])));
        }
    }
    // Ethernet, IPv4 and UDP headers come once.
    assert_eq!(trains, [(14 + 20 + 8 + 9500, 1000)]);
}
