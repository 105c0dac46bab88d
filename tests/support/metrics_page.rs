//! The page of metrics of a server, as Prometheus reads it.

use super::HttpClient;

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub struct MetricsPage {
    pub samples: Vec<Sample>,
}

/// One series with its value.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl MetricsPage {
    /// Reads `/metrics`.
    pub async fn of(client: &HttpClient) -> Self {
        let answer = client.get("/metrics", "").await.expect(200);
        Self::parse(std::str::from_utf8(&answer.body).unwrap())
    }

    /// Parses the text of a page.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(Sample::parse).collect() }
    }

    /// Returns the sum of the samples with this name and all of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &Sample| labels.iter().all(|(label, value)| sample.label(label) == Some(value));
        self.samples.iter().filter(|sample| sample.name == name && has(sample)).map(|sample| sample.value).sum()
    }

    /// Returns the names of all series.
    pub fn names(&self) -> Vec<&str> {
        self.samples.iter().map(|sample| sample.name.as_str()).collect()
    }
}

impl Sample {
    /// Parses `name{label="value",...} number`. The labels of this crate contain no quotes.
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        let labels = pairs.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect();
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        Self { name: name.to_owned(), labels, value }
    }

    /// Returns the value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}
