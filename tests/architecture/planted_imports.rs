//! Upward imports that are planted, one for each way of writing them.

use crate::{report::Report, rooms::Rooms, tree::Sources};

/// Two rooms, `top` above `low`, and a room inside `low` with an order of its own.
const LIST: &str = "# Layout\n\nimports only point **down** this list:\n\n- `lib.rs`: docs\n- `top/`: above\n  and \
                    more text\n- `low/`: below\n  - `high/`: upper half\n  - `left.rs`, `right.rs`: side by side\n  - \
                    `mod.rs`: the rest\n\nMore text.\n\n- `other`: no room\n";

/// A clean tree. `top` re-exports the item `Roof`, which `top/roof.rs` defines.
const CLEAN: [(&str, &str); 8] = [
    ("lib.rs", "pub mod low;\npub mod top;\npub use self::{low::Floor, top::Roof};\n"),
    ("top/mod.rs", "mod roof;\npub use self::roof::*;\nmod macros;\n"),
    ("top/roof.rs", "use crate::low::Floor;\npub struct Roof(Floor);\npub const TILES: u8 = 1;\npub fn tile() {}\n"),
    ("top/macros.rs", "macro_rules! slate { () => {} }\n"),
    ("low/mod.rs", "mod high;\nmod left;\nmod right;\npub struct Floor;\n"),
    ("low/high/mod.rs", "use super::left::Left;\npub struct High(Left);\n"),
    ("low/left.rs", "pub struct Left;\n"),
    ("low/right.rs", "pub struct Right;\n"),
];

/// Checks the clean tree with `files` put into it.
fn check(files: &[(&str, &str)]) -> Report {
    let all = CLEAN.iter().chain(files);
    let sources: Sources = all.map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    Report::of(&sources, &Rooms::parse(LIST).unwrap())
}

/// Asserts that `low/right.rs` with `text` has one fault: an import of `top` in `line`.
fn assert_upward(text: &str, line: usize, written: &str, definition: &str) {
    let report = check(&[("low/right.rs", text)]);
    let [only] = report.findings().try_into().unwrap_or_else(|found| panic!("{text}\n{found:#?}"));
    let start = format!("src/low/right.rs:{line}: `{written}` ");
    assert!(only.starts_with(&start), "{only}\n{start}");
    assert!(only.contains(definition), "{only}\n{definition}");
    assert!(only.ends_with("but `low` stands below `top`"), "{only}");
}

#[test]
fn a_clean_tree_passes() {
    assert_eq!(check(&[]).findings(), [""; 0]);
}

#[test]
fn an_upward_use_is_found_with_its_line_its_text_and_the_definition() {
    let report = check(&[("low/right.rs", "// A comment.\nuse crate::top::roof::Roof;\npub struct Right(Roof);\n")]);
    assert_eq!(
        report.upward,
        ["src/low/right.rs:2: `crate::top::roof::Roof` imports `Roof`, defined at src/top/roof.rs:2, \
          but `low` stands below `top`"]
    );
}

#[test]
fn every_part_of_a_group_is_found() {
    let report =
        check(&[("low/right.rs", "use crate::{\n    low::Floor,\n    top::{Roof, roof::TILES as SLATES},\n};\n")]);
    assert_eq!(report.upward.len(), 2, "{:#?}", report.upward);
    assert!(report.upward.iter().all(|found| found.starts_with("src/low/right.rs:3: ")), "{:#?}", report.upward);
}

#[test]
fn a_path_in_an_expression_a_type_a_pattern_or_a_bound_is_found() {
    let defined = "defined at src/top/roof.rs:";
    assert_upward("fn f() {\n    crate::top::tile();\n}\n", 2, "crate::top::tile", defined);
    assert_upward("fn f(_: &crate::top::Roof) {}\n", 1, "crate::top::Roof", defined);
    assert_upward(
        "fn f(x: u8) -> bool {\n    matches(x);\n    match x { crate::top::TILES => true, _ => false }\n}\n",
        3,
        "crate::top::TILES",
        defined,
    );
    assert_upward("fn f<T>() where T: Into<crate::top::Roof> {}\n", 1, "crate::top::Roof", defined);
    assert_upward("impl From<u8> for crate::top::Roof {}\n", 1, "crate::top::Roof", defined);
    assert_upward("#[serde(with = \"crate::top::tile\")]\nstruct X;\n", 1, "crate::top::tile", defined);
}

