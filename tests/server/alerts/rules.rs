//! The rules of `alerts.yaml`, and what the documents of `docs/operations` name.

use std::{collections::BTreeSet, time::Duration};

use tower_bearer::observe::NAMES;

use crate::metrics::plain_name;

const ALERTS: &str = include_str!("../../../docs/operations/alerts.yaml");
const SECTIONS: &str = include_str!("../../../docs/operations/alerts.md");
const DASHBOARD: &str = include_str!("../../../docs/operations/dashboard.json");

/// A rule of `alerts.yaml`.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) expression: String,
    /// The time for which the expression must hold.
    pub(super) pending: Duration,
}

/// Returns the rule of an alert.
pub(super) fn rule(name: &str) -> Rule {
    let rule = rules().into_iter().find(|rule| rule.name == name);
    rule.unwrap_or_else(|| panic!("alerts.yaml has no alert {name}"))
}

fn rules() -> Vec<Rule> {
    ALERTS.split("- alert: ").skip(1).map(parse).collect()
}

/// Parses one rule: its name, the folded lines of `expr: >-`, and `for`.
fn parse(text: &str) -> Rule {
    let mut lines = text.lines().map(str::trim);
    let name = lines.next().expect("a name").to_owned();
    let mut lines = lines.skip_while(|line| *line != "expr: >-").skip(1);
    let (mut expression, mut pending) = (Vec::new(), Duration::ZERO);
    for line in lines.by_ref() {
        let key = line.split(':').next().unwrap_or_default();
        if key == "for" {
            pending = duration(line.trim_start_matches("for:").trim());
        }
        if matches!(key, "for" | "labels") {
            break;
        }
        expression.push(line);
    }
    Rule { name, expression: expression.join(" "), pending }
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().expect("a number");
    match unit {
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        _ => panic!("an unknown unit: {text}"),
    }
}

/// Returns the names of this crate's metrics in a text, with the suffixes that Prometheus adds.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c));
    words.filter(|word| word.starts_with("tower_bearer_") && !word.ends_with('_')).collect()
}

#[test]
fn every_metric_in_alerts_and_dashboard_is_one_that_the_crate_has() {
    let listed: BTreeSet<String> = NAMES.iter().map(|name| name.replace('.', "_")).collect();
    for (document, text) in [("alerts.yaml", ALERTS), ("alerts.md", SECTIONS), ("dashboard.json", DASHBOARD)] {
        let names = names_in(text);
        assert!(names.len() > 3, "{document}: {names:?}");
        let unknown: Vec<_> = names.iter().filter(|name| !listed.contains(&plain_name(name))).collect();
        assert!(unknown.is_empty(), "{document} names metrics that do not exist: {unknown:?}");
    }
    // The dashboard shows every metric.
    let shown: BTreeSet<String> = names_in(DASHBOARD).into_iter().map(plain_name).collect();
    assert_eq!(shown, listed);
}

#[test]
fn the_dashboard_is_json_whose_panels_have_expressions() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let graphs: Vec<_> = panels.iter().filter(|panel| panel["type"] != "row").collect();
    assert!(graphs.len() > 10);
    for panel in graphs {
        let expressions = panel["targets"].as_array().expect("targets").iter().map(|target| target["expr"].as_str());
        for expression in expressions {
            let expression = expression.expect("an expression");
            let count = |c| expression.matches(c).count();
            assert_eq!((count('('), count('{')), (count(')'), count('}')), "{expression}");
        }
    }
}

#[test]
fn every_alert_has_a_section_and_a_fault() {
    let rules = rules();
    assert_eq!(rules.len(), ALERTS.matches("expr: >-").count());
    let faults = [include_str!("mod.rs"), include_str!("issuer_keys.rs")].concat();
    let mut sections: Vec<_> = SECTIONS.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for Rule { name, expression, .. } in &rules {
        assert!(expression.contains("tower_bearer_"), "{name}: {expression}");
        let link = format!("runbook: docs/operations/alerts.md#{}", name.to_lowercase());
        assert!(ALERTS.contains(&link), "{name} has no link to its section");
        assert!(faults.contains(&format!("\"{name}\"")), "no test causes the fault of {name}");
        let section = SECTIONS.split(&format!("\n## {name}\n")).nth(1).unwrap_or_else(|| panic!("no section {name}"));
        let section = section.split("\n## ").next().expect("the section");
        for part in ["**Meaning.**", "**What users see.**", "**What to do.**"] {
            assert!(section.contains(part), "the section {name} has no part {part}");
        }
        sections.retain(|section| section != name);
    }
    assert!(sections.is_empty(), "alerts.md has sections without an alert: {sections:?}");
}
