//! Work in other namespaces.

use std::path::PathBuf;

use host::HostError;
use host::netns::NetNs;

use crate::support::Host;

fn here() -> PathBuf {
    std::fs::read_link("/proc/thread-self/ns/net").unwrap()
}

#[test]
fn work_runs_in_the_other_namespace_and_the_caller_stays_where_it_is() {
    let Some(host) = Host::new() else { return };
    let container = host.container(true);
    let expected = std::fs::read_link(format!("/proc/{}/ns/net", container.pid())).unwrap();
    let (before, seen, after) = host.run(|| async {
        let namespace = NetNs::of_process(container.pid()).unwrap();
        assert!(!namespace.is_own().unwrap());
        let before = here();
        let seen = namespace.run(|| async { Ok(here()) }).await.unwrap();
        (before, seen, here())
    });
    assert_eq!(seen, expected);
    assert_eq!(before, after);
    assert_ne!(before, seen);
}

#[test]
fn a_namespace_outlives_its_processes_while_it_is_held() {
    let Some(host) = Host::new() else { return };
    let container = host.container(true);
    let namespace = NetNs::of_process(container.pid()).unwrap();
    let inode = std::fs::read_link(format!("/proc/{}/ns/net", container.pid())).unwrap();
    drop(container);
    let seen = host.run(|| async { namespace.run(|| async { Ok(here()) }).await.unwrap() });
    assert_eq!(seen, inode);
}

#[test]
fn a_process_of_the_same_namespace_is_recognised() {
    let Some(host) = Host::new() else { return };
    let container = host.container(false);
    assert!(host.run(|| async { NetNs::of_process(container.pid()).unwrap().is_own().unwrap() }));
}

#[test]
fn a_process_that_has_ended_is_no_such_process() {
    let Some(host) = Host::new() else { return };
    let container = host.container(true);
    let pid = container.pid();
    drop(container);
    let error = NetNs::of_process(pid).unwrap_err();
    assert!(matches!(error, HostError::NoSuchProcess { .. }), "{error:?}");
}

#[test]
fn a_panic_inside_is_an_error_outside() {
    let Some(host) = Host::new() else { return };
    let error = host.run(|| async {
        NetNs::own().unwrap().run_blocking(|| -> host::Result<()> { panic!("on purpose") }).await.unwrap_err()
    });
    assert!(matches!(error, HostError::Namespace { what: "work in", .. }), "{error:?}");
}
