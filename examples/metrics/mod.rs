//! The recorder of the metrics, and the page that Prometheus reads.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tower_bearer::BoxError;

/// The bounds of the histograms in seconds. A check on Redis takes 0.2 ms, a password check 0.3 s,
/// and a call of a slow store some seconds.
const BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Installs the recorder of this process. Call this function in a Tokio runtime, before anything
/// registers a metric.
pub(crate) fn install() -> Result<PrometheusHandle, BoxError> {
    // Gives the metrics the names that Prometheus recommends, such as
    // `tower_bearer_check_duration_seconds` and `tower_bearer_checks_total`.
    let builder = PrometheusBuilder::new().with_recommended_naming(true).set_buckets(&BOUNDS)?;
    let recorder = builder.install_recorder()?;
    let handle = recorder.clone();
    // A histogram keeps each value until Prometheus reads the page or this task runs. So the memory
    // stays bounded even if nobody reads the page.
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
