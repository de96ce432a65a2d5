//! Looks after the router's port on the bridge.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use host::bridge::hairpin_on;

use crate::interfaces::{BRIDGE, TAP};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is wrong with the port, if anything.
pub(crate) struct BridgeWatch {
    /// The TAP carries no super-frames.
    plain: bool,
    trouble: Mutex<Option<String>>,
}

impl BridgeWatch {
    pub(crate) const fn new(plain: bool) -> Self {
        Self { plain, trouble: Mutex::new(None) }
    }

    /// What an operator ought to know, with the way out.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let plain = self.plain.then(|| {
            "this kernel's TAP devices carry no super-frames (it refused IFF_VNET_HDR), so every packet costs a system call: expect a fraction of the usual speed"
                .to_owned()
        });
        plain.into_iter().chain(self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// Looks for ever.
    pub(crate) async fn watch(&self) {
        loop {
            let found = match hairpin_on(BRIDGE, TAP).await {
                Ok(false) => None,
                Ok(true) => Some(format!(
                    "hairpin mode of {TAP} is on, so every frame comes back to the router and is dropped: run `bridge link set dev {TAP} hairpin off`"
                )),
                Err(e) => Some(format!(
                    "containers are cut off from the network: {e}; run `weave stop` and `weave launch --resume`"
                )),
            };
            self.note(found);
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn note(&self, found: Option<String>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *trouble != found {
            match &found {
                Some(text) => tracing::error!("{text}"),
                None => tracing::info!("the router's port on the bridge is in order again"),
            }
            *trouble = found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_until_it_is_over() {
        let watch = BridgeWatch::new(true);
        assert_eq!(watch.warnings().len(), 1);
        watch.note(Some("hairpin".into()));
        assert_eq!(watch.warnings()[1], "hairpin");
        watch.note(None);
        assert_eq!(watch.warnings().len(), 1);
    }
}
