//! Wires of a lab, whole and broken: what the tests of partial meshes stand on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use testbed::{Cut, Host, Lab, Underlay};

/// How long is waited for what is not to come.
const SILENCE: Duration = Duration::from_millis(700);

#[test]
fn only_hosts_with_a_wire_between_them_reach_each_other() {
    let Some(lab) = Lab::up_or_skip(3, Underlay::Offload) else { return };
    let wires = lab.wired(&[(1, 2), (3, 2)]);
    for (from, to, reached) in [(1, 2, true), (2, 3, true), (3, 2, true), (1, 3, false), (3, 1, false)] {
        let (from, to) = (lab.host(from), lab.host(to));
        for address in [to.address(), to.address6()] {
            assert_eq!(from.pings(&address), reached, "{from} to {address}");
        }
    }
    assert!(lab.host(1).pings(&lab.world().address()));
    assert!(wires.crossed(1, 2) > 0 && wires.crossed(2, 3) > 0);
    assert_eq!((wires.crossed(1, 3), wires.crossed(3, 1)), (0, 0));
    wires.mend(1, 3);
    assert!(lab.host(1).pings(&lab.host(3).address6()));
    wires.cut(1, 3, Cut::Silent);
    assert!(!lab.host(1).pings(&lab.host(3).address()));
    drop(wires);
    assert!(lab.host(1).pings(&lab.host(3).address()));
}

#[test]
fn a_wire_cut_by_reset_ends_connections_at_both_ends_and_refuses_new_ones() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let wires = lab.wired(&[(1, 2)]);
    for family in [4, 6] {
        let mut ends = connected(&lab, family);
        let start = Instant::now();
        wires.cut(1, 2, Cut::Reset);
        for end in &mut ends {
            let error = end.read(&mut [0]).unwrap_err().kind();
            assert!([ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted].contains(&error), "{error:?}");
        }
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());

        let listener = listener(lab.host(2), family);
        let to = listener.local_addr().unwrap();
        let refused = lab.host(1).network().within(|| TcpStream::connect(to)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let socket = udp(lab.host(1), family);
        socket.connect(to).unwrap();
        socket.send(b"hello").unwrap();
        assert_eq!(socket.recv(&mut [0; 9]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "by ICMP");
        wires.mend(1, 2);
        lab.host(1).network().within(|| TcpStream::connect(to)).unwrap();
    }
}

#[test]
fn a_wire_cut_in_silence_tells_nobody_and_goes_on_where_it_was_when_it_is_mended() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let wires = lab.wired(&[(1, 2)]);
    for family in [4, 6] {
        let mut ends = connected(&lab, family);
        wires.cut(1, 2, Cut::Silent);
        for end in &mut ends {
            end.write_all(b"hello").unwrap();
        }
        for end in &mut ends {
            assert_eq!(end.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        wires.mend(1, 2);
        for end in &mut ends {
            end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            assert_eq!(end.read(&mut [0; 9]).unwrap(), 5);
        }
    }
}

#[test]
fn a_wire_can_be_cut_in_one_direction_or_for_tcp_only() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let wires = lab.wired(&[(1, 2)]);
    for family in [4, 6] {
        let [one, two] = [1, 2].map(|k| udp(lab.host(k), family));
        let arrives = |from: &UdpSocket, to: &UdpSocket| {
            from.send_to(b"hello", to.local_addr().unwrap()).unwrap();
            to.recv(&mut [0; 9]).is_ok()
        };
        let connects = || {
            let listener = listener(lab.host(2), family);
            let to = listener.local_addr().unwrap();
            lab.host(1).network().within(|| TcpStream::connect_timeout(&to, SILENCE)).is_ok()
        };
        for (how, there, back, tcp) in [
            (Cut::OneWay, true, false, false),
            (Cut::Tcp, true, true, false),
            (Cut::Silent, false, false, false),
        ] {
            wires.cut(1, 2, how);
            assert_eq!((arrives(&one, &two), arrives(&two, &one), connects()), (there, back, tcp), "{how:?}");
        }
        wires.mend(1, 2);
        assert!(arrives(&one, &two) && arrives(&two, &one) && connects());
    }
}

/// Both ends of a TCP connection between host 1 and host 2.
fn connected(lab: &Lab, family: u8) -> [TcpStream; 2] {
    let listener = listener(lab.host(2), family);
    let to = listener.local_addr().unwrap();
    let dialler = lab.host(1).network().within(|| TcpStream::connect(to)).unwrap();
    let ends = [dialler, listener.accept().unwrap().0];
    for end in &ends {
        end.set_read_timeout(Some(SILENCE)).unwrap();
    }
    ends
}

fn listener(host: &Host, family: u8) -> TcpListener {
    host.network().within(|| TcpListener::bind(address(host, family)).unwrap())
}

fn udp(host: &Host, family: u8) -> UdpSocket {
    let socket = host.network().udp(address(host, family));
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket
}

/// With any port.
fn address(host: &Host, family: u8) -> SocketAddr {
    let ip = if family == 4 { host.address() } else { host.address6() };
    SocketAddr::new(ip.parse().unwrap(), 0)
}
