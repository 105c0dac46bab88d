//! Tests of the test helpers: the server and the proxy.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};

use crate::support::{HANG, Proxy, RedisServer};

async fn through(proxy: &Proxy) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_millis(300)));
    let client = Client::open(proxy.url()).unwrap();
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

#[tokio::test]
async fn a_server_restarts_on_its_port_and_a_paused_one_does_not_answer() {
    let mut server = RedisServer::start();
    let mut connection = server.admin().await;
    redis::cmd("PING").exec_async(&mut connection).await.unwrap();
    server.pause();
    let ping = redis::cmd("PING");
    let answer = tokio::time::timeout(Duration::from_millis(100), ping.exec_async(&mut connection)).await;
    assert!(answer.is_err());
    server.resume();
    redis::cmd("SET").arg("k").arg("v").exec_async(&mut connection).await.unwrap();
    server.restart();
    let value: Option<String> = redis::cmd("GET").arg("k").query_async(&mut server.admin().await).await.unwrap();
    assert_eq!(value, None);
}

#[tokio::test]
async fn the_proxy_cuts_before_the_reply_and_the_server_has_done_the_work() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let mut connection = through(&proxy).await;
    proxy.cut_replies_after(0);
    redis::cmd("INCR").arg("n").exec_async(&mut connection).await.unwrap_err();
    let value: u32 = redis::cmd("GET").arg("n").query_async(&mut server.admin().await).await.unwrap();
    assert_eq!(value, 1);

    let mut connection = through(&proxy).await;
    proxy.cut_requests_after(3);
    redis::cmd("INCR").arg("n").exec_async(&mut connection).await.unwrap_err();
    let value: u32 = redis::cmd("GET").arg("n").query_async(&mut server.admin().await).await.unwrap();
    assert_eq!(value, 1);

    let mut connection = through(&proxy).await;
    proxy.freeze();
    redis::cmd("INCR").arg("n").exec_async(&mut connection).await.unwrap_err();
    proxy.resume();
    connection.set_response_timeout(HANG);
    let value: u32 = redis::cmd("INCR").arg("n").query_async(&mut connection).await.unwrap();
    assert_eq!(value, 3);
}
