//! What is done to the networks.

use std::time::{Duration, Instant};

use sim::{Conditions, Peer, Traffic, World, truth};

use crate::figures::Figures;
use crate::shape::Shape;

/// How often agreement is looked for.
const GLANCE: Duration = Duration::from_millis(50);
/// The same where it comes and goes within a tenth of a second.
const CLOSE_GLANCE: Duration = Duration::from_millis(5);
/// How long it must last, where it can be there before anybody has noticed what happened.
const LASTING: Duration = Duration::from_secs(5);
/// The longest that is waited for it.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a network gets to come to rest before something is done to it: those who were out of reach are forgotten, and
/// links that nobody needs are closed.
const REST: Duration = Duration::from_secs(110);

/// How often a network is looked at to be quiet before one link changes.
const QUIET_TRIES: usize = 4;

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// All start at one moment, and know nobody but the first.
    Join,
    /// All are killed and started again at one moment.
    Restart,
    /// The peer that all joined through is killed and started again every second, thirty times.
    Flap,
    /// As `Join`, while one in five gets its turn twice a second only, for two hundred messages.
    Starved,
    /// Two halves hear nothing of each other for ten minutes.
    Split,
    /// For thirty seconds one in a hundred links is reset each second.
    Loss,
    /// One link of a network at rest is reset, and comes back.
    Change,
    /// A minute in which nothing happens.
    Steady,
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Restart => "restart",
            Self::Flap => "flap",
            Self::Starved => "starved",
            Self::Split => "split",
            Self::Loss => "loss",
            Self::Change => "change",
            Self::Steady => "steady",
        }
    }

    /// What it is, for the table.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Join => "join all at once through one",
            Self::Restart => "all restart at once",
            Self::Flap => "a hub flaps every second, 30 s",
            Self::Starved => "join, 20 % starved of CPU",
            Self::Split => "split 10 min, then merged",
            Self::Loss => "1 % of links lost per s, 30 s",
            Self::Change => "one link changes",
            Self::Steady => "steady state, 60 s",
        }
    }

    /// What is done one after the other to one and the same network, because it takes the computer long to make one: two rows of
    /// about the same length. In between it comes to rest.
    pub(crate) const ROWS: [&'static [Self]; 2] = [
        &[Self::Join, Self::Steady, Self::Change, Self::Loss, Self::Flap],
        &[Self::Starved, Self::Split, Self::Restart],
    ];

    /// Does these things to a network of `n` peers, and measures.
    pub(crate) fn run(
        row: &[Self],
        n: usize,
        seed: u64,
        timeline: bool,
        mut done: impl FnMut(Self, Figures),
    ) {
        let mut world = World::new(seed, Conditions::default());
        let mut held = 0;
        for &scenario in row {
            let begin = Instant::now();
            let mut figures = Figures::default();
            let memory = allocation_counter::measure(|| {
                let mut measured =
                    Measured { world: &mut world, figures: Figures::default(), timeline, agreed_on: None };
                measured.run(scenario, n);
                figures = measured.figures;
            });
            figures.peak_bytes = u64::try_from(held + memory.bytes_max as i64).unwrap_or(0);
            held += memory.bytes_current;
            figures.rest_bytes = u64::try_from(held).unwrap_or(0);
            figures.peers = n;
            figures.links = truth::links(&world).len();
            figures.shape = Shape::of(&world);
            figures.real = begin.elapsed();
            done(scenario, figures);
        }
    }
}

/// A world and what has been measured in it.
struct Measured<'a> {
    world: &'a mut World,
    figures: Figures,
    /// Whether to tell each second how far it is.
    timeline: bool,
    /// The facts that all agreed on when that was looked at last, and how often links had come or gone by then.
    agreed_on: Option<(u64, u64)>,
}

