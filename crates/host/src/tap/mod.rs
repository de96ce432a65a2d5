//! The router's port on the bridge: a TAP device that carries super-frames.
//!
//! The device is persistent: it stays when the router ends, so that a new router finds it on the bridge with its
//! counters and its place. `tokio-tun` makes it; it cannot ask for a virtio-net header, so it lets go again, and the
//! device is attached anew from here with `IFF_VNET_HDR`. Both have to use a single queue: the kernel refuses to
//! attach in another way than the device was made (EINVAL).
//!
//! With the header the kernel leaves checksums and segmentation to whoever takes the frame off the far end, and hands
//! over up to 64 KiB at once. Which of this it may leave is a property of the *device* that outlives every descriptor,
//! as is the length of the header. Both are therefore always set, in plain mode to none: otherwise a device once used
//! with offloads would deliver oversized frames with open checksums and nothing to tell by.

use std::ffi::c_int;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use libc::{TUN_F_CSUM, TUN_F_TSO_ECN, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6};
use tokio::time::Instant;
use tokio_tun::TunBuilder;

use crate::bridge::join;
use crate::check::TUN_DEVICE;
use crate::error::{HostError, Result};
use crate::netlink::{Link, LinkChange, LinkKind, Netlink, check_name};
use crate::sys::tun;

/// Bytes of the virtio-net header before each frame (virtio 1.2 section 5.1.6, without `num_buffers`), as on the wire
/// (P4.6). Its fields are in the machine's own byte order.
pub const HEADER_LEN: usize = 10;

/// Bytes that a buffer for [`Tap::recv`] needs: the header and the largest frame the kernel hands over, 64 KiB of IP
/// packet and an Ethernet header with two VLAN tags.
pub const MAX_RECV: usize = HEADER_LEN + 65536 + 14 + 8;

/// Frames that wait for the router in the kernel before further ones are dropped. The kernel's default for Ethernet;
/// `tun` devices begin with 500. Of 150 000 small datagrams a second, one in seven was lost with 100, and one in 35
/// with 1000.
const QUEUE_LEN: u32 = 1000;

/// The largest MTU of a TAP device: 65535 less the Ethernet header.
const MAX_MTU: u32 = 65535 - 14;

/// The smallest MTU that IPv4 allows a link (RFC 791 section 3.2).
const MIN_MTU: u32 = 68;

/// How long to wait for a device that another process holds, and how often to look. A child reaches its program within
/// milliseconds; a killed process is gone within a few hundred.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
const BUSY_POLL: Duration = Duration::from_millis(10);

/// What the kernel leaves undone in frames it hands over, as far as it agreed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums of TCP and UDP.
    pub csum: bool,
    /// Segmentation of TCP over IPv4 and IPv6, also with ECN.
    pub tso: bool,
    /// Segmentation of UDP over IPv4 and IPv6 (Linux 6.2).
    pub uso: bool,
}

impl Offloads {
    const ALL: Self = Self { csum: true, tso: true, uso: true };
    const NO_USO: Self = Self { csum: true, tso: true, uso: false };
    const CSUM: Self = Self { csum: true, tso: false, uso: false };
    const NONE: Self = Self { csum: false, tso: false, uso: false };

    fn mask(self) -> u32 {
        let mut mask = 0;
        if self.csum {
            mask |= TUN_F_CSUM;
        }
        if self.tso {
            mask |= TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
        }
        if self.uso {
            mask |= TUN_F_USO4 | TUN_F_USO6;
        }
        mask
    }
}

/// An attached TAP device. Dropping it lets go of the device, which stays.
pub struct Tap {
    device: OwnedFd,
    name: String,
    vnet_hdr: bool,
    offloads: Offloads,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("name", &self.name)
            .field("vnet_hdr", &self.vnet_hdr)
            .field("offloads", &self.offloads)
            .finish_non_exhaustive()
    }
}

