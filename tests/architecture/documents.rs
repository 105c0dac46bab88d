//! The documents: the tests that `docs/protocol.md` names, and the relative links.
//!
//! A rule of the protocol names its tests as `` `path: name` ``. A test that is renamed must be
//! renamed there too, so each file must exist and contain `fn name`. A rule without a test must say
//! so.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use pulldown_cmark::{Event, Parser, Tag};

/// The sentence of a rule without a test.
const UNTESTED: &str = "No test of its own.";

/// A test that a document names.
struct TestName {
    path: String,
    name: String,
}

/// Returns the test that a code span names, if it names one.
fn test_name(span: &str) -> Option<TestName> {
    let words: Vec<_> = span.split_whitespace().collect();
    let [path, name] = words[..] else { return None };
    let path = path.strip_suffix(':').filter(|path| Path::new(path).extension().is_some_and(|kind| kind == "rs"))?;
    Some(TestName { path: path.to_owned(), name: name.to_owned() })
}

/// Returns the tests that the code spans of a text name.
fn test_names(text: &str) -> Vec<TestName> {
    let spans = Parser::new(text).filter_map(|event| match event {
        Event::Code(span) => test_name(&span),
        _ => None,
    });
    spans.collect()
}

/// Returns true if a source file defines this function.
fn defines(source: &str, name: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    source.split("fn ").skip(1).any(|rest| rest.strip_prefix(name).is_some_and(is_end))
}

/// Returns what is wrong with the rules of a protocol. `read` returns the text of a file.
fn faults_of_rules(text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for TestName { path, name } in test_names(text) {
        match read(&path) {
            None => faults.push(format!("{path} does not exist")),
            Some(source) if !defines(&source, &name) => faults.push(format!("{path} has no test {name}")),
            Some(_) => {}
        }
    }
    let mut ids = BTreeSet::new();
    for rule in text.split("\n- **P").skip(1) {
        let (id, rest) = rule.split_once("**").unwrap_or((rule, ""));
        let rest = rest.split("\n#").next().unwrap_or_default();
        if !ids.insert(id) {
            faults.push(format!("P{id} stands for two rules"));
        }
        if !rest.contains("*Without it: ") {
            faults.push(format!("P{id} does not say what goes wrong without it"));
        }
        if test_names(rest).is_empty() != rest.contains(UNTESTED) {
            faults.push(format!("P{id} must either name a test or say `{UNTESTED}`"));
        }
    }
    if ids.is_empty() {
        faults.push("no rule was found".to_owned());
    }
    faults
}

/// Returns the targets of the relative links of a text, without their anchors.
fn relative_links(text: &str) -> Vec<String> {
    let targets = Parser::new(text).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.into_string()),
        _ => None,
    });
    let relative = targets.filter(|target| !target.contains(':'));
    relative.filter_map(|target| target.split('#').next().filter(|file| !file.is_empty()).map(str::to_owned)).collect()
}

/// Returns the links of a text that lead nowhere. `exists` looks for a target.
fn dead_links(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    relative_links(text).into_iter().filter(|target| !exists(target)).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the documents whose links are checked.
fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<_> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)).into();
    for folder in ["docs", "docs/operations"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    documents
}

#[test]
fn every_rule_of_the_protocol_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let faults = faults_of_rules(&text, |path| fs::read_to_string(root().join(path)).ok());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_relative_link_of_the_documents_leads_to_a_file() {
    let mut faults = Vec::new();
    for document in documents() {
        let folder = document.parent().unwrap().to_owned();
        let dead = dead_links(&fs::read_to_string(&document).unwrap(), |target| folder.join(target).exists());
        faults.extend(dead.into_iter().map(|target| format!("{}: {target}", document.display())));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_test_that_was_renamed_or_moved_is_found() {
    let text = "\n- **P1.1** A rule.\n  - *Without it: harm.*\n  - Tests: `a.rs:\n    old_name`, `b.rs: other`.\n";
    let read = |source: &'static str| move |path: &str| (path == "a.rs").then(|| source.to_owned());
    let faults = |source| faults_of_rules(text, read(source));
    assert_eq!(faults("fn old_name() {}"), ["b.rs does not exist"]);
    for source in ["fn new_name() {}", "fn old_name_2() {}", "// old_name", "fn not_old_name() {}"] {
        assert_eq!(faults(source), ["a.rs has no test old_name", "b.rs does not exist"], "{source}");
    }
}

#[test]
fn a_rule_without_its_parts_is_found() {
    let faults = |rule: &str| faults_of_rules(&format!("\n- **P1.1** {rule}\n"), |_| Some("fn a() {}".to_owned()));
    assert!(faults("*Without it: harm.* `a.rs: a`").is_empty());
    assert!(faults(&format!("*Without it: harm.* {UNTESTED}")).is_empty());
    assert_eq!(faults("*Without it: harm.*").len(), 1, "neither a test nor the sentence");
    assert_eq!(faults("`a.rs: a`").len(), 1, "no harm");
    assert_eq!(faults("*Without it: harm.* `a.rs: a`\n- **P1.1** *Without it: harm.* `a.rs: a`").len(), 1, "twice");
    assert_eq!(faults_of_rules("No rules.", |_| None).len(), 1);
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "[a](here.md#part), [b](gone.md), [c](https://x/y), [d](#part), `[e](code)`.\n\
                ```\n[f](fenced)\n```\n\n[g]\n\n[g]: lost.md\n";
    assert_eq!(dead_links(text, |target| target == "here.md"), ["gone.md", "lost.md"]);
}
