//! Revocations that the server lost and nodes republish.

use std::time::Duration;

use tower_bearer::{Consistency, Error, NewSession, RedisStore, TokenService, TokenType};

use super::oracle::{D, node};
use crate::{
    support::{RedisServer, eventually, fixture::SECRET},
    wait_until_leased,
};

async fn is_refused(tokens: &TokenService, token: &str) -> bool {
    matches!(tokens.validate_token(token, TokenType::Access).await, Err(Error::Token(_)))
}

/// Restores the server from a snapshot that is older than a revocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_a_restored_snapshot_has_lost_stays_in_force_and_is_published_again() {
    let mut server = RedisServer::start();
    for consistency in [Consistency::BoundedStaleness(D), Consistency::Strong] {
        let knows = node(&server.url(), consistency).await;
        let session = NewSession::new("42").scope("read");
        let by_session = knows.create_token_pair(session.clone()).await.unwrap();
        let by_token = knows.create_token_pair(session.clone()).await.unwrap();
        let by_user = knows.create_token_pair(NewSession::new("43").scope("read")).await.unwrap();
        let kept = knows.create_token_pair(NewSession::new("43").scope("read")).await.unwrap();
        redis::cmd("SAVE").query_async::<()>(&mut server.admin().await).await.unwrap();
        knows.revoke_session("42", by_session.session_id()).await.unwrap();
        knows.revoke_token(by_token.access().as_str()).await.unwrap();
        let last = knows.revoke_all_for_subject_except("43", kept.session_id()).await.unwrap();
        eventually("the node has read it", async || knows.has_applied(last.position().unwrap()).then_some(())).await;
        server.restart();
        // Probably before anything is republished.
        let later = eventually("the server is back", async || {
            knows.create_token_pair(NewSession::new("43").scope("read")).await.ok()
        })
        .await;

        let revoked = [&by_session, &by_token, &by_user].map(|pair| pair.access().as_str().to_owned());
        for token in &revoked {
            // Store errors during the restart do not count as answers.
            eventually("the node that knows refuses", async || {
                match knows.validate_token(token, TokenType::Access).await {
                    Ok(_) => panic!("it lives again"),
                    Err(Error::Token(_)) => Some(()),
                    Err(_) => None,
                }
            })
            .await;
        }
        let refresh = knows.refresh(by_session.refresh().as_str()).await;
        assert!(matches!(refresh, Err(Error::Token(_))), "refused without the store: {refresh:?}");
        // A new node learns of the revocation from the store.
        let new = node(&server.url(), Consistency::Strong).await;
        for token in &revoked {
            eventually("it is published again", async || is_refused(&new, token).await.then_some(())).await;
        }
        assert!(!is_refused(&new, kept.access().as_str()).await, "what was spared is spared again");
        assert!(!is_refused(&new, later.access().as_str()).await, "who logged in since is not logged out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_on_a_store_that_lost_everything_lets_nobody_in_of_before() {
    let server = RedisServer::start();
    let old = node(&server.url(), Consistency::Strong).await;
    let pair = old.create_token_pair(NewSession::new("42").scope("read")).await.unwrap();
    old.revoke_session("42", pair.session_id()).await.unwrap();
    redis::cmd("FLUSHALL").query_async::<()>(&mut server.admin().await).await.unwrap();
    let new = node(&server.url(), Consistency::BoundedStaleness(D)).await;
    wait_until_leased(&new).await;
    assert!(is_refused(&new, pair.access().as_str()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nudge_spares_the_wait_for_the_next_poll() {
    let server = RedisServer::start();
    let hour = Duration::from_secs(3600);
    let node = async || {
        let store = RedisStore::connect(server.url()).await.unwrap();
        let builder = TokenService::builder().secret(SECRET).store(store).poll_interval(hour / 2);
        builder.consistency(Consistency::BoundedStaleness(hour)).build().unwrap()
    };
    let [here, there] = [node().await, node().await];
    wait_until_leased(&there).await;
    for _ in 0..3 {
        let pair = here.create_token_pair(NewSession::new("42")).await.unwrap();
        there.validate_token(pair.access().as_str(), TokenType::Access).await.unwrap();
        here.revoke_session("42", pair.session_id()).await.unwrap();
        // The next poll is far away, and the lease lasts an hour.
        eventually("the other node has heard of it", async || {
            is_refused(&there, pair.access().as_str()).await.then_some(())
        })
        .await;
        // A node reads its own revocation at once, to renew its lease.
        wait_until_leased(&here).await;
    }
}
