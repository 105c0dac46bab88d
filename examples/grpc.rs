//! The gRPC service `grpc.health.v1.Health` behind the layer, on tonic.
//!
//! `cargo run --example grpc` listens on 127.0.0.1:50051 and prints a token to try.
//! `common/mod.rs` lists the environment variables.

mod common;

use tonic::transport::{Server, server::TcpIncoming};
use tower_bearer::{AuthLayer, NewSession};

use crate::common::{Drain, cut_at_expiry};

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
    // curl can make gRPC calls. Five zero bytes are a message without fields.
    let call = format!(
        "curl -si --http2-prior-knowledge http://{address}/grpc.health.v1.Health/Check \
         -H 'content-type: application/grpc' -H 'te: trailers'"
    );
    println!("  head -c5 /dev/zero | {call} --data-binary @- --output -");
    println!("  head -c5 /dev/zero | {call} --data-binary @- --output - -H 'authorization: Bearer {}'", token.as_str());

    let (mut reporter, health) = tonic_health::server::health_reporter();
    let (drain, drained) = Drain::on_signal()?;
    let stop = drain.clone().begun();
    tokio::spawn(async move {
        stop.await;
        // Ends the streams of the method `Watch`, because the server waits for open streams.
        reporter.clear_service_status("").await;
    });
    // This layer is over all services. For a layer over one service, use `named_layer`, because
    // tonic needs the name of the service for its routes.
    let auth = AuthLayer::new(tokens).cut_at_expiry(cut_at_expiry()?);
    let server = Server::builder().layer(auth).add_service(health);
    // Keeps `drained` pending until the server has ended, or until the deadline has passed.
    let serving = drain.clone();
    tokio::select! {
        ended = server.serve_with_incoming_shutdown(incoming, drain.begun()) => ended?,
        // Some requests did not end before the deadline.
        ended = drained => ended?,
    }
    drop(serving);
    Ok(())
}