impl Measured<'_> {
    fn run(&mut self, scenario: Scenario, n: usize) {
        if scenario == Scenario::Join {
            return self.measure(|m| m.join(n));
        }
        if scenario == Scenario::Starved {
            self.measure(|m| {
                m.join(n);
                (0..n)
                    .filter(|n| n % 5 == 4)
                    .for_each(|n| m.world.starve(n, Duration::from_millis(500), 200));
            });
            return (0..n).for_each(|n| self.world.feed(n));
        }
        if self.world.peers().is_empty() {
            self.join(n);
            self.await_agreement();
        }
        self.pass(REST);
        match scenario {
            Scenario::Join | Scenario::Starved => {}
            Scenario::Restart => self.measure(|m| {
                (0..n).for_each(|peer| m.world.kill(peer));
                (0..n).for_each(|peer| m.world.start(peer));
            }),
            Scenario::Flap => self.measure_over(10, |m| {
                m.world.kill(0);
                m.world.run_for(Duration::from_millis(500));
                m.world.start(0);
            }),
            Scenario::Loss => self.measure_over(10, |m| {
                let links: Vec<_> = truth::links(m.world).into_iter().collect();
                let lost = (links.len() / 100).max(1);
                (0..lost).for_each(|_| {
                    let (a, b) = links[m.world.chance(links.len())];
                    m.world.reset(a, b);
                });
            }),
            Scenario::Split => {
                let half = |n: usize| n % 2 == 1;
                self.world.split(half);
                self.pass(Duration::from_secs(600));
                self.measure(|m| m.world.merge());
            }
            Scenario::Change => self.change(),
            Scenario::Steady => {
                let before = self.world.sent();
                self.world.run_for(Duration::from_secs(30));
                self.figures.sent = self.world.sent() - before;
                self.figures.lasted = Duration::from_secs(30);
                self.await_agreement();
            }
        }
    }

    /// All start at one moment.
    fn join(&mut self, n: usize) {
        self.world.add_started(n);
        (1..n).for_each(|peer| self.world.connect(peer, 0));
    }

    /// Does something, and measures from then until all agree.
    fn measure(&mut self, act: impl FnOnce(&mut Self)) {
        let (begin, before) = (self.world.elapsed(), self.world.sent());
        act(self);
        self.await_agreement();
        self.figures.lasted = self.world.elapsed() - begin;
        self.figures.sent = self.world.sent() - before;
    }

    /// Does something at the beginning of each of so many seconds. Time to agree counts from the last of them, what was sent from the
    /// first.
    fn measure_over(&mut self, seconds: u64, mut act: impl FnMut(&mut Self)) {
        let (begin, before) = (self.world.elapsed(), self.world.sent());
        for second in 1..=seconds {
            act(self);
            if second < seconds {
                let next = begin + Duration::from_secs(second);
                self.world.run_for(next.saturating_sub(self.world.elapsed()));
            }
        }
        self.await_lasting_agreement();
        self.figures.lasted = self.world.elapsed() - begin;
        self.figures.sent = self.world.sent() - before;
    }

    /// One link is lost and comes back; everything that is sent beyond what is in quiet times is its cost.
    fn change(&mut self) {
        const QUIET: Duration = Duration::from_secs(30);
        let mut quiet = Err(String::new());
        for _ in 0..QUIET_TRIES {
            quiet = self.quiet(QUIET);
            if quiet.is_ok() {
                break;
            }
        }
        // Else what is seen would come of something else, or be less than what there was before.
        let quiet = match quiet {
            Ok(quiet) => quiet,
            Err(why) => return self.figures.settled(None, Some(why)),
        };
        let links: Vec<_> = truth::links(self.world).into_iter().collect();
        let (a, b) = links[self.world.chance(links.len())];
        let (begin, before, stated) = (self.world.elapsed(), self.world.sent(), self.stated());
        self.world.reset(a, b);
        self.await_lasting_agreement();
        self.world.run_for((begin + QUIET).saturating_sub(self.world.elapsed()));
        self.figures.sent = self.world.sent() - before;
        self.figures.lasted = self.world.elapsed() - begin;
        self.figures.changes = Some((self.stated() - stated) / 2.0);
        let (with, without) = (self.figures.sent.gossip().bytes, quiet.gossip().bytes);
        self.figures.beyond_quiet = Some(with.saturating_sub(without));
    }

    /// Lets time pass and gives what was sent meanwhile.
    ///
    /// # Errors
    /// What happened, when anything did.
    fn quiet(&mut self, time: Duration) -> Result<Traffic, String> {
        let (events, stated, before) = (self.world.link_events(), self.stated(), self.world.sent());
        self.pass(time);
        let (events, stated) = (self.world.link_events() - events, self.stated() - stated);
        if events > 0 || stated >= 1.0 {
            return Err(format!(
                "the network was not quiet before: {events} ends of links came or went and {stated:.0} facts were \
                 stated within {time:?}"
            ));
        }
        Ok(self.world.sent() - before)
    }

    /// Facts that were stated so far and got around: each is new to everybody but its origin.
    fn stated(&self) -> f64 {
        let n = self.world.peers().len();
        let new = |n| Some(self.world.mesh(n)?.counters().facts_new);
        (0..n).filter_map(new).sum::<u64>() as f64 / (n.max(2) - 1) as f64
    }

    /// Lets time pass until all agree.
    fn await_agreement(&mut self) {
        let begin = self.world.elapsed();
        while let Some(flaw) = self.flaw() {
            if self.world.elapsed() - begin > PATIENCE {
                return self.figures.settled(None, Some(flaw));
            }
            self.wait(GLANCE);
        }
        self.figures.settled(Some(self.world.elapsed() - begin), None);
    }

    /// The same where agreement is there at first, on what is not so any more: it counts from when it lasted.
    fn await_lasting_agreement(&mut self) {
        let (begin, mut since) = (self.world.elapsed(), self.world.elapsed());
        while self.world.elapsed() < since + LASTING {
            let flaw = self.flaw();
            if flaw.is_some() && self.world.elapsed() - begin > PATIENCE {
                return self.figures.settled(None, flaw);
            }
            self.wait(CLOSE_GLANCE);
            if flaw.is_some() {
                since = self.world.elapsed();
            }
        }
        self.figures.settled(Some(since - begin), None);
    }

    /// Lets time pass, and tells each second how it is if that is asked for.
    fn pass(&mut self, time: Duration) {
        let end = self.world.elapsed() + time;
        while self.timeline && self.world.elapsed() + Duration::from_secs(1) < end {
            self.wait(Duration::from_secs(1));
        }
        self.world.run_for(end.saturating_sub(self.world.elapsed()));
    }

    /// Lets time pass.
    fn wait(&mut self, time: Duration) {
        let second = self.world.elapsed().as_secs();
        self.world.run_for(time);
        if self.timeline && self.world.elapsed().as_secs() != second {
            self.tell();
        }
    }

    /// Tells how far it is.
    fn tell(&mut self) {
        let flaw = self.flaw().unwrap_or_default();
        let (world, sent) = (&*self.world, self.world.sent());
        let [facts, digests, announced, wanted, pruned] =
            [0x07, 0x08, 0x0b, 0x0c, 0x0d].map(|kind| sent.of(kind).messages);
        let counters = || (0..world.peers().len()).filter_map(|n| Some(world.mesh(n)?.counters()));
        let (new, stale) =
            counters().fold((0, 0), |(new, stale), c| (new + c.facts_new, stale + c.facts_stale));
        let links = truth::links(world).len();
        eprintln!(
            "{:6.1} s: {links} links; messages: {facts} facts, {digests} digests, {announced} announcements, {wanted} wants, \
             {pruned} prunes; facts: {new} new, {stale} stale; {flaw}",
            world.elapsed().as_secs_f64()
        );
    }

    /// What is in the way of agreement. To look at a million routes takes long: only once for each state of affairs, and not
    /// while facts differ.
    fn flaw(&mut self) -> Option<String> {
        let alive = |n: &usize| self.world.peers().get(*n).is_some_and(Peer::is_alive);
        let alive: Vec<_> = (0..self.world.peers().len()).filter(alive).collect();
        let Some(held) = truth::common_fingerprint(self.world, &alive) else {
            return Some("not all hold the same facts".to_owned());
        };
        let state = Some((held, self.world.link_events()));
        if state == self.agreed_on {
            return None;
        }
        let groups = truth::groups(self.world);
        if groups.len() != 1 {
            let joined = groups.iter().map(Vec::len).max().unwrap_or(0);
            return Some(format!("{joined} of {} are joined", alive.len()));
        }
        let flaw = truth::agreement(self.world).err();
        self.agreed_on = state.filter(|_| flaw.is_none());
        flaw
    }
}
