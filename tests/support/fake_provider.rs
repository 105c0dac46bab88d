//! An identity provider that publishes keys, and misbehaves on command.
//!
//! Its certificate is valid for 127.0.0.1 alone, and has the authority [`FakeProvider::ca`].

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tower_bearer::{KeySet, jwt::Algorithm};

use super::test_keys;

/// The path of the JWK Set.
pub const JWKS: &str = "/jwks";
/// The path of the metadata document of `OpenID` Connect Discovery, after that of the issuer.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
/// The path of the metadata document of RFC 8414, before that of the issuer.
pub const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// The size of the answer of [`Conduct::Huge`].
pub const HUGE: usize = 10_000_000;
const HUGE_CHUNK: usize = 16 * 1024;

type Body = BoxBody<Bytes, io::Error>;

/// The answer to requests for one path.
#[derive(Clone, Debug, Default)]
pub enum Conduct {
    /// The document, or 404 where there is none.
    #[default]
    Serve,
    /// The document after this time.
    Late(Duration),
    /// No answer, on an open connection.
    Hang,
    /// This status, with an empty JWK Set as the body.
    Status(u16),
    /// A redirect to this address, which may be relative.
    Redirect(String),
    /// A redirect without an address.
    RedirectNowhere,
    /// This body, with this `Content-Type`.
    Body(&'static str, Bytes),
    /// [`HUGE`] bytes, with or without `Content-Length`.
    Huge { declared: bool },
    /// A body without an end, of one byte a second.
    Drip,
    /// A closed connection in place of an answer.
    Close,
    /// A connection that closes in the middle of the body.
    CloseMidway,
}

/// The provider. Dropping it closes all connections.
pub struct FakeProvider {
    url: String,
    state: Arc<State>,
    acceptor: JoinHandle<()>,
}

struct State {
    published: Mutex<Published>,
    /// The headers of each request, by path.
    requests: Mutex<HashMap<String, Vec<HeaderMap>>>,
    /// The bytes of huge answers that the connections took.
    huge_bytes: AtomicU64,
}

struct Published {
    issuer: String,
    jwks_uri: Value,
    keys: Vec<Value>,
    cache_control: Option<String>,
    conduct: HashMap<String, Conduct>,
}

impl FakeProvider {
    /// Starts a provider over HTTPS, without keys. Must be called in a runtime.
    pub fn start() -> Self {
        Self::start_with("https", Some(acceptor()))
    }

    /// Starts a provider over plain HTTP.
    pub fn start_http() -> Self {
        Self::start_with("http", None)
    }

    fn start_with(scheme: &str, tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // With little room in the kernel, a client that stops to read soon stops the provider.
        socket.set_send_buffer_size(64 * 1024).expect("a buffer");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let listener = socket.listen(128).expect("a bound socket");
        let url = format!("{scheme}://{}", listener.local_addr().expect("a bound listener"));
        let published = Published {
            issuer: url.clone(),
            jwks_uri: format!("{url}{JWKS}").into(),
            keys: Vec::new(),
            cache_control: None,
            conduct: HashMap::new(),
        };
        let state = Arc::new(State {
            published: Mutex::new(published),
            requests: Mutex::default(),
            huge_bytes: AtomicU64::new(0),
        });
        let acceptor = tokio::spawn(accept(listener, tls, Arc::clone(&state)));
        Self { url, state, acceptor }
    }

    /// Returns the PEM text of the authority that signed the certificate.
    pub fn ca() -> String {
        test_keys::text("TEST-tls-ca.pem")
    }

    /// Returns scheme, host and port. This is the issuer too, until
    /// [`set_issuer`](Self::set_issuer).
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the address of a path.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// Replaces the published keys by these JWKs.
    pub fn publish<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) {
        let keys = keys.into_iter().map(|key| serde_json::from_str(key.as_ref()).expect("a JWK")).collect();
        self.published().keys = keys;
    }

    /// Adds a JWK to the published keys.
    pub fn add_key(&self, key: &str) {
        self.published().keys.push(serde_json::from_str(key).expect("a JWK"));
    }

    /// Removes the keys with this `kid`.
    pub fn withdraw(&self, kid: &str) {
        self.published().keys.retain(|key| key["kid"] != kid);
    }

    /// Changes the issuer in the metadata documents.
    pub fn set_issuer(&self, issuer: &str) {
        issuer.clone_into(&mut self.published().issuer);
    }

    /// Changes `jwks_uri` in the metadata documents. `Null` removes it.
    pub fn set_jwks_uri(&self, uri: impl Into<Value>) {
        self.published().jwks_uri = uri.into();
    }

    /// Sets `Cache-Control` of the JWK Set. The metadata documents always have `max-age=7`.
    pub fn set_cache_control(&self, value: &str) {
        self.published().cache_control = Some(value.to_owned());
    }

    /// Sets the answer to requests for a path.
    pub fn set(&self, path: &str, conduct: Conduct) {
        self.published().conduct.insert(path.to_owned(), conduct);
    }

