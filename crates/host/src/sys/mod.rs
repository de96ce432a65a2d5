//! The only unsafe code of this crate: what the kernel offers through untyped memory alone.

pub(crate) mod packet;
pub(crate) mod tun;
