//! The ioctls of the TUN driver that `tokio-tun` does not know (linux/if_tun.h; kernel documentation,
//! networking/tuntap): attaching with a virtio-net header and saying what the reader can cope with.

use std::ffi::{c_int, c_short};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{__c_anonymous_ifr_ifru, ifreq};

/// Attach as one Ethernet device without packet information, which every use here has in common.
pub(crate) const TAP: c_int = libc::IFF_TAP | libc::IFF_NO_PI;

/// Every frame is preceded by a virtio-net header.
pub(crate) const VNET_HDR: c_int = libc::IFF_VNET_HDR;

nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, ifreq);
nix::ioctl_read_bad!(tun_get_iff, libc::TUNGETIFF, ifreq);
nix::ioctl_write_int_bad!(tun_set_offload, libc::TUNSETOFFLOAD);
nix::ioctl_write_ptr_bad!(tun_set_vnet_hdr_size, libc::TUNSETVNETHDRSZ, c_int);
nix::ioctl_write_ptr_bad!(tun_set_vnet_le, libc::TUNSETVNETLE, c_int);

/// Attaches an open clone device to the TUN device of that name, making it if it does not exist.
///
/// `name` has passed [`crate::netlink::check_name`]; a longer one would be cut.
pub(crate) fn attach(device: BorrowedFd<'_>, name: &str, flags: c_int) -> io::Result<()> {
    let request = request(name, flags);
    // SAFETY: the descriptor is open for as long as it is borrowed; TUNSETIFF reads one `ifreq`, which `request` is.
    unsafe { tun_set_iff(device.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// The flags with which the descriptor is really attached.
pub(crate) fn flags(device: BorrowedFd<'_>) -> io::Result<c_int> {
    let mut request = request("", 0);
    // SAFETY: the descriptor is open for as long as it is borrowed; TUNGETIFF writes one `ifreq`, which `request` is.
    unsafe { tun_get_iff(device.as_raw_fd(), &raw mut request) }?;
    // SAFETY: the union was initialised as a whole by `request`, and every bit pattern is a valid `c_short`.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(c_int::from(flags) & 0xffff)
}

/// Says which unfinished work the reader takes over (`TUN_F_*`). It is a property of the device and outlives the
/// descriptor.
pub(crate) fn set_offload(device: BorrowedFd<'_>, mask: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and TUNSETOFFLOAD takes its argument by value.
    unsafe { tun_set_offload(device.as_raw_fd(), mask.cast_signed()) }?;
    Ok(())
}

/// Fixes the layout of the virtio-net header: its size, and fields in the machine's own byte order. Both outlive the
/// descriptor, so that a former user's choice has to be overwritten.
pub(crate) fn set_header_layout(device: BorrowedFd<'_>, size: c_int) -> io::Result<()> {
    let little_endian: c_int = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and TUNSETVNETHDRSZ reads one `int`.
    unsafe { tun_set_vnet_hdr_size(device.as_raw_fd(), &raw const size) }?;
    // SAFETY: the descriptor is open for as long as it is borrowed, and TUNSETVNETLE reads one `int`.
    unsafe { tun_set_vnet_le(device.as_raw_fd(), &raw const little_endian) }?;
    Ok(())
}

fn request(name: &str, flags: c_int) -> ifreq {
    let mut request = ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        // The largest member a plain value fits in, so that no byte handed to the kernel is uninitialised.
        ifr_ifru: __c_anonymous_ifr_ifru {
            ifru_map: libc::__c_anonymous_ifru_map {
                mem_start: 0,
                mem_end: 0,
                base_addr: 0,
                irq: 0,
                dma: 0,
                port: 0,
            },
        },
    };
    // The last byte stays zero: the kernel expects a terminated name.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from.cast_signed() as std::ffi::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as c_short;
    request
}
