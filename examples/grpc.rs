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

    let token = tokens.create_access_token(NewSession::of("1").scope("read")).await?;
    println!("listening on http://{address}, store: {store}");
    println!("  token: {}", token.as_str());
    println!("  grpcurl -plaintext -proto health.proto {address} grpc.health.v1.Health/Check");
    println!(
        "  grpcurl -plaintext -proto health.proto -H 'authorization: Bearer {}' {address} grpc.health.v1.Health/Check",
        token.as_str()
    );

    let (_reporter, health) = tonic_health::server::health_reporter();
    // One layer over all services. `named_layer` puts it over one of them: tonic keeps its name.
    Server::builder().layer(AuthLayer::new(tokens)).add_service(health).serve_with_incoming(incoming).await?;
    Ok(())
}
