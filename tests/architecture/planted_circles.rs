//! Circles between files that are planted, and pairs of files that are none.

use crate::{report::Report, rooms::Rooms, tree::Sources};

/// Checks a crate whose one room is `room/`.
fn check(files: &[(&str, &str)]) -> Report {
    let root = [("lib.rs", "pub mod room;\n")];
    let all = root.iter().chain(files);
    let sources: Sources = all.map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    let list = "imports only point **down** this list:\n\n- `lib.rs`\n- `room/`\n";
    let report = Report::of(&sources, &Rooms::parse(list).unwrap());
    assert_eq!((&report.faults, &report.upward), (&Vec::new(), &Vec::new()));
    report
}

fn assert_circle(files: &[(&str, &str)], start: &str) {
    let [only] = check(files).circles.try_into().unwrap_or_else(|found| panic!("{files:#?}\n{found:#?}"));
    assert!(only.starts_with(start), "{only}\n{start}");
}

fn assert_none(files: &[(&str, &str)]) {
    assert_eq!(check(files).circles, [""; 0], "{files:#?}");
}

const ROOM: (&str, &str) = ("room/mod.rs", "mod one;\nmod two;\npub use self::{one::One, two::Two};\n");
const TWO: (&str, &str) = ("room/two.rs", "pub struct Two;\n");

#[test]
fn two_files_that_import_each_other_are_found_with_the_lines_of_both_imports() {
    let one = ("room/one.rs", "use super::two::Two;\npub struct One;\n");
    let two = ("room/two.rs", "pub struct Two;\nfn f(_: super::one::One) {}\n");
    assert_eq!(
        check(&[ROOM, one, two]).circles,
        ["circle of 2 files, the shortest: src/room/one.rs -> src/room/two.rs -> src/room/one.rs\n    \
          src/room/one.rs imports from src/room/two.rs: `Two` in line 1\n    \
          src/room/two.rs imports from src/room/one.rs: `One` in line 2"]
    );
    assert_none(&[ROOM, one, TWO]);
}

#[test]
fn a_circle_through_reexports_globs_and_renames_is_found() {
    let start = "circle of 2 files, the shortest: src/room/one.rs -> src/room/two.rs";
    let two = ("room/two.rs", "use crate::room::One as Other;\npub struct Two;\n");
    assert_circle(&[ROOM, ("room/one.rs", "use super::Two;\npub struct One;\n"), two], start);
    let globs = ("room/mod.rs", "mod one;\nmod two;\npub use self::one::*;\npub use self::two::*;\n");
    assert_circle(&[globs, ("room/one.rs", "use super::two;\npub struct One(two::Two);\n"), two], start);
    assert_circle(&[globs, ("room/one.rs", "use super::two::*;\npub struct One;\n"), two], start);
    let private = ("room/mod.rs", "mod one;\nmod two;\nuse self::one::One as First;\n");
    let through = ("room/two.rs", "pub struct Two(super::First);\n");
    let report = check(&[private, ("room/one.rs", "pub struct One(super::two::Two);\n"), through]);
    assert!(report.circles[0].starts_with(start), "{:#?}", report.circles);
}

#[test]
fn a_circle_of_three_files_is_found() {
    let room = ("room/mod.rs", "mod one;\nmod two;\nmod three;\n");
    let one = ("room/one.rs", "use super::two::Two;\npub struct One;\n");
    let two = ("room/two.rs", "use super::three::Three;\npub struct Two;\n");
    let three = ("room/three.rs", "use super::one::One;\npub struct Three;\n");
    assert_circle(&[room, one, two, three], "circle of 3 files");
    assert_none(&[room, one, two, ("room/three.rs", "#[cfg(test)]\nuse super::one::One;\npub struct Three;\n")]);
}

