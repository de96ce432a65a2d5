//! Hosts and containers made of network namespaces.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use host::bridge::{BridgeSpec, ensure_bridge};
use host::port::{Attached, PortSpec, attach};
use host::{HostError, check};
use ipnetwork::IpNetwork;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::{TimeVal, TimeValLike};

/// The bridge of every test.
pub(crate) const BRIDGE: &str = "weave";

/// Its MAC address.
pub(crate) const BRIDGE_MAC: [u8; 6] = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];

/// The MTU of every test that needs none in particular.
pub(crate) const MTU: u32 = 1400;

/// A network namespace that plays a host.
pub(crate) struct Host {
    name: String,
}

impl Host {
    /// Makes a host without anything but loopback, or says why not.
    pub(crate) fn new() -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        if let Err(error) = check::preflight() {
            eprintln!("skipped: {error}");
            return None;
        }
        let isolated = Command::new("unshare").args(["--net", "ip", "link"]).output();
        if !isolated.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: `unshare --net ip link` fails, so network namespaces cannot be made");
            return None;
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let host = Self { name: format!("hosttest-{}-{number}", std::process::id()) };
        succeed(Command::new("ip").args(["netns", "add", &host.name]));
        host.sh("ip link set lo up");
        Some(host)
    }

    /// A host with a bridge.
    pub(crate) fn with_bridge() -> Option<Self> {
        let host = Self::new()?;
        host.run(|| async { ensure_bridge(&spec()).await.unwrap() });
        Some(host)
    }

    /// Runs asynchronous work as the daemon on this host would, on a thread and a runtime inside it.
    pub(crate) fn run<Work, Running, T>(&self, work: Work) -> T
    where
        Work: FnOnce() -> Running + Send,
        Running: Future<Output = T>,
        T: Send,
    {
        let namespace = File::open(self.path()).expect("the namespace exists");
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("the namespace can be entered");
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime starts")
                    .block_on(async { tokio::time::timeout(Duration::from_secs(60), work()).await })
                    .expect("the work ends within a minute")
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs a shell command inside, which has to succeed, and returns what it printed.
    pub(crate) fn sh(&self, command: &str) -> String {
        succeed(&mut self.command(command))
    }

    /// Runs a shell command inside and tells whether it succeeded.
    pub(crate) fn try_sh(&self, command: &str) -> bool {
        self.command(command).output().expect("a shell runs").status.success()
    }

    /// A shell command inside.
    pub(crate) fn command(&self, command: &str) -> Command {
        inside(&self.path(), command)
    }

    /// Starts a container, in the host's network if it shall have none of its own.
    pub(crate) fn container(&self, own_network: bool) -> Container {
        let isolate = if own_network { "exec unshare --net sleep 600" } else { "exec sleep 600" };
        let child = self.command(isolate).spawn().expect("a process starts");
        let container = Container { child };
        if own_network {
            wait_until("the container has a network of its own", || {
                let theirs = std::fs::read_link(container.path());
                theirs.is_ok_and(|theirs| {
                    theirs != self.inode() && theirs != std::fs::read_link("/proc/self/ns/net").unwrap()
                })
            });
        } else {
            wait_until("the process is on the host", || {
                std::fs::read_link(container.path()).is_ok_and(|theirs| theirs == self.inode())
            });
        }
        container
    }

    fn inode(&self) -> std::path::PathBuf {
        use std::os::unix::fs::MetadataExt;
        let inode = std::fs::metadata(self.path()).expect("the namespace exists").ino();
        format!("net:[{inode}]").into()
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// A process in a network namespace of its own.
pub(crate) struct Container {
    child: Child,
}

impl Container {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a shell command inside, which has to succeed, and returns what it printed.
    pub(crate) fn sh(&self, command: &str) -> String {
        succeed(&mut self.command(command))
    }

    /// Whether a host or container answers within a second.
    pub(crate) fn pings(&self, address: &str) -> bool {
        self.try_sh(&format!("ping -c 1 -W 1 {address}"))
    }

    /// Runs a shell command inside and tells whether it succeeded.
    pub(crate) fn try_sh(&self, command: &str) -> bool {
        self.command(command).output().expect("a shell runs").status.success()
    }

    /// A shell command inside.
    pub(crate) fn command(&self, command: &str) -> Command {
        inside(&self.path(), command)
    }

    /// Runs blocking work inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).expect("the namespace exists");
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("the namespace can be entered");
                work()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bridge of every test.
pub(crate) fn spec() -> BridgeSpec<'static> {
    BridgeSpec { name: BRIDGE, mac: BRIDGE_MAC, mtu: MTU }
}

/// Attaches a container, which has to succeed.
pub(crate) fn attached(host: &Host, container: &Container, id: &str, addresses: &[&str]) -> Attached {
    try_attach(host, container, id, addresses).expect("the container is attached")
}

/// Attaches a container.
pub(crate) fn try_attach(
    host: &Host,
    container: &Container,
    id: &str,
    addresses: &[&str],
) -> Result<Attached, HostError> {
    let addresses = networks(addresses);
    let (pid, id) = (container.pid(), id.to_owned());
    host.run(|| async move {
        attach(&PortSpec {
            pid,
            container_id: &id,
            bridge: BRIDGE,
            mtu: MTU,
            addresses: &addresses,
            multicast_route: true,
        })
        .await
    })
}

/// Addresses with their subnets.
pub(crate) fn networks(addresses: &[&str]) -> Vec<IpNetwork> {
    addresses.iter().map(|address| address.parse().expect("an address with a prefix")).collect()
}

/// Connects to a listener that is there, or fails soon.
pub(crate) fn connect(to: &str) -> TcpStream {
    let to = to.parse().expect("an address and a port");
    TcpStream::connect_timeout(&to, Duration::from_secs(5)).expect("the listener answers")
}

/// Listens, for ten seconds at most.
pub(crate) fn listen(on: &str) -> TcpListener {
    let listener = TcpListener::bind(on).expect("the address is there");
    setsockopt(&listener, ReceiveTimeout, &TimeVal::seconds(10)).expect("a time-out can be set");
    listener
}

/// Waits for something that takes the kernel a moment, ten seconds at most.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// `nsenter` rather than `ip netns exec`, which would mount another `/sys`.
fn inside(namespace: &str, command: &str) -> Command {
    assert!(Path::new(namespace).exists(), "{namespace} is gone");
    let mut nsenter = Command::new("nsenter");
    nsenter.arg(format!("--net={namespace}")).args(["--", "sh", "-c", command]).stdin(Stdio::null());
    nsenter
}

fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program is installed");
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?} failed: {said}");
    String::from_utf8(stdout).expect("the program prints text")
}
