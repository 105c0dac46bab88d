//! Evaluates the expressions of `alerts.yaml`, which are a small part of `PromQL`.
//!
//! | form | value |
//! |--|--|
//! | `name{a="value",b!="value",c=~"one\|other"}` | the sum of the samples in the last scrape |
//! | `sum(increase(selector[1m]))`, also with `by` | the growth between the two scrapes |
//! | `histogram_quantile(0.99, sum by (le) (rate(selector[5m])))` | the quantile of that growth |
//! | `x / y`, `x > y`, `x < y`, `x == y`, `x and y` | as in `PromQL`, for one node |
//!
//! The scrapes stand for the start and the end of the range. Labels in `by` have no effect, because
//! a test has one node.

use crate::support::{MetricsPage, metrics_page::Sample};

/// Two scrapes of a node.
pub(super) struct Scrapes<'a> {
    pub(super) first: &'a MetricsPage,
    pub(super) last: &'a MetricsPage,
}

/// Returns true if the expression has a result: its alert is then pending or firing.
pub(super) fn holds(expression: &str, scrapes: &Scrapes<'_>) -> bool {
    let mut parser = Parser { rest: expression.trim(), scrapes };
    let mut holds = parser.comparison();
    while parser.takes("and") {
        // Both sides must be parsed.
        let other = parser.comparison();
        holds &= other;
    }
    assert_eq!(parser.rest, "", "{expression}");
    holds
}

struct Parser<'a> {
    rest: &'a str,
    scrapes: &'a Scrapes<'a>,
}

/// A series of a selector, and its growth.
struct Growth<'a> {
    sample: &'a Sample,
    by: f64,
}

impl<'a> Parser<'a> {
    /// Takes this text, if it comes next.
    fn takes(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => self.rest = rest.trim_start(),
            None => return false,
        }
        true
    }

    #[track_caller]
    fn expect(&mut self, text: &str) {
        assert!(self.takes(text), "`{text}` is missing before: {}", self.rest);
    }

    /// Takes the text up to `end`, and `end` itself.
    #[track_caller]
    fn until(&mut self, end: char) -> &'a str {
        let (text, rest) = self.rest.split_once(end).unwrap_or_else(|| panic!("no `{end}` in: {}", self.rest));
        self.rest = rest.trim_start();
        text
    }

    fn word(&mut self) -> &'a str {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn comparison(&mut self) -> bool {
        let left = self.quotient();
        if self.takes(">") {
            return left > self.quotient();
        }
        if self.takes("==") {
            return left.total_cmp(&self.quotient()).is_eq();
        }
        self.expect("<");
        left < self.quotient()
    }

    fn quotient(&mut self) -> f64 {
        let mut value = self.value();
        while self.takes("/") {
            value /= self.value();
        }
        value
    }

    fn value(&mut self) -> f64 {
        match self.word() {
            "sum" => {
                let series = self.summed();
                // Without series, the sum has no result, and a comparison with it has none either.
                if series.is_empty() { f64::NAN } else { series.iter().map(|growth| growth.by).sum() }
            }
            "histogram_quantile" => {
                self.expect("(");
                let quantile = self.until(',').parse().expect("a quantile");
                self.expect("sum");
                let buckets = self.summed();
                self.expect(")");
                quantile_of(quantile, &buckets)
            }
            word => match word.parse() {
                Ok(number) => number,
                Err(_) => self.selected(word).iter().map(|sample| sample.value).sum(),
            },
        }
    }

    /// Parses the rest of `sum by (label) (increase(selector[range]))`.
    fn summed(&mut self) -> Vec<Growth<'a>> {
        if self.takes("by") {
            self.expect("(");
            self.until(')');
        }
        self.expect("(");
        assert!(self.takes("increase") || self.takes("rate"), "neither `increase` nor `rate`: {}", self.rest);
        self.expect("(");
        let name = self.word();
        let samples = self.selected(name);
        self.expect("[");
        self.until(']');
        self.expect(")");
        self.expect(")");
        let before = |sample: &Sample| {
            let first = self.scrapes.first.samples.iter();
            let mut same = first.filter(|first| first.name == sample.name && first.labels == sample.labels);
            // Prometheus does not see the first event of a series that did not exist before.
            same.next().map_or(sample.value, |first| first.value)
        };
        samples.into_iter().map(|sample| Growth { sample, by: sample.value - before(sample) }).collect()
    }

    /// Parses the labels of a selector, and returns its samples in the last scrape.
    fn selected(&mut self, name: &str) -> Vec<&'a Sample> {
        let labels = if self.takes("{") { self.until('}') } else { "" };
        let is_selected = |sample: &&Sample| {
            sample.name == name
                && labels.split(',').filter(|matcher| !matcher.is_empty()).all(|matcher| {
                    let (label, value) = matcher.split_once('=').expect("a matcher");
                    let (has_choice, value) = match value.strip_prefix('~') {
                        Some(value) => (true, value),
                        None => (false, value),
                    };
                    let (is_negated, label) = match label.strip_suffix('!') {
                        Some(label) => (true, label),
                        None => (false, label),
                    };
                    let value = value.trim_matches('"');
                    let own = sample.label(label.trim()).unwrap_or_default();
                    let is_equal = if has_choice { value.split('|').any(|choice| choice == own) } else { value == own };
                    is_equal != is_negated
                })
        };
        let scrapes = self.scrapes;
        assert!(scrapes.last.names().contains(&name), "the server has no metric {name}");
        scrapes.last.samples.iter().filter(is_selected).collect()
    }
}

