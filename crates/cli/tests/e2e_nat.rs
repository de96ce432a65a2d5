//! Two hosts behind NATs and firewalls: that frames between them take the best way there is, and that it is said in words
//! where that is a relay. Every pair of NATs and many firewalls are in the table that `make bench-ways` prints.
#![expect(clippy::print_stderr, reason = "a skipped test has nothing else to say it with")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs};

use testbed::eventually;
use testbed::world::{Nat, PROXY, Plan, Site, Wall, Way, World, proxy_url};

/// How long the best way may take to be found. The goal is 5 s; a machine that runs other tests is slower.
const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn two_hosts_behind_ordinary_nats_reach_each_other_directly() {
    let Some(world) = world(Plan::of(Nat::Masquerade, Nat::Masquerade), &[]) else { return };
    let world = joined(world, |_| vec![], None);
    await_ways(&world, Way::Udp);
    assert!(pings(&world));
}

#[test]
fn two_hosts_behind_nats_that_give_each_peer_another_port_are_relayed_and_told_why() {
    let plan = Plan { common: 2, ..Plan::of(Nat::Symmetric, Nat::Symmetric) };
    let Some(world) = world(plan, &[]) else { return };
    let world = joined(world, |_| vec![], None);
    for k in [0, 1] {
        // Two peers that see different ports are what shows such a NAT.
        world.connect(k, &world.target(3, None));
    }
    await_ways(&world, Way::Relay);
    assert!(pings(&world));
    let (a, b) = (world.a(), world.b());
    // What is seen of a NAT is stated once it has been so for a while.
    eventually("a is told why", Duration::from_secs(30), || {
        let said = a.router().weave(&a.host, &["why", b.router().name()]);
        let told = said.stdout.contains("NATs that give each peer another port");
        if told { Ok(()) } else { Err(said.to_string()) }
    });
    assert_eq!(a.router().way_to(b.router().name()).0, Way::Relay, "and no direct way was found meanwhile");
}

#[test]
fn a_nat_that_gives_each_peer_another_port_is_passed_by_guessing_where_both_ends_allow_it() {
    for allowed in [true, false] {
        let plan = Plan { common: 2, ..Plan::of(Nat::Symmetric, Nat::Masquerade) };
        let Some(world) = world(plan, &[]) else { return };
        let option = || vec!["--guess-ports".to_owned()];
        let world = joined(world, |k| if k == 0 || (k == 1 && allowed) { option() } else { vec![] }, None);
        for k in [0, 1] {
            world.connect(k, &world.target(3, None));
        }
        let (a, b) = (world.a(), world.b());
        let _echoes = a.echo(&b.overlay, Duration::from_millis(50));
        let way = |from: &Site, to: &Site| from.router().way_to(to.router().name()).0;
        let story =
            |of: &Site, peer: &Site| of.router().weave(&of.host, &["why", peer.router().name()]).to_string();
        let told = |of: &Site, peer: &Site, words: &str| {
            let story = story(of, peer);
            if story.contains(words) { Ok(()) } else { Err(story) }
        };
        if !allowed {
            eventually("a is refused and told so", Duration::from_secs(40), || {
                told(a, b, "the peer was launched without --guess-ports")
            });
            assert_eq!((way(a, b), way(b, a)), (Way::Relay, Way::Relay));
            assert!(!story(b, a).contains("guessing ports"));
            continue;
        }
        // What is seen of the NATs is stated after 10 s. A try takes 15 s and fails once in fifty; the next comes a minute later.
        eventually("frames take udp", Duration::from_secs(120), || {
            let ways = [way(a, b), way(b, a)];
            if ways == [Way::Udp; 2] {
                Ok(())
            } else {
                Err(format!("{ways:?} {} {}", story(a, b), story(b, a)))
            }
        });
        for (of, peer) in [(a, b), (b, a)] {
            eventually("it is told", Duration::from_secs(10), || {
                told(of, peer, "guessing ports: found after")
            });
        }
        // Only what was guessed is left open: the port of all, and one besides, unless it was the port of all that was guessed, which is
        // one of those that the NAT gave a port (of 1024 guesses one in sixty hits it too).
        let sockets = a.host.sh("ss -Hlun | wc -l");
        let told = || format!("{} {} {}", a.host.sh("ss -Hlunp"), story(a, b), story(b, a));
        assert!(["1", "2"].contains(&sockets.trim()), "{}", told());
        if sockets.trim() == "1" {
            // Then the path lives by it: one whose socket was closed by mistake is given up after 6.5 s.
            std::thread::sleep(Duration::from_secs(8));
            assert_eq!([way(a, b), way(b, a)], [Way::Udp; 2], "{}", told());
        }
        assert!(pings(&world));
        assert_eq!([way(a, b), way(b, a)], [Way::Udp; 2]);
        a.gates[0].sh(&format!("nft add rule ip gate forward ip daddr {} drop", b.address));
        eventually("the path is given up, and its socket closed", Duration::from_secs(20), || {
            let (ways, sockets) = ([way(a, b), way(b, a)], a.host.sh("ss -Hlun | wc -l"));
            let over = ways == [Way::Relay; 2] && sockets.trim() == "1";
            if over { Ok(()) } else { Err(format!("{ways:?}, {sockets} sockets")) }
        });
        assert!(pings(&world));
    }
}

