//! How good the routes are.

use sim::World;

/// Peers whose routes are looked at: all of a small network, some of a big one.
const SOURCES: usize = 100;

/// What the routes of a network are like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    /// Links of the peer that has most.
    pub(crate) most_links: usize,
    /// Hops of the longest route.
    pub(crate) most_hops: usize,
    /// The worst ratio of a route's time to that of a straight way between its ends, as the map has it.
    pub(crate) worst_stretch: f64,
    /// The mean of these ratios.
    pub(crate) mean_stretch: f64,
}

impl Shape {
    pub(crate) fn of(world: &World) -> Self {
        let mut shape = Self::default();
        let (mut sum, mut routes) = (0.0, 0_u64);
        let n = world.peers().len();
        for source in (0..n).step_by(n.div_ceil(SOURCES)) {
            let Some(mesh) = world.mesh(source) else { continue };
            for (to, route) in mesh.routes() {
                let (mut at, mut time) = (source, 0.0);
                for next in route.iter().filter_map(|&hop| world.number(hop)) {
                    time += world.one_way(at, next).as_secs_f64();
                    at = next;
                }
                let Some(to) = world.number(to) else { continue };
                let stretch = time / world.one_way(source, to).as_secs_f64();
                shape.most_hops = shape.most_hops.max(route.len());
                shape.worst_stretch = shape.worst_stretch.max(stretch);
                sum += stretch;
                routes += 1;
            }
        }
        shape.mean_stretch = sum / routes.max(1) as f64;
        shape.most_links = (0..n).filter_map(|n| Some(world.mesh(n)?.links().count())).max().unwrap_or(0);
        shape
    }
}
