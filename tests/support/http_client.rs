//! An HTTP client that uses nothing of the crate, so it sees what any client sees.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

type Body = Either<Full<Bytes>, Chunks>;
type Chunks =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>>>;

pub const FORM: &str = "application/x-www-form-urlencoded";
pub const JSON: &str = "application/json";

/// A client of one server.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpConnector, Body>,
    url: String,
}

/// A request under construction.
pub struct Call {
    client: HttpClient,
    request: http::request::Builder,
    body: Body,
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpClient {
    pub fn of(url: &str) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), url: url.to_owned() }
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        Call { client: self.clone(), request, body: Either::Left(Full::default()) }
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path).bearer(token).send().await
    }

    pub async fn post(&self, path: &str, token: &str) -> Answer {
        self.call(Method::POST, path).bearer(token).send().await
    }

    pub async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.call(Method::POST, path).header("content-type", FORM).body(form).send().await
    }

    pub async fn post_json(&self, path: &str, json: Value) -> Answer {
        self.call(Method::POST, path).header("content-type", JSON).body(json.to_string()).send().await
    }
}

impl Call {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sets a body with its `Content-Length`.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Either::Left(Full::new(body.into()));
        self
    }

    /// Sets a body in chunks, without `Content-Length`.
    pub fn chunked(mut self, body: &[u8]) -> Self {
        let frames: Vec<_> = body.chunks(1000).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
        self.body = Either::Right(StreamBody::new(futures_util::stream::iter(frames)));
        self
    }

    /// Sends the request. Panics if there is no answer.
    pub async fn send(self) -> Answer {
        let request = self.request.body(self.body).expect("a request");
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let response = self.client.client.request(request).await;
        let response = response.unwrap_or_else(|error| panic!("no answer to {method} {uri}: {error:?}"));
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the member `error` of the body.
    pub fn error(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("error")?.as_str()?.to_owned())
    }

    /// Returns the answer. Panics if it has another status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}
