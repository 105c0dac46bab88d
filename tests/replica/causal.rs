//! Tokens that carry the stamp of their subject's last revocation, on two nodes of one Redis. The
//! second node gets no nudge and reads the log every half minute, so only the stamp explains why it
//! refuses an older token.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::aio::MultiplexedConnection;
use tower_bearer::{
    Consistency, Error, NewSession, RedisStore, TokenPair, TokenService, TokenType, tokens::TokenServiceBuilder,
};

use crate::{
    is_leased,
    support::{HANG, RedisServer, eventually, fixture::read_part, redis_fixture::node_on},
    wait_until_leased,
};

const D: Duration = Duration::from_secs(60);
const CLAIM: &str = "tb_stamp";

/// Two nodes on one server with one bucket: one that revokes, and one that has not read of it.
struct Nodes {
    _server: RedisServer,
    admin: MultiplexedConnection,
    revoker: TokenService,
    late: TokenService,
}

impl Nodes {
    async fn start(configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> Self {
        let server = RedisServer::start();
        let admin = server.admin().await;
        let store = async || RedisStore::builder(server.url()).buckets(1).timeout(HANG).connect().await.unwrap();
        let revoker = node_on(store().await, configure);
        let late = node_on(store().await, |builder| {
            builder.consistency(Consistency::BoundedStaleness(D)).poll_interval(D / 2)
        });
        wait_until_leased(&late).await;
        let nodes = Self { _server: server, admin, revoker, late };
        // No user may publish or subscribe any more, so no nudge arrives.
        nodes.redis::<()>(&["ACL", "SETUSER", "default", "resetchannels"]).await;
        nodes
    }

    async fn redis<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.admin.clone()).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    async fn pair(&self, subject: &str) -> TokenPair {
        self.revoker.create_token_pair(NewSession::new(subject)).await.unwrap()
    }

    /// Returns a pair that the late node decides by itself, after the margin behind its horizon.
    async fn decided_pair(&self, subject: &str) -> TokenPair {
        let pair = self.pair(subject).await;
        eventually("the node decides", async || {
            let asked = self.questions().await;
            assert!(lets_in(&self.late, &pair).await);
            (self.questions().await == asked).then_some(())
        })
        .await;
        pair
    }

    /// Returns the number of questions that nodes have asked about tokens, and of reads of `m`.
    async fn questions(&self) -> u64 {
        let info: String = self.redis(&["INFO", "commandstats"]).await;
        let line = info.lines().find(|line| line.starts_with("cmdstat_hmget:")).unwrap_or_default();
        let calls = line.split("calls=").nth(1).and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }
}

async fn lets_in(tokens: &TokenService, pair: &TokenPair) -> bool {
    match tokens.validate_token(pair.access().as_str(), TokenType::Access).await {
        Ok(_) => true,
        Err(Error::Token(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

fn stamp_of(pair: &TokenPair) -> Option<String> {
    read_part(pair.access().as_str(), 1).get(CLAIM).map(|stamp| stamp.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_changed_password_holds_on_another_node_from_the_first_use_of_the_new_token() {
    let nodes = Nodes::start(|builder| builder).await;
    let stranger = nodes.decided_pair("stranger").await;
    let old = nodes.decided_pair("alice").await;
    nodes.revoker.revoke_all_for_subject("alice").await.unwrap();
    let new = nodes.pair("alice").await;
    assert_eq!(stamp_of(&new).unwrap().len(), 16);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(lets_in(&nodes.late, &old).await, "the node has not read of the revocation");
    }
    assert!(lets_in(&nodes.late, &new).await);
    assert!(!lets_in(&nodes.late, &old).await);
    // The lease of the others goes on.
    let asked = nodes.questions().await;
    assert!(lets_in(&nodes.late, &stranger).await);
    assert!(is_leased(&nodes.late).await);
    assert!(nodes.questions().await <= asked + 1, "at most the read of the log that the stamp caused");
}

#[tokio::test]
async fn each_kind_of_revocation_gives_the_next_tokens_a_stamp() {
    for kind in ["session", "token", "eviction", "reuse"] {
        let nodes = Nodes::start(|builder| builder.max_sessions(2).reuse_grace(Duration::ZERO)).await;
        let old = nodes.decided_pair("alice").await;
        let spare = nodes.pair("alice").await;
        assert_eq!(stamp_of(&spare), None, "nothing was revoked");
        let mut new = None;
        match kind {
            "session" => drop(nodes.revoker.revoke_session("alice", old.session_id()).await.unwrap()),
            "token" => {
                nodes.revoker.revoke_token(old.access().as_str()).await.unwrap();
                new = Some(nodes.revoker.refresh(spare.refresh().as_str()).await.unwrap());
            }
            "eviction" => {}
            _ => {
                nodes.revoker.refresh(old.refresh().as_str()).await.unwrap();
                assert!(nodes.revoker.refresh(old.refresh().as_str()).await.is_err());
            }
        }
        let new = match new {
            Some(new) => new,
            None => nodes.pair("alice").await,
        };
        assert!(lets_in(&nodes.late, &old).await, "{kind}: the node has not read of the revocation");
        assert!(lets_in(&nodes.late, &new).await, "{kind}");
        assert!(!lets_in(&nodes.late, &old).await, "{kind}");
    }
}

#[tokio::test]
async fn a_record_without_a_stamp_works_and_old_revocations_leave_none() {
    let nodes = Nodes::start(|builder| builder).await;
    let user = "tb:{0}:u:alice";
    let old = nodes.decided_pair("alice").await;
    nodes.revoker.revoke_session("alice", old.session_id()).await.unwrap();
    let noted: String = nodes.redis(&["HGET", user, "l"]).await;
    assert!(noted.len() <= 64, "the compact encoding: {noted}");
    // A version without stamps wrote this record.
    assert_eq!(nodes.redis::<u32>(&["HDEL", user, "l"]).await, 1);
    let new = nodes.pair("alice").await;
    assert_eq!(stamp_of(&new), None);
    assert!(lets_in(&nodes.late, &new).await);
    assert!(lets_in(&nodes.late, &old).await, "within the staleness");
    // A record that nobody can read gives no stamp, and no error.
    for (text, is_stamp) in [("", false), ("x", false), (".", false), ("1.n", false), ("99999999999999.n", true)] {
        nodes.redis::<()>(&["HSET", user, "l", text]).await;
        let pair = nodes.pair("alice").await;
        assert_eq!(stamp_of(&pair).is_some(), is_stamp, "{text}");
        assert!(lets_in(&nodes.late, &pair).await);
    }
    // The entry of the clock that was ahead is in no log.
    let bytes = URL_SAFE_NO_PAD.decode(stamp_of(&nodes.pair("alice").await).unwrap()).unwrap();
    assert_eq!(bytes[..8], 99_999_999_999_999_u64.to_be_bytes());
    // The staleness, the failover bound and the margin are over.
    let now: (u64, u64) = nodes.redis(&["TIME"]).await;
    let meta: (u64, u64) = nodes.redis(&["HMGET", "tb:{0}:m", "dmax", "fmax"]).await;
    for (age, is_stamp) in [(meta.0 + meta.1 + 1000, true), (meta.0 + meta.1 + 2200, false)] {
        let at = now.0 * 1000 - age;
        nodes.redis::<()>(&["HSET", user, "l", &format!("{at}.n")]).await;
        assert_eq!(stamp_of(&nodes.pair("alice").await).is_some(), is_stamp, "{age}");
    }
}
