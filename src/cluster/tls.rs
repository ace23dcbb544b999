//! TLS on the embedded cluster's port, beside plain HTTP: the first byte of a connection tells which it is.
//!
//! client-go sends a bearer token only where the server's address is `https` (tools/clientcmd, `IsConfigTransportTLS`), so
//! that kubectl needs TLS even on loopback. Keys live in memory and end with the process.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// First byte of a TLS handshake record (RFC 8446, 5.1).
const HANDSHAKE: u8 = 0x16;

/// A client that has said nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections in the middle of their handshake.
const HANDSHAKES: usize = 64;

/// A certificate authority for one server, and that server's certificate.
pub struct Identity {
    /// The authority's certificate, PEM.
    pub ca_certificate: String,
    /// Accepts TLS connections as 127.0.0.1 and localhost.
    pub acceptor: TlsAcceptor,
}

impl Identity {
    /// Makes new keys.
    ///
    /// # Errors
    /// The text of what the libraries say; they fail only without randomness.
    pub fn new() -> Result<Self, String> {
        let text = |e: rcgen::Error| e.to_string();
        let mut ca = CertificateParams::new(Vec::new()).map_err(text)?;
        ca.distinguished_name.push(DnType::CommonName, "driftless embedded cluster");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().map_err(text)?).map_err(text)?;
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let mut own = CertificateParams::new(names).map_err(text)?;
        own.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let key = KeyPair::generate().map_err(text)?;
        let certificate = own.signed_by(&key, &issuer).map_err(text)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let secret = PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .map_err(|e| e.to_string())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { ca_certificate: issuer.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// A connection, encrypted or not.
pub enum Connection {
    /// Plain HTTP.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Hands out connections whose handshake is done; handshakes run beside each other.
pub struct Listener {
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    address: SocketAddr,
}

impl Listener {
    /// Takes over a socket. Must be called within a runtime.
    pub fn new(socket: TcpListener, acceptor: TlsAcceptor) -> Self {
        let address = socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
        let (sender, ready) = mpsc::channel(HANDSHAKES);
        tokio::spawn(accept(socket, acceptor, sender));
        Self { ready, address }
    }
}

async fn accept(socket: TcpListener, acceptor: TlsAcceptor, sender: mpsc::Sender<(Connection, SocketAddr)>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = sender.closed() => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, mostly: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            if let Ok(Ok(connection)) = tokio::time::timeout(PATIENCE, shake_hands(stream, acceptor)).await {
                let _ = sender.send((connection, peer)).await;
            }
        });
    }
}

async fn shake_hands(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let mut first = [0_u8];
    if stream.peek(&mut first).await? == 1 && first[0] == HANDSHAKE {
        return Ok(Connection::Tls(Box::new(acceptor.accept(stream).await?)));
    }
    Ok(Connection::Plain(stream))
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task is gone: nothing will come any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