/// Returns the quantile of a histogram as Prometheus estimates it. `NaN` without observations.
fn quantile_of(quantile: f64, buckets: &[Growth<'_>]) -> f64 {
    let mut bounds: Vec<(f64, f64)> = Vec::new();
    for growth in buckets {
        let bound = match growth.sample.label("le").expect("a bucket") {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().expect("a bound"),
        };
        match bounds.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
            Some((_, count)) => *count += growth.by,
            None => bounds.push((bound, growth.by)),
        }
    }
    bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let total = bounds.last().map_or(0.0, |(_, count)| *count);
    if total <= 0.0 {
        return f64::NAN;
    }
    let rank = quantile * total;
    let mut below = (0.0, 0.0);
    for (bound, count) in bounds {
        if count >= rank {
            let share = (rank - below.1) / (count - below.1);
            return if bound.is_finite() { below.0 + (bound - below.0) * share } else { below.0 };
        }
        below = (bound, count);
    }
    below.0
}

#[cfg(test)]
mod tests {
    use super::*;

    type Series = (&'static str, Vec<(&'static str, &'static str)>, f64);

    fn page(samples: impl Iterator<Item = Series>) -> MetricsPage {
        let own = |(name, labels, value): Series| {
            let labels = labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
            Sample { name: name.to_owned(), labels, value }
        };
        MetricsPage { samples: samples.map(own).collect() }
    }

    #[test]
    fn expressions_have_the_values_of_promql() {
        let buckets = |half: f64, one: f64, all: f64| {
            [("0.5", half), ("1", one), ("+Inf", all)]
                .map(|(bound, count)| ("seconds_bucket", vec![("le", bound)], count))
        };
        let errors = |a: f64, b: f64| [("errors", vec![("kind", "a")], a), ("errors", vec![("kind", "b")], b)];
        let first = page(errors(1.0, 5.0).into_iter().chain(buckets(0.0, 0.0, 0.0)));
        let gauge = [("gauge", vec![], 7.0)];
        let last = page(errors(4.0, 6.0).into_iter().chain(gauge).chain(buckets(0.0, 8.0, 10.0)));
        let scrapes = Scrapes { first: &first, last: &last };
        for (expression, expected) in [
            ("sum(increase(errors[1m])) > 3.9", true),
            ("sum(increase(errors[1m])) > 4", false),
            ("sum by (instance) (increase(errors{kind=\"a\"}[1m])) > 2.9", true),
            ("sum(increase(errors{kind=\"b\"}[1m])) > 1.1", false),
            ("sum(increase(errors{kind=~\"b|c\"}[1m])) > 0.9", true),
            ("sum(increase(errors{kind!=\"a\"}[1m])) > 0.9", true),
            ("sum(increase(errors{kind!=\"a\"}[1m])) > 1", false),
            ("sum(increase(errors{kind=\"b\"}[1m])) == 1", true),
            ("sum(increase(errors{kind=\"b\"}[1m])) == 0", false),
            ("sum(increase(errors{kind=\"c\"}[1m])) == 0", false),
            ("gauge > 6", true),
            ("gauge < 7", false),
            ("sum(increase(errors{kind=\"a\"}[1m])) / sum(increase(errors[1m])) > 0.7", true),
            ("sum(increase(errors{kind=\"a\"}[1m])) / sum(increase(errors[1m])) > 0.8", false),
            ("gauge > 6 and gauge < 7", false),
            ("gauge < 7 and gauge > 6", false),
            ("gauge > 6 and gauge < 8", true),
            // 5 of 10 lie in the second bucket of 8: 0.5 + 0.5 * 5 / 8.
            ("histogram_quantile(0.5, sum by (le) (rate(seconds_bucket[5m]))) > 0.81", true),
            ("histogram_quantile(0.5, sum by (le) (rate(seconds_bucket[5m]))) > 0.82", false),
            ("histogram_quantile(0.99, sum by (le) (rate(seconds_bucket[5m]))) > 1", false),
        ] {
            assert_eq!(holds(expression, &scrapes), expected, "{expression}");
        }
        let nothing = Scrapes { first: &last, last: &last };
        assert!(!holds("histogram_quantile(0.5, sum by (le) (rate(seconds_bucket[5m]))) > 0", &nothing), "NaN");
    }
}
