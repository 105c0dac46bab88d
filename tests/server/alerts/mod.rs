//! The fault of each alert of `docs/operations/alerts.yaml`, on a real Redis or key server. The test
//! evaluates the alert's expression over the metrics of the node before and after the fault.
//!
//! The time for which an expression must hold is scaled down. `scripts/faults.sh` runs only these
//! tests.

mod expression;
#[cfg(feature = "jwks")]
mod issuer_keys;
mod rules;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, Version};
use redis::cmd;
use tokio::time::sleep;

use self::{
    expression::{Scrapes, holds},
    rules::{Rule, rule},
};
use crate::{MetricsPage, Server, Store, streams::Feed, support::eventually};

/// The factor by which the times of the rules are shorter here.
const SCALE: u32 = 60;
/// The longest of the shortened times.
const LONGEST: Duration = Duration::from_secs(1);

/// A node whose metrics a test reads.
trait Scraped {
    /// Returns the present page of metrics.
    async fn page(&self) -> MetricsPage;
}

impl Scraped for Server {
    async fn page(&self) -> MetricsPage {
        MetricsPage::of(self).await
    }
}

/// The alerts of one fault, and the state of the node before it.
struct Watch {
    rules: Vec<Rule>,
    first: MetricsPage,
}

impl Watch {
    /// Waits until none of the alerts fires.
    async fn begin(node: &impl Scraped, alerts: &[&str]) -> Self {
        let rules: Vec<Rule> = alerts.iter().map(|name| rule(name)).collect();
        let first = eventually("no alert fires before the fault", async || {
            let page = node.page().await;
            let scrapes = Scrapes { first: &page, last: &page };
            let is_quiet = rules.iter().all(|rule| !holds(&rule.expression, &scrapes));
            is_quiet.then_some(page)
        })
        .await;
        Self { rules, first }
    }

    async fn holds(&self, node: &impl Scraped, rule: &Rule) -> bool {
        let last = node.page().await;
        holds(&rule.expression, &Scrapes { first: &self.first, last: &last })
    }

    /// Waits until each alert has held for its shortened time. Calls `traffic` meanwhile.
    async fn fires(&self, node: &impl Scraped, mut traffic: impl AsyncFnMut()) {
        for rule in &self.rules {
            let pending = (rule.pending / SCALE).min(LONGEST);
            let mut since = None;
            eventually(&format!("{} fires: {}", rule.name, rule.expression), async || {
                traffic().await;
                if !self.holds(node, rule).await {
                    since = None;
                    return None;
                }
                let since = *since.get_or_insert_with(Instant::now);
                (since.elapsed() >= pending).then_some(())
            })
            .await;
        }
    }

    /// Waits until no alert holds. Only for alerts of a state.
    async fn ends(&self, node: &impl Scraped) {
        for rule in &self.rules {
            let ends = async || (!self.holds(node, rule).await).then_some(());
            eventually(&format!("{} ends", rule.name), ends).await;
        }
    }
}

async fn nothing() {}

#[tokio::test]
async fn a_dead_redis_fires_unreachable_and_failed_checks() {
    let mut store = Store::redis();
    let server = store.server(&[]);
    let tokens = server.log_in("alice").await;
    server.accepts(&tokens).await;
    let watch = Watch::begin(&server, &["TowerBearerStoreUnreachable", "TowerBearerChecksFail"]).await;
    store.redis.as_mut().unwrap().kill();
    watch.fires(&server, async || drop(server.get("/me", &tokens.access).await.expect(503))).await;
}

#[tokio::test]
async fn a_paused_redis_ends_the_lease_and_resuming_it_ends_the_alerts() {
    let store = Store::redis().bounded();
    let server = store.server(&[]);
    let alerts = ["TowerBearerNoLease", "TowerBearerReplicaOld"];
    let leased = async || {
        let page = MetricsPage::of(&server).await;
        (page.sum("tower_bearer_replica_leased_buckets", &[]) > 0.0).then_some(())
    };
    eventually("the node has a lease", leased).await;
    let watch = Watch::begin(&server, &alerts).await;
    let redis = store.redis.as_ref().unwrap();
    redis.pause();
    watch.fires(&server, nothing).await;
    let timed_out = Watch { rules: vec![rule("TowerBearerStoreUnreachable")], ..watch };
    timed_out.fires(&server, nothing).await;
    let lost = MetricsPage::of(&server).await.sum("tower_bearer_replica_lease_lost_total", &[("reason", "timeout")]);
    assert!(lost >= 1.0, "the lost lease has its reason");
    redis.resume();
    Watch { rules: alerts.map(rule).to_vec(), ..timed_out }.ends(&server).await;
}

