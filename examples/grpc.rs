//! `grpc.health.v1.Health` behind the layer, on tonic.
//!
//! `cargo run --example grpc` listens on 127.0.0.1:50051 and prints a token to try. Its variables
//! are those of `common/mod.rs`.

mod common;

use tonic::transport::{Server, server::TcpIncoming};
use tower_bearer::{AuthLayer, NewSession};

#[tokio::main]
async fn main() -> Result<(), common::Failure> {
    common::log_to_stderr()?;
    let (builder, store) = common::tokens_from_env().await?;
    let tokens = builder.build()?;
    let incoming = TcpIncoming::bind(common::bind_address("127.0.0.1:50051")?)?.with_nodelay(Some(true));
    let address = incoming.local_addr()?;

    let token = tokens.create_access_token(NewSession::new("1").scope("read")).await?;
    println!("listening on http://{address}, store: {store}");
    println!("  token: {}", token.as_str());
    println!("Call it without the token and with it, and compare `grpc-status` in the answers:");
    // curl can make gRPC calls: five zero bytes are a message without fields.
    let call = format!(
        "curl -si --http2-prior-knowledge http://{address}/grpc.health.v1.Health/Check \
         -H 'content-type: application/grpc' -H 'te: trailers'"
    );
    println!("  head -c5 /dev/zero | {call} --data-binary @- --output -");
    println!("  head -c5 /dev/zero | {call} --data-binary @- --output - -H 'authorization: Bearer {}'", token.as_str());

    let (_reporter, health) = tonic_health::server::health_reporter();
    // One layer over all services. To put it over one service, use `named_layer`: tonic routes by
    // the name of a service, and a plain layer would hide it.
    Server::builder().layer(AuthLayer::new(tokens)).add_service(health).serve_with_incoming(incoming).await?;
    Ok(())
}
