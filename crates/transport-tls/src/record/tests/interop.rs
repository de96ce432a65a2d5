//! The record layer against rustls, in memory: both ends are in the same process, one of them is the library alone.

use std::io::{Read as _, Write as _};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::super::*;
use super::{content, open_all};
use crate::Credentials;
use crate::tls;

fn credentials(n: u8) -> Credentials {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[n; 32]).unwrap();
    Credentials::new(&[n; 32], pair.public_key().as_ref().try_into().unwrap()).unwrap()
}

/// Our record layer after a handshake, and a plain rustls connection at the other end.
fn connected(we_dial: bool) -> (RecordSealer, RecordOpener, rustls::Connection) {
    let client = credentials(1).client_connection([127, 0, 0, 1].into()).unwrap();
    let server = credentials(2).server_connection().unwrap();
    let (ours, theirs) = if we_dial { (client, server) } else { (server, client) };
    let tls::Connection { tls: mut our_tls, secrets } = ours;
    let mut their_tls = theirs.tls;
    while our_tls.is_handshaking() || their_tls.is_handshaking() {
        carry(&mut our_tls, &mut their_tls);
        carry(&mut their_tls, &mut our_tls);
    }
    let suite = Suite::new(our_tls.negotiated_cipher_suite().unwrap().suite()).unwrap();
    let (seal, open) = secrets.of(we_dial).unwrap();
    let secret = |bytes| TrafficSecret::new(suite, bytes).unwrap();
    (RecordSealer::new(secret(seal)).unwrap(), RecordOpener::new(secret(open)).unwrap(), their_tls)
}

fn carry(from: &mut rustls::Connection, to: &mut rustls::Connection) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let _ = hear(to, &bytes);
}

/// Feeds rustls; gives the content it found.
fn hear(tls: &mut rustls::Connection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut content = Vec::new();
    while !bytes.is_empty() {
        tls.read_tls(&mut bytes).unwrap();
        tls.process_new_packets()?;
        let _ = tls.reader().read_to_end(&mut content);
    }
    Ok(content)
}

fn say(tls: &mut rustls::Connection, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in content.chunks(10_000) {
        tls.writer().write_all(part).unwrap();
        while tls.wants_write() {
            tls.write_tls(&mut bytes).unwrap();
        }
    }
    bytes
}

#[test]
fn each_understands_the_other_across_key_updates() {
    for we_dial in [true, false] {
        let (mut sealer, mut opener, mut rustls) = connected(we_dial);
        for round in 0..4 {
            let plain = content(100_000 + round);
            let mut records = Vec::new();
            layout::append(&mut records, 0, &plain);
            layout::close(&mut records, 0);
            sealer.seal(&mut records).unwrap();
            assert!(hear(&mut rustls, &records).unwrap() == plain, "round {round}");
            let bytes = say(&mut rustls, &plain);
            assert!(open_all(&mut opener, &bytes).unwrap().0 == plain, "round {round}");

            let mut update = Vec::new();
            sealer.append_key_update(&mut update).unwrap();
            assert!(hear(&mut rustls, &update).unwrap().is_empty());
            rustls.refresh_traffic_keys().unwrap();
            let update = say(&mut rustls, b"after");
            let (after, other) = open_all(&mut opener, &update).unwrap();
            assert_eq!((&after[..], other.len()), (&b"after"[..], 1));
        }
    }
}

#[test]
fn rustls_answers_a_request_for_a_key_update() {
    let (mut sealer, mut opener, mut rustls) = connected(true);
    let mut request = Vec::new();
    sealer.append_one(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 1], &mut request).unwrap();
    hear(&mut rustls, &request).unwrap();
    let bytes = say(&mut rustls, b"content");
    let (content, other) = open_all(&mut opener, &bytes).unwrap();
    assert_eq!((&content[..], &other[..]), (&b"content"[..], &[Opened::Handshake(false)][..]));
}

#[test]
fn a_farewell_is_understood_both_ways() {
    let (mut sealer, mut opener, mut rustls) = connected(false);
    let mut farewell = Vec::new();
    sealer.append_alert(Alert::CLOSE_NOTIFY, &mut farewell).unwrap();
    hear(&mut rustls, &farewell).unwrap();
    assert_eq!(rustls.reader().read(&mut [0; 9]).unwrap(), 0, "a clean end");
    rustls.send_close_notify();
    let bytes = say(&mut rustls, b"");
    let mut out = Vec::new();
    rustls.write_tls(&mut out).unwrap_or_default();
    let bytes = [bytes, out].concat();
    assert_eq!(open_all(&mut opener, &bytes).unwrap().1, [Opened::Closed]);
}

#[test]
fn rustls_names_our_alert() {
    let (mut sealer, _, mut rustls) = connected(true);
    let mut alert = Vec::new();
    sealer.append_alert(Alert::BAD_RECORD_MAC, &mut alert).unwrap();
    let error = hear(&mut rustls, &alert).unwrap_err();
    assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
}
