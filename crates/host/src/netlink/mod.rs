//! The kernel's interfaces, addresses and routes, by rtnetlink (rtnetlink(7)).
//!
//! The only part that knows the `rtnetlink` crate: its interface changes with every release. What is offered is what
//! the rest of this crate needs, in its own types.

mod address;
mod link;
mod monitor;
mod route;

use std::io;

use rtnetlink::Handle;

pub(crate) use link::{Link, LinkChange, LinkKind};
pub(crate) use monitor::Monitor;

use crate::error::{HostError, Result};

/// Names of interfaces have at most 15 bytes (IFNAMSIZ, with the closing NUL, is 16).
pub(crate) const MAX_NAME: usize = libc::IFNAMSIZ - 1;

/// A conversation with the kernel about the network namespace in which it was begun.
#[derive(Clone)]
pub(crate) struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace. The task that serves it ends with the last handle.
    pub(crate) fn connect() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|source| HostError::Io { what: "open a netlink socket", source })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }
}

/// Whether a name can name an interface, by the rules of the kernel's `dev_valid_name`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "it has more than 15 bytes"
    } else if name == "."
        || name == ".."
        || name.contains(['/', ':', '\0'])
        || name.contains(char::is_whitespace)
    {
        "it must be neither `.` nor `..` and hold no `/`, `:` or white space"
    } else {
        return Ok(());
    };
    Err(HostError::InterfaceName { name: name.to_owned(), why })
}

/// What the kernel answered, as an operating system error where it is one.
fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

fn is(error: &io::Error, errno: i32) -> bool {
    error.raw_os_error() == Some(errno)
}

/// Turns the kernel's refusal into an error that says what was tried on what.
fn refused(what: &'static str, which: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> HostError {
    let which = which.into();
    move |error| HostError::Netlink { what, which, source: to_io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_takes_are_accepted() {
        for name in ["weave", "vethwe-bridge", "a", "123456789012345", "eth0.5"] {
            check_name(name).unwrap();
        }
    }

    #[test]
    fn names_that_the_kernel_refuses_are_refused_with_the_reason() {
        for name in ["", ".", "..", "a/b", "a b", "a:b", "a\0b", "1234567890123456"] {
            let message = check_name(name).unwrap_err().to_string();
            assert!(message.starts_with(&format!("`{name}` cannot name an interface: it ")), "{message}");
        }
    }
}
