//! From a TCP connection to a link both ends agree on (P2.1 to P2.9, P3).

mod error;

pub use error::HandshakeError;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use socket2::SockRef;
use tokio::net::TcpStream;
use wire::{Hello, Message, PeerName, Prelude, Refuse, RefuseCode, Uid, common_version};

use crate::channel::Channel;
use crate::congestion::Congestion;
use crate::dial::Dialled;
use crate::pace::CHUNK_MOST;
use crate::password::{Exchange, Side};
use crate::path::{leave_unsent, let_fly};
use crate::secure::{Secured, secure};
use crate::{Credentials, Password, tls};

/// A handshake that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What this peer says of itself in its hello.
#[derive(Debug, Clone)]
pub struct LocalHello {
    /// Its name.
    pub name: PeerName,
    /// Its nickname.
    pub nickname: String,
    /// Its incarnation (P1.5).
    pub incarnation: u64,
    /// TCP port it listens on.
    pub port: u16,
    /// UDP port it receives on; 0: none.
    pub udp_port: u16,
    /// Bits of P2.8.
    pub transports: u8,
    /// Largest frame it will send.
    pub frame_max: u32,
    /// Program version.
    pub program: String,
}

/// What this peer proves itself with and asks of others.
#[derive(Clone)]
pub struct Endpoint {
    /// The identity.
    pub credentials: Credentials,
    /// Passwords that let a peer in; none: everybody may join.
    pub passwords: Vec<Password>,
    /// This run.
    pub uid: Uid,
    /// Protocol versions spoken, lowest and highest.
    pub versions: (u8, u8),
    /// What the hello says.
    pub hello: LocalHello,
    /// How the links' sockets find out what the path can carry.
    pub congestion: Congestion,
}

/// Whom the dialler expects.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expect {
    /// The identity remembered for this address.
    pub public_key: Option<[u8; 32]>,
    /// The name heard from others for this address.
    pub name: Option<PeerName>,
}

/// A link whose ends have agreed; not yet started.
pub struct Established {
    /// The other end's identity, proved.
    pub public_key: [u8; 32],
    /// Its run.
    pub uid: Uid,
    /// What it says of itself.
    pub hello: Hello,
    /// The version spoken.
    pub version: u8,
    /// Whether we dialled.
    pub outbound: bool,
    /// The dialler's nonce (P2.10).
    pub dialler_nonce: u32,
    /// Whether a password was proved.
    pub authenticated: bool,
    /// Exporter output for sessions (P4.2).
    pub session_secret: [u8; 32],
    /// Its address. Unspecified where only a proxy knows it.
    pub remote: SocketAddr,
    /// Our own end of the connection.
    pub local: SocketAddr,
    /// Whether the connection goes through a proxy of ours.
    pub proxied: bool,
    pub(crate) channel: Channel,
}

impl Endpoint {
    /// Takes a connection that we opened through the handshake.
    ///
    /// # Errors
    /// Says why there is no link; the other end has been told, where it could be.
    pub async fn dial(&self, tcp: TcpStream, expect: Expect) -> Result<Established, HandshakeError> {
        self.dial_one_of(tcp, Dialled { expect, ..Dialled::default() }).await
    }

    /// The same for one of several connections that may all lead to the same peer, or for one that goes through a proxy.
    ///
    /// # Errors
    /// As [`Endpoint::dial`].
    pub async fn dial_one_of(
        &self,
        tcp: TcpStream,
        dialled: Dialled<'_>,
    ) -> Result<Established, HandshakeError> {
        let connection = self.credentials.client_connection(remote(&tcp)?.ip());
        self.handshake(tcp, connection, Side::Dialler, dialled).await
    }

    /// Takes a connection that somebody else opened through the handshake.
    ///
    /// # Errors
    /// As [`Endpoint::dial`].
    pub async fn accept(&self, tcp: TcpStream) -> Result<Established, HandshakeError> {
        let connection = self.credentials.server_connection();
        self.handshake(tcp, connection, Side::Acceptor, Dialled::default()).await
    }

