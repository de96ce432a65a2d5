//! Where the endpoints listen: a Unix socket for root, a TCP address for reading.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;

/// How long requests under way may take once the daemon shuts down.
const DRAIN: Duration = Duration::from_secs(5);

/// Listens on a Unix socket that only its owner can open, and returns the future that serves it.
///
/// The socket is made inside a directory of mode 0700 and moved into place when its own mode is 0600, so that no other
/// user can open it at any moment, whatever the umask. A socket that nobody serves any more is replaced. The future
/// ends some time after `shutdown` does, when requests under way are answered, and removes the socket.
///
/// # Errors
/// [`ServeError`], when another process serves the socket or it cannot be made.
pub async fn serve_unix<S: Future<Output = ()> + Send + 'static>(
    path: &Path,
    router: Router,
    shutdown: S,
) -> Result<impl Future<Output = io::Result<()>> + Send + use<S>, ServeError> {
    check_unserved(path)?;
    let listener = bind_private(path)
        .map_err(|source| ServeError::Bind { address: path.display().to_string(), source })?;
    let guard = SocketFile::at(path);
    Ok(async move {
        let end = serve(listener, router, shutdown).await;
        drop(guard);
        end
    })
}

/// Serves a bound TCP address until some time after `shutdown` ends. The caller binds, because it wants to know early that
/// the port is in use.
///
/// # Errors
/// When the listener fails.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve(listener, router, shutdown).await
}

/// Why nothing listens.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Another process answers on the socket.
    #[error("another process serves {0} already")]
    Served(String),
    /// A file that is no socket is in the way.
    #[error("{0} is in the way: it is not a socket")]
    InTheWay(String),
    /// The kernel refused.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The path.
        address: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

async fn serve<L>(
    listener: L,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let (began, shutting_down) = oneshot::channel();
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        let _ = began.send(());
    });
    tokio::select! {
        end = served => end,
        () = async {
            // An error means that the server ended by itself, which the other branch reports.
            if shutting_down.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(DRAIN).await;
        } => Ok(()),
    }
}

fn check_unserved(path: &Path) -> Result<(), ServeError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(ServeError::InTheWay(path.display().to_string()))
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(ServeError::Served(path.display().to_string()))
        }
        _ => Ok(()),
    }
}

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().unwrap_or(Path::new("."));
    // A short name: a socket's path has at most 107 bytes (unix(7)).
    let directory = parent.join(format!(".{}", std::process::id()));
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let inside = directory.join("s");
    let bound = UnixListener::bind(&inside).and_then(|listener| {
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&inside, path)?;
        Ok(listener)
    });
    let _ = std::fs::remove_dir_all(&directory);
    bound
}

/// Removes a socket's file when serving ends, unless another process has put its own there by then.
struct SocketFile {
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl SocketFile {
    fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf(), inode: inode(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
