//! Interfaces.

use std::os::fd::{AsRawFd, BorrowedFd};

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVeth,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{Netlink, is, refused, to_io};
use crate::error::{HostError, Result};

/// An interface as the kernel described it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: LinkKind,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    /// The bridge this is a port of, by index.
    pub(crate) master: Option<u32>,
    /// The other end of a veth pair, by its index in its own namespace.
    pub(crate) peer: Option<u32>,
    /// A free text, by which a port remembers whose it is.
    pub(crate) alias: Option<String>,
    /// On a port of a bridge: whether it sends frames back to where they came from.
    pub(crate) hairpin: bool,
    /// On a port of a bridge: whether frames pass.
    pub(crate) forwarding: bool,
    /// Up, and so is the other end.
    pub(crate) running: bool,
}

/// What drives an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Bridge,
    /// TUN or TAP, which netlink calls by one name.
    Tap,
    Veth,
    /// Hardware, or anything else; empty when the driver has no name for it.
    Other(String),
}

impl LinkKind {
    /// For messages: what an interface is, with an article.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Bridge => "a bridge".into(),
            Self::Tap => "a TAP device".into(),
            Self::Veth => "a veth pair".into(),
            Self::Other(kind) if kind.is_empty() => "a network card".into(),
            Self::Other(kind) => format!("of kind {kind}"),
        }
    }
}

/// What to change about an interface; what is absent stays as it is.
#[derive(Default)]
pub(crate) struct LinkChange<'a> {
    pub(crate) up: Option<bool>,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) txqueuelen: Option<u32>,
    pub(crate) master: Option<u32>,
    pub(crate) alias: Option<&'a str>,
}

impl Netlink {
    /// The interface of that name, if there is one.
    pub(crate) async fn link(&self, name: &str) -> Result<Option<Link>> {
        let mut answers = self.handle.link().get().match_name(name).execute();
        match answers.try_next().await {
            Ok(message) => Ok(message.map(|message| Link::from_message(&message))),
            Err(error) if is(&to_io(error.clone()), libc::ENODEV) => Ok(None),
            Err(error) => Err(refused("look up interface", name)(error)),
        }
    }

    /// The interface of that name, which has to exist.
    pub(crate) async fn existing(&self, name: &str) -> Result<Link> {
        self.link(name).await?.ok_or_else(|| HostError::NoInterface { name: name.to_owned() })
    }

    /// The interface of that name, which has to be a bridge.
    pub(crate) async fn bridge(&self, name: &str) -> Result<Link> {
        let link = self.existing(name).await?;
        match link.kind {
            LinkKind::Bridge => Ok(link),
            kind => Err(HostError::NotABridge { name: name.to_owned(), kind: kind.describe() }),
        }
    }

    /// All interfaces.
    pub(crate) async fn links(&self) -> Result<Vec<Link>> {
        self.handle
            .link()
            .get()
            .execute()
            .map_ok(|message| Link::from_message(&message))
            .try_collect()
            .await
            .map_err(refused("list interfaces of", "this network namespace"))
    }

    /// The ports of a bridge.
    pub(crate) async fn ports(&self, bridge: &Link) -> Result<Vec<Link>> {
        let mut links = self.links().await?;
        links.retain(|link| link.master == Some(bridge.index));
        Ok(links)
    }

    /// Makes a bridge, down and with default settings. The address is given at once, since a bridge without one of its
    /// own takes that of its first port and changes it with its ports.
    pub(crate) async fn add_bridge(&self, name: &str, mac: [u8; 6]) -> Result<()> {
        let message = LinkMessageBuilder::<LinkBridge>::new(name).address(mac.to_vec()).build();
        self.handle.link().add(message).execute().await.map_err(refused("make the bridge", name))
    }

