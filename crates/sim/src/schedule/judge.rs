//! What must be true while a schedule runs, and after it.

use std::time::Duration;

use packet::Mac;

use super::Schedule;
use crate::{World, truth};

/// The longest that agreement may take after the last trouble. A peer that was out of reach for long is dialled every six to nine
/// minutes only.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// The longest that one change may take to get around.
const A_MOMENT: Duration = Duration::from_secs(3);
/// The longest that frames may take, until keys are agreed on with those that are no neighbours.
const CARRIED_WITHIN: Duration = Duration::from_secs(4);
/// After how many steps the tables are looked at. It takes as long as a few steps do.
const SIZED: u64 = 8;
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(500);
/// How long agreement must last once it is there, and all trace of the dead must be gone: those who were out of reach are
/// forgotten after 60 s (P5.7).
const QUIET: Duration = Duration::from_secs(62);
/// Times that links may still change after all was well.
const MEETINGS: usize = 4;

/// Lets time pass, and looks after every step at the peer that it touched; now and then at the sizes of its tables, too.
pub(super) fn watch_until(world: &mut World, end: Duration) -> Result<(), String> {
    while world.step(end) {
        if let Some(peer) = world.touched() {
            truth::always(world, peer)?;
            if world.handled().is_multiple_of(SIZED) {
                truth::bounded(world, peer)?;
            }
        }
        if let Some(violation) = world.violation() {
            return Err(violation.to_owned());
        }
    }
    (0..world.peers().len()).try_for_each(|peer| truth::bounded(world, peer))
}

/// Waits until all is well, and sees that it stays so.
pub(super) fn settles(world: &mut World, schedule: &Schedule) -> Result<(), String> {
    // Somebody whom nobody has as a target may be found again as long as he is remembered.
    for _ in 0..MEETINGS {
        await_wellness(world, schedule, PATIENCE)?;
        let links = truth::links(world);
        let end = world.elapsed() + QUIET;
        watch_until(world, end)?;
        if truth::links(world) == links {
            // A link may have become slower at this very moment, and the news be on its way.
            await_wellness(world, schedule, A_MOMENT)?;
            return truth::belief(world);
        }
    }
    Err(format!("links go on changing without any trouble: {:?}", truth::links(world)))
}

fn await_wellness(world: &mut World, schedule: &Schedule, patience: Duration) -> Result<(), String> {
    let begin = world.elapsed();
    while let Err(flaw) = is_well(world, schedule) {
        if world.elapsed() - begin > patience {
            return Err(format!("after {patience:?} without trouble, {flaw}"));
        }
        let next = world.elapsed() + GLANCE;
        watch_until(world, next)?;
    }
    Ok(())
}

/// Without loss, what anybody sends to everyone reaches every bridge that there is a way to, and what is for one reaches that one, once.
pub(super) fn carries(world: &mut World) -> Result<(), String> {
    world.conditions_mut().frame_loss = 0;
    world.forget_frames();
    let groups = truth::groups(world);
    let mut sent = Vec::new();
    for group in &groups {
        for &n in group {
            let others: Vec<_> = group.iter().copied().filter(|&other| other != n).collect();
            sent.push((world.send_frame(n, Mac::BROADCAST), n, others));
        }
    }
    arrive(world, &sent)?;
    // Now everybody knows where everybody is. All at once: those that are no neighbours ask each other for keys at the same moment.
    sent.clear();
    for group in &groups {
        for &from in group {
            for &to in group.iter().filter(|&&to| to != from) {
                sent.push((world.send_frame(from, World::mac(to)), from, vec![to]));
            }
        }
    }
    arrive(world, &sent)
}

/// Waits until each of these frames is where it must be, and nowhere else.
fn arrive(world: &mut World, sent: &[(u64, usize, Vec<usize>)]) -> Result<(), String> {
    let end = world.elapsed() + CARRIED_WITHIN;
    watch_until(world, end)?;
    for (number, from, expected) in sent {
        let got = world.got(*number);
        if got != *expected {
            return Err(format!("frame {number} of {from} should reach {expected:?} and reached {got:?}"));
        }
    }
    Ok(())
}

/// Everyone agrees; all that can be linked are.
fn is_well(world: &World, schedule: &Schedule) -> Result<(), String> {
    let links = truth::links(world);
    let groups = truth::groups(world);
    let group = |n: usize| groups.iter().position(|group| group.contains(&n));
    let alive = |n: usize| world.peers()[n].is_alive();
    let reaches = |a, b| world.can_dial(a, b) || world.can_dial(b, a);
    for (_, step) in &schedule.steps {
        if let super::Step::Connect(a, b) = *step
            && (alive(a) && alive(b) && world.can_dial(a, b) && group(a) != group(b))
        {
            return Err(format!("{a} has {b} as its target and does not reach it"));
        }
    }
    for a in (0..world.peers().len()).filter(|&n| alive(n)) {
        for b in (a + 1..world.peers().len()).filter(|&n| alive(n)) {
            if group(a) == group(b) && reaches(a, b) && !links.contains(&(a, b)) {
                return Err(format!("{a} and {b} could be linked and are not"));
            }
        }
    }
    truth::agreement(world)
}
