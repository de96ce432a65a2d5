//! Letting go of what the caller has left open.

/// Closes every descriptor above stderr. `exec 9>lock; flock 9; weave launch` is common in scripts: a daemon that keeps
/// the ninth holds the lock for as long as it runs.
///
/// Linux has `close_range` from 5.9 on. On an older kernel nothing is closed.
pub(crate) fn close_inherited() {
    const FIRST: u32 = 3;
    const NO_FLAGS: u32 = 0;
    // SAFETY: nothing in this process owns a descriptor above stderr yet: it has opened none and started no thread.
    #[expect(unsafe_code, reason = "descriptors that no Rust value owns can be closed by number only")]
    unsafe {
        nix::libc::syscall(nix::libc::SYS_close_range, FIRST, u32::MAX, NO_FLAGS);
    }
}
