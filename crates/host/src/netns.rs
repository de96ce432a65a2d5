//! Work in another network namespace.
//!
//! A thread that entered a namespace stays there, and whatever it starts begins there. So work is done on a thread that
//! exists for it alone and ends with it, never on one of the runtime's.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use crate::error::{HostError, Result};

/// Where a thread finds its own namespace. `/proc/self` would be that of the process's first thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace. It exists at least as long as this does, even when its last process ends.
pub struct NetNs {
    file: File,
    name: String,
}

impl fmt::Debug for NetNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NetNs").field(&self.name).finish()
    }
}

impl NetNs {
    /// The namespace of a process.
    ///
    /// # Errors
    ///
    /// [`HostError::NoSuchProcess`] when there is no such process, or only its remains.
    pub fn of_process(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        Self::open(Path::new(&path)).map_err(|error| match error {
            HostError::Namespace { source, .. } if gone(&source) => HostError::NoSuchProcess { pid },
            other => other,
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// When `/proc` is not mounted.
    pub fn own() -> Result<Self> {
        Self::open(Path::new(OWN))
    }

    /// The namespace that a file stands for, such as those of `ip netns` below `/run/netns`.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened. That it is no namespace shows when it is entered.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Self { file, name }),
            Err(source) => Err(HostError::Namespace { what: "open", which: name, source }),
        }
    }

    /// Whether this is the calling thread's own namespace.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn is_own(&self) -> Result<bool> {
        let failed = |source| HostError::Namespace { what: "compare", which: self.name.clone(), source };
        let theirs = self.file.metadata().map_err(failed)?;
        let ours = fs::metadata(OWN).map_err(failed)?;
        Ok((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
    }

    /// Runs asynchronous work inside, on a runtime and a thread of its own, and waits for its result.
    ///
    /// # Errors
    ///
    /// Those of the work, and [`HostError::Namespace`] when the namespace cannot be entered.
    pub async fn run<Work, Running, T>(&self, work: Work) -> Result<T>
    where
        Work: FnOnce() -> Running + Send + 'static,
        Running: Future<Output = Result<T>>,
        T: Send + 'static,
    {
        self.run_blocking(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()
                .map_err(|source| HostError::Io { what: "start a runtime", source })?
                .block_on(work())
        })
        .await
    }

    /// Runs blocking work inside, on a thread of its own, and waits for its result.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_blocking<Work, T>(&self, work: Work) -> Result<T>
    where
        Work: FnOnce() -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let failed = |what| {
            let which = self.name.clone();
            move |source| HostError::Namespace { what, which, source }
        };
        let file = self.file.try_clone().map_err(failed("keep open"))?;
        let enter = failed("enter");
        let (sender, receiver) = oneshot::channel();
        thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || {
                let result = setns(&file, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| enter(io::Error::from(errno)))
                    .and_then(|()| work());
                // Nobody waits any more when the caller was cancelled; the work is done all the same.
                let _ = sender.send(result);
            })
            .map_err(|source| HostError::Io { what: "start a thread", source })?;
        receiver.await.map_err(|_| failed("work in")(io::Error::other("the thread ended early")))?
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A process that ended but was not waited for still has a directory in `/proc`, without namespaces.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_exist_is_reported_by_its_number() {
        // The kernel's largest process id is 2^22.
        let error = NetNs::of_process(4_194_305).unwrap_err();
        assert!(matches!(error, HostError::NoSuchProcess { pid: 4_194_305 }), "{error:?}");
    }

    #[test]
    fn the_own_namespace_is_recognised_by_any_path() {
        assert!(NetNs::own().unwrap().is_own().unwrap());
        assert!(NetNs::of_process(std::process::id()).unwrap().is_own().unwrap());
    }

    #[tokio::test]
    async fn a_file_that_is_no_namespace_is_refused_when_entered() {
        let error = NetNs::open(Path::new("/dev/null"))
            .unwrap()
            .run_blocking(|| Ok(()))
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(error, "cannot enter the network namespace /dev/null");
    }
}
