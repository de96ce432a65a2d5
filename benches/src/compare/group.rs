//! UDP to a group, as the overlay's broadcast, beside UDP to one receiver: a sender and a counter, run in containers by
//! this same program, because iperf3 needs answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::hosts::Hosts;
use crate::load::read_to_end;
use crate::results::Metric;
use crate::variant::Variant;

/// Where packets to everybody go (RFC 2365, organization-local).
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 7, 7);
const PORT: u16 = 7007;

/// Sends as fast as the socket takes them.
pub(crate) fn blast(to: Ipv4Addr, size: usize, seconds: f64) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot open a UDP socket")?;
    // What the sender's own host would get back is not what is measured.
    socket.set_multicast_loop_v4(false)?;
    let to = SocketAddrV4::new(to, PORT);
    let packet = vec![0x5a; size];
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        for _ in 0..64 {
            match socket.send_to(&packet, to) {
                Ok(_) => {}
                // A full queue, or a receiver that is not there yet.
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused) => {}
                Err(e) if e.raw_os_error() == Some(ENOBUFS) => {}
                Err(e) => return Err(e).with_context(|| format!("cannot send to {to}")),
            }
        }
    }
    Ok(())
}

const ENOBUFS: i32 = 105;

/// Counts packets until none has come for a while; gives kpps from the first to the last.
pub(crate) fn count(here: Ipv4Addr) -> Result<f64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("cannot open a UDP socket")?;
    socket.join_multicast_v4(&GROUP, &here).with_context(|| format!("cannot join {GROUP} on {here}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut buffer = [0; 2048];
    socket.recv(&mut buffer).context("no packet came for 3 s")?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let first = Instant::now();
    let (mut last, mut packets) = (first, 0_u32);
    while socket.recv(&mut buffer).is_ok() {
        last = Instant::now();
        packets += 1;
    }
    let seconds = (last - first).as_secs_f64();
    ensure!(packets > 100 && seconds > 0.1, "only {packets} packets came, within {seconds:.3} s");
    Ok(f64::from(packets) / seconds / 1e3)
}

/// Measures both, through a variant with containers.
pub(crate) fn run(hosts: &Hosts, variant: &Variant, seconds: f64, to: Metric) -> Result<f64> {
    let program = std::env::current_exe().context("where this program is")?;
    let program =
        program.to_str().map(Path::new).context("this program's path is no text")?.display().to_string();
    let patience = Duration::from_secs_f64(seconds + 6.0);
    let mut counter = hosts.start(&variant.server, patience, &[&program, "count", &variant.address])?;
    thread::sleep(Duration::from_millis(250));
    let address = if to == Metric::MulticastKpps { GROUP.to_string() } else { variant.address.clone() };
    let sent = hosts.run(&variant.client, patience, &[&program, "blast", &address, &seconds.to_string()]);
    let counted = read_to_end(&mut counter);
    sent?;
    let counted = counted?;
    counted.trim().parse().with_context(|| format!("the counter said {counted:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_counted() {
        let counter = thread::spawn(|| count(Ipv4Addr::LOCALHOST));
        thread::sleep(Duration::from_millis(200));
        blast(Ipv4Addr::LOCALHOST, 1200, 0.3).unwrap();
        assert!(counter.join().unwrap().unwrap() > 1.0);
    }
}