#[test]
fn a_path_through_super_is_found() {
    let report = check(&[("low/high/mod.rs", "fn f() {\n    super::super::top::tile();\n}\n")]);
    let [only] = report.findings().try_into().unwrap();
    assert!(only.starts_with("src/low/high/mod.rs:2: `super::super::top::tile` imports `tile`"), "{only}");
    // Inside of an inline module, `super` is the file's own module.
    assert_upward(
        "mod inner {\n    use super::super::super::top::tile;\n}\n",
        2,
        "super::super::super::top::tile",
        "roof.rs:4",
    );
}

#[test]
fn a_reexport_is_followed_to_the_definition() {
    assert_upward("use crate::Roof;\n", 1, "crate::Roof", "defined at src/top/roof.rs:2");
    let renamed = ("lib.rs", "pub mod low;\npub mod top;\npub use self::top::roof::Roof as Cover;\n");
    let report = check(&[renamed, ("low/right.rs", "use crate::Cover;\n")]);
    let [only] = report.findings().try_into().unwrap();
    assert!(only.starts_with("src/low/right.rs:1: `crate::Cover` imports `Roof`"), "{only}");
    // `lib.rs` re-exports only items of its own modules, so an item that it defines is above all.
    let defining = ("lib.rs", "pub mod low;\npub mod top;\npub struct Own;\n");
    let report = check(&[defining, ("low/right.rs", "use crate::Own;\n")]);
    assert!(report.upward[0].ends_with("but `low` stands below `lib`"), "{:#?}", report.upward);
}

#[test]
fn a_path_through_a_room_above_is_found_even_if_the_item_is_below() {
    let through = ("top/mod.rs", "mod roof;\nmod macros;\npub use self::roof::*;\npub use crate::low::Floor;\n");
    let report = check(&[through, ("low/right.rs", "use crate::top::Floor;\n")]);
    let [only] = report.findings().try_into().unwrap();
    assert!(only.starts_with("src/low/right.rs:1: `crate::top::Floor` names the module `top`"), "{only}");
}

#[test]
fn a_glob_import_is_found() {
    let report = check(&[("low/right.rs", "use crate::top::*;\n")]);
    assert_eq!(report.upward.len(), 3, "{:#?}", report.upward);
    assert!(report.upward[0].starts_with("src/low/right.rs:1: `crate::top::*` imports `"), "{:#?}", report.upward);
}

#[test]
fn a_renamed_import_is_found_at_the_import_and_in_paths_through_it() {
    assert_upward("use crate::top::Roof as Cover;\nfn f(_: Cover) {}\n", 1, "crate::top::Roof", "imports `Roof`");
    let report = check(&[("low/right.rs", "use crate::top as above;\nfn f() {\n    above::tile();\n}\n")]);
    assert_eq!(report.upward.len(), 2, "{:#?}", report.upward);
    assert!(report.upward[0].starts_with("src/low/right.rs:1: `crate::top` names the module"), "{:#?}", report.upward);
    assert!(report.upward[1].starts_with("src/low/right.rs:3: `above::tile` imports `tile`"), "{:#?}", report.upward);
    let report = check(&[("low/right.rs", "fn f() {\n    use crate as all;\n    all::top::tile();\n}\n")]);
    assert!(report.upward[0].starts_with("src/low/right.rs:3: `all::top::tile`"), "{:#?}", report.upward);
}

#[test]
fn a_path_inside_a_macro_is_found() {
    assert_upward("fn f() {\n    println!(\"{}\", crate::top::TILES);\n}\n", 2, "crate::top::TILES", "roof.rs:3");
    assert_upward(
        "fn f() {\n    vec![(1, [crate::top::roof::tile()])];\n}\n",
        2,
        "crate::top::roof::tile",
        "roof.rs:4",
    );
    assert_upward("macro_rules! m {\n    () => { $crate::top::tile() };\n}\n", 2, "crate::top::tile", "roof.rs:4");
    assert_upward("fn f() {\n    m! { use crate::{top::tile}; }\n}\n", 2, "crate::top::tile", "roof.rs:4");
    assert_upward("fn f() {\n    slate!();\n}\n", 2, "slate!", "defined at src/top/macros.rs:1");
}

