//! The table for people.

use std::fmt::Write;

use crate::measure::Found;

/// The head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:<46} {:<8} {:<6} {:>9} {:>9} {:>8} {:>8} {:>6}  goals\n",
        "a, b", "expected", "way", "ping, ms", "final, s", "bare", "overlay", "ratio"
    )
}

/// One row of it.
pub(crate) fn line(found: &Found) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let ratio = found.bare_gbps.zip(found.overlay_gbps).filter(|(bare, _)| *bare > 0.001);
    let verdict = if found.missed.is_empty() {
        "reached".to_owned()
    } else {
        format!("missed: {}", found.missed.join("; "))
    };
    format!(
        "{:<46} {:<8} {:<6} {:>9} {:>9} {:>8} {:>8} {:>6}  {verdict}\n",
        found.name,
        found.expected,
        found.way,
        number(found.first_ping_ms, 0),
        number(found.final_way_ms.map(|ms| ms / 1e3), 2),
        number(found.bare_gbps, 2),
        number(found.overlay_gbps, 2),
        number(ratio.map(|(bare, overlay)| overlay / bare), 2),
    )
}

/// What stands below it.
pub(crate) fn foot(rows: &[Found], seconds: u32) -> String {
    let reached = rows.iter().filter(|row| row.missed.is_empty()).count();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n{reached} of {} rows reach their goals: the way expected, the first ping within 1 s of `weave connect`, the \
         final way within 5 s, or 30 s where ports are guessed.\n\
         n = 1. Gb/s of one TCP stream for {seconds} s through the hop in the middle: from host to host without overlay, \
         and from container to container.\n\
         All that crosses the hop are packets of their MTU, no segments of 64 KiB, and it carries some 100 000 a second: \
         a ratio near 1 says that the overlay fills the way. What the router itself can do is in `make bench`. Behind one \
         NAT the stream without overlay stays behind it; what is relayed crosses the hop twice.\n",
        rows.len()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_under_its_head_and_tells_what_was_missed() {
        let mut found = Found {
            name: "none, none".into(),
            expected: "udp",
            way: "udp",
            first_ping_ms: Some(312.4),
            final_way_ms: Some(1500.0),
            bare_gbps: Some(2.0),
            overlay_gbps: Some(1.0),
            ..Found::default()
        };
        let text = line(&found);
        assert!(text.contains(" 312 ") && text.contains("1.50") && text.contains("0.50  reached"), "{text}");
        assert_eq!(text.find("reached"), head().find("goals"));
        (found.missed, found.bare_gbps) = (vec!["first ping late".into()], None);
        let text = line(&found);
        assert!(text.contains("-     1.00      -  missed: first ping late"), "{text}");
        assert!(foot(&[found], 3).contains("0 of 1 rows"));
    }
}
