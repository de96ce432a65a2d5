//! The network of a container or a host, for tests that need more of it than the programs in the container can do.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::{env, fs, panic, thread};

use nix::sched::{CloneFlags, setns};

use crate::Host;

/// A network namespace.
pub struct Network {
    file: File,
}

impl Host {
    /// The network of a container of this host.
    pub fn network_of(&self, container: &str) -> Network {
        // The engine numbers processes as the host does, so they are looked up in the host's own /proc.
        let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", container]).ok();
        let path = PathBuf::from(format!("/proc/{}/root/proc/{pid}/ns/net", self.pid()));
        Network::open(&path)
    }

    /// The network of the host itself.
    pub fn network(&self) -> Network {
        Network::open(Path::new(&format!("/proc/{}/ns/net", self.pid())))
    }

    /// The host's process 1, by the numbers of this machine.
    pub(crate) fn pid(&self) -> String {
        let path = env::temp_dir().join(self.lab()).join(format!("host{}.pid", self.number()));
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    }
}

impl Network {
    fn open(path: &Path) -> Self {
        Self { file: File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())) }
    }

    /// Does something on a thread that is in this network. A socket stays in the network it was made in, so that it can
    /// be used from anywhere afterwards.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| panic!("setns: {e}"));
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// A UDP socket of this network.
    pub fn udp(&self, address: SocketAddr) -> UdpSocket {
        self.within(|| UdpSocket::bind(address).unwrap_or_else(|e| panic!("{address}: {e}")))
    }
}
