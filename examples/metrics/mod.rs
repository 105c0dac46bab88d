//! The recorder of the example's metrics, and the page that Prometheus reads.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tower_bearer::BoxError;

/// The bounds of the histograms in seconds: a check on Redis takes 0.2 ms, a password 0.3 s, and a
/// slow store some seconds.
const BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Installs the recorder of this process. Call it before anything registers a metric, and in a
/// Tokio runtime.
pub(crate) fn install() -> Result<PrometheusHandle, BoxError> {
    // With the names that Prometheus recommends, such as `tower_bearer_check_duration_seconds` and
    // `tower_bearer_checks_total`.
    let builder = PrometheusBuilder::new().with_recommended_naming(true).set_buckets(&BOUNDS)?;
    let recorder = builder.install_recorder()?;
    let handle = recorder.clone();
    // Histograms keep each value until they are read. This bounds their memory if nobody does.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            handle.run_upkeep();
        }
    });
    Ok(recorder)
}

/// Returns the page with all metrics.
pub(crate) fn page(recorded: &PrometheusHandle) -> impl axum::response::IntoResponse + use<> {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorded.render())
}
