//! What can go wrong on the Linux side, each with the value, the reason and the way out.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// The result of everything in this crate.
pub type Result<T, E = HostError> = std::result::Result<T, E>;

/// Why the host could not be brought into the wanted state.
#[derive(Debug, Error)]
pub enum HostError {
    /// The process lacks the rights for all that follows. Start it as root.
    #[error("root is needed to set up networks, and this runs as user {uid}: use `sudo`")]
    NotRoot {
        /// The effective user of the process.
        uid: u32,
    },
    /// The TUN driver is absent or, in a container, its device file was not passed in.
    #[error(
        "cannot open {}: load the driver with `modprobe tun`, or start the container with \
         `--device /dev/net/tun`", path.display()
    )]
    NoTunDevice {
        /// The device file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A name that no interface can have.
    #[error("`{name}` cannot name an interface: {why}")]
    InterfaceName {
        /// The name refused.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// A container id from which no interface name can be made.
    #[error("`{id}` is not a container id: letters and digits are expected")]
    ContainerId {
        /// The id refused.
        id: String,
    },
    /// An MTU that Ethernet or the TAP device cannot have.
    #[error("an MTU of {mtu} bytes is out of range: choose one from {min} to {max}")]
    Mtu {
        /// The MTU refused.
        mtu: u32,
        /// The smallest one possible.
        min: u32,
        /// The largest one possible.
        max: u32,
    },
    /// An interface of ours is missing.
    #[error("there is no interface `{name}` on this host: `weave launch` makes it")]
    NoInterface {
        /// The interface looked for.
        name: String,
    },
    /// Something else took the name of our bridge, for instance a forerunner's datapath.
    #[error(
        "interface `{name}` exists and is not a bridge but {kind}: remove it with `ip link delete {name}`, \
         or rename it"
    )]
    NotABridge {
        /// The interface in the way.
        name: String,
        /// What the kernel says it is.
        kind: String,
    },
    /// Something else took the name of our TAP device.
    #[error(
        "interface `{name}` exists and is not a TAP device but {kind}: remove it with `ip link delete {name}`"
    )]
    NotATap {
        /// The interface in the way.
        name: String,
        /// What the kernel says it is.
        kind: String,
    },
    /// A port was looked for on a bridge it is not on.
    #[error("interface `{port}` is not a port of bridge `{bridge}`: `weave launch` joins it")]
    NotAPort {
        /// The interface.
        port: String,
        /// The bridge.
        bridge: String,
    },
    /// Another process reads the TAP device.
    #[error("another process is attached to the TAP device `{name}`: stop the router that still runs")]
    TapBusy {
        /// The device.
        name: String,
    },
    /// A step of opening the TAP device failed.
    #[error("cannot {what} the TAP device `{name}`")]
    Tap {
        /// The step.
        what: &'static str,
        /// The device.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a change to interfaces, addresses or routes.
    #[error("cannot {what} `{which}`")]
    Netlink {
        /// The step.
        what: &'static str,
        /// The interface, address or route it was about.
        which: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// An interface was set up and yet does not carry frames.
    #[error(
        "interface `{name}` does not carry frames {after:?} after it was set up: see `ip -d link show {name}`"
    )]
    NotReady {
        /// The interface.
        name: String,
        /// How long was waited for it.
        after: Duration,
    },
    /// A process id with nothing behind it.
    #[error("process {pid} does not exist: the container has stopped")]
    NoSuchProcess {
        /// The process looked for.
        pid: u32,
    },
    /// A container without a network of its own; its interfaces are the host's.
    #[error(
        "the container of process {pid} shares the host's network: it can use addresses that `weave expose` \
         gives the host, and cannot be attached"
    )]
    HostNetwork {
        /// The container's process.
        pid: u32,
    },
    /// A network namespace could not be opened or entered.
    #[error("cannot {what} the network namespace {which}")]
    Namespace {
        /// The step.
        what: &'static str,
        /// The namespace.
        which: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The container has an interface with our name that does not lead to our bridge.
    #[error(
        "the container of process {pid} has an interface `{name}` that this host's weave did not make: \
         remove it, or detach the container where it was attached"
    )]
    ForeignInterface {
        /// The container's process.
        pid: u32,
        /// The interface in the way.
        name: String,
    },
    /// Two container ids begin alike, and the other one was first.
    #[error(
        "interface `{name}` already belongs to container {owner}, and {container} would get the same name: \
         create the container anew, so that it gets another id"
    )]
    PortTaken {
        /// The name both would have.
        name: String,
        /// The container that has it.
        owner: String,
        /// The container that wants it.
        container: String,
    },
    /// A kernel setting could not be read or written.
    #[error("cannot {what} {}", path.display())]
    Sysctl {
        /// The step.
        what: &'static str,
        /// The file below `/proc/sys`.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program that sets up the firewall is not installed.
    #[error("`{program}` is not installed: install the package `{package}`")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The package that usually holds it.
        package: &'static str,
    },
    /// A program that sets up the firewall ran and failed.
    #[error("`{program}` could not {what}: {reason}")]
    Firewall {
        /// The program.
        program: &'static str,
        /// What it was called for.
        what: &'static str,
        /// What it wrote to its standard error.
        reason: String,
    },
    /// The operating system refused something not specific to networks.
    #[error("cannot {what}")]
    Io {
        /// The step.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
