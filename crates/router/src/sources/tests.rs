use super::*;
use proptest::prelude::*;

fn name(n: u16) -> PeerName {
    let [a, b] = n.to_be_bytes();
    PeerName::new([2, 0, 0, 0, a, b])
}

fn group(source: u16, run: u64, sequence: u64) -> GroupHeader {
    GroupHeader { source: name(source), run, sequence }
}

#[test]
fn each_frame_is_taken_once_and_sources_do_not_mix() {
    let sources = Sources::default();
    for source in [1, 2] {
        assert!(sources.take(&group(source, 5, 1), 1, true, 0).is_ok());
        assert_eq!(sources.take(&group(source, 5, 1), 1, true, 0), Err(Drop::Duplicate));
        assert!(sources.take(&group(source, 5, 3), 1, true, 0).is_ok());
        assert!(sources.take(&group(source, 5, 2), 1, true, 0).is_ok(), "late is not twice");
    }
}

#[test]
fn a_greater_run_replaces_a_smaller_one_for_good() {
    let sources = Sources::default();
    assert!(sources.take(&group(1, 5, 100), 1, true, 0).is_ok());
    assert!(sources.take(&group(1, 6, 100), 1, true, 0).is_ok());
    assert_eq!(sources.take(&group(1, 5, 101), 1, true, 0), Err(Drop::Duplicate));
    assert_eq!(sources.take(&group(1, 6, 100), 1, true, 0), Err(Drop::Duplicate));
}

#[test]
fn a_super_frame_is_new_as_a_whole_or_not_at_all() {
    let sources = Sources::default();
    assert!(sources.take(&group(1, 1, 10), 5, true, 0).is_ok());
    for (first, segments) in [(10, 5), (14, 1), (14, 5), (6, 5), (1, 100)] {
        assert_eq!(sources.take(&group(1, 1, first), segments, true, 0), Err(Drop::Duplicate), "{first}");
    }
    // What was refused took no numbers.
    assert!(sources.take(&group(1, 1, 15), 4, true, 0).is_ok());
    assert!(sources.take(&group(1, 1, 1), 9, true, 0).is_ok());
    assert_eq!(sources.take(&group(1, 1, 100_000), MAX_SEGMENTS + 1, true, 0), Err(Drop::Malformed));
    assert!(sources.take(&group(1, 1, u64::MAX), MAX_SEGMENTS, true, 0).is_ok(), "no overflow");
}

#[test]
fn a_tree_is_asked_for_once_a_second_and_only_while_it_is_not_known() {
    let sources = Sources::default();
    let mut sequence = 0;
    let mut ask = |known, now| {
        sequence += 1;
        sources.take(&group(1, 1, sequence), 1, known, now).unwrap().ask
    };
    assert!(!ask(true, 0));
    assert!(ask(false, 0));
    assert!(!ask(false, 0) && !ask(false, 0));
    assert!(ask(false, 1));
    assert!(!ask(true, 2));
    assert!(ask(false, 2));
}

#[test]
fn the_longest_idle_source_makes_room_and_none_that_still_sends() {
    let sources = Sources::default();
    for n in 0..MAX_SOURCES as u16 {
        // Number 7 is the only one that is silent from the start.
        assert!(sources.take(&group(n, 1, 1), 1, true, if n == 7 { 0 } else { 5 }).is_ok());
    }
    let newcomer = MAX_SOURCES as u16;
    assert_eq!(sources.take(&group(newcomer, 1, 1), 1, true, 9), Err(Drop::Duplicate), "all heard lately");
    assert_eq!(sources.take(&group(7, 1, 1), 1, true, 9), Err(Drop::Duplicate), "still known");
    assert!(sources.take(&group(newcomer, 1, 1), 1, true, 10).is_ok());
    assert_eq!(sources.0.lock().unwrap().sources.len(), MAX_SOURCES);
    assert_eq!(sources.take(&group(6, 1, 1), 1, true, 10), Err(Drop::Duplicate), "the others are known");
    assert_eq!(sources.take(&group(7, 1, 1), 1, true, 14), Err(Drop::Duplicate), "no other idle for long");
}

proptest! {
    /// Against a set that remembers all numbers of the newest run.
    #[test]
    fn it_answers_as_a_set_would(frames in proptest::collection::vec((0u64..3, 1u64..300, 1usize..60), 1..200)) {
        let sources = Sources::default();
        let (mut newest, mut seen) = (0, std::collections::BTreeSet::new());
        for (run, first, segments) in frames {
            if run > newest {
                (newest, seen) = (run, std::collections::BTreeSet::new());
            }
            let numbers = first..first + segments as u64;
            let fresh = run == newest && numbers.clone().all(|n| !seen.contains(&n));
            prop_assert_eq!(sources.take(&group(1, run, first), segments, true, 0).is_ok(), fresh);
            if fresh {
                seen.extend(numbers);
            }
        }
    }
}
