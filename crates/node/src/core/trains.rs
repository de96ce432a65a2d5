//! Trains of records (UDP_SEGMENT) to one neighbour: what goes into the policy, and what comes out of it.

use std::collections::VecDeque;
use std::time::Instant;

use mesh::PathSample;
use transport_udp::{PACE, Sample, Sent, Trust, UdpPath, Why};
use wire::{ANSWER_RECORD, Arrived, PeerName};

/// Probes remembered until they are answered: those of the last few seconds, also while measuring.
const PROBES: usize = 64;

pub(super) struct Trains {
    /// Why there never are any.
    never: Option<&'static str>,
    trust: Trust,
    /// Token, time, and what had been sent, of the latest probes.
    probes: VecDeque<(u64, Instant, Sent)>,
    /// When the newest of those that were answered had been sent.
    answered_at: Option<Instant>,
    /// What was counted up to here also went another way, and tells nothing about this one.
    muddled_at: Option<Instant>,
    /// When the next probe for measuring is due.
    next_probe: Option<Instant>,
    /// Tokens of such probes. Nobody has to be kept from guessing them: an answer is authentic, and proves no path.
    token: u64,
}

impl Trains {
    pub(super) const fn new(now: Instant, never: Option<&'static str>) -> Self {
        Self {
            never,
            trust: Trust::new(now),
            probes: VecDeque::new(),
            answered_at: None,
            muddled_at: None,
            next_probe: None,
            token: 0,
        }
    }

    /// A probe is about to be sent.
    pub(super) fn probing(&mut self, now: Instant, token: u64, path: &UdpPath) {
        if self.probes.len() >= PROBES {
            self.probes.pop_front();
        }
        self.probes.push_back((token, now, path.sent()));
    }

    /// A probe was answered: when it had been sent, and what had been sent and arrived by then, if that tells anything.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        token: u64,
        arrived: Option<Arrived>,
    ) -> Option<(Instant, Option<PathSample>)> {
        let place = self.probes.iter().position(|(t, ..)| *t == token)?;
        let (_, at, sent) = self.probes.remove(place)?;
        let is_newest = self.answered_at.is_none_or(|newest| newest <= at);
        self.answered_at = self.answered_at.max(Some(at));
        // What an older one could tell is known, and what went two ways cannot be told apart.
        let is_clear = is_newest && self.muddled_at.is_none_or(|muddled| muddled < at);
        let Some(Arrived { opened, forged }) = arrived.filter(|_| is_clear) else {
            return Some((at, None));
        };
        if self.never.is_none() {
            let sample = Sample { at, sent: sent.records, trained: sent.in_trains, opened, forged };
            self.trust.handle_sample(now, sample);
        }
        // Where trains are being found out about, what is lost may be their fault.
        let is_plain = !self.trust.is_measuring();
        Some((at, is_plain.then_some(PathSample { at, sent: sent.records, opened })))
    }

    /// Records go another way as well, until now.
    pub(super) const fn muddle(&mut self, now: Instant) {
        self.muddled_at = Some(now);
        self.trust.interrupt();
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
