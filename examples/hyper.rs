//! The layer on plain hyper, without a web framework.
//!
//! `cargo run --example hyper` listens on 127.0.0.1:3000 and prints a token to try.
//! `common/mod.rs` lists the environment variables.

mod common;

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};
use tower_bearer::{AuthLayer, Claims, NewSession};

#[tokio::main]
async fn main() -> Result<(), common::Failure> {
    common::log_to_stderr()?;
    let (builder, store) = common::tokens_from_env().await?;
    let tokens = builder.build()?;
    let listener = TcpListener::bind(common::bind_address("127.0.0.1:3000")?).await?;
    let address = listener.local_addr()?;

    let token = tokens.create_access_token(NewSession::new("1").scope("read")).await?;
    println!("listening on http://{address}, store: {store}");
    println!("  token: {}", token.as_str());
    println!("  curl -i http://{address}/");
    println!("  curl -i http://{address}/ -H 'Authorization: Bearer {}'", token.as_str());

    let service = ServiceBuilder::new().layer(AuthLayer::new(tokens)).service(service_fn(hello));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The client may have left, or the process may have no free file handle. Both are
            // temporary, so the server continues.
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted; the server goes on");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(error, "a connection ended");
            }
        });
    }
}

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    match (request.uri().path(), request.extensions().get::<Claims>()) {
        ("/", Some(claims)) => *response.body_mut() = format!("hello {}\n", claims.subject()).into(),
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}
