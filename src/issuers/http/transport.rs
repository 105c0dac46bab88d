//! The fetch of one document over HTTP. It follows redirects, and limits the time and the size.

use std::time::Duration;

use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout_at};

use super::{
    failure::{caused, failure},
    url::{has_credentials, place, quoted},
};
use crate::error::{KeySourceError, KeySourceErrorKind};

/// The longest time to connect, including the TLS handshake. It is shorter than the deadline of the
/// fetch, so that time remains for the answer.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// The maximum size of a response's body in bytes. The sets of large issuers have 2 to 20 KiB.
const MAX_LEN: usize = 512 * 1024;
const MAX_REDIRECTS: usize = 3;

/// An HTTP client with the limits of a fetch.
pub(super) struct Transport {
    client: Client,
}

/// A complete response.
pub(super) struct Document {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Transport {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Fetches a document. Returns the document even if its status is not 200.
    ///
    /// # Errors
    ///
    /// * No complete response arrived before the deadline.
    /// * The response is too long.
    /// * The response is a redirect that this client does not follow.
    pub(super) async fn get(&self, url: &Url, deadline: Instant) -> Result<Document, KeySourceError> {
        timeout_at(deadline, self.get_without_deadline(url)).await.unwrap_or_else(|_| {
            let problem = "did not answer completely in time";
            Err(failure(KeySourceErrorKind::Timeout, url, problem))
        })
    }

    async fn get_without_deadline(&self, url: &Url) -> Result<Document, KeySourceError> {
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.client.get(at.clone()).send().await.map_err(|error| no_answer(&at, error))?;
            match redirect(&at, &response)? {
                Some(next) => at = next,
                None => return read(&at, response).await,
            }
        }
        Err(failure(KeySourceErrorKind::Status, url, format!("redirects more than {MAX_REDIRECTS} times")))
    }
}

impl Document {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the body if the status is 200.
    ///
    /// # Errors
    ///
    /// The response has another status.
    pub(super) fn body_of(&self, url: &Url) -> Result<&[u8], KeySourceError> {
        if self.status == StatusCode::OK {
            return Ok(&self.body);
        }
        Err(failure(KeySourceErrorKind::Status, url, format!("answered {}", self.status)))
    }

    /// Creates an error about this document. `expected` describes the document that the server
    /// should have sent.
    pub(super) fn unreadable(&self, url: &Url, expected: &'static str) -> KeySourceError {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let found = content_type.map_or_else(|| "absent".to_owned(), quoted);
        failure(KeySourceErrorKind::Unreadable, url, format!("did not send {expected}; its `Content-Type` is {found}"))
    }
}

/// Returns the address to which a response redirects, or `None` if it does not redirect. Allows
/// only the same scheme, host and port. Otherwise another host could send its own keys as those of
/// the issuer.
///
/// # Errors
///
/// The redirect is not allowed, or has no usable address.
fn redirect(from: &Url, response: &Response) -> Result<Option<Url>, KeySourceError> {
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(next) = location.and_then(|location| from.join(location).ok()) else {
        let problem = format!("answered {status} without a usable address");
        return Err(failure(KeySourceErrorKind::Status, from, problem));
    };
    if next.origin() != from.origin() || has_credentials(&next) {
        let problem = format!("redirects to `{}`, which is not the same scheme, host and port", place(&next));
        return Err(failure(KeySourceErrorKind::Status, from, problem));
    }
    Ok(Some(next))
}

/// Reads the body up to [`MAX_LEN`] bytes. Counts the bytes that arrive, because `Content-Length`
/// can be absent or wrong.
async fn read(url: &Url, mut response: Response) -> Result<Document, KeySourceError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken_off(url, error))? {
        if body.len().saturating_add(chunk.len()) > MAX_LEN {
            let problem = format!("sent more than {} KiB", MAX_LEN / 1024);
            return Err(failure(KeySourceErrorKind::TooLarge, url, problem));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Document { status: response.status(), headers: std::mem::take(response.headers_mut()), body })
}

fn no_answer(url: &Url, error: reqwest::Error) -> KeySourceError {
    let problem = if !error.is_connect() {
        "did not answer"
    } else if error.is_timeout() {
        "could not be connected to in time"
    } else {
        "could not be connected to"
    };
    caused(KeySourceErrorKind::Unreachable, url, problem, Some(error.without_url().into()))
}

fn broken_off(url: &Url, error: reqwest::Error) -> KeySourceError {
    let problem = "broke off its answer";
    caused(KeySourceErrorKind::Unreachable, url, problem, Some(error.without_url().into()))
}