#[test]
fn upward_imports_in_tests_under_loom_and_in_comments_pass() {
    let text = "\
        //! See [`Roof`](crate::top::Roof).\n\
        #[cfg(test)]\nuse crate::top::Roof;\n\
        #[cfg(loom)]\nuse crate::top::TILES;\n\
        /// ```\n/// use x::top::Roof;\n/// ```\npub struct Right;\n\
        pub(in crate::low) struct Other;\n\
        impl Right {\n    #[cfg(all(test, feature = \"x\"))]\n    fn f() { crate::top::tile(); }\n}\n\
        fn g(top: Right) { top.roof(); #[cfg(test)] crate::top::tile(); }\n\
        #[cfg(any(test, loom))]\nmod helpers { use crate::top::Roof; }\n\
        #[cfg(test)]\nmod tests;\n";
    let tests = ("low/right/tests.rs", "use crate::top::Roof;\n");
    assert_eq!(check(&[("low/right.rs", text), tests]).findings(), [""; 0]);
    // A feature is no test, and neither is what holds without one.
    assert_upward("#[cfg(any(test, feature = \"x\"))]\nuse crate::top::Roof;\n", 2, "crate::top::Roof", "roof.rs:2");
    assert_upward("#[cfg(not(test))]\nuse crate::top::Roof;\n", 2, "crate::top::Roof", "roof.rs:2");
}

#[test]
fn a_list_inside_a_room_orders_its_children() {
    let report = check(&[("low/left.rs", "use super::high::High;\npub struct Left;\n")]);
    assert!(report.upward[0].ends_with("but `left` stands below `high`"), "{:#?}", report.findings());
    let report = check(&[("low/left.rs", "use super::right::Right;\npub struct Left;\n")]);
    assert!(report.upward[0].ends_with("but `left` and `right` stand on one line of the list"), "{:#?}", report.upward);
    let own = "mod high;\nmod left;\nmod right;\npub use self::left::Left;\npub struct Floor(self::right::Right);\n";
    let report = check(&[("low/mod.rs", own)]);
    assert!(report.upward[0].ends_with("but `mod` stands below `right`"), "{:#?}", report.upward);
    assert_eq!(report.upward.len(), 1, "{:#?}", report.upward);
}

#[test]
fn a_room_that_is_not_listed_and_a_listed_one_that_is_missing_are_found() {
    let report = check(&[("lib.rs", "pub mod low;\npub mod top;\nmod more;\n"), ("more.rs", "")]);
    assert!(report.faults[0].starts_with("src/more is not in the list"), "{:#?}", report.faults);
    let report = check(&[
        ("low/mod.rs", "mod high;\nmod left;\nmod right;\nmod deep;\npub struct Floor;\n"),
        ("low/deep/mod.rs", ""),
    ]);
    assert!(report.faults[0].starts_with("src/low/deep is not in the list"), "{:#?}", report.faults);
    let gone = LIST.replace("`top/`", "`top/`, `gone.rs`");
    let sources = CLEAN.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
    let report = Report::of(&sources, &Rooms::parse(&gone).unwrap());
    assert!(report.faults[0].starts_with("CONTRIBUTING.md lists `gone`"), "{:#?}", report.faults);
}

#[test]
fn a_file_that_no_module_declares_or_that_cannot_be_parsed_is_found() {
    let report = check(&[("low/stray.rs", "use crate::top::Roof;\n")]);
    assert!(report.faults[0].starts_with("src/low/stray.rs: no module declares"), "{:#?}", report.faults);
    let report = check(&[("low/right.rs", "\nfn {}\n")]);
    assert!(report.faults[1].starts_with("src/low/right.rs:2: cannot be parsed"), "{:#?}", report.faults);
    let report = check(&[("low/high/mod.rs", "mod missing;\n")]);
    assert!(report.faults[0].starts_with("src/low/high/missing.rs: a module declares"), "{:#?}", report.faults);
}

#[test]
fn a_list_that_cannot_be_read_is_an_error() {
    assert!(Rooms::parse("- `top`: text\n").unwrap_err().contains("has no sentence"));
    assert!(Rooms::parse("imports only point **down** this list:\n\ntext\n").unwrap_err().contains("no list"));
    assert!(Rooms::parse(&LIST.replace("- `top/`", "- top/")).unwrap_err().contains("in backticks"));
    assert!(Rooms::parse(&LIST.replace("  - `high/`", "      - `high/`")).unwrap_err().contains("too far"));
}
