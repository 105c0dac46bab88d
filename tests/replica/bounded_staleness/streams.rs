//! A response that is open when its token is revoked, as a client reads it.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{AuthLayer, CutoffCause, TokenService};

/// The staleness of streams.
pub(crate) const S: Duration = Duration::from_secs(1);
/// The time limit for the end of a stream. The assertion is about bytes, and this about a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A response that a client reads.
pub(crate) struct Stream {
    /// The start of the last read that returned bytes.
    last: watch::Receiver<Instant>,
    reader: JoinHandle<CutoffCause>,
}

impl Stream {
    /// Opens a response without an end, whose handler sends a byte every millisecond. The client
    /// begins to read after `delay`. Returns `None` if the node does not admit the request.
    pub(crate) async fn open(tokens: &TokenService, token: &str, delay: Duration) -> Option<Self> {
        let handler = service_fn(async |_: Request<()>| {
            let bytes = stream::unfold((), async |()| {
                sleep(Duration::from_millis(1)).await;
                Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"."))), ()))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(bytes))))
        });
        let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
        let response = AuthLayer::new(tokens.clone()).layer(handler).oneshot(request).await.unwrap();
        if response.status() != StatusCode::OK {
            return None;
        }
        let (sender, last) = watch::channel(Instant::now());
        let mut body = response.into_body();
        let reader = tokio::spawn(async move {
            sleep(delay).await;
            loop {
                let began = Instant::now();
                match body.frame().await.expect("no clean end") {
                    Ok(_) => _ = sender.send_replace(began),
                    Err(error) => return *error.downcast().unwrap(),
                }
            }
        });
        Some(Self { last, reader })
    }

    /// Waits for the end, or for bytes after the bound. Returns the time from the acknowledgement
    /// to the start of the last read that returned bytes. `None` if the response had ended before,
    /// because its node could not confirm the token.
    pub(crate) async fn last_bytes_after(mut self, acknowledged: Instant) -> Option<Duration> {
        let since = |last: Instant| last.checked_duration_since(acknowledged);
        let late = self.last.wait_for(|last| since(*last).is_some_and(|time| time > S));
        let is_late = timeout(PATIENCE, late).await.expect("a response hangs").is_ok();
        let last = since(*self.last.borrow());
        if is_late {
            self.reader.abort();
            return last;
        }
        // The reader has ended, and dropped its sender.
        let cause = self.reader.await.unwrap();
        last.or((cause == CutoffCause::Revoked).then_some(Duration::ZERO))
    }
}
