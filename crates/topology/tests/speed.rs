//! What a survey of a large mesh costs. Prints; run it with
//! `cargo test --release -p topology --test speed -- --ignored --nocapture`.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures and prints")]

use std::hint::black_box;
use std::time::Instant;

use topology::{EVERYONE, Graph, RINGS, Reached, Rings, Routes, children};
use wire::PeerName;

fn names(n: usize) -> Vec<PeerName> {
    // Spread as names made of a hash are.
    let name = |n: usize| (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut names: Vec<_> =
        (0..n).map(name).map(|[a, b, c, d, e, f, ..]| PeerName::new([a, b, c, d, e, f])).collect();
    names.sort_unstable();
    names
}

fn measure<R>(what: &str, mut f: impl FnMut() -> R) -> R {
    let begin = Instant::now();
    for _ in 0..100 {
        black_box(f());
    }
    println!("{what:<40} {:>10.1} µs", begin.elapsed().as_secs_f64() * 1e4);
    f()
}

#[test]
#[ignore = "prints times and judges none"]
fn a_survey_of_a_large_mesh() {
    for n in [EVERYONE, 100, 300, 1000, 4000] {
        println!("{n} peers");
        let names = names(n);
        let members: Reached = names.iter().copied().collect();
        let rings = measure("rings from nothing", || {
            let mut rings = Rings::default();
            rings.update(&members);
            rings
        });
        let mut links: Vec<_> = names.iter().map(|&n| (n, rings.wanted(n, RINGS, |_| false))).collect();
        measure("rings, one more and one less", || {
            let mut rings = rings.clone();
            rings.update(&names[1..].iter().copied().collect());
            rings
        });
        measure("rings, copied only", || rings.clone());
        let stated = |links: &[(PeerName, Vec<PeerName>)]| {
            Graph::new(
                links.iter().map(|(n, to)| (*n, to.iter().enumerate().map(|(c, &to)| (to, c as u8 % 5)))),
            )
        };
        let graph = measure("graph", || stated(&links));
        measure("within reach", || graph.reachable([names[0]]));
        let routes = measure("routes", || Routes::new(&graph, names[0], &Routes::default()));
        measure("routes once more", || Routes::new(&graph, names[0], &routes));
        measure("children", || children(&graph, names[n / 2], names[0]));
        measure("within reach over rings", || rings.reached(names[0], |a, b| graph.linked(a, b)));
        let hops: usize = routes.iter().map(|(_, hops)| hops.len()).sum();
        println!("{:.2} hops, {} links", hops as f64 / routes.len() as f64, graph.links());
        // And with one peer that is linked to a thousand.
        for (name, to) in links.iter_mut().skip(1).take(1000) {
            to.push(names[0]);
            to.sort_unstable();
            let _ = name;
        }
        links[0].1 = names[1..].iter().copied().take(1000).collect();
        measure("graph with a hub", || stated(&links));
    }
}
