//! TLS with raw public keys (P2.1, P2.2).

mod shown;

pub use shown::{Shown, ShownError};

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error, KeyLog,
    PeerIncompatible, ServerConfig, ServerConnection, SignatureScheme, version::TLS13,
};
use zeroize::Zeroizing;

/// ALPN of P2.2.
const ALPN: &[u8] = b"weave";
/// An Ed25519 SubjectPublicKeyInfo is this and 32 bytes of key (RFC 8410 section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// An Ed25519 PKCS#8 version 1 key is this and 32 bytes of seed (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The identity could not be made into TLS credentials.
#[derive(Debug, thiserror::Error)]
#[error("TLS refuses this identity: {0}")]
pub struct TlsError(#[from] Error);

/// What this peer proves itself with, for both roles.
#[derive(Clone)]
pub struct Credentials {
    client: ClientConfig,
    server: ServerConfig,
    /// Sent where the operator wants one.
    server_name: Option<ServerName<'static>>,
}

impl Credentials {
    /// Credentials out of an Ed25519 seed and its public key.
    ///
    /// # Errors
    /// When the crypto library refuses the key.
    pub fn new(seed: &[u8; 32], public_key: &[u8; 32]) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pkcs8 = Zeroizing::new([&PKCS8_PREFIX[..], seed].concat());
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let signer = provider.key_provider.load_private_key(private.clone_key())?;
        let spki = CertificateDer::from([&SPKI_PREFIX[..], public_key].concat());
        let key = Arc::new(CertifiedKey::new(vec![spki], signer));
        let verifier = Arc::new(AnyKey(Arc::clone(&provider)));

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&key))));
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        client.enable_sni = false;

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
        // P2.2: whatever the dialler offers, so that only its end has to be told what to look like.
        server.alpn_protocols = Vec::new();
        server.send_tls13_tickets = 0;
        Ok(Self { client, server, server_name: None })
    }

    /// Has the dialling side show something else than its usual self to those who watch.
    #[must_use]
    pub fn showing(mut self, shown: Shown) -> Self {
        let Shown { server_name, alpn } = shown;
        self.client.enable_sni = server_name.is_some();
        self.server_name = server_name.map(ServerName::DnsName);
        if !alpn.is_empty() {
            self.client.alpn_protocols = alpn.into_iter().map(String::into_bytes).collect();
        }
        self
    }

    /// A handshake towards whoever listens at `address`.
    pub(crate) fn client_connection(&self, address: IpAddr) -> Result<Connection, Error> {
        let (mut config, secrets) = (self.client.clone(), Arc::new(Secrets::default()));
        config.key_log = Arc::clone(&secrets) as Arc<dyn KeyLog>;
        // Without one to send rustls wants a name all the same.
        let name = self.server_name.clone().unwrap_or_else(|| ServerName::from(address));
        let tls = ClientConnection::new(Arc::new(config), name)?.into();
        Ok(Connection { tls, secrets })
    }

    /// The other end of one.
    pub(crate) fn server_connection(&self) -> Result<Connection, Error> {
        let (mut config, secrets) = (self.server.clone(), Arc::new(Secrets::default()));
        config.key_log = Arc::clone(&secrets) as Arc<dyn KeyLog>;
        Ok(Connection { tls: ServerConnection::new(Arc::new(config))?.into(), secrets })
    }
}

/// A handshake, and the secrets it leaves behind for the record layer.
pub(crate) struct Connection {
    pub(crate) tls: rustls::Connection,
    pub(crate) secrets: Arc<Secrets>,
}

/// The first traffic secrets of both directions.
///
/// rustls hands them out only here: keys extracted from the connection could not be updated (RFC 8446 section 7.2), and its kernel
/// interface, which could, has no exporter.
#[derive(Default)]
pub(crate) struct Secrets {
    client: OnceLock<Secret>,
    server: OnceLock<Secret>,
}

type Secret = Zeroizing<Vec<u8>>;

impl Secrets {
    /// What this end seals with, and what it opens with.
    pub(crate) fn of(&self, client: bool) -> Option<(Secret, Secret)> {
        let (ours, theirs) = if client { (&self.client, &self.server) } else { (&self.server, &self.client) };
        Some((ours.get()?.clone(), theirs.get()?.clone()))
    }

    fn slot(&self, label: &str) -> Option<&OnceLock<Secret>> {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => Some(&self.client),
            "SERVER_TRAFFIC_SECRET_0" => Some(&self.server),
            _ => None,
        }
    }
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if let Some(slot) = self.slot(label) {
            slot.get_or_init(|| Zeroizing::new(secret.to_vec()));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.slot(label).is_some()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// The 32 bytes of key in a peer's raw public key.
pub(crate) fn public_key(certificates: Option<&[CertificateDer<'_>]>) -> Option<[u8; 32]> {
    let [spki] = certificates? else { return None };
    spki.as_ref().strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

/// Accepts any Ed25519 key whose owner proves to have it. Who that is, and whether it may join, is decided after the handshake.
#[derive(Debug)]
struct AnyKey(Arc<CryptoProvider>);

impl AnyKey {
    fn is_ed25519(key: &CertificateDer<'_>) -> Result<(), Error> {
        public_key(Some(std::slice::from_ref(key)))
            .map(|_| ())
            .ok_or(Error::InvalidCertificate(rustls::CertificateError::BadEncoding))
    }

    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(
            message,
            &spki,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::is_ed25519(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::is_ed25519(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// TLS 1.2 is not compiled in; its hooks exist all the same.
const fn tls12() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled)
}
