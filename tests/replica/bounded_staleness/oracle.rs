//! The oracle revokes tokens, checks them on every node repeatedly, and records each acceptance.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{sync::Mutex, task::JoinSet, time::sleep};
use tower_bearer::{Consistency, Error, NewSession, RedisStore, TokenPair, TokenService, TokenType};

use super::streams::{S, Stream};
use crate::{
    support::{
        Proxy, RedisServer, eventually,
        fixture::{AUDIENCE, ISSUER, SECRET},
    },
    wait_until_leased,
};

/// The staleness bound.
pub(crate) const D: Duration = Duration::from_millis(250);
const NODES: usize = 3;
/// The number of revocations under observation at once.
const WORKERS: usize = 16;
/// The timeout of a node's store call. It is short, because checks on a hanging store would take up
/// the time of the test.
const CALL: Duration = Duration::from_millis(200);

/// A node behind a proxy.
pub(crate) struct Node {
    pub tokens: TokenService,
    /// A strict service of the same node. Only its streams are observed.
    strict: TokenService,
    pub proxy: Proxy,
}

/// A server, nodes with bounded staleness, and a node that revokes.
pub(crate) struct Deployment {
    pub server: Mutex<RedisServer>,
    pub nodes: Vec<Node>,
    pub revoker: TokenService,
}

/// The observations of a run.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    /// The number of acknowledged revocations, each observed on every node.
    pub revocations: usize,
    /// Acceptances after the bound: the time from the acknowledgement to the start of the check.
    pub violations: Vec<Duration>,
    /// Acceptances by a node that had refused the token before: the same time.
    pub revived: Vec<Duration>,
    /// The latest start of a check that accepted a revoked token.
    pub last_accepted: Duration,
    /// For each node, the time from the acknowledgement to the start of the first check that
    /// refused.
    pub refused_after: Vec<Duration>,
    /// Responses that brought bytes after the bound of streams: the time from the acknowledgement
    /// to the start of the read.
    pub late_bytes: Vec<Duration>,
    /// For each response that was open at a revocation, the same time for its last bytes.
    pub cut_after: Vec<Duration>,
    /// The number of checks that ended in a store error.
    pub unavailable: usize,
}

impl Deployment {
    pub(crate) async fn start() -> Self {
        Self::on(RedisServer::start()).await
    }

    pub(crate) async fn on(server: RedisServer) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let proxy = Proxy::start(server.port()).await;
            let tokens = node(&proxy.url(), Consistency::BoundedStaleness(D)).await;
            let strict = node(&proxy.url(), Consistency::Strong).await;
            nodes.push(Node { tokens, strict, proxy });
        }
        let revoker = node(&server.url(), Consistency::Strong).await;
        for node in &nodes {
            wait_until_leased(&node.tokens).await;
        }
        Self { server: Mutex::new(server), nodes, revoker }
    }

    /// Runs the oracle while `fault` runs. The flag tells `fault` to end.
    pub(crate) async fn watch<F>(self, name: &str, fault: impl FnOnce(Arc<Self>, Arc<AtomicBool>) -> F) -> Observations
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let deployment = Arc::new(self);
        let over = Arc::new(AtomicBool::new(false));
        let saboteur = tokio::spawn(fault(Arc::clone(&deployment), Arc::clone(&over)));
        let (wanted, taken) = (revocations(), Arc::new(AtomicUsize::new(0)));
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let (deployment, taken) = (Arc::clone(&deployment), Arc::clone(&taken));
            workers.spawn(async move {
                let mut seen = Observations::default();
                while taken.fetch_add(1, Ordering::SeqCst) < wanted {
                    let number = seen.revocations;
                    deployment.one(&format!("user-{worker}-{number}"), number, &mut seen).await;
                }
                seen
            });
        }
        let mut seen = workers.join_all().await.into_iter().reduce(Observations::and).unwrap();
        over.store(true, Ordering::SeqCst);
        saboteur.await.unwrap();
        seen.refused_after.sort_unstable();
        println!("{name}: {seen}");
        assert_eq!(seen.revocations, wanted);
        // `scripts/live_mutants.sh` looks for these words.
        assert!(seen.violations.is_empty(), "{name}: let in after the bound: {:?}", seen.violations);
        assert!(seen.revived.is_empty(), "{name}: let in after it was refused: {:?}", seen.revived);
        assert!(seen.late_bytes.is_empty(), "{name}: let in after the bound: {:?}", seen.late_bytes);
        assert!(!seen.cut_after.is_empty(), "{name}: no response was open at a revocation");
        assert!(!seen.refused_after.is_empty(), "{name}: nothing was ever refused");
        // Without such an acceptance the replica never decided, and the test proves nothing about
        // it.
        assert!(seen.last_accepted > Duration::ZERO, "{name}: no node has ever decided by what it knew");
        // All nodes must recover without help.
        for node in &deployment.nodes {
            wait_until_leased(&node.tokens).await;
        }
        seen
    }

    /// Opens a session, revokes it, and observes it until the revocation is certain on all nodes.
    async fn one(&self, user: &str, number: usize, seen: &mut Observations) {
        let pair = self.open(user).await;
        let access = pair.access().as_str();
        for node in &self.nodes {
            // The node may refuse already, because a server that lost its data knows no session.
            let _ = node.tokens.validate_token(access, TokenType::Access).await;
        }
        // Every fourth token has an open response on each node, in turn of the two services. Some
        // clients read only after the revocation.
        let (strict, delay) = (number.is_multiple_of(8), Duration::from_millis(number as u64 % 3 * 10));
        let nodes = self.nodes.iter().filter(|_| number.is_multiple_of(4));
        let opened = nodes.map(|node| Stream::open(if strict { &node.strict } else { &node.tokens }, access, delay));
        let streams: Vec<Stream> = join_all(opened).await.into_iter().flatten().collect();
        self.revoke(user, &pair, number).await;
        let acknowledged = Instant::now();
        seen.revocations += 1;
        // Concurrently, so that a node that waits for a hanging store does not delay the others.
        let watched = self.nodes.iter().map(|node| watch(node, access, acknowledged, number.is_multiple_of(8)));
        for part in join_all(watched).await {
            *seen = std::mem::take(seen).and(part);
        }
        for stream in streams {
            if let Some(last) = stream.last_bytes_after(acknowledged).await {
                seen.cut_after.push(last);
                seen.late_bytes.extend(Some(last).filter(|last| *last > S));
            }
        }
    }

    async fn open(&self, user: &str) -> TokenPair {
        let mut patience = TimeLimit::new("a session is opened");
        loop {
            match self.revoker.create_token_pair(NewSession::new(user).scope("read")).await {
                Ok(pair) => return pair,
                Err(_) => patience.wait().await,
            }
        }
    }

    /// Revokes in one of the three ways, until the revocation is acknowledged.
    async fn revoke(&self, user: &str, pair: &TokenPair, number: usize) {
        let mut patience = TimeLimit::new("a revocation is acknowledged");
        loop {
            let revoke = match number % 3 {
                0 => self.revoker.revoke_session(user, pair.session_id()),
                1 => self.revoker.revoke_token(pair.access().as_str()),
                _ => self.revoker.revoke_all_for_subject(user),
            };
            match revoke.await {
                Ok(_) => return,
                Err(_) => patience.wait().await,
            }
        }
    }
}

