//! What happens to traffic that is under way while its way breaks, and when it heals again.

use std::thread;
use std::time::Duration;

use serde::Serialize;
use testbed::world::{Conditions, Echoes, Nat, Plan, Way, World, wall_clock};

use crate::transfer::Transfer;
use crate::watch::Watch;

/// One thing that happens.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    nats: [Nat; 2],
    common: u8,
    /// How frames travel before.
    before: Way,
    what: What,
}

enum What {
    /// The way gets worse, and whole again after [`LASTS`].
    Way(Conditions),
    /// The peer that passes frames on is killed.
    Relay,
    /// The NAT of a forgets all it knows.
    Mappings,
    /// The world sees host a at another address.
    Address,
}

const fn fault(name: &'static str, nats: [Nat; 2], before: Way, what: What) -> Fault {
    let common = if matches!(what, What::Relay) { 2 } else { 1 };
    Fault { name, nats, common, before, what }
}

pub(crate) fn all() -> Vec<Fault> {
    let (open, home) = ([Nat::None; 2], [Nat::Masquerade; 2]);
    let whole = Conditions::default();
    let blocked = Conditions { no_udp: true, ..whole };
    let narrow = Conditions { mtu: Some(1200), ..whole };
    let lossy = Conditions { lost: 500, ..whole };
    let slow = Conditions { delay: Duration::from_millis(100), ..whole };
    let mut faults = Vec::new();
    for (nats, [udp, mtu, loss, delay]) in [
        (open, ["UDP blocked", "MTU cut to 1200", "5 % loss", "200 ms more delay"]),
        (
            home,
            [
                "behind NATs: UDP blocked",
                "behind NATs: MTU cut to 1200",
                "behind NATs: 5 % loss",
                "behind NATs: 200 ms more delay",
            ],
        ),
    ] {
        for (name, conditions) in [(udp, blocked), (mtu, narrow), (loss, lossy), (delay, slow)] {
            faults.push(fault(name, nats, Way::Udp, What::Way(conditions)));
        }
    }
    faults.push(fault("the relay is killed", [Nat::Symmetric; 2], Way::Relay, What::Relay));
    faults.push(fault("behind NATs: mappings flushed", home, Way::Udp, What::Mappings));
    faults.push(fault("behind NATs: a gets another address", home, Way::Udp, What::Address));
    faults.push(fault("a gets another address", open, Way::Udp, What::Address));
    faults
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    name: String,
    /// What the worse way did to echo requests, one each 50 ms.
    lost: u64,
    longest_gap_ms: f64,
    /// What frames travelled by while it was worse, at its end.
    meanwhile: &'static str,
    /// Likewise what healing did.
    lost_healing: u64,
    /// From the healing until frames travelled as before, or for what does not heal from the fault on.
    back_s: Option<f64>,
    /// How often the ways of both ends changed in all.
    changes: usize,
    bytes: Option<u64>,
    missed: Vec<String>,
}

impl Found {
    pub(crate) fn failed(fault: &Fault, why: String) -> Self {
        Self { name: fault.name.into(), meanwhile: "none", missed: vec![why], ..Self::default() }
    }
}

/// How long a way is bad.
const LASTS: Duration = Duration::from_secs(15);
/// How long it may take until frames travel as before.
const BACK: Duration = Duration::from_secs(30);
/// The longest silence there may be where nobody is told.
const SILENT: Duration = Duration::from_secs(7);
/// Until answers that are under way are there.
const SETTLE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(50);

pub(crate) fn measure(fault: &Fault, weave: &str) -> Found {
    let plan = Plan { common: fault.common, ..Plan::of(fault.nats[0], fault.nats[1]) };
    let mut world = World::new(plan, weave);
    world.launch(|_| vec![]);
    for k in 0..fault.common {
        let target = world.target(2 + usize::from(k), None);
        world.connect(1, &target);
        world.connect(0, &target);
    }
    let echoes = world.a().echo(&world.b().overlay, INTERVAL);
    let (settled, relay) = {
        let mut watch = Watch::new([world.a(), world.b()]);
        let settled = watch.until(&[fault.before], Duration::from_secs(3), Duration::from_secs(30));
        (settled, relay_of(&world))
    };
    assert!(
        settled,
        "frames do not travel over {} beforehand: {}",
        fault.before.word(),
        world.a().router().log()
    );
    let transfer = Transfer::start(world.b(), world.a());
    thread::sleep(Duration::from_secs(2));

    let broken = wall_clock();
    if matches!(fault.what, What::Relay) {
        let Some(relay) = relay else { panic!("nobody passes on what a sends to b") };
        world.sites_mut()[relay].kill_router();
    }
    let mut watch = Watch::new([world.a(), world.b()]);
    let mut found = Found { name: fault.name.into(), ..Found::default() };
    strike(&world, &fault.what);
    let healed = if let What::Way(_) = fault.what {
        watch.look_for(LASTS);
        found.meanwhile = watch.worse().way.word();
        let healed = wall_clock();
        world.middle().set(Conditions::default());
        healed
    } else {
        // To be known that it is back, it must have been noticed first.
        watch.look_for(Duration::from_secs(8));
        found.meanwhile = watch.worse().way.word();
        broken
    };
    let back = watch.until(&[fault.before], SETTLE, BACK + SETTLE);
    found.back_s = back.then(|| watch.since().saturating_sub(healed).as_secs_f64());
    let end = wall_clock();
    thread::sleep(SETTLE + Duration::from_millis(500));
    watch.look();
    found.changes = watch.changes() - 2;
    tell(&mut found, &echoes, [broken, healed, end], matches!(fault.what, What::Way(_)));
    match transfer.stop() {
        Ok(bytes) => found.bytes = Some(bytes),
        Err(why) => found.missed.push(format!("transfer broken: {why}")),
    }
    judge(&mut found, fault);
    found
}

