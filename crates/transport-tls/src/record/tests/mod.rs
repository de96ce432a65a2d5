//! The record layer against itself.

mod interop;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

const SUITES: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::Chacha20Poly1305];

fn pair(suite: Suite) -> (RecordSealer, RecordOpener) {
    let len = if suite == Suite::Aes256Gcm { 48 } else { 32 };
    let secret = || TrafficSecret::new(suite, Zeroizing::new(vec![9; len])).unwrap();
    (RecordSealer::new(secret()).unwrap(), RecordOpener::new(secret()).unwrap())
}

/// Opens what is there; gives the content and the rest of what was said.
fn open_all(opener: &mut RecordOpener, mut bytes: &[u8]) -> Result<(Vec<u8>, Vec<Opened>), RecordError> {
    let (mut content, mut other) = (Vec::new(), Vec::new());
    let mut out = vec![0; MAX_RECORD];
    while let Some(len) = RecordOpener::whole(bytes)? {
        match opener.open(&bytes[..len], &mut out)? {
            Opened::Content(len) => content.extend_from_slice(&out[..len]),
            opened => other.push(opened),
        }
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "only whole records");
    Ok((content, other))
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + len) as u8).collect()
}

#[test]
fn content_of_all_sizes_around_the_longest_record_survives() {
    for suite in SUITES {
        let (mut sealer, mut opener) = pair(suite);
        let around = |n: usize| n - 18..=n + 18;
        for len in (1..30).chain(around(MAX_CONTENT)).chain(around(2 * MAX_CONTENT)).chain([65_551]) {
            let (plain, mut records) = (content(len), Vec::new());
            // In two parts: the second begins anywhere in a record.
            let (a, b) = plain.split_at(len * 2 / 3);
            layout::append(&mut records, 0, a);
            layout::append(&mut records, 0, b);
            assert_eq!(layout::content_len(records.len()), len);
            layout::close(&mut records, 0);
            let mut appended = Vec::new();
            sealer.seal(&mut records).unwrap();
            sealer.append(&plain, &mut appended).unwrap();
            assert_eq!(records.len(), appended.len(), "both ways make the same records");
            for sealed in [records, appended] {
                assert!(open_all(&mut opener, &sealed).unwrap().0 == plain, "{suite:?} {len}");
            }
        }
    }
}

#[test]
fn parts_of_laid_out_content_are_taken_out_across_records() {
    let (plain, mut from) = (content(50_000), Vec::new());
    layout::append(&mut from, 0, &plain);
    for range in [0..50_000, 16_383..16_385, 16_384..32_768, 100..100, 49_999..50_000, 5..40_000] {
        let mut to = b"before".to_vec();
        layout::extract(&from, range.clone(), &mut to);
        assert!(to == [b"before", &plain[range.clone()]].concat(), "{range:?}");
    }
}

#[test]
fn a_record_that_was_changed_repeated_swapped_or_left_out_does_not_open() {
    let sealed = || {
        let (mut sealer, opener) = pair(Suite::Aes256Gcm);
        let mut out = [Vec::new(), Vec::new()];
        out.iter_mut().for_each(|o| sealer.append(b"content", o).unwrap());
        (out, opener)
    };
    let ([first, second], mut opener) = sealed();
    assert!(open_all(&mut opener, &[&first[..], &second].concat()).is_ok());
    for bit in 0..first.len() * 8 {
        let ([mut first, _], mut opener) = sealed();
        first[bit / 8] ^= 1 << (bit % 8);
        let mut out = [0; 64];
        // The first bytes say where the record ends, and are looked at before it is opened.
        if !matches!(RecordOpener::whole(&first), Ok(Some(_))) {
            continue;
        }
        assert_eq!(opener.open(&first, &mut out), Err(RecordError::Forged), "bit {bit}");
    }
    for wrong in [[&second[..], &first], [&first, &first]] {
        let (_, mut opener) = sealed();
        assert_eq!(open_all(&mut opener, &wrong.concat()).err(), Some(RecordError::Forged));
    }
}

#[test]
fn headers_that_have_no_place_here_are_refused() {
    for (header, error) in [
        ([20, 3, 3, 0, 1], RecordError::Outer(20)),
        ([22, 3, 3, 0, 40], RecordError::Outer(22)),
        ([23, 3, 3, 0x41, 1], RecordError::TooLong(16_641)),
        ([23, 3, 3, 0, 16], RecordError::NoType),
    ] {
        assert_eq!(RecordOpener::whole(&header), Err(error));
    }
    assert_eq!(RecordOpener::whole(&[23, 3, 3, 0x41, 0]), Ok(None), "the longest there is");
}

#[test]
fn a_key_update_is_followed_and_its_request_is_told() {
    for suite in SUITES {
        let (mut sealer, mut opener) = pair(suite);
        let mut sealed = Vec::new();
        for round in 0..3_u8 {
            sealer.append(&[round; 100], &mut sealed).unwrap();
            sealer.append_key_update(&mut sealed).unwrap();
        }
        let (content, other) = open_all(&mut opener, &sealed).unwrap();
        assert_eq!(content.len(), 300);
        assert_eq!(other, [Opened::Handshake(false); 3]);
    }
    let (mut sealer, mut opener) = pair(Suite::Aes128Gcm);
    let mut sealed = Vec::new();
    sealer.append_one(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 1], &mut sealed).unwrap();
    assert_eq!(open_all(&mut opener, &sealed).unwrap().1, [Opened::Handshake(true)]);
    sealed.clear();
    sealer.append(b"under the old key", &mut sealed).unwrap();
    assert_eq!(open_all(&mut opener, &sealed).err(), Some(RecordError::Forged));
}

