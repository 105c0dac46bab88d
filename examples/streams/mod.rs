//! Responses without an end. After a revocation, the layer cuts `events`, and the [`Cutoff`] in
//! `ws` closes the WebSocket.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::{
        Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tower_bearer::Cutoff;

use crate::common::Drain;

const PERIOD: Duration = Duration::from_millis(100);
/// The maximum time to send the close frame.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends a number every 100 ms.
pub(crate) async fn events(State(drain): State<Drain>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = numbers().map(|number| Ok(Event::default().data(number.to_string())));
    Sse::new(events.take_until(drain.begun())).keep_alive(KeepAlive::default())
}

/// Sends a number every 100 ms as a text message. After the cutoff, closes the WebSocket with the
/// code 1008.
pub(crate) async fn ws(upgrade: WebSocketUpgrade, cutoff: Cutoff, State(drain): State<Drain>) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        // The socket keeps `drain` until its end, so that the server waits for the close frame.
        let (code, reason) = tokio::select! {
            cause = cutoff => (close_code::POLICY, cause.as_str()),
            () = drain.clone().begun() => (close_code::AWAY, "the server stops"),
            () = talk(&mut socket) => return,
        };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let _ = timeout(FAREWELL, socket.send(close)).await;
        drop(drain);
    })
}

/// Sends numbers until the client leaves.
async fn talk(socket: &mut WebSocket) {
    let mut numbers = Box::pin(numbers());
    loop {
        tokio::select! {
            Some(number) = numbers.next() => {
                if socket.send(number.to_string().into()).await.is_err() {
                    return;
                }
            }
            message = socket.recv() => {
                if matches!(message, None | Some(Err(_) | Ok(Message::Close(_)))) {
                    return;
                }
            }
        }
    }
}

fn numbers() -> impl Stream<Item = u64> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((ticks, 0), async |(mut ticks, number)| {
        ticks.tick().await;
        Some((number, (ticks, number + 1)))
    })
}
