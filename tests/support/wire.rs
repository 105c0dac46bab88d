//! A hyper server around a service, and raw requests that no client library would send.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tower::Service;

use super::HANG;

/// A server for HTTP/1 and HTTP/2 on a free loopback port. Dropping it stops the server.
pub struct WireServer {
    address: SocketAddr,
    acceptor: JoinHandle<()>,
}

impl WireServer {
    pub async fn start<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes, Error: Into<tower_bearer::BoxError>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let acceptor = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A test may send invalid requests, so an error is expected here.
                    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, acceptor }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends these bytes on a new connection, and returns everything until the server closes it. A
    /// failure names `what`.
    pub async fn exchange(&self, what: &str, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // A server may refuse and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        read_to_end(what, &mut stream).await
    }

    /// Does the same, but shuts the connection down for writing after the first bytes of the
    /// answer. A server that waits for more input then closes too.
    pub async fn exchange_and_leave(&self, what: &str, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        let _ = stream.write_all(bytes).await;
        let mut first = [0; 4096];
        let read = timeout(HANG, stream.read(&mut first)).await;
        let read = read.unwrap_or_else(|_| panic!("{what}: no answer")).unwrap_or(0);
        let _ = stream.shutdown().await;
        [&first[..read], &read_to_end(what, &mut stream).await].concat()
    }
}

/// Reads until the server closes the connection, even by a reset.
async fn read_to_end(what: &str, stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = timeout(HANG, stream.read(&mut buffer)).await;
        match read.unwrap_or_else(|_| panic!("{what}: the server does not close: {answer:?}")) {
            Ok(0) | Err(_) => return answer,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
        }
    }
}

impl Drop for WireServer {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Returns the status codes of the HTTP/1 responses in these bytes, in order.
pub fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().expect("a status")).collect()
}

/// Returns the bytes of an HTTP/2 request with exactly these fields, which no client library would
/// encode, followed by GOAWAY.
pub fn http2_request(fields: &[(&str, &str)]) -> Vec<u8> {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const END_STREAM_AND_HEADERS: u8 = 5;

    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // `:method: POST`, `:scheme: http`, `:path: /` by their indices (RFC 7541 appendix A), then
    // literals that are not indexed, without Huffman coding (RFC 7541 section 6.2.2).
    let mut block = vec![0x83, 0x86, 0x84];
    for (name, value) in [(":authority", "a")].iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(SETTINGS, 1, 0, &[]),
        frame(HEADERS, END_STREAM_AND_HEADERS, 1, &block),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ]
    .concat()
}

/// Appends an integer with a prefix of seven bits (RFC 7541 section 5.1).
fn integer(number: usize, block: &mut Vec<u8>) {
    const PREFIX: usize = 127;
    let byte = |number: usize| u8::try_from(number).expect("under 256");
    if number < PREFIX {
        return block.push(byte(number));
    }
    block.push(byte(PREFIX));
    let mut rest = number - PREFIX;
    while rest >= 128 {
        block.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    block.push(byte(rest));
}
