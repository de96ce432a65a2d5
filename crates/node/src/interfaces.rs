//! What the router's interfaces are called (docs/adr/0008-the-host-names.md).

/// The bridge.
pub(crate) const BRIDGE: &str = "weave";
/// The router's port on it.
pub(crate) const TAP: &str = "vethwe-bridge";