fn tell(found: &mut Found, echoes: &Echoes, [broken, healed, end]: [Duration; 3], heals: bool) {
    let until = if heals { healed } else { end };
    let (lost, gap) = echoes.lost(broken, until);
    (found.lost, found.longest_gap_ms) = (lost, gap.as_secs_f64() * 1e3);
    if heals {
        let (lost, gap) = echoes.lost(healed, end);
        found.lost_healing = lost;
        found.longest_gap_ms = found.longest_gap_ms.max(gap.as_secs_f64() * 1e3);
    }
}

/// The host whose router passes on what a sends to b, by its place among the sites.
fn relay_of(world: &World) -> Option<usize> {
    let report = world.a().router().report().ok()?;
    let routes = report["Router"]["Routes"].as_array()?;
    let route = routes.iter().find(|one| one["Peer"]["Name"] == world.b().router().name())?;
    let relay = route["Hops"][0]["Name"].as_str()?;
    world.sites().iter().position(|site| site.router().name() == relay)
}

fn strike(world: &World, what: &What) {
    let a = world.a();
    match what {
        What::Way(conditions) => world.middle().set(*conditions),
        What::Relay => {}
        What::Mappings => {
            a.gates[0].sh("conntrack -F 2>/dev/null");
        }
        What::Address => {
            let (space, interface) = a.gates.first().map_or((&a.host, "eth0"), |gate| (gate, "wan"));
            space.sh(&format!(
                "ip addr add 11.0.0.21/24 dev {interface}; ip addr del {}/24 dev {interface}; \
                 ip addr show dev {interface} | grep -q 11.0.0.21 || ip addr add 11.0.0.21/24 dev {interface}",
                a.address
            ));
            if !a.gates.is_empty() {
                space.sh("conntrack -F 2>/dev/null");
            }
        }
    }
}

fn judge(found: &mut Found, fault: &Fault) {
    let missed = &mut found.missed;
    if found.longest_gap_ms > SILENT.as_secs_f64() * 1e3 {
        missed.push("silent for too long".into());
    }
    match found.back_s {
        None => missed.push(format!("not back on {}", fault.before.word())),
        Some(back) if back > BACK.as_secs_f64() => missed.push("late back".into()),
        Some(_) => {}
    }
    // What does not break the way at once is seen in time.
    let seen = |way: &Conditions| !way.no_udp && way.lost == 0;
    if matches!(&fault.what, What::Way(way) if seen(way)) && found.lost > 1 {
        missed.push("more than 1 echo lost while the way got worse".into());
    }
    // What a kernel tells costs no more than what was on its way.
    if matches!(fault.what, What::Relay) && found.longest_gap_ms > 1000.0 {
        missed.push("told, and yet more than 1 s without answer".into());
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "what happens                               \
                               lost  longest gap, s  meanwhile  lost healing  back, s  changes     MB  goals\n";

/// One row of it.
pub(crate) fn line(found: &Found) -> String {
    let back = found.back_s.map_or_else(|| "-".into(), |back| format!("{back:.1}"));
    let megabytes = found.bytes.map_or_else(|| "-".into(), |bytes| format!("{:.1}", bytes as f64 / 1e6));
    let verdict = if found.missed.is_empty() {
        "reached".into()
    } else {
        format!("missed: {}", found.missed.join("; "))
    };
    format!(
        "{:<40} {:>6} {:>15.2} {:>10} {:>13} {:>8} {:>8} {:>6}  {verdict}\n",
        found.name,
        found.lost,
        found.longest_gap_ms / 1e3,
        found.meanwhile,
        found.lost_healing,
        back,
        found.changes,
        megabytes,
    )
}

/// What stands below it.
pub(crate) fn foot(found: &[Found]) -> String {
    let reached = found.iter().filter(|one| one.missed.is_empty()).count();
    format!(
        "\n{reached} of {} reach their goals: no silence above 7 s (1 s where a kernel tells), at most 1 echo lost \
         to a way that gets slow or narrow, back within 30 s, the transfer whole.\n\
         n = 1. An echo request every 50 ms and a transfer of 20 Mb/s, every byte of which is checked. What heals does so \
         after 15 s.\n",
        found.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_under_its_head() {
        let mut found =
            Found { name: "UDP blocked".into(), meanwhile: "tls", back_s: Some(3.0), ..Found::default() };
        assert_eq!(line(&found).find("reached"), HEAD.find("goals"), "{HEAD}{}", line(&found));
        found.longest_gap_ms = 7001.0;
        judge(&mut found, &all()[0]);
        assert_eq!(found.missed, ["silent for too long"]);
        let mut found = Found { back_s: Some(0.0), lost: 2, ..Found::default() };
        for fault in all() {
            judge(&mut found, &fault);
        }
        assert_eq!(found.missed, vec!["more than 1 echo lost while the way got worse"; 4]);
    }

    #[test]
    fn what_does_not_come_back_and_a_killed_relay_are_judged() {
        let relay = all().into_iter().find(|one| matches!(one.what, What::Relay)).unwrap();
        assert_eq!(relay.common, 2, "somebody must be left");
        let mut found = Found { longest_gap_ms: 1500.0, ..Found::default() };
        judge(&mut found, &relay);
        assert_eq!(found.missed, ["not back on relay", "told, and yet more than 1 s without answer"]);
    }
}
