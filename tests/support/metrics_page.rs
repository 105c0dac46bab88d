//! The page of metrics of a server, as Prometheus reads it.

use super::HttpClient;

/// The samples of one scrape: `name{label="value",...}` and the value.
#[derive(Clone, Debug)]
pub struct MetricsPage(Vec<(String, f64)>);

impl MetricsPage {
    /// Reads `/metrics`.
    pub async fn of(client: &HttpClient) -> Self {
        let answer = client.get("/metrics", "").await.expect(200);
        Self::parse(std::str::from_utf8(&answer.body).unwrap())
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| {
                    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
                    (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
                })
                .collect(),
        )
    }

    /// Returns the sum of the samples with this name and all of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.0.iter().filter(|(series, _)| {
            let (own, rest) = series.split_once('{').unwrap_or((series, ""));
            own == name && labels.iter().all(|(label, value)| rest.contains(&format!("{label}=\"{value}\"")))
        });
        found.map(|(_, value)| value).sum()
    }

    /// Returns the names of all series, without labels.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(series, _)| series.split('{').next().unwrap_or(series)).collect()
    }
}
