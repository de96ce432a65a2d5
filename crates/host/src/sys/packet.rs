//! Sending whole Ethernet frames from an interface (packet(7)).

use std::io;

use libc::sockaddr_ll;
use socket2::{Domain, SockAddr, Socket, Type};

/// A socket that sends Ethernet frames out of one interface of the calling thread's network namespace.
pub(crate) fn socket(interface: u32, ethertype: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.bind(&address(interface, ethertype)?)?;
    Ok(socket)
}

fn address(interface: u32, ethertype: u16) -> io::Result<SockAddr> {
    let index = i32::try_from(interface).map_err(io::Error::other)?;
    let init = |storage: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
        let link = sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: `storage` is valid for writes of a `sockaddr_storage`, which by POSIX is at least as large and as
        // aligned as every socket address.
        unsafe { storage.cast::<sockaddr_ll>().write(link) };
        // SAFETY: `len` is valid for writes; `try_init` passes a pointer to its own variable.
        unsafe { len.write(size_of::<sockaddr_ll>() as libc::socklen_t) };
        Ok(())
    };
    // SAFETY: `init` writes a complete `sockaddr_ll` and its length.
    let ((), address) = unsafe { SockAddr::try_init(init) }?;
    Ok(address)
}
