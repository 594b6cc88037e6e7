//! A QUIC connection to the router with its one stream, and the wait for a kind of answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::wire;

const TIMEOUT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
const READ_BYTES: usize = 65_536;

/// Any certificate: the router's own is made at its first start.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// ALPN `clasp/2`, and quinn's defaults but for PINGs of its own: the router asks who is silent.
pub fn configuration() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"clasp/2".to_vec()];
    let quic = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut configuration = ClientConfig::new(Arc::new(quic));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(TIMEOUT.try_into().unwrap()));
    configuration.transport_config(Arc::new(transport));
    Ok(configuration)
}

/// A socket of the `number`th host: 127.0.0.1, or one of `hosts` addresses from 127.0.0.2 on.
pub fn endpoint(hosts: usize, number: usize) -> Result<Endpoint, String> {
    let host = if hosts == 0 { 1 } else { 2 + (number % hosts) as u32 };
    let address = IpAddr::V4(Ipv4Addr::from(0x7F00_0000 + host));
    Endpoint::client(SocketAddr::new(address, 0)).map_err(|error| format!("no socket: {error}"))
}

pub struct Stream {
    pub connection: Connection,
    pub out: SendStream,
    pub input: Input,
}

/// The frames that come.
pub struct Input {
    receive: RecvStream,
    buffer: Vec<u8>,
    taken: usize,
    block: Box<[u8]>,
}

impl Input {
    /// Read once and hand every whole frame to `each`. An error when the stream ends, or what `each` says.
    pub async fn read(
        &mut self,
        mut each: impl FnMut(&wire::Message<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let size = self
            .receive
            .read(&mut self.block)
            .await
            .map_err(|error| format!("the connection has ended: {error}"))?
            .ok_or("the router has ended the stream")?;
        self.buffer.extend_from_slice(&self.block[..size]);
        while let Some((message, size)) = wire::first(&self.buffer[self.taken..])? {
            each(&message)?;
            self.taken += size;
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        Ok(())
    }

    /// Read until a message of this kind has come. An ERROR is one.
    pub async fn until(&mut self, kind: u8) -> Result<(), String> {
        let mut found = false;
        while !found {
            let read = self.read(|message| {
                found = found || message.kind == kind;
                match message.kind {
                    wire::ERROR => Err(wire::error_text(message.payload)),
                    _ => Ok(()),
                }
            });
            tokio::time::timeout(TIMEOUT, read)
                .await
                .map_err(|_| "no answer".to_string())??;
        }
        Ok(())
    }
}

/// Connect and open the stream.
pub async fn open(endpoint: &Endpoint, configuration: &ClientConfig, to: SocketAddr) -> Result<Stream, String> {
    let connecting = endpoint
        .connect_with(configuration.clone(), to, "localhost")
        .map_err(|error| error.to_string())?;
    let connection = tokio::time::timeout(TIMEOUT, connecting)
        .await
        .map_err(|_| "no handshake".to_string())?
        .map_err(|error| format!("no connection: {error}"))?;
    let (out, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    let input = Input { receive, buffer: Vec::new(), taken: 0, block: vec![0; READ_BYTES].into() };
    Ok(Stream { connection, out, input })
}

impl Stream {
    pub async fn write(&mut self, data: &[u8]) -> Result<(), String> {
        self.out
            .write_all(data)
            .await
            .map_err(|error| format!("the connection has ended: {error}"))
    }

    /// HELLO, up to WELCOME.
    pub async fn greet(&mut self) -> Result<(), String> {
        self.write(&wire::hello()).await?;
        self.input.until(wire::WELCOME).await
    }

    /// Subscribe; the answer to a PING says that it has been done. In two writes: the reference takes one message each.
    pub async fn subscribe(&mut self, pattern: &str) -> Result<(), String> {
        self.write(&wire::subscribe(pattern)).await?;
        tokio::time::sleep(PAUSE).await;
        self.write(&wire::ping()).await?;
        self.input.until(wire::PONG).await
    }
}
