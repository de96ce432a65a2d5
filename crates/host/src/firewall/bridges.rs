//! The bridges that containers hang on: ours, and those that Docker makes.

use futures::FutureExt;

use super::DOCKER_BRIDGES;
use crate::error::Result;
use crate::netlink::{LinkKind, Monitor, Netlink};

/// Those there are, by name.
pub(super) async fn of_containers(own: &str) -> Result<Vec<String>> {
    let links = Netlink::connect()?.links().await?.into_iter();
    let bridges = links.filter(|link| link.kind == LinkKind::Bridge).map(|link| link.name);
    Ok(bridges.filter(|name| name == own || is_dockers(name)).collect())
}

fn is_dockers(name: &str) -> bool {
    DOCKER_BRIDGES.iter().any(|pattern| name.starts_with(pattern.trim_end_matches('*')))
}

/// Tells of bridges that come, in the network namespace in which it was made.
pub struct NewBridges(Monitor);

impl NewBridges {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn start() -> Result<Self> {
        Monitor::bridges().map(Self)
    }

    /// Waits until a bridge came, or one was changed. `None`: the kernel tells nothing any more.
    pub async fn changed(&mut self) -> Option<()> {
        self.0.next().await?;
        // What is known by now needs no second look.
        while self.0.next().now_or_never().flatten().is_some() {}
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_bridges_are_known_by_name() {
        for (name, dockers) in [
            ("docker0", true),
            ("docker_gwbridge", true),
            ("br-0123456789ab", true),
            ("br0", false),
            ("weave", false),
            ("virbr0", false),
        ] {
            assert_eq!(is_dockers(name), dockers, "{name}");
        }
    }
}
