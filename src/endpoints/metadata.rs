//! The endpoint that serves the protected resource metadata (RFC 9728 section 3).

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE,
    },
    request::Parts,
};
use http_body_util::Full;

use super::{
    endpoint::{Endpoint, Handle},
    fields::Fields,
};
use crate::middleware::{Rejection, ResourceMetadata, Responder};

/// The handler of [`ResourceMetadata::service`].
#[derive(Debug)]
pub struct MetadataDocument {
    document: Bytes,
}

impl ResourceMetadata {
    /// Returns the endpoint that serves the document. Put it at [`path`](Self::path), outside of
    /// the [`AuthLayer`](crate::AuthLayer). The responses:
    ///
    /// * `GET` and `HEAD`: the document as `application/json`. Caches may keep it for 5 minutes.
    /// * `OPTIONS`: the response to a CORS preflight. Scripts of every site may read the document,
    ///   because it contains nothing secret.
    /// * Other methods: 405.
    #[must_use]
    pub fn service(&self) -> Endpoint<MetadataDocument> {
        let document = Bytes::copy_from_slice(self.document().as_bytes());
        Endpoint::new(MetadataDocument { document }, Responder::default())
    }
}

impl Handle for MetadataDocument {
    const METHODS: &'static [Method] = &[Method::GET, Method::HEAD, Method::OPTIONS];
    const READS_BODY: bool = false;

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        if parts.method == Method::OPTIONS {
            return Ok(answer(
                StatusCode::NO_CONTENT,
                Bytes::new(),
                [
                    (ALLOW, "GET, HEAD, OPTIONS"),
                    (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
                    (ACCESS_CONTROL_ALLOW_HEADERS, "*"),
                    (ACCESS_CONTROL_MAX_AGE, "3600"),
                ],
            ));
        }
        let fields = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")];
        Ok(answer(StatusCode::OK, self.document.clone(), fields))
    }
}

fn answer<const N: usize>(
    status: StatusCode,
    body: Bytes,
    fields: [(HeaderName, &'static str); N],
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.extend(fields.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}