    /// Makes a bridge a plain switch. Spanning tree has to be off before the kernel takes a forward delay of zero.
    pub(crate) async fn make_plain_switch(&self, bridge: &Link) -> Result<()> {
        let message = || LinkMessageBuilder::<LinkBridge>::new(&bridge.name).index(bridge.index);
        let settings = [
            message().stp_state(BridgeStpState::Disabled).build(),
            message().forward_delay(0).mcast_snooping(false).build(),
        ];
        for setting in settings {
            self.handle
                .link()
                .change(setting)
                .execute()
                .await
                .map_err(refused("set up the bridge", &bridge.name))?;
        }
        Ok(())
    }

    /// Makes a veth pair, one end here and one end, named `inner`, in another network namespace from the first moment
    /// on. Both are down; the kernel draws their addresses, random and locally administered.
    pub(crate) async fn add_veth(
        &self,
        outer: &str,
        inner: &str,
        namespace: BorrowedFd<'_>,
        mtu: u32,
    ) -> Result<()> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(inner.to_owned())
            .mtu(mtu)
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(outer, inner)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .mtu(mtu)
            .build();
        self.handle.link().add(message).execute().await.map_err(refused("make the veth pair", outer))
    }

    /// Changes an interface, all of it or nothing where the kernel can tell beforehand.
    pub(crate) async fn change(&self, link: &Link, change: LinkChange<'_>) -> Result<()> {
        let mut message = LinkMessageBuilder::<LinkUnspec>::new().index(link.index);
        if let Some(mac) = change.mac {
            message = message.address(mac.to_vec());
        }
        if let Some(mtu) = change.mtu {
            message = message.mtu(mtu);
        }
        if let Some(txqueuelen) = change.txqueuelen {
            message = message.txqueuelen(txqueuelen);
        }
        if let Some(master) = change.master {
            message = message.controller(master);
        }
        if let Some(alias) = change.alias {
            message = message.alias(alias);
        }
        message = match change.up {
            Some(true) => message.up(),
            Some(false) => message.down(),
            None => message,
        };
        self.handle
            .link()
            .change(message.build())
            .execute()
            .await
            .map_err(refused("change the interface", &link.name))
    }

    /// Switches hairpin mode of a bridge port. With it on, a bridge returns frames to the port they came from: to the
    /// router that would be its own frames coming back, a loop.
    pub(crate) async fn set_hairpin(&self, port: &Link, on: bool) -> Result<()> {
        let message = LinkBridgePort::new(port.index).hairpin(on).build();
        self.handle
            .link()
            .set_port(message)
            .execute()
            .await
            .map_err(refused("set up the bridge port", &port.name))
    }

    /// Deletes an interface. That it is gone already is no error. Of a veth pair both ends go.
    pub(crate) async fn delete(&self, link: &Link) -> Result<()> {
        match self.handle.link().del(link.index).execute().await {
            Err(error) if is(&to_io(error.clone()), libc::ENODEV) => Ok(()),
            other => other.map_err(refused("delete the interface", &link.name)),
        }
    }
}

impl Link {
    pub(super) fn from_message(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: LinkKind::Other(String::new()),
            mac: [0; 6],
            mtu: 0,
            master: None,
            peer: None,
            alias: None,
            hairpin: false,
            forwarding: false,
            running: message.header.flags.contains(LinkFlags::Running),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().unwrap_or_default(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.master = Some(*index),
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
                LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| link.learn(info)),
                _ => {}
            }
        }
        link
    }

    fn learn(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(InfoKind::Bridge) => self.kind = LinkKind::Bridge,
            LinkInfo::Kind(InfoKind::Tun) => self.kind = LinkKind::Tap,
            LinkInfo::Kind(InfoKind::Veth) => self.kind = LinkKind::Veth,
            LinkInfo::Kind(other) => self.kind = LinkKind::Other(other.to_string()),
            LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
                for setting in settings {
                    match setting {
                        InfoBridgePort::HairpinMode(on) => self.hairpin = *on,
                        InfoBridgePort::State(state) => {
                            self.forwarding = *state == BridgePortState::Forwarding
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}
