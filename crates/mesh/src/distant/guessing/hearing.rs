//! The steps of the other end.

use std::time::Instant;

use wire::{MeetingShare, MeetingStep, PeerName};

use super::ports::Ports;
use super::run::{Outcome, Stage};
use super::{Facing, OPEN_FOR, OPENING, Part, TRIED};
use crate::distant::{Distant, Dropped};

impl Distant {
    /// The peer is behind such a NAT, and asks us to guess.
    pub(in crate::distant) fn hear_guess_call(
        &mut self,
        now: Instant,
        peer: PeerName,
        share: &MeetingShare,
        facing: &Facing,
    ) -> Result<(), Dropped> {
        if facing.part != Some(Part::Guesses) {
            return Err(Dropped::Unusable);
        }
        if !self.guessing.is_on {
            self.send_step(peer, MeetingStep::RefuseGuess, share.number);
            return Ok(());
        }
        let told: Vec<_> = facing.believed(&share.addresses).collect();
        let ports = Ports::new(&told, TRIED).ok_or(Dropped::Unusable)?;
        if !self.guessing.may_begin(now, peer) {
            return Err(Dropped::Limited);
        }
        self.guessing.begin(now, peer, share.number, Stage::Answered(ports), OPENING);
        self.send_step(peer, MeetingStep::AnswerGuess, share.number);
        self.wake(now + OPENING);
        Ok(())
    }

    /// The peer agrees, or (`false`) does not.
    pub(in crate::distant) fn hear_guess_answer(
        &mut self,
        now: Instant,
        peer: PeerName,
        share: &MeetingShare,
        facing: &Facing,
        agrees: bool,
    ) -> Result<(), Dropped> {
        let run = self.guessing.run.as_mut().filter(|run| run.peer == peer && run.number == share.number);
        let run = run.filter(|run| matches!(run.stage, Stage::Called)).ok_or(Dropped::Stale)?;
        if !agrees {
            self.guessing.end(now, Outcome::Refused);
            return Ok(());
        }
        let Some(to) = facing.believed(&share.addresses).next() else {
            self.guessing.end(now, Outcome::Unanswered);
            return Err(Dropped::Unusable);
        };
        run.stage = Stage::Opening { to, opened: 0 };
        (run.next_at, run.until) = (now, now + OPEN_FOR);
        self.wake(now);
        Ok(())
    }

    /// The peer has opened all it could.
    pub(in crate::distant) fn hear_guess_go(
        &mut self,
        now: Instant,
        peer: PeerName,
        share: &MeetingShare,
    ) -> Result<(), Dropped> {
        let run = self.guessing.run.as_mut().filter(|run| run.peer == peer && run.number == share.number);
        let run = run.ok_or(Dropped::Stale)?;
        match std::mem::replace(&mut run.stage, Stage::Called) {
            Stage::Answered(ports) => {
                run.stage = Stage::Guessing(ports);
                (run.next_at, run.until) = (now, now + OPEN_FOR);
                self.wake(now);
                Ok(())
            }
            stage => {
                run.stage = stage;
                Err(Dropped::Stale)
            }
        }
    }
}
