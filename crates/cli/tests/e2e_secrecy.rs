//! What others on the underlay can see: nothing of what containers say.

use testbed::{Lab, Underlay};

/// What a payload is filled with: long enough not to turn up in random bytes.
const SECRET: &[u8] = b"attack at dawn, by the northern gate";

#[test]
fn no_plaintext_crosses_the_underlay_over_udp() {
    let Some(packets) = eavesdropped("udp") else { return };
    assert!(packets.iter().any(|packet| is_udp(packet)), "records are UDP");
    assert!(!packets.iter().any(|packet| shows_secret(packet)));
}

#[test]
fn no_plaintext_crosses_the_underlay_over_tls_and_no_datagram_either() {
    let Some(packets) = eavesdropped("tls") else { return };
    assert!(packets.len() > 50, "only {} packets", packets.len());
    assert!(!packets.iter().any(|packet| is_udp(packet)), "tls means no UDP at all");
    assert!(!packets.iter().any(|packet| shows_secret(packet)));
}

#[test]
fn passwords_are_nowhere_to_be_seen() {
    let Some(lab) = Lab::up_or_skip(2, Underlay::Offload) else { return };
    let lab = lab.with_weave(env!("CARGO_BIN_EXE_weave"));
    let seen = lab.host(1).capture("eth0", "");
    lab.host(1).sh("echo open-sesame >/run/secret && weave launch --password-file /run/secret").ok();
    lab.host(2).launch(&["--password", "open-sesame", "198.18.0.1"]);
    lab.host(2).await_peers(2, "udp");
    assert!(!seen.stop().iter().any(|packet| contains(packet, b"open-sesame")), "on the underlay");
    for host in lab.hosts() {
        let process = host
            .sh("cat /proc/$(cat /run/weave/weave.pid)/cmdline /proc/$(cat /run/weave/weave.pid)/environ");
        assert!(!process.ok().contains("open-sesame"), "in the list of processes of {host}");
        let files = host.sh("grep -rl open-sesame /var/lib/weave /run/weave");
        assert_eq!(files.stdout, "", "on the disk of {host}");
    }
}

/// Has containers on two hosts say the secret to each other in every way there is; gives what crossed the underlay.
fn eavesdropped(transport: &str) -> Option<Vec<Vec<u8>>> {
    let lab = Lab::up_or_skip(2, Underlay::Plain)?.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let seen = lab.host(1).capture("eth0", "");
    lab.host(1).launch(&["--transport", transport]);
    lab.host(2).launch(&["--transport", transport, "198.18.0.1"]);
    lab.host(1).run_web("server", "10.9.0.1/24");
    lab.host(2).run_shell("client", "10.9.0.2/24");
    lab.host(2).await_peers(2, transport);
    lab.host(2).await_ping("client", "10.9.0.1");
    lab.host(2).inside("client", &["ping", "-c", "20", "-i", "0.2", "-p", "5a", "10.9.0.1"]).ok();
    let secret = String::from_utf8_lossy(SECRET);
    let script = format!("for i in $(seq 2000); do echo '{secret}'; done >/www/plan");
    lab.host(1).inside("server", &["sh", "-c", &script]).ok();
    let page = lab.host(2).inside("client", &["wget", "-q", "-O", "-", "http://10.9.0.1/plan"]).ok();
    assert_eq!(page.lines().count(), 2000);
    assert!(page.starts_with(secret.as_ref()));
    Some(seen.stop())
}

fn shows_secret(packet: &[u8]) -> bool {
    // Or what the echo requests are filled with.
    contains(packet, SECRET) || contains(packet, &[0x5a; 16])
}

fn contains(packet: &[u8], bytes: &[u8]) -> bool {
    packet.windows(bytes.len()).any(|window| window == bytes)
}

/// Whether this is IPv4 (RFC 791: the protocol is byte 9 of the header) or IPv6 (RFC 8200: next header, byte 6)
/// with UDP in it.
fn is_udp(packet: &[u8]) -> bool {
    let field = |at: usize| packet.get(at).copied();
    match (field(12), field(13)) {
        (Some(0x08), Some(0x00)) => field(14 + 9) == Some(17),
        (Some(0x86), Some(0xdd)) => field(14 + 6) == Some(17),
        _ => false,
    }
}
