//! Trains of records (UDP_SEGMENT) to one neighbour: what goes into the policy, and what comes out of it.

use std::collections::VecDeque;
use std::time::Instant;

use transport_udp::{PACE, Sample, Sent, Trust, UdpPath, Why};
use wire::{ANSWER_RECORD, Arrived, PeerName};

/// Probes remembered until they are answered: those of the last few seconds, also while measuring.
const PROBES: usize = 64;

/// Records a second that are not worth a probe of their own.
const FEW: u64 = 5;

pub(super) struct Trains {
    /// Why there never are any.
    never: Option<&'static str>,
    trust: Trust,
    /// Token, time, and what had been sent, of the latest probes.
    probes: VecDeque<(u64, Instant, Sent)>,
    /// When the next probe for measuring is due.
    next_probe: Option<Instant>,
    /// Records with frames that had been sent at the last look.
    sent: u64,
    /// Tokens of such probes. Nobody has to be kept from guessing them: an answer is authentic, and proves no path.
    token: u64,
}

impl Trains {
    pub(super) const fn new(now: Instant, never: Option<&'static str>) -> Self {
        let trust = Trust::new(now);
        Self { never, trust, probes: VecDeque::new(), next_probe: None, sent: 0, token: 0 }
    }

    /// A probe is about to be sent.
    pub(super) fn probing(&mut self, now: Instant, token: u64, path: &UdpPath) {
        if self.probes.len() >= PROBES {
            self.probes.pop_front();
        }
        self.probes.push_back((token, now, path.sent()));
    }

    /// A probe was answered.
    pub(super) fn answered(&mut self, now: Instant, token: u64, arrived: Option<Arrived>) {
        let Some(at) = self.probes.iter().position(|(t, ..)| *t == token) else { return };
        // Those sent before are of no more use: what they could tell is older.
        let Some((_, at, sent)) = self.probes.drain(..=at).next_back() else { return };
        if let (None, Some(Arrived { opened, forged })) = (self.never, arrived) {
            let sample = Sample { at, sent: sent.records, trained: sent.in_trains, opened, forged };
            self.trust.handle_sample(now, sample);
        }
    }

    /// What is due; tells the path.
    pub(super) fn drive(&mut self, now: Instant, peer: PeerName, path: &UdpPath) {
        if self.never.is_some() {
            return;
        }
        if let Some(errno) = path.take_refusal() {
            self.trust.handle_refusal(now, errno);
        }
        self.trust.handle_timeout(now);
        if path.trains() != self.trust.allowed() {
            match self.trust.why() {
                Some(why) => tracing::info!(%peer, reason = %why, "no more trains"),
                None => tracing::info!(%peer, "trains again"),
            }
            path.set_trains(self.trust.allowed());
        }
        if !self.trust.is_measuring() {
            self.next_probe = None;
        } else if self.next_probe.is_none_or(|at| at <= now) {
            self.next_probe = Some(now + PACE);
            self.measure(now, path);
        }
    }

    /// Once a second: while frames go out, the probes that keep the path come too rarely (P4.9). Loss that is noticed within a
    /// second or two is over before TCP has taken it for the way of the world.
    pub(super) fn tick(&mut self, now: Instant, path: &UdpPath) {
        let sent = path.sent().records;
        if std::mem::replace(&mut self.sent, sent) + FEW < sent && self.never.is_none() {
            self.measure(now, path);
        }
    }

    fn measure(&mut self, now: Instant, path: &UdpPath) {
        self.token += 1;
        self.probing(now, self.token, path);
        // One that cannot be sent is one that is not answered.
        let _ = path.probe(path.remote(), self.token, ANSWER_RECORD as u16);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_probe.into_iter().chain(self.trust.poll_timeout()).min()
    }

    /// Why none are sent, if so.
    pub(super) fn why_not(&self) -> Option<String> {
        self.never.map(str::to_owned).or_else(|| self.trust.why().map(|why| why.to_string()))
    }

    /// How often they were switched off, by reason.
    pub(super) fn switched_off(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Why::LABELS.into_iter().zip(self.trust.switched_off())
    }
}
