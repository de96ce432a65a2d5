//! [`Answer`]: what a proxy says to CONNECT; bytes in, a decision out.

use httparse::{EMPTY_HEADER, Response};

/// Longest answer, with all that precedes it.
pub(super) const LONGEST: usize = 16 * 1024;
/// Most header fields.
const FIELDS: usize = 64;
/// How every answer begins (RFC 9112 section 4).
const BEGINNING: &[u8] = b"HTTP/1.";
/// Longest reason phrase that is repeated, in characters.
const REASON: usize = 60;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Read on.
    More,
    /// The tunnel is open.
    Open,
}

/// Why there is no tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("it does not speak HTTP")]
    NotHttp,
    #[error("its answer is longer than 16 KiB")]
    TooLong,
    #[error("its answer makes no sense")]
    Malformed,
    /// Whoever is behind the tunnel waits for our first word (RFC 8446 section 4.1).
    #[error("it sends more than its answer")]
    Early,
    /// 407, with the schemes it takes (RFC 9110 section 11.7.1).
    #[error("it wants a login")]
    Login { basic: bool },
    #[error("it answers {code}{}{reason}", if reason.is_empty() { "" } else { " " })]
    Refused { code: u16, reason: String },
}

/// The answer so far.
#[derive(Default)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    /// Where the head that is being read begins: interim answers come before it (RFC 9110 section 15.2).
    start: usize,
}

impl Answer {
    /// Takes what came.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Step, AnswerError> {
        if self.bytes.len() + bytes.len() > LONGEST {
            return Err(AnswerError::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        loop {
            let head = &self.bytes[self.start..];
            let begun = head.len().min(BEGINNING.len());
            if head[..begun] != BEGINNING[..begun] {
                return Err(AnswerError::NotHttp);
            }
            let Some(len) = end_of(head) else { return Ok(Step::More) };
            let step = judge(&head[..len])?;
            self.start += len;
            match step {
                Step::More => {}
                Step::Open if self.start < self.bytes.len() => return Err(AnswerError::Early),
                Step::Open => return Ok(Step::Open),
            }
        }
    }
}

/// Where the blank line ends that ends a head. Lines may end without a carriage return (RFC 9112 section 2.2).
fn end_of(head: &[u8]) -> Option<usize> {
    let ends = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let is_last = |&at: &usize| matches!(head[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
    ends.into_iter().find(is_last).map(|at| if head[at + 1] == b'\n' { at + 2 } else { at + 3 })
}

fn judge(head: &[u8]) -> Result<Step, AnswerError> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut response = Response::new(&mut fields);
    let status = response.parse(head).map_err(|_| AnswerError::Malformed)?;
    let (true, Some(code)) = (status.is_complete(), response.code) else {
        return Err(AnswerError::Malformed);
    };
    match code {
        // Upgrading is not what was asked for.
        101 => Err(AnswerError::Malformed),
        100..=199 => Ok(Step::More),
        200..=299 => Ok(Step::Open),
        407 => {
            let challenges =
                response.headers.iter().filter(|f| f.name.eq_ignore_ascii_case("proxy-authenticate"));
            let offers_basic = |field: &httparse::Header<'_>| {
                let words = field.value.split(|b| matches!(b, b' ' | b','));
                words.into_iter().any(|word| word.eq_ignore_ascii_case(b"basic"))
            };
            Err(AnswerError::Login { basic: challenges.into_iter().any(offers_basic) })
        }
        code => {
            let reason = response.reason.unwrap_or_default();
            let reason = reason.chars().filter(|c| !c.is_control()).take(REASON).collect::<String>();
            Err(AnswerError::Refused { code, reason: reason.trim().to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Result<Step, AnswerError> {
        Answer::default().feed(text.as_bytes())
    }

    #[test]
    fn every_success_opens_the_tunnel() {
        for text in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nVia: x\r\nContent-Length: 7\r\n\r\n",
            "HTTP/1.1 204\r\n\r\n",
            "HTTP/1.1 200 OK\nVia: x\n\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(whole(text), Ok(Step::Open), "{text}");
            let mut answer = Answer::default();
            let (last, rest) = text.as_bytes().split_last().unwrap();
            for byte in rest {
                assert_eq!(answer.feed(&[*byte]), Ok(Step::More), "{text}");
            }
            assert_eq!(answer.feed(&[*last]), Ok(Step::Open), "{text}");
        }
    }

    #[test]
    fn every_refusal_says_why() {
        let refused = |code, reason: &str| Err(AnswerError::Refused { code, reason: reason.into() });
        assert_eq!(whole("HTTP/1.1 403 Forbidden\r\n\r\n<html>"), refused(403, "Forbidden"));
        assert_eq!(whole("HTTP/1.1 503\r\nA: b\r\n\r\n"), refused(503, ""));
        assert_eq!(whole("HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n"), refused(302, "Found"));
        let login = |fields: &str| whole(&format!("HTTP/1.1 407 X\r\n{fields}\r\n"));
        assert_eq!(login(""), Err(AnswerError::Login { basic: false }));
        assert_eq!(login("Proxy-Authenticate: NTLM\r\n"), Err(AnswerError::Login { basic: false }));
        let two = "Proxy-Authenticate: NTLM\r\nproxy-authenticate: bAsIc realm=\"x\"\r\n";
        assert_eq!(login(two), Err(AnswerError::Login { basic: true }));
    }

    #[test]
    fn what_is_no_answer_is_told_apart_at_once() {
        assert_eq!(whole("SSH-2.0-x"), Err(AnswerError::NotHttp));
        assert_eq!(whole("\x15\x03\x01"), Err(AnswerError::NotHttp));
        assert_eq!(whole("HTTP/1.1 two hundred\r\n\r\n"), Err(AnswerError::Malformed));
        assert_eq!(whole("HTTP/1.1 101 Switching\r\n\r\n"), Err(AnswerError::Malformed));
        assert_eq!(whole("HTTP/1.1 200 OK\r\n\r\nhello"), Err(AnswerError::Early));
        let many = (0..=FIELDS).map(|n| format!("f{n}: x\r\n")).collect::<String>();
        assert_eq!(whole(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")), Err(AnswerError::Malformed));
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        let mut answer = Answer::default();
        assert_eq!(answer.feed(b"HTTP/1.1 200 OK\r\nf: "), Ok(Step::More));
        let mut fed = 0;
        let error = loop {
            fed += 1000;
            if let Err(error) = answer.feed(&[b'x'; 1000]) {
                break error;
            }
        };
        assert_eq!(error, AnswerError::TooLong);
        assert!(fed <= LONGEST + 1000 && answer.bytes.len() <= LONGEST);
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
        assert_eq!(whole(&interim), Err(AnswerError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_pieces_make_no_difference(
            head in "(HTTP/1\\.[01] [0-9]{3} [ -~]{0,10}\r?\n([a-zA-Z-]{1,9}: [ -~]{0,9}\r?\n){0,3}\r?\n)?",
            tail: Vec<u8>,
            cut: prop::sample::Index,
        ) {
            let bytes = [head.as_bytes(), &tail].concat();
            let at_once = Answer::default().feed(&bytes);
            let (one, two) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut answer = Answer::default();
            let in_two = match answer.feed(one) {
                Ok(Step::More) => answer.feed(two),
                // Whoever has an open tunnel sends nothing more into the parser.
                Ok(Step::Open) => return Ok(()),
                error => error,
            };
            prop_assert_eq!(in_two, at_once);
        }
    }
}
