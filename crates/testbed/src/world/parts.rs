//! Programs of others that stand on the way: the proxy and the router that opens ports.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::{Folder, Process, Space, eventually};

/// The user and the password that the proxy wants, if it wants any.
pub(super) const LOGIN: (&str, &str) = ("lab", "over the wall");
/// The same password as crypt(3) knows it.
const CRYPT: &str = "$1$weavelab$vUpWFdl/KyJl0tpWUizea1";

/// The port of the proxy.
pub(super) const PROXY_PORT: u16 = 3128;

/// Starts `squid`, which lets CONNECT through to port 443 and nothing else.
pub(super) fn proxy(host: &Space, login: bool, folder: &Arc<Folder>) -> Process {
    let users = folder.file("users");
    write(&users, &format!("{}:{CRYPT}\n", LOGIN.0));
    let wanted = format!(
        "auth_param basic program /usr/lib/squid/basic_ncsa_auth {}
        auth_param basic children 1 startup=1
        acl known proxy_auth REQUIRED
        http_access deny !known",
        users.display()
    );
    let path = folder.file("squid.conf");
    let settings = format!(
        "http_port {PROXY_PORT}
        acl https port 443
        http_access deny !CONNECT
        http_access deny !https
        {}
        http_access allow all
        access_log none
        cache_log stdio:/dev/null
        cache_store_log none
        pid_filename none
        cache deny all
        cache_effective_user proxy
        pinger_enable off
        shutdown_lifetime 0 seconds
        visible_hostname proxy
        dns_nameservers 127.0.0.1
        coredump_dir {}",
        if login { &wanted } else { "" },
        folder.path().display(),
    );
    write(&path, &lines(&settings));
    let path = path.display().to_string();
    // It leaves files in /dev/shm when it is killed, and does not start where there are any.
    let start = "mount -t tmpfs tmpfs /dev/shm; exec squid -N -f \"$0\"";
    let squid = host.start(&["unshare", "--mount", "sh", "-ec", start, &path]);
    listens(host, PROXY_PORT, "squid", &squid);
    squid
}

/// Starts `miniupnpd` on a gate.
pub(super) fn opener(gate: &Space, folder: &Arc<Folder>) -> Process {
    let path = folder.file("miniupnpd.conf");
    let settings = "ext_ifname=wan
        listening_ip=lan
        port=5000
        enable_natpmp=yes
        enable_upnp=yes
        secure_mode=yes
        upnp_table_name=opened
        upnp_nat_table_name=opened
        upnp_forward_chain=miniupnpd
        upnp_nat_chain=prerouting_miniupnpd
        upnp_nat_postrouting_chain=postrouting_miniupnpd
        uuid=00000000-0000-0000-0000-000000000001
        allow 1024-65535 192.168.0.0/16 1024-65535
        deny 0-65535 0.0.0.0/0 0-65535";
    write(&path, &lines(settings));
    let pid = folder.file("miniupnpd.pid").display().to_string();
    let path = path.display().to_string();
    let opener = gate.start(&["miniupnpd", "-d", "-f", &path, "-P", &pid]);
    listens(gate, 5000, "miniupnpd", &opener);
    opener
}

fn listens(space: &Space, port: u16, name: &str, process: &Process) {
    eventually(&format!("{name} serves"), Duration::from_secs(15), || {
        let open = space.run(&["ss", "-Hltn", &format!("sport = {port}")]).ok();
        if open.is_empty() { Err(format!("{}{}", process.stdout(), process.stderr())) } else { Ok(()) }
    });
}

fn write(path: &std::path::Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Without the blanks at the beginning of lines.
fn lines(text: &str) -> String {
    text.lines().map(|line| line.trim_start().to_owned() + "\n").collect()
}
