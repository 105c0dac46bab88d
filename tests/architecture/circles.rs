//! Circles between files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// For each file, the files that it imports.
pub(crate) type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Returns the strongly connected components of more than one file, each sorted.
pub(crate) fn components<'a>(graph: &Graph<'a>) -> Vec<BTreeSet<&'a str>> {
    let mut backwards = Graph::new();
    for (from, others) in graph {
        for to in others {
            backwards.entry(*to).or_default().insert(*from);
        }
    }
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for file in graph.keys() {
        if found.iter().any(|component| component.contains(file)) {
            continue;
        }
        let component: BTreeSet<_> =
            reachable(graph, file).intersection(&reachable(&backwards, file)).copied().collect();
        if component.len() > 1 {
            found.push(component);
        }
    }
    found
}

fn reachable<'a>(graph: &Graph<'a>, start: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([start]);
    let mut next = vec![start];
    while let Some(file) = next.pop() {
        next.extend(graph.get(file).into_iter().flatten().filter(|other| seen.insert(other)));
    }
    seen
}

/// Returns the shortest circle inside a component, with its first file repeated at the end.
pub(crate) fn shortest_circle<'a>(graph: &Graph<'a>, component: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let circles = component.iter().filter_map(|start| circle_through(graph, component, start));
    circles.min_by_key(Vec::len).unwrap_or_default()
}

fn circle_through<'a>(graph: &Graph<'a>, component: &BTreeSet<&'a str>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for other in graph.get(file)?.iter().filter(|other| component.contains(*other)) {
            if *other == start {
                let mut circle = vec![start, file];
                while let Some(previous) = before.get(circle[circle.len() - 1]) {
                    circle.push(previous);
                }
                circle.reverse();
                return Some(circle);
            }
            if !before.contains_key(other) {
                before.insert(other, file);
                queue.push_back(other);
            }
        }
    }
    None
}