impl Tap {
    /// Makes the TAP device unless it exists, attaches to it, joins it to the bridge and brings it up.
    ///
    /// Where the kernel knows no virtio-net header the device works without one, see [`vnet_hdr`](Self::vnet_hdr).
    ///
    /// # Errors
    ///
    /// [`HostError::TapBusy`] when another process is attached, [`HostError::NotATap`] when the name is taken by
    /// something else, [`HostError::NoInterface`] when there is no such bridge.
    pub async fn open(name: &str, bridge: &str, mtu: u32) -> Result<Self> {
        Self::open_with(name, bridge, mtu, true).await
    }

    /// As [`open`](Self::open), always without virtio-net headers and offloads: one ordinary frame at a time.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_plain(name: &str, bridge: &str, mtu: u32) -> Result<Self> {
        Self::open_with(name, bridge, mtu, false).await
    }

    async fn open_with(name: &str, bridge: &str, mtu: u32, header: bool) -> Result<Self> {
        check_name(name)?;
        if !(MIN_MTU..=MAX_MTU).contains(&mtu) {
            return Err(HostError::Mtu { mtu, min: MIN_MTU, max: MAX_MTU });
        }
        let netlink = Netlink::connect()?;
        let bridge = netlink.bridge(bridge).await?;
        let left_over = netlink.link(name).await?;
        if let Some(link) = &left_over {
            if link.kind != LinkKind::Tap {
                return Err(HostError::NotATap { name: name.to_owned(), kind: link.kind.describe() });
            }
            unless_busy(|| provision(name)).await?;
            // From here until the offloads are set, frames would be queued in the shape a former router asked for.
            netlink.change(link, LinkChange { up: Some(false), ..LinkChange::default() }).await?;
        } else {
            unless_busy(|| provision(name)).await?;
        }
        let result = Self::attach(&netlink, name, &bridge, mtu, header).await;
        if result.is_err() {
            // Whatever goes wrong while tidying up, the first error is the one that explains it.
            let _ = match &left_over {
                Some(link) => {
                    netlink.change(link, LinkChange { up: Some(true), ..LinkChange::default() }).await
                }
                None => remove_tap(name).await,
            };
        }
        result
    }

    async fn attach(netlink: &Netlink, name: &str, bridge: &Link, mtu: u32, header: bool) -> Result<Self> {
        let tap = unless_busy(|| Self::attach_device(name, header)).await?;
        let link = netlink.existing(name).await?;
        let change = LinkChange { mtu: Some(mtu), txqueuelen: Some(QUEUE_LEN), ..LinkChange::default() };
        join(netlink, bridge, &link, change).await?;
        tracing::debug!(?tap, "TAP device attached");
        Ok(tap)
    }

    fn attach_device(name: &str, header: bool) -> Result<Self> {
        let failed = |what| move |source| HostError::Tap { what, name: name.to_owned(), source };
        let device = open_clone_device()?;
        let fd = device.as_fd();
        let attach =
            |flags| tun::attach(fd, name, flags).map_err(|source| busy_or(failed("attach to"), name, source));
        match attach(if header { tun::TAP | tun::VNET_HDR } else { tun::TAP }) {
            // A kernel that knows no virtio-net header says so by EINVAL. Everything else is not about the header.
            Err(HostError::Tap { source, .. }) if header && source.raw_os_error() == Some(libc::EINVAL) => {
                attach(tun::TAP)?;
            }
            other => other?,
        }
        // What was asked for is not proof: the flags in force decide how every frame is read.
        let vnet_hdr = tun::flags(fd).map_err(failed("ask for the flags of"))? & tun::VNET_HDR != 0;
        let wanted: &[Offloads] = if vnet_hdr {
            tun::set_header_layout(fd, HEADER_LEN as c_int).map_err(failed("set the header of"))?;
            &[Offloads::ALL, Offloads::NO_USO, Offloads::CSUM, Offloads::NONE]
        } else {
            &[Offloads::NONE]
        };
        let offloads = first_granted(fd, wanted).map_err(failed("set the offloads of"))?;
        Ok(Self { device: device.into(), name: name.to_owned(), vnet_hdr, offloads })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether each frame has a virtio-net header of [`HEADER_LEN`] bytes before it, both ways.
    pub fn vnet_hdr(&self) -> bool {
        self.vnet_hdr
    }

    /// What the kernel leaves undone in frames it hands over.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Takes one frame from the kernel, with its header if there are headers. A buffer of [`MAX_RECV`] bytes always
    /// suffices; the kernel cuts what does not fit.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when no frame waits; wait with `poll` or an `AsyncFd`.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(&self.device, buf)?)
    }

    /// Hands one frame to the kernel, with its header if there are headers.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a header that does not fit the frame, `EIO` while the device is down.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(&self.device, buf)?)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Deletes the TAP device, also under a router that is attached. That there is none is no error.
