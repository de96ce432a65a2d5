//! Two hosts whose routers have no transport in common, and one that has both.

use std::time::Duration;

use testbed::{Host, Lab, Transfer, Underlay, eventually, serve_random_file};

const ALLOWED: [&str; 3] = ["udp", "tls", "auto"];

#[test]
fn frames_between_udp_only_and_tls_only_go_through_a_third_although_the_two_are_linked() {
    let Some(lab) = Lab::up_or_skip(3, Underlay::Plain) else { return };
    let lab = lab.with_docker().with_weave(env!("CARGO_BIN_EXE_weave"));
    let [udp, tls] = [lab.host(1), lab.host(2)];
    let mut names = Vec::new();
    for (host, allowed) in lab.hosts().iter().zip(ALLOWED) {
        let targets: Vec<_> = lab.hosts()[..host.number() - 1].iter().map(Host::address).collect();
        let targets = targets.iter().map(String::as_str);
        let args: Vec<_> = ["--transport", allowed].into_iter().chain(targets).collect();
        names.push(host.launch(&args));
        host.run_web("web", &format!("{}/24", host.overlay()));
        if host.number() == 2 {
            pending(tls);
        }
    }
    for (from, to, name) in [(tls, udp, &names[0]), (udp, tls, &names[1])] {
        from.await_ping("web", &to.overlay());
        let sum = serve_random_file(to, "web", 5);
        let received = Transfer::start(from, "web", &to.overlay()).sum(Duration::from_secs(30));
        assert_eq!(received, sum, "from {to} to {from}");
        let story = from.weave(&["why", name]).ok();
        assert!(story.contains("frames go over relay") && story.contains(&names[2]), "{story}");
    }
    pending(tls);
    lab.host(3).weave(&["stop"]).ok();
    eventually("nothing passes without the third", Duration::from_secs(10), || {
        if tls.container_pings("web", &udp.overlay()) { Err("it does".to_owned()) } else { Ok(()) }
    });
}

/// The link to the first host stands, and says why it carries no frames.
fn pending(host: &Host) {
    eventually("a link that carries no frames", Duration::from_secs(10), || {
        let status = host.weave(&["status", "connections"]).ok();
        let words = "one of the two routers uses UDP only, the other TLS only";
        let is_there = status.lines().any(|line| line.contains("pending") && line.contains(words));
        if is_there { Ok(()) } else { Err(status) }
    });
}