#[test]
fn a_child_and_its_folders_own_file_are_a_circle_if_both_use_each_other() {
    let one = ("room/one.rs", "use super::Shared;\npub struct One;\n");
    let start = "circle of 2 files, the shortest: src/room/mod.rs -> src/room/one.rs";
    let uses = |text: &'static str| [("room/mod.rs", text), one];
    assert_circle(&uses("mod one;\nuse self::one::One;\npub struct Shared;\n"), start);
    assert_circle(&uses("mod one;\npub struct Shared(one::One);\n"), start);
    // A re-export is no use, but a use of the name that it brings in is one.
    assert_none(&uses("mod one;\npub use self::one::One;\npub struct Shared;\n"));
    assert_none(&uses("mod one;\npub(crate) use one::*;\npub struct Shared;\n"));
    assert_circle(&uses("mod one;\npub use self::one::One;\npub struct Shared(One);\n"), start);
    assert_circle(&uses("mod one;\npub use self::one::*;\npub struct Shared(One);\n"), start);
    assert_circle(&uses("mod one;\npub use self::one::One;\npub struct Shared;\nfn f() { vec![One]; }\n"), start);
}

#[test]
fn a_name_of_a_re_export_from_another_crate_is_no_import() {
    let room = (
        "room/mod.rs",
        "mod one;\nuse self::one::One;\nmod sync { pub(super) use std::sync::Arc; }\nstruct Own(One);\n",
    );
    assert_none(&[room, ("room/one.rs", "use super::sync::Arc;\npub struct One(Arc<u8>);\n")]);
}

#[test]
fn a_local_variable_is_no_import() {
    let room = "mod one;\npub use self::one::item;\npub struct Shared;\nfn f(item: u8) -> u8 { item }\n";
    assert_none(&[("room/mod.rs", room), ("room/one.rs", "use super::Shared;\npub fn item() {}\n")]);
}

#[test]
fn a_function_of_an_impl_block_in_another_file_is_found_by_its_path() {
    let one = ("room/one.rs", "pub struct One;\nimpl One { fn f() { Self::make(); } }\n");
    let two = ("room/two.rs", "use super::one::One;\npub struct Two;\nimpl One { pub fn make() {} }\n");
    assert_circle(&[ROOM, one, two], "circle of 2 files");
    let named = ("room/one.rs", "pub struct One;\nfn f() { One::make(); }\n");
    assert_circle(&[ROOM, named, two], "circle of 2 files");
}

#[test]
fn macros_of_the_crate_count_by_their_names_and_by_the_modules_handed_to_them() {
    let one = ("room/one.rs", "pub fn rule() { ensure!(true); }\n");
    let start = "circle of 2 files, the shortest: src/room/mod.rs -> src/room/one.rs";
    let by_name = "macro_rules! ensure { ($x:expr) => {} }\nmod one;\nfn f() { one::rule(); }\n";
    assert_circle(&[("room/mod.rs", by_name), one], start);
    let by_path =
        "macro_rules! check { ($x:expr) => {} }\npub(crate) use check as ensure;\nmod one;\nfn f() { one::rule(); }\n";
    assert_circle(&[("room/mod.rs", by_path), ("room/one.rs", "pub fn rule() { super::ensure!(true); }\n")], start);
    let by_module =
        "macro_rules! ensure { ($x:expr) => {} }\nmacro_rules! rules { ($m:ident) => {} }\nmod one;\nrules! { one }\n";
    assert_circle(&[("room/mod.rs", by_module), one], start);
}

#[test]
fn an_item_that_a_macro_makes_belongs_to_the_file_of_its_module() {
    let one = ("room/one.rs", "statics! { FIRST }\nuse super::two::Two;\n");
    let room = ("room/mod.rs", "mod one;\nmod two;\n");
    assert_circle(
        &[room, one, ("room/two.rs", "pub struct Two;\nfn f() { super::one::FIRST; }\n")],
        "circle of 2 files",
    );
}

#[test]
fn inline_modules_and_files_with_a_path_belong_to_the_files_that_hold_them() {
    let room = ("room/mod.rs", "mod one;\n#[path = \"other.rs\"]\nmod two;\n");
    let one =
        ("room/one.rs", "pub mod inner {\n    use crate::room::two::Two;\n    pub struct One;\n    pub mod deep;\n}\n");
    let deep = ("room/one/inner/deep.rs", "");
    assert_circle(
        &[room, one, deep, ("room/other.rs", "pub struct Two;\nfn f(_: super::one::inner::One) {}\n")],
        "circle of 2 files, the shortest: src/room/one.rs -> src/room/other.rs",
    );
}
