//! Upgraded connections behind the layer: their tokens, their cutoff, and the layer's warning.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response};
use http_body_util::Empty;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{AuthLayer, Claims, Cutoff, CutoffCause, TokenService, middleware::AuthLayerBuilder};

use crate::{
    cutoff::{DAY, log_in, on_paused_time, request, tokens},
    support::{HANG, Log},
};

#[tokio::test]
async fn an_upgrade_without_a_cutoff_is_reported_and_one_with_it_is_not() {
    let log = Log::capture();
    let tokens = tokens();
    let upgrading = |takes_cutoff: bool| {
        let tokens = tokens.clone();
        AuthLayer::new(tokens.clone()).layer(service_fn(move |request: Request<()>| {
            let claims = request.extensions().get::<Claims>().unwrap();
            drop(takes_cutoff.then(|| tokens.ended(claims)));
            let response = Response::builder().status(101).body(Empty::<Bytes>::new()).unwrap();
            async move { Ok::<_, Infallible>(response) }
        }))
    };
    let pair = log_in(&tokens).await;
    let upgrade_request = || {
        let mut request = request(&pair);
        request.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
        request
    };
    let reports = || log.text().matches("without a `Cutoff`").count();
    upgrading(true).oneshot(upgrade_request()).await.unwrap();
    assert_eq!(reports(), 0);
    let uncut = upgrading(false);
    for _ in 0..3 {
        assert_eq!(uncut.clone().oneshot(upgrade_request()).await.unwrap().status(), 101);
    }
    assert_eq!(reports(), 1, "once");
}

#[tokio::test]
async fn a_websocket_protocol_carries_the_token_and_the_response_names_it() {
    let tokens = tokens();
    let pair = log_in(&tokens).await;
    let token = pair.access().as_str();
    let build = |configure: fn(AuthLayerBuilder) -> AuthLayerBuilder| {
        configure(AuthLayer::builder(tokens.clone()).allow_websocket_protocol("bearer")).build().unwrap()
    };
    let call = async |auth: &AuthLayer, offered: &str, chosen: Option<&'static str>, status: u16| {
        let handler = service_fn(move |request: Request<()>| {
            let seen = request.headers().get("sec-websocket-protocol").cloned();
            let mut response = Response::builder().status(status);
            if let Some(chosen) = chosen {
                response = response.header("sec-websocket-protocol", chosen);
            }
            if let Some(seen) = seen {
                assert!(seen.is_sensitive() || seen == "chat");
                response = response.header("seen", seen);
            }
            async move { Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap()) }
        });
        let request = Request::get("/").header("upgrade", "websocket").header("sec-websocket-protocol", offered);
        auth.layer(handler).oneshot(request.body(()).unwrap()).await.unwrap()
    };
    let auth = build(|builder| builder);
    let offered = format!("bearer, {token}");
    let response = call(&auth, &offered, None, 101).await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "bearer");
    assert_eq!(response.headers()["cache-control"], "private");
    assert_eq!(response.headers()["seen"], offered.as_str());

    let response = call(&auth, &format!("chat, bearer, {token}"), Some("chat"), 101).await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat", "the handler has chosen");
    let response = call(&auth, &offered, None, 400).await;
    assert!(!response.headers().contains_key("sec-websocket-protocol"), "no upgrade");
    for (offered, status) in [("chat", 401), ("bearer", 400), ("bearer, a, bearer, b", 400), ("bearer, abc", 401)] {
        assert_eq!(call(&auth, offered, None, 101).await.status(), status, "{offered}");
    }
    let stripping = build(|builder| builder.strip_credentials(true));
    let response = call(&stripping, &format!("chat, bearer, {token}"), None, 101).await;
    assert_eq!(response.headers()["seen"], "chat");
    assert_eq!(response.headers()["sec-websocket-protocol"], "bearer");

    for name in ["", "a b", "a,b", "b\u{e4}r"] {
        let error = AuthLayer::builder(tokens.clone()).allow_websocket_protocol(name).build().unwrap_err();
        assert_eq!(error.setting(), "allow_websocket_protocol");
    }
    let name = http::header::SEC_WEBSOCKET_PROTOCOL;
    assert_eq!(AuthLayer::builder(tokens).allow_header(name).build().unwrap_err().setting(), "allow_header");
}

#[tokio::test]
async fn a_cutoff_wraps_a_connection_of_two_tasks() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, split};

    let tokens = tokens();
    let pair = log_in(&tokens).await;
    let claims = tokens.validate_token(pair.access().as_str(), tower_bearer::TokenType::Access).await.unwrap();
    let (client, server) = tokio::io::duplex(4);
    let (mut reads, mut writes) = split(tokens.ended(&claims).wrap(server));
    // Both wait: nobody writes, and nobody reads more than the buffer's four bytes.
    let read = tokio::spawn(async move { reads.read_u8().await.unwrap_err() });
    let write = tokio::spawn(async move { writes.write_all(&[0; 64]).await.unwrap_err() });
    // The test's runtime has one thread, so both tasks run until they wait.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    tokens.revoke_all_for_subject("42").await.unwrap();
    for task in [read, write] {
        let error = timeout(HANG, task).await.expect("both tasks are woken").unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
        assert_eq!(error.downcast::<CutoffCause>().unwrap(), CutoffCause::Revoked);
    }
    drop(client);
    assert_eq!(tokens.status().await.streams.open, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cutoff_follows_the_expiry_setting_of_its_layer() {
    for (cuts, layer) in [
        (false, AuthLayer::new as fn(TokenService) -> AuthLayer),
        (true, |tokens| AuthLayer::new(tokens).cut_at_expiry(true)),
    ] {
        let tokens = on_paused_time(DAY);
        let pair = log_in(&tokens).await;
        let (sender, mut cutoffs) = mpsc::unbounded_channel();
        let service = layer(tokens.clone()).layer(service_fn(move |request: Request<()>| {
            let claims: &Claims = request.extensions().get().unwrap();
            sender.send(tokens.ended(claims)).unwrap();
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        }));
        service.oneshot(request(&pair)).await.unwrap();
        let mut cutoff: Cutoff = cutoffs.recv().await.unwrap();
        sleep(Duration::from_secs(64)).await;
        assert!((&mut cutoff).now_or_never().is_none());
        sleep(Duration::from_secs(2)).await;
        assert_eq!(cutoff.cause(), cuts.then_some(CutoffCause::Expired));
    }
}
