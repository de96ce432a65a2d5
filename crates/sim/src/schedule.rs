//! Small networks to which everything happens that can go wrong, at random times, drawn from a seed.

mod draw;
mod judge;

use std::time::Duration;

use crate::{Conditions, PeerConfig, World};

/// One thing that is done to a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A router starts.
    Start(usize),
    /// A disk of two runs ago is put back.
    RestoreDisk(usize),
    /// A host's wall clock is set: so many milliseconds off.
    SetClock(usize, i64),
    /// A peer is given another as its target.
    Connect(usize, usize),
    /// A router is killed; its kernel tells its neighbours.
    Kill(usize),
    /// A host loses power.
    PowerOff(usize),
    /// The connection of two peers is reset.
    Reset(usize, usize),
    /// Nothing passes from the first to the second.
    Silence(usize, usize),
    /// It does again.
    Unsilence(usize, usize),
    /// The first cannot dial the second.
    Block(usize, usize),
    /// It can again.
    Unblock(usize, usize),
    /// The peers whose bits are set are cut off from the others.
    Split(u32),
    /// They are no more.
    Merge,
    /// A peer gets no processor but now and then.
    Starve(usize),
    /// It has one again.
    Feed(usize),
    /// A frame for everyone comes out of a peer's bridge.
    Broadcast(usize),
    /// One for the bridge of another peer comes out of it.
    Unicast(usize, usize),
}

/// A network and what happens to it.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// What it was drawn from.
    pub seed: u64,
    /// What the network below is like.
    pub conditions: Conditions,
    /// Who takes part.
    pub peers: Vec<PeerConfig>,
    /// What is done, and when, in order.
    pub steps: Vec<(Duration, Step)>,
    /// Pairs that can never dial each other.
    pub walls: Vec<(usize, usize)>,
}

impl Schedule {
    /// Runs it to the end, and on until everybody agrees and, if the peers have data paths, until frames from everyone have reached
    /// everyone.
    ///
    /// # Errors
    /// What went wrong, and when.
    pub fn run(&self, framed: bool, traced: bool) -> Result<World, String> {
        let mut world = World::new(self.seed, self.conditions.clone());
        if framed {
            world.carry_frames_too();
        }
        if traced {
            world.trace();
        }
        self.peers.iter().for_each(|peer| {
            world.add(peer);
        });
        for &(a, b) in &self.walls {
            world.block(a, b);
            world.block(b, a);
        }
        let settles = |world: &mut World| judge::settles(world, self);
        let result = self.play(&mut world).and_then(|()| settles(&mut world));
        let result = result.and_then(|()| if framed { judge::carries(&mut world) } else { Ok(()) });
        result.map_err(|e| format!("at {:.3} s: {e}", world.elapsed().as_secs_f64()))?;
        Ok(world)
    }

    fn play(&self, world: &mut World) -> Result<(), String> {
        for (at, step) in &self.steps {
            judge::watch_until(world, *at)?;
            self.act(world, step);
        }
        world.heal();
        for &(a, b) in &self.walls {
            world.block(a, b);
            world.block(b, a);
        }
        Ok(())
    }

    fn act(&self, world: &mut World, step: &Step) {
        let alive = |world: &World, n: usize| world.peers()[n].is_alive();
        match *step {
            Step::Start(n) if !alive(world, n) => world.start(n),
            Step::RestoreDisk(n) if !alive(world, n) => world.restore_disk(n),
            Step::SetClock(n, skew) => world.set_clock(n, skew),
            Step::Connect(a, b) => world.connect(a, b),
            Step::Kill(n) if alive(world, n) => world.kill(n),
            Step::PowerOff(n) if alive(world, n) => world.power_off(n),
            Step::Reset(a, b) => {
                world.reset(a, b);
            }
            Step::Silence(a, b) => world.silence(a, b),
            Step::Unsilence(a, b) => world.unsilence(a, b),
            Step::Block(a, b) => world.block(a, b),
            Step::Unblock(a, b) if !self.is_walled(a, b) => world.unblock(a, b),
            Step::Split(mask) => {
                world.merge();
                world.split(|n| mask >> n & 1 == 1);
            }
            Step::Merge => world.merge(),
            Step::Starve(n) => world.starve(n, Duration::from_millis(700), 20),
            Step::Feed(n) => world.feed(n),
            Step::Broadcast(n) if alive(world, n) => {
                world.send_frame(n, packet::Mac::BROADCAST);
            }
            Step::Unicast(a, b) if alive(world, a) => {
                world.send_frame(a, World::mac(b));
            }
            Step::Start(_)
            | Step::RestoreDisk(_)
            | Step::Kill(_)
            | Step::PowerOff(_)
            | Step::Unblock(..)
            | Step::Broadcast(_)
            | Step::Unicast(..) => {}
        }
    }

    fn is_walled(&self, a: usize, b: usize) -> bool {
        self.walls.contains(&(a, b)) || self.walls.contains(&(b, a))
    }
}
