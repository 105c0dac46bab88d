//! Requests, and the service that answers them.

use std::{
    convert::Infallible,
    future::{Ready, ready},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::Full;

/// Answers any request.
pub fn hello(_: Request<Full<Bytes>>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::from("hi"))))
}

pub fn get(target: &str) -> Request<()> {
    Request::get(target).body(()).unwrap()
}

pub fn with(name: HeaderName, value: impl AsRef<[u8]>) -> Request<()> {
    let mut request = get("/");
    request.headers_mut().insert(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    request
}

pub fn bearer(token: &str) -> Request<()> {
    with(AUTHORIZATION, format!("Bearer {token}"))
}

/// Returns a request with this token under another signature.
///
/// Only the first character differs. The signature is as long and canonical, so that only the
/// verifier can refuse it.
pub fn forged(token: &str) -> Request<()> {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    bearer(&format!("{signed}.{first}{}", &signature[1..]))
}
