//! What people must be told about, kept for a while after it was last seen.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::PeerName;

/// How long something is shown after it was last seen: longer than the longest wait between two tries, jitter
/// included.
pub(crate) const KEEP: Duration = Duration::from_secs(10 * 60);
/// Most warnings kept.
const MAX_WARNINGS: usize = 32;
/// Most refused callers kept.
const MAX_REFUSED: usize = 16;
/// Refusals with code 6 within this time may be a restart that P3.7 lets in; later ones are not.
const RESTART: Duration = Duration::from_secs(10);

/// The way out of two hosts with one identity.
pub(crate) const CURE: &str =
    "stop one of the two, delete the file `identity` in its state directory and launch it again";

/// What a warning is about; a newer one replaces an older one about the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Another host has our identity.
    OwnIdentity,
    /// Two hosts have the identity of this peer.
    Identity(PeerName),
    /// This name is used with two keys.
    Name(PeerName),
}

/// Warnings in words.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    list: BTreeMap<Subject, (Instant, String)>,
    /// First and last refusal of ourselves with code 6.
    in_use: Option<(Instant, Instant)>,
}

impl Warnings {
    pub(crate) fn add(&mut self, now: Instant, subject: Subject, text: String) {
        self.list.insert(subject, (now, text));
        if self.list.len() > MAX_WARNINGS
            && let Some((&oldest, _)) = self.list.iter().min_by_key(|(_, (at, _))| *at)
        {
            self.list.remove(&oldest);
        }
    }

    /// We were refused because our identity is in use (P3.7). One such refusal follows each restart that nobody
    /// noticed; it is another host when they go on.
    pub(crate) fn refused_as_in_use(&mut self, now: Instant, by: &str) {
        let first = match self.in_use {
            Some((first, last)) if now < last + KEEP => first,
            _ => now,
        };
        self.in_use = Some((first, now));
        if now >= first + RESTART {
            let text = format!("{by} refuses this host because another one uses the same identity: {CURE}");
            self.add(now, Subject::OwnIdentity, text);
        }
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = (Subject, &str)> {
        self.list.iter().map(|(&subject, (_, text))| (subject, text.as_str()))
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.list.retain(|_, (at, _)| now < *at + KEEP);
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.list.values().map(|(at, _)| *at + KEEP).min()
    }
}

/// Callers that were turned away: the newest from each host.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    list: BTreeMap<IpAddr, (Instant, SocketAddr, String)>,
}

impl Refused {
    pub(crate) fn add(&mut self, now: Instant, address: SocketAddr, reason: String) {
        self.list.insert(address.ip(), (now, address, reason));
        if self.list.len() > MAX_REFUSED
            && let Some((&oldest, _)) = self.list.iter().min_by_key(|(_, (at, ..))| *at)
        {
            self.list.remove(&oldest);
        }
    }

    /// A link from this host is up: what it was refused for is over.
    pub(crate) fn accepted(&mut self, ip: IpAddr) {
        self.list.remove(&ip);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &str)> {
        self.list.values().map(|(_, address, reason)| (*address, reason.as_str()))
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.list.retain(|_, (at, ..)| now < *at + KEEP);
    }

    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.list.values().map(|(at, ..)| *at + KEEP).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{name, start};

    #[test]
    fn a_warning_goes_ten_minutes_after_it_was_last_seen() {
        let (now, mut warnings) = (start(), Warnings::default());
        warnings.add(now, Subject::OwnIdentity, "old".into());
        warnings.add(now + KEEP / 2, Subject::OwnIdentity, "new".into());
        assert_eq!(warnings.texts().collect::<Vec<_>>(), [(Subject::OwnIdentity, "new")]);
        warnings.expire(now + KEEP);
        assert_eq!(warnings.texts().count(), 1);
        assert_eq!(warnings.next_expiry(), Some(now + KEEP / 2 + KEEP));
        warnings.expire(now + KEEP / 2 + KEEP);
        assert_eq!(warnings.texts().count(), 0);
    }

    #[test]
    fn the_oldest_warning_gives_way_when_there_are_too_many() {
        let (now, mut warnings) = (start(), Warnings::default());
        for n in 0..40 {
            warnings.add(now + Duration::from_secs(n), Subject::Name(name(n as u8)), String::new());
        }
        let names: Vec<_> = warnings.texts().map(|(subject, _)| subject).collect();
        assert_eq!(names, (8..40).map(|n| Subject::Name(name(n))).collect::<Vec<_>>());
    }

    #[test]
    fn one_refusal_after_a_restart_is_no_copied_identity_but_a_lasting_one_is() {
        let (now, mut warnings) = (start(), Warnings::default());
        warnings.refused_as_in_use(now, "h1");
        warnings.refused_as_in_use(now + Duration::from_secs(3), "h1");
        assert_eq!(warnings.texts().count(), 0);
        warnings.refused_as_in_use(now + Duration::from_secs(12), "h1");
        assert_eq!(warnings.texts().count(), 1);
        let mut warnings = Warnings::default();
        warnings.refused_as_in_use(now, "h1");
        warnings.refused_as_in_use(now + KEEP * 2, "h1");
        assert_eq!(warnings.texts().count(), 0, "two restarts, a day apart");
    }

    #[test]
    fn of_each_refused_host_the_newest_call_is_kept_and_of_hosts_the_newest_sixteen() {
        let (now, mut refused) = (start(), Refused::default());
        for n in 0..20_u8 {
            for port in [1, 2] {
                refused.add(
                    now + Duration::from_secs(n.into()),
                    ([10, 0, 0, n], port).into(),
                    format!("{n}"),
                );
            }
        }
        let kept: Vec<_> = refused.iter().map(|(a, _)| a).collect();
        assert_eq!(kept, (4..20).map(|n| ([10, 0, 0, n], 2).into()).collect::<Vec<_>>());
        refused.accepted([10, 0, 0, 7].into());
        assert_eq!(refused.iter().count(), 15);
        refused.expire(now + KEEP + Duration::from_secs(19));
        assert_eq!(refused.next_expiry(), None);
    }
}
