//! Requests and answers of the control socket. Bodies are JSON.

use serde::{Deserialize, Serialize};

/// `POST /connect`: adds targets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Connect {
    /// Host names or addresses, each with an optional `:port`.
    pub peers: Vec<String>,
    /// Whether the list of targets is emptied first. Standing connections stay.
    #[serde(default)]
    pub replace: bool,
}

/// `POST /forget`: removes targets. Standing connections stay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Forget {
    /// Targets, spelled as they were added.
    pub peers: Vec<String>,
}

/// `POST /rmpeer`: has the network forget peers that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RemovePeers {
    /// Peer names or nicknames.
    pub peers: Vec<String>,
}

/// `POST /why`: asks for the whole story of the way to one peer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Why {
    /// Peer name or nickname.
    pub peer: String,
}

/// What `POST /rmpeer` answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemovedPeers {
    /// What became of each, in the order they were given.
    pub peers: Vec<RemovedPeer>,
}

/// One peer that `POST /rmpeer` named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemovedPeer {
    /// As it was given.
    pub given: String,
    /// Its name, if somebody of that name was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `POST /attach`: gives a running container addresses on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Attach {
    /// Name, id, or the beginning of an id.
    pub container: String,
    /// Addresses with prefix, as [`crate::address::parse`] takes them; at least one.
    pub addresses: Vec<String>,
}

/// `POST /detach`: takes addresses away from a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Detach {
    /// Name, id, or the beginning of an id.
    pub container: String,
    /// Addresses with prefix.
    pub addresses: Vec<String>,
}

/// `POST /check`: asks whether addresses could be attached, without doing anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Check {
    /// Addresses with prefix.
    pub addresses: Vec<String>,
    /// The container they are meant for, if there is one yet: it may have them already, and need not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// `POST /expose`: gives the host addresses on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Expose {
    /// Addresses with prefix.
    pub addresses: Vec<String>,
}

/// `POST /hide`: takes addresses away from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Hide {
    /// Addresses with prefix.
    pub addresses: Vec<String>,
}

/// What attach, detach, expose and hide answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Addresses {
    /// The addresses concerned, without prefix, in the order they were given.
    pub addresses: Vec<String>,
    /// What was done all the same, but may not be what was meant. One line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One container on the network, or the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PsEntry {
    /// The first 12 characters of the container's id, or `weave:expose` for the host.
    #[serde(rename = "ID")]
    pub id: String,
    /// The MAC address of its interface.
    #[serde(rename = "MAC")]
    pub mac: String,
    /// Its addresses with prefix.
    pub addresses: Vec<String>,
}

/// `GET /version`: who answers here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionAnswer {
    /// The daemon's version.
    pub version: String,
    /// Its peer name.
    pub name: String,
    /// Its name for people.
    #[serde(rename = "NickName")]
    pub nickname: String,
    /// Its process id, as it sees it.
    #[serde(rename = "PID")]
    pub pid: u32,
}