    pub(crate) async fn handshake(
        &self,
        tcp: TcpStream,
        connection: Result<tls::Connection, rustls::Error>,
        side: Side,
        dialled: Dialled<'_>,
    ) -> Result<Established, HandshakeError> {
        let remote = match dialled.beyond_proxy {
            Some(address) => address,
            None => remote(&tcp)?,
        };
        let ends = Ends { local: canonical(tcp.local_addr()?), remote };
        let connection = connection.map_err(|e| HandshakeError::Tls(e.to_string()))?;
        let handshake = async {
            tune(&tcp, &self.congestion)?;
            let secured = secure(tcp, connection, dialled.progress).await?;
            self.agree(secured, ends, side, &dialled).await
        };
        tokio::time::timeout(TIMEOUT, handshake).await.map_err(|_| HandshakeError::Timeout)?
    }

    async fn agree(
        &self,
        mut secured: Secured,
        Ends { local, remote }: Ends,
        side: Side,
        dialled: &Dialled<'_>,
    ) -> Result<Established, HandshakeError> {
        let result = self.agree_inner(&mut secured, remote, side, dialled).await;
        if let Err(HandshakeError::RefusedByUs(refuse)) = &result {
            secured.channel.refuse(refuse).await;
        }
        let agreed = result?;
        Ok(Established {
            public_key: secured.public_key,
            uid: agreed.theirs.uid,
            hello: agreed.hello,
            version: agreed.version,
            outbound: side == Side::Dialler,
            dialler_nonce: if side == Side::Dialler { agreed.our_nonce } else { agreed.theirs.nonce },
            authenticated: agreed.authenticated,
            session_secret: secured.session_secret,
            remote,
            local,
            proxied: dialled.beyond_proxy.is_some(),
            channel: secured.channel,
        })
    }

    async fn agree_inner(
        &self,
        secured: &mut Secured,
        remote: SocketAddr,
        side: Side,
        dialled: &Dialled<'_>,
    ) -> Result<Agreed, HandshakeError> {
        let expect = dialled.expect;
        let ours = self.prelude()?;
        let theirs = secured.channel.exchange_preludes(&ours).await?;
        let heard = || dialled.progress.inspect(|progress| progress.heard());
        heard();
        if expect.public_key.is_some_and(|k| k != secured.public_key) {
            return Err(no(
                RefuseCode::WrongPeer,
                format!(
                    "the router at {remote} has another identity than the one remembered for this address; if its host was set up anew, \
                     run `weave forget` and `weave connect` for it"
                ),
            ));
        }
        let version = common_version(&ours, &theirs).ok_or_else(|| {
            let (our, their) = (versions(&ours), versions(&theirs));
            no(
                RefuseCode::Version,
                format!("no common protocol version: one router speaks {our}, the other {their}; upgrade the older one"),
            )
        })?;
        let authenticated = self.prove_password(secured, side, theirs.passwords).await?;
        heard();

        // It comes by itself, and behind our prelude: a connection that full segments do not pass takes no turn.
        let first = match side {
            Side::Dialler => Some(secured.channel.read().await?),
            Side::Acceptor => None,
        };
        dialled.progress.inspect(|progress| progress.passed());
        let turn = match dialled.turn {
            Some(turn) => Some(turn.take().await),
            None => None,
        };
        // A proxy's address would tell the other end nothing about its own.
        let seen = dialled.beyond_proxy.is_none().then_some(remote);
        secured.channel.write(&Message::Hello(self.hello_for(seen))).await?;
        let answer = match first {
            Some(message) => message,
            None => secured.channel.read().await?,
        };
        let Message::Hello(hello) = answer else {
            return Err(HandshakeError::Protocol("something else than a hello".into()));
        };
        if expect.name.is_some_and(|name| name != hello.name) {
            return Err(no(
                RefuseCode::WrongPeer,
                format!("expected another peer at {remote} than {}", hello.name),
            ));
        }
        if let Some(turn) = turn {
            turn.keep();
        }
        Ok(Agreed { theirs, hello, version, our_nonce: ours.nonce, authenticated })
    }

