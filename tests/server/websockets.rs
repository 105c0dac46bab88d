//! `/ws`: the ways to send a token, and the close frame at a cutoff.

use futures_util::StreamExt;
use http::{HeaderName, HeaderValue, Method, header::AUTHORIZATION};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message, client::IntoClientRequest, handshake::client::Response, protocol::frame::coding::CloseCode,
    },
};

use crate::{Server, Store, on_each_store, support::HANG};

on_each_store!(a_logout_closes_the_socket_with_1008,);

type Socket = WebSocketStream<TcpStream>;

/// Connects to a path, with more fields.
async fn connect(
    server: &Server,
    path: &str,
    fields: impl IntoIterator<Item = (HeaderName, String)>,
) -> Result<(Socket, Response), Error> {
    let authority = server.example.authority();
    let mut request = format!("ws://{authority}{path}").into_client_request()?;
    for (name, value) in fields {
        request.headers_mut().insert(name, HeaderValue::try_from(value).unwrap());
    }
    client_async(request, TcpStream::connect(authority).await?).await
}

fn bearer(token: &str) -> (HeaderName, String) {
    (AUTHORIZATION, format!("Bearer {token}"))
}

fn protocols(text: impl Into<String>) -> (HeaderName, String) {
    (http::header::SEC_WEBSOCKET_PROTOCOL, text.into())
}

/// Returns the status of a refused connection.
async fn refusal(server: &Server, path: &str, fields: impl IntoIterator<Item = (HeaderName, String)>) -> u16 {
    match connect(server, path, fields).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

async fn next(socket: &mut Socket) -> Message {
    timeout(HANG, socket.next()).await.expect("a message").expect("an end without a close frame").unwrap()
}

/// Reads to the close frame, and returns its code.
async fn close_code(socket: &mut Socket) -> CloseCode {
    loop {
        match next(socket).await {
            Message::Text(_) => {}
            Message::Close(frame) => return frame.expect("a code").code,
            other => panic!("{other:?}"),
        }
    }
}

async fn a_logout_closes_the_socket_with_1008(store: Store) {
    let server = store.server(&[]);
    for way in 0..3 {
        let tokens = server.log_in("alice").await;
        let token = &tokens.access;
        let (path, field) = match way {
            0 => ("/ws".to_owned(), Some(bearer(token))),
            1 => (format!("/ws?access_token={token}"), None),
            _ => ("/ws".to_owned(), Some(protocols(format!("bearer, {token}")))),
        };
        let (mut socket, response) = connect(&server, &path, field).await.unwrap();
        let named = response.headers().get("sec-websocket-protocol").map(HeaderValue::as_bytes);
        assert_eq!(named, (way == 2).then_some(&b"bearer"[..]));
        for number in 0..3 {
            assert_eq!(next(&mut socket).await, Message::text(number.to_string()));
        }
        server.renew(&tokens).await;
        assert!(matches!(next(&mut socket).await, Message::Text(_)), "a refresh cuts nothing");
        server.post("/logout", token).await.expect(200);
        assert_eq!(close_code(&mut socket).await, CloseCode::Policy);
    }
}

#[tokio::test]
async fn a_socket_needs_one_good_token() {
    let server = Store::memory().server(&[]);
    let token = server.log_in("alice").await.access;
    assert_eq!(refusal(&server, "/ws", None).await, 401);
    assert_eq!(refusal(&server, "/ws", [bearer(&crate::forged(&token))]).await, 401);
    assert_eq!(refusal(&server, "/ws", [protocols("chat")]).await, 401);
    assert_eq!(refusal(&server, "/ws", [protocols("bearer")]).await, 400);
    assert_eq!(refusal(&server, &format!("/ws?access_token={token}"), [bearer(&token)]).await, 400);
    assert_eq!(
        refusal(&server, &format!("/ws?access_token={token}"), [protocols(format!("bearer, {token}"))]).await,
        400
    );
    let plain = server.call(Method::GET, "/ws").bearer(&token).send().await;
    assert!(plain.status.is_client_error(), "{plain:?}");
    // Only this route takes a token from the URL.
    let elsewhere = server.call(Method::GET, &format!("/me?access_token={token}")).send().await;
    assert_eq!(elsewhere.status, 401);
}

#[tokio::test]
async fn a_socket_ends_with_its_token_if_the_variable_says_so() {
    let variables = [("ACCESS_TTL_SECONDS", "2"), ("LEEWAY_SECONDS", "0"), ("CUT_AT_EXPIRY", "1")];
    let server = Store::memory().server(&variables);
    let token = server.log_in("alice").await.access;
    let (mut socket, _) = connect(&server, "/ws", [bearer(&token)]).await.unwrap();
    assert_eq!(close_code(&mut socket).await, CloseCode::Policy);
}

#[cfg(unix)]
#[tokio::test]
async fn after_sigterm_a_socket_is_closed_with_1001() {
    let server = Store::memory().server(&[]);
    let token = server.log_in("alice").await.access;
    let (mut socket, _) = connect(&server, "/ws", [bearer(&token)]).await.unwrap();
    next(&mut socket).await;
    let Server { example, .. } = server;
    let ended = tokio::task::spawn_blocking(move || example.terminate());
    assert_eq!(close_code(&mut socket).await, CloseCode::Away);
    drop(socket);
    assert!(ended.await.unwrap().0.success());
}
