//! The direction of imports inside `src/`, and the references of the documents.
//!
//! CONTRIBUTING.md lists the rooms of `src/`: the top-level modules, from top to bottom. An import
//! may only point down that list, and no files may import each other in a circle.
//!
//! | file | subject |
//! |--|--|
//! | `tree` | the modules of `src/` and the names that each one binds |
//! | `uses` | attributes, visibilities and `use` trees |
//! | `names` | resolves a path to the file that defines the item |
//! | `paths` | the paths that the code of a module writes |
//! | `tokens` | the paths among the tokens of macros and attributes |
//! | `rooms` | the list of rooms and the direction of an import |
//! | `circles` | circles between files |
//! | `report` | all findings, and the figures |
//! | `planted_*` | the checker finds faults that are planted |
//! | `documents` | the tests that documents name, and their links |
//!
//! # What counts as an import
//!
//! * Every path in code that resolves to an item of another file: in `use`, expressions, types,
//!   patterns, attributes and the tokens of macros. The definition counts, not the re-export.
//! * A glob counts as an import of each name that it could bring in.
//! * A path must not lead through a room above either, wherever the item is defined.
//! * `mod x;`, and a `pub use` of an item from a module's own descendants, do not count. A use of
//!   such a re-exported name in the code of the same module does.
//! * A module that is named alone, as in `use crate::jwt`, counts for the direction only. The paths
//!   through it count for circles.
//! * Code under `#[cfg(test)]`, `#[cfg(doctest)]` or `#[cfg(loom)]`, and comments, do not count.
//!
//! # Limits
//!
//! A method that is called through a value names no path. So an inherent or trait `impl` block in a
//! file other than its type's is not seen through such a call. `Type::function` is seen. So are
//! macros of this crate, by their names. A path that a macro of this crate puts together from its
//! arguments is seen only where the arguments name a module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod circles;
mod documents;
mod names;
mod paths;
mod planted_circles;
mod planted_imports;
mod report;
mod rooms;
mod tokens;
mod tree;
mod uses;

use std::{fs, path::Path};

use self::{report::Report, rooms::Rooms, tree::Sources};

/// Reads every source file of `src/`, by its path below `src/`.
fn read_sources() -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Sources::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                sources.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    sources
}

/// Reads the list of rooms in CONTRIBUTING.md.
fn read_rooms() -> Rooms {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md");
    Rooms::parse(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn imports_point_down_the_list_of_rooms_and_no_files_import_each_other_in_a_circle() {
    let report = Report::of(&read_sources(), &read_rooms());
    let findings = report.findings();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Prints the figures: `cargo test --test architecture -- --ignored --nocapture figures`.
#[test]
#[ignore = "prints figures and checks nothing"]
fn figures() {
    println!("{}", Report::of(&read_sources(), &read_rooms()).figures());
}
