//! The HTTP proxy on the way out (RFC 9110 section 9.3.6, CONNECT), and what does not go through it.

mod answer;
mod exceptions;
mod server;
#[cfg(test)]
pub(crate) mod testing;
mod tunnel;

pub use exceptions::Exceptions;
pub use server::{HttpProxy, ProxyError};
pub(crate) use tunnel::open;

/// A proxy, and who is reached without it.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The proxy.
    pub server: HttpProxy,
    /// What `no_proxy` says.
    pub except: Exceptions,
}

impl Proxy {
    /// The proxy for this host and port, if it is to be used.
    pub(crate) fn towards(&self, host: &str, port: u16) -> Option<&HttpProxy> {
        (!self.except.hold(host, port)).then_some(&self.server)
    }
}
