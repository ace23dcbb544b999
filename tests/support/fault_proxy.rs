//! A proxy in front of an API server that does what networks and servers do on a bad day.
//!
//! In: an API server (plain, or TLS with its certificate authority) and a seed. Out: an address that speaks plain HTTP/1.1
//! and, by what the seed says of the n-th request of a sort: waits; answers 429 with or without `Retry-After`, 500 or 503;
//! resets the connection before the server got the request, or *after* it carried it out; cuts an answer short; freezes a
//! watch (no more bytes, no end), ends it with 410 Gone, in the middle of a line, or early. [`FaultProxy::calm`] ends all
//! that. [`FaultProxy::trip`] tells of the moment at which the n-th request passes: where something is to be killed.
//!
//! One request per connection, so that what happens to a connection happens to one request.

#![allow(dead_code, reason = "a fixture offers more than the tests of any one day use")]

use driftless::cluster::server::Random;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

/// Where the API server is.
#[derive(Clone)]
pub struct Upstream {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Upstream {
    /// Without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// With TLS, certified by this authority (PEM).
    pub fn tls(address: SocketAddr, authority: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("a certificate");
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { address, tls: Some(Arc::new(config)) }
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::from(self.address.ip());
        Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, stream).await?))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Answered 429, to be tried again after a second or whenever.
    TooMany { told: bool },
    /// Answered 500 or 503.
    Error(u16),
    /// The connection is reset before the server got anything.
    ResetBefore,
    /// The connection is reset after the server carried it out.
    ResetAfter,
    /// Half of the answer, then a reset.
    CutAnswer,
    /// A watch: no more bytes.
    Freeze,
    /// A watch: an event that says 410.
    Gone,
    /// A watch: a reset in the middle of a line.
    CutLine,
    /// A watch: ended early, in good order.
    End,
}

struct State {
    upstream: Upstream,
    seed: u64,
    /// Of a thousand requests so many meet a fault.
    rate: u64,
    calm: AtomicBool,
    requests: AtomicU64,
    seen: Mutex<BTreeMap<String, u64>>,
    trip: Mutex<Option<(u64, CancellationToken)>>,
    done: Mutex<BTreeMap<Fault, u32>>,
    /// Requests that are being worked on.
    busy: AtomicU64,
    /// Cancelled when the watches of the moment are to freeze.
    freeze: Mutex<CancellationToken>,
}