    /// Returns the number of requests for a path.
    pub fn fetches(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    /// Returns the number of requests for all paths.
    pub fn all_fetches(&self) -> usize {
        self.state.requests.lock().expect("no panic").values().map(Vec::len).sum()
    }

    /// Returns the headers of each request for a path.
    pub fn requests(&self, path: &str) -> Vec<HeaderMap> {
        self.state.requests.lock().expect("no panic").get(path).cloned().unwrap_or_default()
    }

    /// Returns the bytes of huge answers that the connections took.
    pub fn huge_bytes(&self) -> u64 {
        self.state.huge_bytes.load(Ordering::SeqCst)
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.state.published.lock().expect("no panic")
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        // The task owns the connections, which end with it.
        self.acceptor.abort();
    }
}

/// Returns the public JWK of the TEST key for this algorithm.
pub fn public_jwk(algorithm: Algorithm, kid: &str) -> String {
    let key = test_keys::signing(algorithm).with_kid(kid).expect("a kid");
    let jwks = KeySet::verifying(key.verifying_key().clone()).to_jwks();
    let jwks: Value = serde_json::from_str(&jwks).expect("a JWK Set");
    jwks["keys"][0].to_string()
}

fn acceptor() -> TlsAcceptor {
    let certificate = test_keys::text("TEST-tls-server.pem");
    let certificates: Result<_, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(test_keys::text("TEST-tls-server-key.pem").as_bytes());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the versions of the provider")
        .with_no_client_auth()
        .with_single_cert(certificates.expect("a certificate"), key.expect("a key"))
        .expect("a key that fits the certificate");
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => serve(connection, state).await,
                Some(tls) => {
                    if let Ok(connection) = tls.accept(connection).await {
                        serve(connection, state).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(connection: impl AsyncRead + AsyncWrite + Unpin + 'static, state: Arc<State>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    // Clients break off on purpose.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Body>, io::Error> {
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    state.requests.lock().expect("no panic").entry(path.clone()).or_default().push(headers);
    let conduct = state.published.lock().expect("no panic").conduct.get(&path).cloned().unwrap_or_default();
    let response = Response::builder();
    let response = match conduct {
        Conduct::Serve => state.document(&path),
        Conduct::Late(time) => {
            tokio::time::sleep(time).await;
            state.document(&path)
        }
        Conduct::Hang => std::future::pending().await,
        Conduct::Status(status) => response.status(status).body(full(r#"{"keys":[]}"#)),
        Conduct::Redirect(to) => response.status(StatusCode::FOUND).header(header::LOCATION, to).body(full("")),
        Conduct::RedirectNowhere => response.status(StatusCode::FOUND).body(full("")),
        Conduct::Body(content_type, body) => response.header(header::CONTENT_TYPE, content_type).body(full(body)),
        Conduct::Huge { declared } => {
            let response = if declared { response.header(header::CONTENT_LENGTH, HUGE) } else { response };
            response.body(huge(state))
        }
        Conduct::Drip => {
            let ticks = stream::repeat(()).then(|()| tokio::time::sleep(Duration::from_secs(1)));
            response.body(BodyExt::boxed(StreamBody::new(ticks.map(|()| Ok(Frame::data(Bytes::from_static(b" ")))))))
        }
        Conduct::Close => return Err(io::ErrorKind::ConnectionReset.into()),
        Conduct::CloseMidway => {
            let frames = [Ok(Frame::data(Bytes::from_static(b"{"))), Err(io::ErrorKind::ConnectionReset.into())];
            response.body(BodyExt::boxed(StreamBody::new(stream::iter(frames))))
        }
    };
    Ok(response.expect("a response"))
}

impl State {
    fn document(&self, path: &str) -> http::Result<Response<Body>> {
        let published = self.published.lock().expect("no panic");
        let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
        // A client with a store of cookies would send it back.
        let response = response.header(header::SET_COOKIE, "session=1; Path=/");
        if path == JWKS {
            let value = published.cache_control.iter();
            let response = value.fold(response, |response, value| response.header(header::CACHE_CONTROL, value));
            return response.body(full(json!({ "keys": published.keys }).to_string()));
        }
        if path.ends_with(DISCOVERY) || path.starts_with(OAUTH) {
            let mut metadata = json!({ "issuer": published.issuer, "response_types_supported": ["code"] });
            if !published.jwks_uri.is_null() {
                metadata["jwks_uri"] = published.jwks_uri.clone();
            }
            return response.header(header::CACHE_CONTROL, "max-age=7").body(full(metadata.to_string()));
        }
        Response::builder().status(StatusCode::NOT_FOUND).body(full("nothing here"))
    }
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn huge(state: Arc<State>) -> Body {
    let chunks = (0..HUGE).step_by(HUGE_CHUNK).map(move |at| {
        let length = HUGE_CHUNK.min(HUGE - at);
        state.huge_bytes.fetch_add(length as u64, Ordering::SeqCst);
        Ok(Frame::data(Bytes::from(vec![b' '; length])))
    });
    BodyExt::boxed(StreamBody::new(stream::iter(chunks)))
}
