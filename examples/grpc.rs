//! `grpc.health.v1.Health` behind the layer, on tonic.
//!
//! `cargo run --example grpc` listens on 127.0.0.1:50051 (see `common` for the variables) and prints a token to try.

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
    // Any gRPC client will do; curl speaks it too: five zero bytes are a message without fields. Look at `grpc-status` in the answer.
    let call = format!(
        "curl -si --http2-prior-knowledge http://{address}/grpc.health.v1.Health/Check -H 'content-type: application/grpc' -H 'te: trailers'"
    );
    println!("  head -c5 /dev/zero | {call} --data-binary @- --output -");
    println!("  head -c5 /dev/zero | {call} --data-binary @- --output - -H 'authorization: Bearer {}'", token.as_str());

    let (_reporter, health) = tonic_health::server::health_reporter();
    // One layer over all services. `named_layer` puts it over one of them: tonic keeps its name.
    Server::builder().layer(AuthLayer::new(tokens)).add_service(health).serve_with_incoming(incoming).await?;
    Ok(())
}