/// A running proxy. It ends when it is dropped.
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts one; of a thousand requests `rate` meet a fault.
    pub async fn start(upstream: Upstream, seed: u64, rate: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            upstream,
            seed,
            rate,
            calm: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            seen: Mutex::default(),
            trip: Mutex::default(),
            done: Mutex::default(),
            busy: AtomicU64::new(0),
            freeze: Mutex::default(),
        });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    // What breaks here breaks for the client, which is the point.
                    let _ = state.serve(client).await;
                });
            }
        });
        Ok(Self { address, state, task })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on every request gets through. Watches that froze stay frozen.
    pub fn calm(&self) {
        self.state.calm.store(true, Ordering::SeqCst);
    }

    /// Freezes every watch that is open now; how many there may be later, they are sound.
    pub fn freeze_watches(&self) {
        std::mem::take(&mut *self.state.freeze.lock().expect("no panic")).cancel();
    }

    /// Cancelled when `after` more requests have come.
    pub fn trip(&self, after: u64) -> CancellationToken {
        let token = CancellationToken::new();
        let at = self.state.requests.load(Ordering::SeqCst) + after;
        *self.state.trip.lock().expect("no panic") = Some((at, token.clone()));
        token
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Waits until nothing is on its way to the server any more, watches aside.
    pub async fn drained(&self) {
        while self.state.busy.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Which faults there were, and how many.
    pub fn done(&self) -> BTreeMap<Fault, u32> {
        self.state.done.lock().expect("no panic").clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    async fn read(client: &mut TcpStream) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if client.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let mut body = bytes.split_off(end);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        while body.len() < length.unwrap_or(0) {
            if client.read_buf(&mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { head, body })
    }

    fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn is_watch(&self) -> bool {
        self.target().contains("watch=1") || self.target().contains("watch=true")
    }

    /// Requests of one sort are counted together: names hold what differs from run to run.
    fn sort(&self) -> String {
        let path = self.target().split('?').next().unwrap_or_default();
        let plural = path.split('/').find(|part| part.len() > 3 && part.ends_with('s') && *part != "namespaces");
        format!("{} {} {}", self.method(), plural.unwrap_or("other"), self.is_watch())
    }

    /// As it is sent on: one request per connection.
    fn bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        for line in self.head.trim_end().lines() {
            if !line.to_ascii_lowercase().starts_with("connection:") {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
        out.push_str("Connection: close\r\n\r\n");
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }
}

impl State {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let request = Request::read(&mut client).await?;
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let tripped = {
            let mut trip = self.trip.lock().expect("no panic");
            trip.take_if(|(at, _)| *at <= number).map(|(_, token)| token)
        };
        let mut chance = self.chance(&request);
        if request.is_watch() {
            if let Some(token) = tripped {
                token.cancel();
            }
            return self.watch(client, &request, &mut chance).await;
        }
        self.busy.fetch_add(1, Ordering::SeqCst);
        let served = self.answer(client, &request, &mut chance, tripped).await;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        served
    }

    fn chance(&self, request: &Request) -> Random {
        let sort = request.sort();
        let mut seen = self.seen.lock().expect("no panic");
        let count = seen.entry(sort.clone()).or_insert(0);
        *count += 1;
        // FNV-1a.
        let hash = sort
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut random = Random::new(self.seed ^ hash ^ count.wrapping_mul(0x9E37_79B9));
        random.bits();
        random
    }

    fn note(&self, fault: Fault) {
        *self.done.lock().expect("no panic").entry(fault).or_insert(0) += 1;
    }

    async fn answer(
        &self,
        mut client: TcpStream,
        request: &Request,
        chance: &mut Random,
        tripped: Option<CancellationToken>,
    ) -> io::Result<()> {
        let calm = self.calm.load(Ordering::SeqCst);
        let strikes = !calm && chance.bits() % 1000 < self.rate;
        let fault = strikes.then(|| match chance.bits() % 16 {
            0 => Fault::TooMany { told: true },
            1..=3 => Fault::TooMany { told: false },
            4 | 5 => Fault::Error(500),
            6..=8 => Fault::Error(503),
            9..=11 => Fault::ResetBefore,
            12..=14 => Fault::ResetAfter,
            _ => Fault::CutAnswer,
        });
        if !calm && chance.bits().is_multiple_of(4) {
            tokio::time::sleep(Duration::from_millis(chance.bits() % 40)).await;
        }
        // What is killed at this request dies before the server has it, or after it was carried out.
        let after = chance.bits().is_multiple_of(2);
        if let Some(token) = tripped.as_ref().filter(|_| !after) {
            token.cancel();
        }
        if let Some(fault) = fault {
            self.note(fault);
        }
        match fault {
            Some(Fault::TooMany { told }) => {
                let header = if told { "Retry-After: 1\r\n" } else { "" };
                client.write_all(&refusal(429, header)).await?;
            }
            Some(Fault::Error(code)) => client.write_all(&refusal(code, "")).await?,
            Some(Fault::ResetBefore) => return reset(client),
            _ => {
                let mut server = self.upstream.connect().await?;
                server.write_all(&request.bytes()).await?;
                let mut answer = Vec::new();
                // A TLS server may close without saying goodbye.
                let read = server.read_to_end(&mut answer).await;
                if answer.is_empty() {
                    read?;
                }
                match fault {
                    Some(Fault::ResetAfter) => {
                        if let Some(token) = tripped {
                            token.cancel();
                        }
                        return reset(client);
                    }
                    Some(Fault::CutAnswer) => {
                        client.write_all(&answer[..answer.len() / 2]).await?;
                        client.flush().await?;
                        return reset(client);
                    }
                    _ => client.write_all(&answer).await?,
                }
            }
        }
        if let Some(token) = tripped {
            token.cancel();
        }
        client.shutdown().await
    }

    async fn watch(&self, mut client: TcpStream, request: &Request, chance: &mut Random) -> io::Result<()> {
        // Watches are few and long: four times as many meet something.
        let strikes = !self.calm.load(Ordering::SeqCst) && chance.bits() % 1000 < self.rate * 4;
        let fault = strikes.then(|| match chance.bits() % 8 {
            0..=2 => Fault::Freeze,
            3 => Fault::Gone,
            4 | 5 => Fault::CutLine,
            6 => Fault::End,
            _ => Fault::Error(503),
        });
        let at = Duration::from_millis(chance.bits() % 400);
        if let Some(fault) = fault {
            self.note(fault);
        }
        match fault {
            Some(Fault::Gone) => {
                tokio::time::sleep(at / 4).await;
                let event = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
                let text = format!("{head}Content-Length: {}\r\n\r\n{event}\n", event.len() + 1);
                client.write_all(text.as_bytes()).await?;
                return client.shutdown().await;
            }
            Some(Fault::Error(code)) => {
                client.write_all(&refusal(code, "")).await?;
                return client.shutdown().await;
            }
            _ => {}
        }
        let mut server = self.upstream.connect().await?;
        server.write_all(&request.bytes()).await?;
        let freeze = self.freeze.lock().expect("no panic").clone();
        let ends = tokio::time::sleep(if fault.is_some() { at } else { Duration::from_secs(3600) });
        tokio::pin!(ends);
        let mut bytes = vec![0; 64 * 1024];
        let mut nothing = [0; 16];
        loop {
            tokio::select! {
                read = server.read(&mut bytes) => match read {
                    Ok(length) if length > 0 => client.write_all(&bytes[..length]).await?,
                    _ => return client.shutdown().await,
                },
                left = client.read(&mut nothing) => if left? == 0 { return Ok(()) },
                () = &mut ends => break,
                () = freeze.cancelled() => break,
            }
        }
        match if freeze.is_cancelled() { Some(Fault::Freeze) } else { fault } {
            Some(Fault::Freeze) => while client.read(&mut nothing).await? > 0 {},
            Some(Fault::CutLine) => {
                tokio::select! {
                    read = server.read(&mut bytes) => {
                        client.write_all(&bytes[..read? / 2]).await?;
                        client.flush().await?;
                        return reset(client);
                    }
                    left = client.read(&mut nothing) => { left?; }
                }
            }
            _ => {}
        }
        client.shutdown().await
    }
}

fn refusal(code: u16, header: &str) -> Vec<u8> {
    let (reason, word) = match code {
        429 => ("TooManyRequests", "Too Many Requests"),
        503 => ("ServiceUnavailable", "Service Unavailable"),
        _ => ("InternalError", "Internal Server Error"),
    };
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"a bad day","reason":"{reason}","code":{code}}}"#
    );
    let length = body.len();
    let head = format!("HTTP/1.1 {code} {word}\r\nContent-Type: application/json\r\nConnection: close\r\n");
    format!("{head}{header}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// An end that the other side sees as a reset.
fn reset(client: TcpStream) -> io::Result<()> {
    client.set_zero_linger()?;
    drop(client);
    Ok(())
}
