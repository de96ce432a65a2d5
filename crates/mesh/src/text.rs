//! Texts from the network, made fit for a person's terminal.

/// Longest text shown, in characters; the length of a refusal's text (P2.7 leaves it open, 512 bytes is what we
/// send).
const LONGEST: usize = 512;

/// `text` without control characters, cut at 512 characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

/// A nickname as it is shown: at most 64 characters, the longest host name Linux has (`HOST_NAME_MAX`).
pub(crate) fn nickname(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_endless_texts_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\nc"), "a[31mbc");
        assert_eq!(printable(&"x".repeat(10_000)).len(), 512);
        assert_eq!(nickname(&"é".repeat(100)).chars().count(), 64);
    }
}