/// Checks the token on one node until the node refuses, or answers once after the bound. With
/// `to_the_end`, checks until after the bound in any case, because a refused token must stay
/// refused.
///
/// A store error is no answer. The oracle repeats its request until a cut-off node answers again,
/// because a wrong lease would show then.
async fn watch(node: &Node, access: &str, acknowledged: Instant, to_the_end: bool) -> Observations {
    let (mut seen, mut refused) = (Observations::default(), false);
    let mut patience = TimeLimit::new("a node answers after the bound");
    loop {
        let started = acknowledged.elapsed();
        match node.tokens.validate_token(access, TokenType::Access).await {
            Ok(_) => {
                seen.last_accepted = seen.last_accepted.max(started);
                if started >= D {
                    seen.violations.push(started);
                }
                if refused {
                    seen.revived.push(started);
                }
            }
            Err(Error::Token(_)) if !refused => {
                refused = true;
                seen.refused_after.push(started);
            }
            Err(Error::Token(_)) => {}
            Err(Error::Store(_)) => {
                seen.unavailable += 1;
                patience.wait().await;
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        if started >= D || (refused && !to_the_end) {
            return seen;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// A time limit for steps of tasks that move between threads, for which [`eventually`] cannot be
/// used.
struct TimeLimit(&'static str, Instant);

impl TimeLimit {
    fn new(what: &'static str) -> Self {
        Self(what, Instant::now() + Duration::from_secs(30))
    }

    async fn wait(&mut self) {
        assert!(Instant::now() < self.1, "not within half a minute: {}", self.0);
        sleep(Duration::from_millis(10)).await;
    }
}

impl Observations {
    fn and(mut self, mut other: Self) -> Self {
        self.revocations += other.revocations;
        self.violations.append(&mut other.violations);
        self.revived.append(&mut other.revived);
        self.last_accepted = self.last_accepted.max(other.last_accepted);
        self.refused_after.append(&mut other.refused_after);
        self.late_bytes.append(&mut other.late_bytes);
        self.cut_after.append(&mut other.cut_after);
        self.unavailable += other.unavailable;
        self
    }
}

impl std::fmt::Display for Observations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quantile = |part: f64| {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index"
            )]
            let index = ((self.refused_after.len() as f64 - 1.0) * part) as usize;
            self.refused_after.get(index).copied().unwrap_or_default()
        };
        write!(
            f,
            "{} revocations on {NODES} nodes; refused after p50 {:?}, p99 {:?}, max {:?}; last let in {:?} of {D:?}; \
             {} responses cut, the last bytes after {:?} of {S:?}; {} violations; {} checks unavailable",
            self.revocations,
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            self.last_accepted,
            self.cut_after.len(),
            self.cut_after.iter().max().copied().unwrap_or_default(),
            self.violations.len() + self.late_bytes.len(),
            self.unavailable
        )
    }
}

/// Starts a node on the server at this URL.
pub(crate) async fn node(url: &str, consistency: Consistency) -> TokenService {
    let store = eventually("a store", async || RedisStore::builder(url).timeout(CALL).connect().await.ok()).await;
    let builder =
        TokenService::builder().secret(SECRET).issuer(ISSUER).audience(AUDIENCE).stream_staleness(S).store(store);
    builder.consistency(consistency).build().unwrap()
}

fn revocations() -> usize {
    std::env::var("ORACLE_REVOCATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(500)
}
