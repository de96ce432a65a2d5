//! What the underlay loses is sent again by those who talk, and never arrives wrong.

use std::time::Duration;

use testbed::{Lab, Transfer, Underlay, serve_random_file};

/// TCP may wait for a second or two before it sends again what was lost twice.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_transfer_stands_the_loss_of_single_datagrams_over_udp() {
    let Some(lab) = lab(Underlay::Plain) else { return };
    stands_loss(&lab.joined_over("udp"), "udp", 200);
}

#[test]
fn a_transfer_stands_the_loss_of_datagrams_out_of_the_middle_of_trains_over_udp_in_ipv6() {
    let Some(lab) = lab(Underlay::Merging) else { return };
    stands_loss(&lab.joined_over_ipv6("udp"), "udp", 100);
}

#[test]
fn a_transfer_stands_the_loss_of_packets_over_tls() {
    let Some(lab) = lab(Underlay::Plain) else { return };
    stands_loss(&lab.joined_over("tls"), "tls", 100);
}

/// One packet in a thousand over IPv6, one in a hundred over IPv4.
fn stands_loss(lab: &Lab, transport: &str, megabytes: u32) {
    let sum = serve_random_file(lab.host(1), "web", megabytes);
    for (per_mille, from) in [(1, format!("[{}]", lab.host(1).overlay6())), (10, lab.host(1).overlay())] {
        let loss = lab.lose(per_mille);
        let received = Transfer::start(lab.host(2), "web", &from).sum(PATIENCE);
        let (lost, crossed) = (loss.lost(), loss.crossed());
        assert_eq!(received, sum, "{lost} of {crossed} packets were lost");
        // A MB makes 700 packets; each of them was the switch's to lose, not trains of them.
        assert!(crossed > u64::from(megabytes) * 500, "only {crossed} packets for {megabytes} MB");
        // Where 70 lost packets are the fewest expected, a share this far off does not come about by chance.
        let share = lost as f64 / crossed as f64 * 1000.0 / f64::from(per_mille);
        assert!(
            (0.5..2.0).contains(&share),
            "{lost} of {crossed} packets were lost, not {per_mille} of 1000"
        );
    }
    // Nothing of it was mistaken for a path that is of no use.
    lab.host(2).await_peers(2, transport);
}

fn lab(underlay: Underlay) -> Option<Lab> {
    Some(Lab::up_or_skip(2, underlay)?.with_docker().with_weave(env!("CARGO_BIN_EXE_weave")))
}
