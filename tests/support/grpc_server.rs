//! A gRPC server on its own port, and a client.

use std::net::SocketAddr;

use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;

/// A running server. Dropping it stops the server.
pub struct GrpcServer {
    pub server: JoinHandle<()>,
    pub address: SocketAddr,
    pub client: HealthClient<Channel>,
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Runs a router. It is a macro because the type of a router is very long.
macro_rules! run_grpc {
    ($router:expr) => {{
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let incoming = tonic::transport::server::TcpIncoming::bind(loopback).unwrap();
        let address = incoming.local_addr().unwrap();
        let router: tonic::transport::server::Router<_> = $router;
        let server = tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let client = tonic_health::pb::health_client::HealthClient::new(endpoint.connect().await.unwrap());
        crate::support::grpc_server::GrpcServer { server, address, client }
    }};
}
pub(crate) use run_grpc;
