//! The list of rooms in CONTRIBUTING.md, and the direction of an import.

/// The sentence that stands before the list.
const HEADING: &str = "imports only point **down** this list";

/// One entry of the list. Rooms on one line may not import each other.
#[derive(Debug, Default)]
struct Entry {
    names: Vec<String>,
    inside: Vec<Entry>,
}

/// The declared order of rooms, from top to bottom.
#[derive(Debug)]
pub(crate) struct Rooms(Vec<Entry>);

/// The direction of an import between two places.
#[derive(Debug, PartialEq)]
pub(crate) enum Direction {
    /// Down, inside one room, or between places without an order.
    Allowed,
    Up {
        from: String,
        to: String,
    },
    Beside {
        from: String,
        to: String,
    },
}

impl Rooms {
    /// Parses the list after the sentence with "imports only point **down** this list".
    ///
    /// An entry is `` - `first/`, `second.rs`: text ``. A list inside an entry, indented by two
    /// spaces, orders the children of that room. There, `mod.rs` is the room's own file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let after = text
            .split_once(HEADING)
            .ok_or(format!("CONTRIBUTING.md has no sentence \"{HEADING}\"; write it above the list of rooms"))?
            .1;
        let mut entries = Vec::new();
        for line in after.lines().skip(1).skip_while(|line| !line.starts_with("- ")) {
            let content = line.trim_start();
            let indent = line.len() - content.len();
            if let Some(content) = content.strip_prefix("- ") {
                let names = names_of(content)
                    .ok_or(format!("the list of rooms has the entry `{line}`; begin it with names in backticks"))?;
                insert(&mut entries, indent / 2, Entry { names, inside: Vec::new() })
                    .ok_or(format!("`{line}` is indented too far; put it below the one room that it divides"))?;
            } else if indent == 0 {
                break;
            }
        }
        if entries.is_empty() {
            return Err(format!(
                "CONTRIBUTING.md has no list after \"{HEADING}\"; list the rooms as `- `name/`: text`"
            ));
        }
        Ok(Self(entries))
    }

    /// Returns the direction of an import from one place to another, both as names from the top.
    pub(crate) fn direction(&self, from: &[String], to: &[String]) -> Direction {
        let mut entries = &self.0;
        for (from, to) in from.iter().zip(to) {
            let place = |name: &String| entries.iter().position(|entry| entry.names.contains(name));
            match (place(from), place(to)) {
                (Some(place), Some(_)) if from == to => entries = &entries[place].inside,
                (Some(own), Some(other)) if own == other => {
                    return Direction::Beside { from: from.clone(), to: to.clone() };
                }
                (Some(own), Some(other)) if own > other => {
                    return Direction::Up { from: from.clone(), to: to.clone() };
                }
                _ => break,
            }
        }
        Direction::Allowed
    }

    /// Compares the list with the places of all files, and returns what either lacks.
    ///
    /// The list names every top-level module. A list inside a room names every folder of it, and
    /// may leave out files: those have no order.
    pub(crate) fn differences(&self, places: &[Vec<String>]) -> Vec<String> {
        let mut found = Vec::new();
        compare(&self.0, places, &[], &mut found);
        found.sort();
        found.dedup();
        found
    }
}

fn compare(entries: &[Entry], places: &[Vec<String>], above: &[String], found: &mut Vec<String>) {
    let depth = above.len();
    let inside: Vec<_> = places.iter().filter(|place| place.starts_with(above) && place.len() > depth).collect();
    for place in &inside {
        let is_listed = entries.iter().any(|entry| entry.names.contains(&place[depth]));
        // A place is a path of modules: one with more names than this level is a folder.
        let must_be_listed = depth == 0 || place.len() > depth + 1;
        if !is_listed && must_be_listed {
            let room = place[..=depth].join("/");
            found.push(format!("src/{room} is not in the list of CONTRIBUTING.md; add it at its height"));
        }
    }
    for entry in entries {
        for name in &entry.names {
            let below = [above, std::slice::from_ref(name)].concat();
            if !inside.iter().any(|place| place.starts_with(&below)) {
                let room = below.join("/");
                found.push(format!("CONTRIBUTING.md lists `{room}`, which src/ does not have; take it off the list"));
            } else if !entry.inside.is_empty() {
                compare(&entry.inside, places, &below, found);
            }
        }
    }
}

/// Returns the names in backticks at the start of an entry.
fn names_of(entry: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = entry;
    loop {
        let (name, after) = rest.strip_prefix('`')?.split_once('`')?;
        names.push(name.trim_end_matches('/').trim_end_matches(".rs").to_owned());
        match after.strip_prefix(", ") {
            Some(next) => rest = next,
            None => return (after.is_empty() || after.starts_with(':')).then_some(names),
        }
    }
}

fn insert(entries: &mut Vec<Entry>, depth: usize, entry: Entry) -> Option<()> {
    if depth == 0 {
        entries.push(entry);
        return Some(());
    }
    let room = entries.last_mut().filter(|room| room.names.len() == 1)?;
    insert(&mut room.inside, depth - 1, entry)
}