///
/// # Errors
///
/// [`HostError::NotATap`] when the name is taken by something else, which is left alone.
pub async fn remove_tap(name: &str) -> Result<()> {
    let netlink = Netlink::connect()?;
    match netlink.link(name).await? {
        None => Ok(()),
        Some(link) if link.kind == LinkKind::Tap => netlink.delete(&link).await,
        Some(link) => Err(HostError::NotATap { name: name.to_owned(), kind: link.kind.describe() }),
    }
}

/// Makes the persistent device. MTU and state are left to netlink: `tokio-tun` keeps the descriptors open for good when
/// a later step of its own fails, and the device would stay busy.
fn provision(name: &str) -> Result<()> {
    match TunBuilder::new().name(name).tap().persist().build() {
        Ok(queues) => {
            drop(queues);
            Ok(())
        }
        Err(error) => {
            let source = match error {
                tokio_tun::Error::NixError(errno) => errno.into(),
                tokio_tun::Error::IoError(error) => error,
            };
            let other = |source| HostError::Tap { what: "make", name: name.to_owned(), source };
            Err(busy_or(other, name, source))
        }
    }
}

/// Tries again while the device is busy, for a moment. A descriptor outlives its close in a child of this process that
/// has not reached its program yet, and the descriptors of a router that was killed go when the kernel gets to it.
async fn unless_busy<T>(step: impl Fn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + BUSY_PATIENCE;
    loop {
        match step() {
            Err(HostError::TapBusy { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(BUSY_POLL).await
            }
            result => return result,
        }
    }
}

fn open_clone_device() -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(TUN_DEVICE)
        .map_err(|source| HostError::NoTunDevice { path: TUN_DEVICE.into(), source })
}

fn busy_or(other: impl FnOnce(io::Error) -> HostError, name: &str, source: io::Error) -> HostError {
    if source.raw_os_error() == Some(libc::EBUSY) {
        HostError::TapBusy { name: name.to_owned() }
    } else {
        other(source)
    }
}

/// Older kernels refuse a mask that holds a bit they do not know, as a whole.
fn first_granted(device: BorrowedFd<'_>, wanted: &[Offloads]) -> io::Result<Offloads> {
    let mut last = Ok(Offloads::NONE);
    for offloads in wanted {
        match tun::set_offload(device, offloads.mask()) {
            Ok(()) => return Ok(*offloads),
            Err(error) => last = Err(error),
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_down_asks_for_less() {
        let masks = [Offloads::ALL, Offloads::NO_USO, Offloads::CSUM, Offloads::NONE].map(Offloads::mask);
        assert_eq!(masks, [0x6f, 0x0f, 0x01, 0x00]);
    }

    #[tokio::test]
    async fn impossible_names_and_sizes_are_refused_before_anything_is_done() {
        let error = Tap::open("a-name-that-is-too-long", "weave", 1400).await.unwrap_err();
        assert!(matches!(error, HostError::InterfaceName { .. }), "{error:?}");
        let error = Tap::open("tap", "weave", 65522).await.unwrap_err();
        assert_eq!(error.to_string(), "an MTU of 65522 bytes is out of range: choose one from 68 to 65521");
    }
}
