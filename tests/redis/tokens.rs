//! The token service on a real Redis, where it must behave as on the memory store.

use std::{collections::HashSet, time::Duration};

use tower_bearer::{
    Consistency, Error, NewSession, RedisStore, TokenPair, TokenService, TokenType,
    error::{StoreErrorKind, TokenError},
};

use crate::support::{
    self, RedisServer,
    fixture::{AUDIENCE, ISSUER, SECRET},
};

/// Starts a node: a service with its own store on the server.
async fn node(server: &RedisServer) -> TokenService {
    let store = RedisStore::connect(server.url()).await.unwrap();
    TokenService::builder().secret(SECRET).issuer(ISSUER).audience(AUDIENCE).store(store).build().unwrap()
}

/// Starts a node without a grace. Its timeout is longer than the default, so that an error means a
/// lost race and not a slow machine.
async fn node_without_grace(server: &RedisServer) -> TokenService {
    support::redis_fixture::node(&server.url(), |builder| builder.reuse_grace(Duration::ZERO)).await
}

async fn log_in(tokens: &TokenService) -> TokenPair {
    tokens.create_token_pair(NewSession::new("42").scope("read")).await.unwrap()
}

async fn lives(tokens: &TokenService, token: &str, kind: TokenType) -> bool {
    match tokens.validate_token(token, kind).await {
        Ok(_) => true,
        Err(Error::Token(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_time_of_a_revocation_of_all_is_kept_for_an_hour_however_short_tokens_live() {
    let server = RedisServer::start();
    let short = Duration::from_secs(120);
    let tokens = support::redis_fixture::node(&server.url(), |builder| {
        builder.access_lifetime(short / 2).refresh_lifetime(short).session_lifetime(short)
    })
    .await;
    log_in(&tokens).await;
    tokens.revoke_all_for_subject("42").await.unwrap();
    let mut admin = server.admin().await;
    let users: Vec<String> = redis::cmd("KEYS").arg("tb:{*}:u:42").query_async(&mut admin).await.unwrap();
    let [user] = &users[..] else { panic!("{users:?}") };
    let revoked: Option<u64> = redis::cmd("HGET").arg(user).arg("r").query_async(&mut admin).await.unwrap();
    assert!(revoked.is_some(), "the time of the `revoke_all`");
    let ttl: i64 = redis::cmd("PTTL").arg(user).query_async(&mut admin).await.unwrap();
    assert!(ttl > 3_540_000, "{ttl}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ref_05_fifty_refreshes_of_one_token_on_two_nodes_yield_one_successor() {
    let server = RedisServer::start();
    let nodes = [node(&server).await, node(&server).await];
    let first = log_in(&nodes[0]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50 {
        let (tokens, token) = (nodes[task % 2].clone(), first.refresh().as_str().to_owned());
        tasks.spawn(async move { tokens.refresh(&token).await.unwrap() });
    }
    let pairs = tasks.join_all().await;
    // HS256 is deterministic: equal claims give equal tokens.
    let texts: HashSet<_> = pairs.iter().map(|pair| pair.refresh().as_str().to_owned()).collect();
    assert_eq!(texts.len(), 1);
    assert!(!lives(&nodes[1], first.refresh().as_str(), TokenType::Refresh).await);
    assert!(lives(&nodes[1], pairs[0].refresh().as_str(), TokenType::Refresh).await);
    assert!(lives(&nodes[0], pairs[0].access().as_str(), TokenType::Access).await);

    // Without a grace at most one call wins, and the others count as reuse and end the session. So
    // no live refresh token is left.
    let nodes = [node_without_grace(&server).await, node_without_grace(&server).await];
    for round in 0..5 {
        let first = log_in(&nodes[0]).await;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..50 {
            let (tokens, token) = (nodes[task % 2].clone(), first.refresh().as_str().to_owned());
            tasks.spawn(async move { tokens.refresh(&token).await });
        }
        let won: Vec<_> = tasks.join_all().await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(won.len(), 1, "round {round}");
        for pair in won.iter().chain([&first]) {
            assert!(!lives(&nodes[1], pair.refresh().as_str(), TokenType::Refresh).await, "round {round}");
            assert!(!lives(&nodes[0], pair.access().as_str(), TokenType::Access).await, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_rotation_and_revoke_all_racing_on_two_nodes_leave_no_live_token() {
    let server = RedisServer::start();
    let nodes = [node(&server).await, node(&server).await];
    for round in 0..40 {
        let first = log_in(&nodes[0]).await;
        let mut rotations = tokio::task::JoinSet::new();
        for task in 0..3 {
            let (tokens, mut token) = (nodes[task % 2].clone(), first.refresh().as_str().to_owned());
            rotations.spawn(async move {
                let mut got = Vec::new();
                while let Ok(pair) = tokens.refresh(&token).await {
                    token = pair.refresh().as_str().to_owned();
                    got.push(pair);
                    if got.len() == 20 {
                        break;
                    }
                }
                got
            });
        }
        if round % 2 == 0 {
            nodes[1].revoke_session("42", first.session_id()).await.unwrap();
        } else {
            nodes[1].revoke_all_for_subject("42").await.unwrap();
        }
        let pairs = rotations.join_all().await;
        for pair in pairs.iter().flatten().chain([&first]) {
            for tokens in &nodes {
                assert!(!lives(tokens, pair.access().as_str(), TokenType::Access).await, "round {round}");
                assert!(!lives(tokens, pair.refresh().as_str(), TokenType::Refresh).await, "round {round}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_revoked_on_one_node_is_refused_at_once_on_another_and_says_so() {
    let server = RedisServer::start();
    let (here, there) = (node(&server).await, node(&server).await);
    let (one, other) = (log_in(&here).await, log_in(&here).await);
    here.revoke_token(one.access().as_str()).await.unwrap();
    let refused = there.validate_token(one.access().as_str(), TokenType::Access).await;
    assert!(matches!(refused, Err(Error::Token(TokenError::Revoked { .. }))), "{refused:?}");
    assert!(lives(&there, one.refresh().as_str(), TokenType::Refresh).await);
    here.revoke_all_for_subject_except("42", other.session_id()).await.unwrap();
    assert!(!lives(&there, one.refresh().as_str(), TokenType::Refresh).await);
    assert!(lives(&there, other.access().as_str(), TokenType::Access).await);
}

#[tokio::test]
async fn without_redis_every_operation_is_a_store_error_and_gives_no_token() {
    let mut server = RedisServer::start();
    let tokens = node(&server).await;
    let pair = log_in(&tokens).await;
    server.kill();
    let failed = |error: Error| match error {
        Error::Store(error) => error.kind(),
        other => panic!("{other:?}"),
    };
    let (access, refresh) = (pair.access().as_str(), pair.refresh().as_str());
    let kinds = [
        failed(tokens.create_token_pair(NewSession::new("42")).await.unwrap_err()),
        failed(tokens.validate_token(access, TokenType::Access).await.unwrap_err()),
        failed(tokens.refresh(refresh).await.unwrap_err()),
        failed(tokens.refresh_access_token(refresh).await.unwrap_err()),
        failed(tokens.revoke_token(access).await.unwrap_err()),
        failed(tokens.revoke_session("42", pair.session_id()).await.unwrap_err()),
        failed(tokens.revoke_all_for_subject("42").await.unwrap_err()),
    ];
    assert!(
        kinds.iter().all(|kind| matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Timeout)),
        "{kinds:?}"
    );
    assert_eq!(tokens.status().await.status, tower_bearer::tokens::ServiceHealth::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_on_a_node_with_another_access_lifetime_gives_the_same_expiry() {
    let server = RedisServer::start();
    let with = async |seconds| {
        let lifetime = Duration::from_secs(seconds);
        support::redis_fixture::node(&server.url(), |builder| builder.access_lifetime(lifetime)).await
    };
    let nodes = [with(2).await, with(7200).await];
    for (first, second) in [(0, 1), (1, 0)] {
        let start = log_in(&nodes[first]).await;
        let successor = nodes[first].refresh(start.refresh().as_str()).await.unwrap();
        let replayed = nodes[second].refresh(start.refresh().as_str()).await.unwrap();
        let claims = |pair: &TokenPair| nodes[0].decode_token(pair.access().as_str()).unwrap();
        let (one, two) = (claims(&successor), claims(&replayed));
        assert_eq!((one.token_id(), one.expires_at()), (two.token_id(), two.expires_at()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_of_short_lifetimes_revoked_is_refused_by_all_that_run_and_by_one_that_starts_later() {
    const MATRIX: [(u64, u64, Option<u64>); 3] = [(1, 0, None), (7200, 5, Some(50)), (86_400, 30, Some(200))];
    let server = RedisServer::start();
    let node = async |(lifetime, leeway, staleness): (u64, u64, Option<u64>)| {
        support::redis_fixture::node(&server.url(), |builder| {
            let builder = builder.access_lifetime(Duration::from_secs(lifetime)).leeway(Duration::from_secs(leeway));
            match staleness {
                Some(millis) => builder.consistency(Consistency::BoundedStaleness(Duration::from_millis(millis))),
                None => builder,
            }
        })
        .await
    };
    let mut nodes = vec![node(MATRIX[0]).await, node(MATRIX[1]).await];
    let (mut dead, live) = (Vec::new(), log_in(&nodes[1]).await);
    for by in [0, 1] {
        for kind in ["token", "session", "all"] {
            // `revoke_all` ends all sessions of a user, so each case has its own user.
            let session = NewSession::new(format!("{kind} by {by}"));
            let pair = nodes[1].create_token_pair(session).await.unwrap();
            let revoke = match kind {
                "token" => nodes[by].revoke_token(pair.access().as_str()),
                "session" => nodes[by].revoke_session(format!("{kind} by {by}"), pair.session_id()),
                _ => nodes[by].revoke_all_for_subject(format!("{kind} by {by}")),
            };
            revoke.everywhere().await.unwrap();
            dead.push((format!("{kind} by {by}"), pair));
        }
    }
    nodes.push(node(MATRIX[2]).await);
    // Several times the lifetime of the first node's tokens.
    for _ in 0..8 {
        for (number, tokens) in nodes.iter().enumerate() {
            for (what, pair) in &dead {
                assert!(!lives(tokens, pair.access().as_str(), TokenType::Access).await, "{what} on node {number}");
            }
            assert!(lives(tokens, live.access().as_str(), TokenType::Access).await, "the other one on node {number}");
        }
        // Real time, because tokens expire by the server's clock.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}