#[tokio::test]
async fn a_full_redis_and_a_withdrawn_right_fire_refuses() {
    let store = Store::redis();
    let server = store.server(&[]);
    let tokens = server.log_in("alice").await;
    let mut admin = store.redis.as_ref().unwrap().admin().await;
    let bob = [("username", "bob"), ("password", "bob-password")];

    let watch = Watch::begin(&server, &["TowerBearerStoreRefuses"]).await;
    () = cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).query_async(&mut admin).await.unwrap();
    watch.fires(&server, async || drop(server.post_form("/login", &bob).await.expect(503))).await;
    let kinds = |page: &MetricsPage| {
        ["out_of_memory", "rejected"].map(|kind| page.sum("tower_bearer_store_errors_total", &[("kind", kind)]) > 0.0)
    };
    assert_eq!(kinds(&MetricsPage::of(&server).await), [true, false]);
    () = cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).query_async(&mut admin).await.unwrap();
    server.post_form("/login", &bob).await.expect(200);

    let watch = Watch::begin(&server, &["TowerBearerStoreRefuses"]).await;
    () = cmd("ACL").arg(&["SETUSER", "default", "-hmget"]).query_async(&mut admin).await.unwrap();
    watch.fires(&server, async || drop(server.get("/me", &tokens.access).await.expect(503))).await;
    assert_eq!(kinds(&MetricsPage::of(&server).await), [true, true]);
}

#[tokio::test]
async fn a_node_that_stalls_fires_slow_revocations() {
    let store = Store { consistency: "bounded:10000", ..Store::redis() };
    let (here, there) = (store.server(&[]), store.server(&[]));
    let tokens = here.log_in("alice").await;
    there.accepts(&tokens).await;
    let watch = Watch::begin(&there, &["TowerBearerRevocationSlow"]).await;
    there.example.pause();
    here.post("/logout", &tokens.access).await.expect(200);
    // The time is the subject: the other node must read the revocation late.
    sleep(Duration::from_millis(1500)).await;
    there.example.resume();
    watch.fires(&there, nothing).await;
    there.refuses(&tokens).await;
}

#[tokio::test]
async fn a_used_refresh_token_fires_reuse() {
    let server = Store::memory().server(&[("REUSE_GRACE_SECONDS", "0")]);
    let tokens = server.log_in("alice").await;
    server.renew(&tokens).await;
    let watch = Watch::begin(&server, &["TowerBearerRefreshReuse"]).await;
    server.refresh(&tokens.refresh).await.expect(400);
    watch.fires(&server, nothing).await;
}

#[tokio::test]
async fn guessed_passwords_fire_failed_logins_and_slow_passwords() {
    let server = Store::memory().server(&[]);
    server.log_in("alice").await;
    let watch = Watch::begin(&server, &["TowerBearerLoginsFail", "TowerBearerPasswordsSlow"]).await;
    // At once, so that they wait for each other.
    let guess = || server.post_form("/login", &[("username", "alice"), ("password", "wrong")]);
    let guesses = async || drop(join_all((0..14).map(|_| guess())).await);
    guesses().await;
    watch.fires(&server, guesses).await;
}

#[tokio::test]
async fn an_emptied_redis_fires_lost_revocations() {
    let store = Store::redis().bounded();
    let server = store.server(&[]);
    let tokens = server.log_in("alice").await;
    server.post("/logout", &tokens.access).await.expect(200);
    eventually("the node has read its revocation from the log", async || {
        let page = MetricsPage::of(&server).await;
        (page.sum("tower_bearer_revocation_propagation_seconds_count", &[]) >= 1.0).then_some(())
    })
    .await;
    let watch = Watch::begin(&server, &["TowerBearerRevocationsLost"]).await;
    let mut admin = store.redis.as_ref().unwrap().admin().await;
    () = cmd("FLUSHALL").query_async(&mut admin).await.unwrap();
    watch.fires(&server, nothing).await;
    eventually("the node republishes the revocation", async || {
        let page = MetricsPage::of(&server).await;
        let [lost, restored] = ["lost", "restored"].map(|name| format!("tower_bearer_revocations_{name}_total"));
        (page.sum(&restored, &[]) >= page.sum(&lost, &[])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_paused_redis_cuts_streams_in_masses() {
    let store = Store::redis();
    let server = store.server(&[("STREAM_STALENESS_SECONDS", "1")]);
    let tokens = server.log_in("alice").await;
    let mut feeds = Vec::new();
    for _ in 0..12 {
        feeds.push(Feed::open(&server, &tokens, Version::HTTP_11).await);
    }
    let watch = Watch::begin(&server, &["TowerBearerStreamsCut"]).await;
    let open = MetricsPage::of(&server).await.sum("tower_bearer_streams_open", &[]);
    assert!((open - 12.0).abs() < 0.5, "{open} streams are open");
    store.redis.as_ref().unwrap().pause();
    watch.fires(&server, nothing).await;
    drop(feeds);
    eventually("the gauge falls to zero", async || {
        let page = MetricsPage::of(&server).await;
        (page.sum("tower_bearer_streams_open", &[]) < 0.5).then_some(())
    })
    .await;
    server.call(Method::GET, "/").send().await.expect(200);
}
