//! A folder that is gone when this process is, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, process};

/// A folder for sockets, state and logs of what runs in a [`Space`](crate::Space).
pub struct Folder {
    path: PathBuf,
    files: AtomicUsize,
    /// Removes the folder when its standard input ends, which a killed process cannot forget.
    remover: Child,
}

impl Folder {
    /// Makes one in the folder for temporary files; its path begins with `prefix`.
    pub fn new(prefix: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{prefix}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let remover = Command::new("setsid")
            .args(["sh", "-c", "trap '' INT TERM HUP; read -r _; rm -rf -- \"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("setsid: {e}"));
        Self { path, files: AtomicUsize::new(0), remover }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of its own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{}.{name}", self.files.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.remover.stdin.take());
        let _ = self.remover.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_with_all_that_is_in_it() {
        let folder = Folder::new("weave-folder-test");
        let path = folder.path().to_path_buf();
        fs::write(folder.file("log"), "said").unwrap();
        assert_ne!(folder.file("log"), folder.file("log"));
        drop(folder);
        assert!(!path.exists());
    }
}
