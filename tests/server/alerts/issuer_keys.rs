//! The fault of the alert on other issuers' keys. The example server accepts no other issuers, so a
//! service of this process fetches the keys.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tower_bearer::{
    TokenService,
    issuers::{HttpKeys, Issuer, IssuerPolicy},
    jwt::Algorithm,
    observe::MetricsObserver,
};

use super::{Scraped, Watch, nothing};
use crate::{
    MetricsPage,
    support::fake_provider::{Conduct, FakeProvider, JWKS, public_jwk},
};

impl Scraped for PrometheusHandle {
    async fn page(&self) -> MetricsPage {
        MetricsPage::parse(&self.render())
    }
}

#[tokio::test]
async fn a_key_server_that_fails_fires_failed_fetches_until_it_answers() {
    let provider = FakeProvider::start_http();
    provider.add_key(&public_jwk(Algorithm::ES256, "k1"));
    provider.set(JWKS, Conduct::Status(500));
    let recorder = PrometheusBuilder::new().with_recommended_naming(true).build_recorder();
    let observer = metrics::with_local_recorder(&recorder, MetricsObserver::new);
    let node = recorder.handle();
    let watch = Watch::begin(&node, &["TowerBearerIssuerKeysFail"]).await;
    let keys = HttpKeys::jwks_url(provider.at(JWKS)).allow_http().build().unwrap();
    let issuer = Issuer::new(provider.url()).audience("api").policy(IssuerPolicy::Stateless);
    let issuer = issuer.key_source(keys).cool_down(Duration::from_secs(1));
    let tokens = TokenService::builder().accept(issuer).observer(observer).build().unwrap();
    watch.fires(&node, nothing).await;
    let fetches = "tower_bearer_issuer_keys_fetches_total";
    let page = node.page().await;
    assert!(page.sum(fetches, &[("result", "status")]) >= 1.0 && page.sum(fetches, &[("result", "ok")]) < 0.5);
    provider.set(JWKS, Conduct::Serve);
    watch.ends(&node).await;
    let page = node.page().await;
    let [all, measured] =
        [fetches, "tower_bearer_issuer_keys_fetch_duration_seconds_count"].map(|name| page.sum(name, &[]));
    assert!((all - measured).abs() < 0.5, "{measured} durations of {all} fetches");
    drop(tokens);
}
