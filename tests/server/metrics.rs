//! `GET /metrics` of the server: the counts after each kind of request.

use std::collections::HashSet;

use tower_bearer::observe::NAMES;

use crate::{MetricsPage, Server, Store, forged, on_each_store, support::eventually};

on_each_store!(each_metric_has_the_right_count);

/// One count: the name of the metric, its labels, and the value.
type Count = (&'static str, &'static [(&'static str, &'static str)], f64);

#[track_caller]
fn assert_counts(page: &MetricsPage, counts: &[Count]) {
    for (name, labels, expected) in counts {
        let found = page.sum(name, labels);
        assert!((found - expected).abs() < 0.5, "{name} {labels:?} is {found}, not {expected}");
    }
}

async fn each_metric_has_the_right_count(store: Store) {
    let is_bounded = store.consistency != "strong";
    let server = store.server(&[("REUSE_GRACE_SECONDS", "0")]);
    let before = MetricsPage::of(&server).await;
    // A rate sees the first event only if the series exists before.
    assert_counts(&before, &[("tower_bearer_sessions_opened_total", &[], 0.0)]);
    for name in ["tower_bearer_refresh_total", "tower_bearer_revocations_lost_total", "tower_bearer_checks_total"] {
        assert!(before.names().contains(&name), "{name} does not exist from the start");
    }

    let alice = server.log_in("alice").await;
    let bob = server.log_in("bob").await;
    server.post_form("/login", &[("username", "bob"), ("password", "wrong")]).await.expect(401);
    server.get("/me", &alice.access).await.expect(200);
    server.get("/me", &alice.access).await.expect(200);
    server.get("/me", &forged(&alice.access)).await.expect(401);
    server.call(http::Method::GET, "/me").send().await.expect(401);
    server.get("/admin", &bob.access).await.expect(403);
    let renewed = server.renew(&alice).await;
    // With a grace of zero, each repetition is a theft and ends the session.
    server.refresh(&alice.refresh).await.expect(400);
    server.get("/me", &renewed.access).await.expect(401);
    server.post("/logout", &bob.access).await.expect(200);
    server.get("/me", &bob.access).await.expect(401);
    let other = server.log_in("alice").await;
    server.post("/logout-all", &other.access).await.expect(200);

    // Accepted checks reach the page once a second.
    let page = eventually("the accepted checks are counted", async || {
        let page = MetricsPage::of(&server).await;
        (page.sum("tower_bearer_checks_total", &[("result", "accepted")]) > 4.5).then_some(page)
    })
    .await;
    assert_counts(
        &page,
        &[
            ("tower_bearer_sessions_opened_total", &[], 3.0),
            ("tower_bearer_sessions_ended_total", &[("cause", "reused")], 1.0),
            ("tower_bearer_sessions_ended_total", &[("cause", "logout")], 1.0),
            ("tower_bearer_sessions_ended_total", &[("cause", "revoked_all")], 1.0),
            ("tower_bearer_sessions_ended_total", &[], 3.0),
            ("tower_bearer_logins_failed_total", &[("reason", "credentials")], 1.0),
            ("tower_bearer_logins_failed_total", &[], 1.0),
            ("tower_bearer_refresh_total", &[("result", "rotated")], 1.0),
            ("tower_bearer_refresh_total", &[("result", "reused")], 1.0),
            ("tower_bearer_refresh_total", &[], 2.0),
            // Two to `/me`, one to `/admin`, one to each logout.
            ("tower_bearer_checks_total", &[("result", "accepted")], 5.0),
            ("tower_bearer_checks_total", &[("result", "refused"), ("reason", "signature")], 1.0),
            ("tower_bearer_checks_total", &[("result", "refused"), ("reason", "revoked")], 2.0),
            ("tower_bearer_checks_total", &[], 8.0),
            // Of the accepted tokens three are new, and two of the refused ones.
            ("tower_bearer_cache_hits_total", &[], 3.0),
            ("tower_bearer_cache_misses_total", &[], 5.0),
            ("tower_bearer_challenges_total", &[("error", "none")], 1.0),
            ("tower_bearer_challenges_total", &[("error", "invalid_token")], 3.0),
            ("tower_bearer_challenges_total", &[], 4.0),
            ("tower_bearer_forbids_total", &[], 1.0),
            ("tower_bearer_password_duration_seconds_count", &[("operation", "verify")], 4.0),
            ("tower_bearer_password_duration_seconds_count", &[("operation", "hash")], 0.0),
            ("tower_bearer_store_errors_total", &[], 0.0),
            ("tower_bearer_revocations_lost_total", &[], 0.0),
        ],
    );
    if store.redis.is_some() {
        assert_counts(
            &page,
            &[
                ("tower_bearer_store_call_duration_seconds_count", &[("operation", "open")], 3.0),
                ("tower_bearer_store_call_duration_seconds_count", &[("operation", "rotate")], 2.0),
                ("tower_bearer_store_call_duration_seconds_count", &[("operation", "revoke_all")], 1.0),
            ],
        );
        let checks = page.sum("tower_bearer_store_call_duration_seconds_count", &[("operation", "check")]);
        let waited = page.sum("tower_bearer_check_duration_seconds_count", &[]);
        assert!(is_bounded || waited >= 5.0, "{waited} checks waited for the store");
        assert!(checks >= waited, "{checks} calls for {waited} checks");
    }
    if is_bounded {
        let leased = "tower_bearer_replica_leased_buckets";
        eventually("the replica is reported with all its leases and its age", async || {
            let page = MetricsPage::of(&server).await;
            let buckets = page.sum("tower_bearer_replica_buckets", &[]);
            let is_whole = buckets > 0.0 && page.sum(leased, &[]) >= buckets;
            (is_whole && page.sum("tower_bearer_replica_bound_seconds", &[]) >= 1.0).then_some(())
        })
        .await;
        eventually("the revocations are read from the log", async || {
            let page = MetricsPage::of(&server).await;
            (page.sum("tower_bearer_revocation_propagation_seconds_count", &[]) >= 2.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn every_series_has_a_name_of_the_list_and_no_label_shows_an_id() {
    let server = Server::start(&[]);
    let tokens = server.log_in("alice").await;
    server.get("/me", &tokens.access).await.expect(200);
    let page = server.get("/metrics", "").await.expect(200);
    let text = std::str::from_utf8(&page.body).unwrap();
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for secret in ["alice", &tokens.session_id(), &tokens.access, &tokens.refresh] {
        assert!(!text.contains(secret), "the page shows {secret}");
    }
    let typed: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let own: HashSet<String> = typed.iter().map(|name| plain_name(name)).collect();
    let listed: HashSet<String> = NAMES.iter().map(|name| name.replace('.', "_")).collect();
    assert_eq!(own, listed);
}

/// Returns a name of Prometheus without the suffixes of unit and type.
pub(crate) fn plain_name(name: &str) -> String {
    let kinds = ["_bucket", "_sum", "_count", "_total"];
    let name = kinds.into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let plain = |name: &str, suffix| name.strip_suffix(suffix).map(str::to_owned);
    // The name `.bytes` has the unit already.
    plain(name, "_seconds")
        .or_else(|| plain(name, "_bytes_bytes").map(|name| name + "_bytes"))
        .unwrap_or(name.to_owned())
}