#[test]
fn a_key_update_is_due_after_so_many_records() {
    let (mut sealer, _) = pair(Suite::Aes128Gcm);
    sealer.set_limit(3);
    let mut out = Vec::new();
    sealer.append(&[0; 3 * MAX_CONTENT - 1], &mut out).unwrap();
    assert!(sealer.update_due());
    sealer.append_key_update(&mut out).unwrap();
    assert!(!sealer.update_due());
}

/// What an honest or dishonest peer may put into records, and what is made of it.
#[test]
fn what_is_in_a_record_is_judged() {
    let ticket = [&[NEW_SESSION_TICKET, 0, 0, 20][..], &[7; 20]].concat();
    type Records<'a> = &'a [(u8, &'a [u8])];
    let cases: [(Records<'_>, Result<Vec<Opened>, RecordError>); 14] = [
        (&[(ALERT, &[1, 0])], Ok(vec![Opened::Closed])),
        (&[(ALERT, &[2, 40])], Err(RecordError::Alert(Alert(40)))),
        (&[(ALERT, &[1, 90])], Err(RecordError::Alert(Alert(90)))),
        (&[(ALERT, &[1])], Err(RecordError::AlertForm)),
        (&[(0, &[])], Err(RecordError::NoType)),
        (&[(20, &[1])], Err(RecordError::Inner(20))),
        (&[(HANDSHAKE, &ticket)], Ok(vec![Opened::Handshake(false)])),
        (&[(HANDSHAKE, &ticket[..9]), (HANDSHAKE, &ticket[9..])], Ok(vec![Opened::Handshake(false); 2])),
        (&[(HANDSHAKE, &ticket[..9]), (APPLICATION_DATA, &[1])], Err(RecordError::HandshakeForm)),
        (&[(HANDSHAKE, &[])], Err(RecordError::HandshakeForm)),
        (&[(HANDSHAKE, &[1, 0, 0, 0])], Err(RecordError::Handshake(1))),
        (&[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 2])], Err(RecordError::HandshakeForm)),
        (&[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0, 4, 0, 0, 0])], Err(RecordError::HandshakeForm)),
        // Content padded with zeros: the type is the last other byte (RFC 8446 section 5.4).
        (&[(0, &[b'x', APPLICATION_DATA, 0, 0])], Ok(vec![])),
    ];
    for (records, expected) in cases {
        let (mut sealer, mut opener) = pair(Suite::Chacha20Poly1305);
        let mut sealed = Vec::new();
        records.iter().for_each(|(kind, content)| sealer.append_one(*kind, content, &mut sealed).unwrap());
        assert_eq!(open_all(&mut opener, &sealed).map(|(_, other)| other), expected, "{records:?}");
    }
    assert_eq!(
        RecordError::Alert(Alert(40)).to_string(),
        "the other end gave up: TLS alert handshake_failure"
    );
}

#[test]
fn content_longer_than_a_record_may_hold_is_refused() {
    let (mut sealer, mut opener) = pair(Suite::Aes128Gcm);
    let mut sealed = Vec::new();
    sealer.append_one(APPLICATION_DATA, &[1; MAX_CONTENT + 1], &mut sealed).unwrap();
    assert_eq!(open_all(&mut opener, &sealed).err(), Some(RecordError::TooLong(MAX_CONTENT + 1)));
}

#[test]
fn a_padded_record_has_the_length_asked_for_and_opens_to_its_content() {
    let longest = HEADER + MAX_CONTENT + TRAILER;
    let (mut sealer, mut opener) = pair(Suite::Aes256Gcm);
    for (asked, expected) in
        [(0, 20 + HEADER + TRAILER), (43, 43), (1448, 1448), (longest, longest), (65_483, longest)]
    {
        let mut sealed = Vec::new();
        sealer.append_padded(&content(20), asked, &mut sealed).unwrap();
        assert_eq!(sealed.len(), expected);
        assert_eq!(open_all(&mut opener, &sealed).unwrap().0, content(20));
    }
    let long = sealer.append_padded(&content(MAX_CONTENT + 1), 0, &mut Vec::new());
    assert_eq!(long, Err(RecordError::TooLong(MAX_CONTENT + 1)));
}

proptest! {
    /// Authentic records with anything in them: nothing panics, and all errors are ours.
    #[test]
    fn no_content_makes_it_panic(records: Vec<(u8, Vec<u8>)>) {
        let (mut sealer, mut opener) = pair(Suite::Aes256Gcm);
        let mut sealed = Vec::new();
        for (kind, content) in &records {
            sealer.append_one(kind % 26, content, &mut sealed).unwrap();
        }
        let opened = open_all(&mut opener, &sealed);
        prop_assert_ne!(opened.err(), Some(RecordError::Forged));
    }
}
