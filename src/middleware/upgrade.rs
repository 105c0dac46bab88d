//! Requests for an upgraded connection, such as a WebSocket.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE},
};

use super::config::Config;
use crate::jwt::Claims;

/// The data that the layer needs for the response to an upgrade request.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// True once the handler has made a [`Cutoff`](crate::Cutoff) for the request.
    is_watched: Arc<AtomicBool>,
    /// The protocol name that precedes the token in the client's `Sec-WebSocket-Protocol`.
    protocol: Option<HeaderValue>,
    is_connect: bool,
    /// True once the layer has logged its warning about a connection without a `Cutoff`. All
    /// requests of a layer share the flag.
    is_reported: Arc<AtomicBool>,
}

impl Upgrade {
    /// Returns the data about a request that asks for an upgrade, otherwise `None`. HTTP/1.1 asks
    /// with `Upgrade`, and HTTP/2 with an extended CONNECT (RFC 8441).
    pub(super) fn of<B, C>(request: &Request<B>, config: &Config<C>, outer: Option<&Claims<C>>) -> Option<Box<Self>> {
        let is_connect = request.method() == Method::CONNECT;
        if !is_connect && !request.headers().contains_key(UPGRADE) {
            return None;
        }
        let max_token_len = config.tokens.checker.max_token_len;
        let locations = config.locations.as_ref();
        let offered = locations.and_then(|all| all.offered_websocket_protocol(request.headers(), max_token_len));
        let protocol = offered.and_then(|name| HeaderValue::from_str(name).ok());
        Some(Box::new(Self {
            // Nested layers share one flag, because the `Cutoff` of the handler sets only one.
            is_watched: outer.and_then(|claims| claims.notes()?.upgrade.clone()).unwrap_or_default(),
            protocol,
            is_connect,
            is_reported: Arc::clone(&config.is_uncut_upgrade_reported),
        }))
    }

    /// Returns the flag that a [`Cutoff`](crate::Cutoff) of the request sets.
    pub(super) fn is_watched(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_watched)
    }

    /// Adds the WebSocket protocol to the response of an upgrade, and warns about a connection
    /// without a [`Cutoff`](crate::Cutoff). Warns once per layer, because any client can cause it.
    pub(super) fn finish<B>(self, response: &mut Response<B>, should_cut: bool) {
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS && !(self.is_connect && status.is_success()) {
            return;
        }
        if let Some(protocol) = self.protocol
            && !response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL)
        {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let is_news =
            should_cut && !self.is_watched.load(Ordering::Acquire) && !self.is_reported.swap(true, Ordering::AcqRel);
        #[cfg(feature = "tracing")]
        if is_news {
            tracing::warn!(
                "a handler upgraded a connection without a `Cutoff`, so no revocation ends it; \
                 take the extractor `Cutoff` or call `TokenService::ended` before you answer"
            );
        }
        #[cfg(not(feature = "tracing"))]
        let _ = is_news;
    }
}
