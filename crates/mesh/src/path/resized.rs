//! That records of another length pass than before, and why.

use std::fmt;

/// Records of another length pass than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resized {
    /// The longest that passed before, in bytes.
    pub before: u16,
    /// The longest that passes now.
    pub now: u16,
    /// How it came to that.
    pub because: ResizeCause,
}

/// Why the length was searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeCause {
    /// The path began to work, or leads to another address.
    NewWay,
    /// Records of so many bytes were not answered any more, while short ones were.
    Vanished(u16),
    /// This host itself takes no records of so many bytes.
    Refused(u16),
    /// Longer ones were tried again.
    TriedAgain,
}

impl Resized {
    /// For metrics.
    pub const fn name(&self) -> &'static str {
        if self.now < self.before { "narrower" } else { "wider" }
    }
}

impl fmt::Display for Resized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "records of up to {} bytes pass, {} before: {}", self.now, self.before, self.because)
    }
}

impl fmt::Display for ResizeCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewWay => f.write_str("searched for on a new way"),
            Self::Vanished(bytes) => {
                write!(f, "those of {bytes} bytes vanished while short ones were answered")
            }
            Self::Refused(bytes) => write!(f, "this host itself sends none of {bytes} bytes"),
            Self::TriedAgain => f.write_str("longer ones were tried again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_words() {
        let told = |before, now, because| {
            let resized = Resized { before, now, because };
            (resized.name(), resized.to_string())
        };
        for (because, name, words) in [
            (ResizeCause::NewWay, "narrower", "1252 bytes pass, 1431 before: searched for on a new way"),
            (
                ResizeCause::Vanished(1431),
                "narrower",
                "1252 bytes pass, 1431 before: those of 1431 bytes vanished while short ones were answered",
            ),
            (
                ResizeCause::Refused(1400),
                "narrower",
                "1252 bytes pass, 1431 before: this host itself sends none of 1400 bytes",
            ),
        ] {
            assert_eq!(told(1431, 1252, because), (name, format!("records of up to {words}")));
        }
        let (name, words) = told(1252, 1431, ResizeCause::TriedAgain);
        assert_eq!((name, words.ends_with("1252 before: longer ones were tried again")), ("wider", true));
    }
}
