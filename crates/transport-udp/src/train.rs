//! Datagrams of one length in one system call (UDP_SEGMENT), or one by one where that is not to be had.

use std::io;

use crate::errors::is_for_want_of_room;

/// Hands over datagrams of `segment` bytes each, the last one maybe shorter: as one train if `trains` allows it, else singly.
/// A single datagram is never sent as a train: some networks drop it then.
///
/// A train that is refused goes out again as single datagrams. `send` gets the bytes, and the length to cut them at if
/// they are a train.
///
/// # Errors
/// What `send` says of the first datagram that does not pass, or of a train for a reason that single datagrams would meet too,
/// and how many went before. `Ok` holds the error that a train met and its datagrams did not.
pub(crate) fn send_as(
    trains: bool,
    bytes: &[u8],
    segment: usize,
    mut send: impl FnMut(&[u8], Option<usize>) -> io::Result<()>,
) -> Result<Option<io::Error>, Stopped> {
    let stopped = |sent| move |error| Stopped { sent, error };
    if segment >= bytes.len() {
        return send(bytes, None).map(|()| None).map_err(stopped(0));
    }
    let refusal = match trains.then(|| send(bytes, Some(segment))) {
        Some(Ok(())) => return Ok(None),
        Some(Err(e)) if is_about_the_way(&e) => return Err(stopped(0)(e)),
        Some(Err(e)) => Some(e),
        None => None,
    };
    for (sent, datagram) in bytes.chunks(segment).enumerate() {
        send(datagram, None).map_err(stopped(sent))?;
    }
    Ok(refusal)
}

/// Not all datagrams went.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// So many did.
    pub(crate) sent: usize,
    /// What the next one met.
    pub(crate) error: io::Error,
}

/// Errors that would meet a single datagram as well, or pass.
fn is_about_the_way(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::PermissionDenied
    ) || is_for_want_of_room(e)
        || quinn_udp::is_msg_size_err(e)
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    /// A kernel that answers to each train as told, and keeps what it was given.
    struct Kernel {
        to_trains: Result<(), Errno>,
        to_singles: Result<(), Errno>,
        sent: Vec<Vec<u8>>,
        trains: usize,
    }

    impl Kernel {
        fn new(to_trains: Result<(), Errno>, to_singles: Result<(), Errno>) -> Self {
            Self { to_trains, to_singles, sent: Vec::new(), trains: 0 }
        }

        fn send(&mut self, bytes: &[u8], segment: Option<usize>) -> io::Result<()> {
            self.trains += usize::from(segment.is_some());
            (if segment.is_some() { self.to_trains } else { self.to_singles })?;
            self.sent.extend(bytes.chunks(segment.unwrap_or(bytes.len())).map(<[u8]>::to_vec));
            Ok(())
        }

        fn take(&mut self, trains: bool, bytes: &[u8]) -> Result<Option<i32>, Stopped> {
            let refusal = send_as(trains, bytes, 4, |bytes, segment| self.send(bytes, segment))?;
            Ok(refusal.and_then(|e| e.raw_os_error()))
        }
    }

    const BYTES: &[u8] = b"aaaabbbbcc";

    fn datagrams() -> Vec<Vec<u8>> {
        BYTES.chunks(4).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn a_refused_train_arrives_as_its_datagrams_and_the_reason_is_told() {
        for errno in [Errno::EIO, Errno::EINVAL, Errno::EOPNOTSUPP] {
            let mut kernel = Kernel::new(Err(errno), Ok(()));
            assert_eq!(kernel.take(true, BYTES).unwrap(), Some(errno as i32));
            assert_eq!(kernel.sent, datagrams(), "{errno}");
        }
    }

    #[test]
    fn what_single_datagrams_meet_too_is_not_held_against_trains() {
        let mut kernel = Kernel::new(Err(Errno::EINVAL), Err(Errno::EMSGSIZE));
        assert_eq!(kernel.take(true, BYTES).unwrap_err().error.raw_os_error(), Some(Errno::EMSGSIZE as i32));
        for errno in [Errno::EAGAIN, Errno::ENOBUFS, Errno::ENOMEM, Errno::EPERM, Errno::EHOSTUNREACH] {
            let mut kernel = Kernel::new(Err(errno), Ok(()));
            assert_eq!(kernel.take(true, BYTES).unwrap_err().error.raw_os_error(), Some(errno as i32));
            assert!(kernel.sent.is_empty());
        }
    }

    #[test]
    fn where_it_stops_is_told() {
        for (left, trains) in [(0, true), (1, true), (2, false)] {
            let mut kernel = Kernel::new(Err(Errno::EIO), Ok(()));
            let stopped = send_as(trains, BYTES, 4, |bytes, segment| {
                if segment.is_none() && kernel.sent.len() == left {
                    return Err(Errno::EAGAIN.into());
                }
                kernel.send(bytes, segment)
            });
            assert_eq!(stopped.unwrap_err().sent, left);
            assert_eq!(kernel.sent, datagrams()[..left]);
        }
    }

    #[test]
    fn a_single_datagram_is_never_a_train_and_without_trains_none_is_tried() {
        let mut kernel = Kernel::new(Ok(()), Ok(()));
        for bytes in [&b"aaaa"[..], b"aa"] {
            kernel.take(true, bytes).unwrap();
        }
        assert_eq!((kernel.trains, kernel.sent.len()), (0, 2));
        kernel.sent.clear();
        assert_eq!(kernel.take(false, BYTES).unwrap(), None);
        assert_eq!((kernel.trains, &kernel.sent), (0, &datagrams()));
        kernel.sent.clear();
        kernel.take(true, BYTES).unwrap();
        assert_eq!((kernel.trains, &kernel.sent), (1, &datagrams()));
    }
}