#[test]
fn where_udp_gets_lost_frames_go_over_tls() {
    let Some(world) = world(Plan::of(Wall::UdpDropped, Wall::UdpDropped), &[]) else { return };
    let world = joined(world, |_| vec![], None);
    await_ways(&world, Way::Tls);
    assert!(pings(&world));
}

#[test]
fn a_host_that_gets_out_only_through_a_proxy_with_a_password_is_in_the_network() {
    let plan = Plan { proxy: Some(true), ..Plan::of(PROXY, Nat::None) };
    let Some(world) = world(plan, &["squid"]) else { return };
    let url = format!("--http-proxy={}", proxy_url(true));
    let arguments = |k| match k {
        0 => vec![url.clone()],
        2 => vec!["--listen=0.0.0.0:443".into()],
        _ => vec![],
    };
    let world = joined(world, arguments, Some(443));
    await_ways(&world, Way::Relay);
    assert!(pings(&world));
}

/// A world, with the lock that keeps a second one from being there at once: two would only fail each other's deadlines.
type Turn = (World, MutexGuard<'static, ()>);

/// Makes a world, or says why not; with `LAB_REQUIRED` set that is a failure.
fn world(plan: Plan, tools: &[&str]) -> Option<Turn> {
    static TURN: Mutex<()> = Mutex::new(());
    if let Err(reason) = World::available(tools) {
        assert!(env::var_os("LAB_REQUIRED").is_none(), "no lab: {reason}");
        eprintln!("skipped: {reason}");
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let program = env::var("WEAVE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_weave").into());
    let program = fs::canonicalize(&program).unwrap_or_else(|e| panic!("{program}: {e}"));
    Some((World::new(plan, &program.display().to_string()), turn))
}

/// Has both hosts connect to the common peer.
fn joined((mut world, turn): Turn, arguments: impl Fn(usize) -> Vec<String>, port: Option<u16>) -> Joined {
    world.raise_walls();
    world.launch(arguments);
    let target = world.target(2, port);
    world.connect(1, &target);
    world.connect(0, &target);
    Joined { world, _turn: turn }
}

struct Joined {
    world: World,
    _turn: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Joined {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

/// Waits until both ends send by this way while they have something to send, and go on doing so for a moment.
#[track_caller]
fn await_ways(world: &World, way: Way) {
    let (a, b) = (world.a(), world.b());
    let _echoes = a.echo(&b.overlay, Duration::from_millis(50));
    let mut since = None;
    eventually(&format!("frames take {}", way.word()), PATIENCE, || {
        let ways = [(a, b), (b, a)].map(|(from, to)| from.router().way_to(to.router().name()));
        if ways.iter().any(|(found, _)| *found != way) {
            since = None;
            return Err(format!("{ways:?}"));
        }
        let since = since.get_or_insert_with(Instant::now);
        if since.elapsed() > Duration::from_secs(1) { Ok(()) } else { Err("not for long yet".into()) }
    });
}

fn pings(world: &World) -> bool {
    world.a().container.run(&["ping", "-c", "3", "-i", "0.1", "-W", "2", &world.b().overlay]).code == 0
}