    /// P3.2 to P3.6; gives whether a password was proved.
    async fn prove_password(
        &self,
        secured: &mut Secured,
        side: Side,
        theirs: u8,
    ) -> Result<bool, HandshakeError> {
        match (self.passwords.is_empty(), theirs == 0) {
            (true, true) => return Ok(false),
            (true, false) | (false, true) => {
                return Err(no(
                    RefuseCode::PasswordMissing,
                    "one of the two routers has a password and the other none; launch both with the same --password",
                ));
            }
            (false, false) => {}
        }
        let wrong =
            || no(RefuseCode::PasswordWrong, "wrong password; launch both routers with the same --password");
        let (exchange, shares) = Exchange::start(&self.passwords, theirs, side, secured.binding);
        let channel = &mut secured.channel;
        channel.write(&Message::PasswordShare(shares)).await?;
        let Message::PasswordShare(shares) = channel.read().await? else {
            return Err(HandshakeError::Protocol("something else than password shares".into()));
        };
        let keys = exchange.finish(&shares).ok_or_else(wrong)?;
        // The dialler proves first (P3.6): a stranger who dials learns nothing he could test passwords against.
        if side == Side::Dialler {
            channel.write(&Message::PasswordConfirm(keys.confirm())).await?;
        }
        let Message::PasswordConfirm(confirmations) = channel.read().await? else {
            return Err(HandshakeError::Protocol("something else than password confirmations".into()));
        };
        if !keys.verify(&confirmations) {
            return Err(wrong());
        }
        if side == Side::Acceptor {
            channel.write(&Message::PasswordConfirm(keys.confirm())).await?;
        }
        Ok(true)
    }

    fn prelude(&self) -> Result<Prelude, HandshakeError> {
        let mut nonce = [0; 4];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| HandshakeError::Io(io::Error::other("the system gives no random bytes")))?;
        Ok(Prelude {
            version_min: self.versions.0,
            version_max: self.versions.1,
            passwords: u8::try_from(self.passwords.len()).unwrap_or(u8::MAX),
            uid: self.uid,
            nonce: u32::from_be_bytes(nonce),
        })
    }

    fn hello_for(&self, seen: Option<SocketAddr>) -> Hello {
        let h = &self.hello;
        Hello {
            name: h.name,
            nickname: h.nickname.clone(),
            incarnation: h.incarnation,
            port: h.port,
            transports: h.transports,
            udp_port: h.udp_port,
            seen: seen.map(|address| address.to_string()),
            program: Some(h.program.clone()),
            frame_max: Some(h.frame_max),
        }
    }
}

impl Established {
    /// Sends a refusal instead of starting the link.
    pub async fn refuse(mut self, refuse: &Refuse) {
        self.channel.refuse(refuse).await;
    }
}

/// The two addresses of a connection.
struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
}

struct Agreed {
    theirs: Prelude,
    hello: Hello,
    version: u8,
    our_nonce: u32,
    authenticated: bool,
}

/// Small messages leave at once, and little waits unsent in the kernel. Connections to others may come from the same port: what this
/// link's far end sees of it holds for them too (P6.6).
fn tune(tcp: &TcpStream, congestion: &Congestion) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_reuse_address(true)?;
    congestion.apply(tcp)?;
    let_fly(tcp);
    leave_unsent(tcp, CHUNK_MOST)
}

fn remote(tcp: &TcpStream) -> io::Result<SocketAddr> {
    tcp.peer_addr().map(canonical)
}

/// A socket of both IP versions shows IPv4 as mapped IPv6.
const fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn no(code: RefuseCode, text: impl Into<String>) -> HandshakeError {
    HandshakeError::RefusedByUs(Refuse::new(code, text))
}

fn versions(p: &Prelude) -> String {
    if p.version_min == p.version_max {
        p.version_max.to_string()
    } else {
        format!("{} to {}", p.version_min, p.version_max)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_links_socket_holds_what_a_long_way_takes_and_little_that_is_unsent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&tcp, &Congestion::default()).unwrap();
        let socket = SockRef::from(&tcp);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap() as usize, CHUNK_MOST);
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root may have more under way than net.core.wmem_max");
            return;
        }
        // The kernel grants twice what is asked for (socket(7)).
        assert_eq!(socket.send_buffer_size().unwrap(), 16 << 20);
    }
}
