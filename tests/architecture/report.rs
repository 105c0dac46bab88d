//! All findings about a tree of sources, and its figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::{
    circles::{Graph, components, shortest_circle},
    names::Target,
    paths::{Import, collect},
    rooms::{Direction, Rooms},
    tree::{Definition, ModuleId, Sources, Tree},
};

/// The number of items that a line about a circle names.
const SHOWN: usize = 8;

/// For each pair of files, the items that one imports from the other, with the first line.
type Edges<'a> = BTreeMap<(&'a str, &'a str), BTreeMap<&'a str, usize>>;

#[derive(Debug)]
pub(crate) struct Report {
    /// Files without a module, and differences between the tree and the list of rooms.
    pub(crate) faults: Vec<String>,
    pub(crate) upward: Vec<String>,
    pub(crate) circles: Vec<String>,
    files: usize,
    lines: BTreeMap<String, usize>,
}

impl Report {
    pub(crate) fn of(sources: &Sources, rooms: &Rooms) -> Self {
        let tree = Tree::parse(sources);
        let mut imports = collect(&tree);
        imports.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));

        let places: Vec<_> = tree.files.keys().map(|file| place_of_file(&tree, file)).collect();
        let mut faults = tree.faults.clone();
        faults.extend(rooms.differences(&places));
        faults.sort();

        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for (file, (_, tests)) in &tree.files {
            *lines.entry(place_of_file(&tree, file).swap_remove(0)).or_default() +=
                sources[file].lines().count() - tests.len();
        }
        Self {
            faults,
            upward: upward(&tree, &imports, rooms),
            circles: circles(&imports),
            files: tree.files.len(),
            lines,
        }
    }

    /// Returns all findings, one a line, circles with a line for each import.
    pub(crate) fn findings(&self) -> Vec<String> {
        [&self.faults[..], &self.upward, &self.circles].concat()
    }

    pub(crate) fn figures(&self) -> String {
        let (room, lines) = self.lines.iter().max_by_key(|(_, lines)| **lines).unwrap();
        let total: usize = self.lines.values().sum();
        let (circles, upward) = (self.circles.len(), self.upward.len());
        format!(
            "files of src, without test files: {}\nlines of src, without tests: {total}\n\
             largest room: {room}, {lines} lines\ncircles between files: {circles}\nupward imports: {upward}",
            self.files
        )
    }
}

/// Returns the modules that lead to a file. `mod` stands for a room's own file beside its children.
fn place_of_file(tree: &Tree, file: &str) -> Vec<String> {
    let mut place = tree.files[file].0.clone();
    if place.is_empty() {
        return vec!["lib".to_owned()];
    }
    let has_children = tree.files.values().any(|(other, _)| other.len() > place.len() && other.starts_with(&place));
    if has_children || file.ends_with("/mod.rs") {
        place.push("mod".to_owned());
    }
    place
}

fn upward(tree: &Tree, imports: &[Import], rooms: &Rooms) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for import in imports {
        let from = place_of_file(tree, &import.file);
        let mut judge = |to: &[String], what: String| {
            let fault = match rooms.direction(&from, to) {
                Direction::Allowed => return false,
                Direction::Up { from, to } => format!("`{from}` stands below `{to}`"),
                Direction::Beside { from, to } => format!("`{from}` and `{to}` stand on one line of the list"),
            };
            if seen.insert((import.file.clone(), what.clone())) {
                let Import { file, line, written, .. } = import;
                found.push(format!("src/{file}:{line}: `{written}` {what}, but {fault}"));
            }
            true
        };
        let mut is_upward = false;
        for definition in import.resolution.items() {
            let Definition { file, line, name, .. } = definition;
            let what = format!("imports `{name}`, defined at src/{file}:{line}");
            is_upward |= judge(&place_of_file(tree, file), what);
        }
        for module in modules_of(import) {
            let module = &tree.modules[module].path;
            if !is_upward && !module.is_empty() {
                judge(module, format!("names the module `{}`", module.join("::")));
            }
        }
    }
    found
}

/// Returns the modules that an import names, alone or on the way to an item.
fn modules_of(import: &Import) -> impl Iterator<Item = ModuleId> {
    let alone = import.resolution.targets.iter().filter_map(|target| match target {
        Target::Module(module) => Some(*module),
        Target::Item(_) => None,
    });
    import.resolution.through.iter().copied().chain(alone)
}

fn circles(imports: &[Import]) -> Vec<String> {
    let mut edges = Edges::new();
    let mut graph = Graph::new();
    for import in imports {
        for definition in import.resolution.items() {
            let names = edges.entry((&import.file, &definition.file)).or_default();
            names.entry(&definition.name).or_insert(import.line);
            graph.entry(&import.file).or_default().insert(&definition.file);
        }
    }
    let describe = |component: BTreeSet<&str>| {
        let shortest: Vec<_> = shortest_circle(&graph, &component).iter().map(|file| format!("src/{file}")).collect();
        let mut text = format!("circle of {} files, the shortest: {}", component.len(), shortest.join(" -> "));
        for ((from, to), names) in &edges {
            if component.contains(from) && component.contains(to) {
                let rest = names.len().saturating_sub(SHOWN);
                let names: Vec<_> =
                    names.iter().take(SHOWN).map(|(name, line)| format!("`{name}` in line {line}")).collect();
                write!(text, "\n    src/{from} imports from src/{to}: {}", names.join(", ")).unwrap();
                if rest > 0 {
                    write!(text, ", and {rest} more").unwrap();
                }
            }
        }
        text
    };
    components(&graph).into_iter().map(describe).collect()
}
