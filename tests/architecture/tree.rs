//! The modules of `src/` and the names that each one binds.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::Span;
use syn::{Item, spanned::Spanned};

use crate::uses::{Bound, is_left_out, leaves, path_attribute, plain, visible_in};

/// The text of each source file, by its path below `src/`.
pub(crate) type Sources = BTreeMap<String, String>;

/// The index of a module in [`Tree::modules`]. The root of the crate is 0.
pub(crate) type ModuleId = usize;

/// The place where an item is defined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Definition {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) name: String,
    /// A function, constant or macro: no path leads through it.
    pub(crate) is_value: bool,
}

/// What a name means in a module.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    Module(ModuleId),
    Item(Definition),
    Import(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) meaning: Meaning,
    /// The module inside which the name can be used.
    pub(crate) visible_in: Vec<String>,
}

pub(crate) struct Module {
    pub(crate) path: Vec<String>,
    pub(crate) parent: ModuleId,
    pub(crate) file: String,
    pub(crate) bindings: BTreeMap<String, Vec<Binding>>,
    /// Glob imports: the path before `::*`, and where its names can be used.
    pub(crate) globs: Vec<(Vec<String>, Vec<String>)>,
    /// The variants of the enums: a glob brings them in.
    pub(crate) variants: BTreeMap<String, BTreeSet<String>>,
    pub(crate) items: Vec<Item>,
}

#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) modules: Vec<Module>,
    /// The macros that the crate defines, by name: they are in scope without a path.
    pub(crate) macros: BTreeMap<String, Vec<Definition>>,
    /// The inherent `impl` blocks' functions and constants: type's file and name, then their own.
    pub(crate) associated: BTreeMap<(String, String, String), Vec<Definition>>,
    /// For each file that ships, the path of its module and the lines under `cfg(test)`.
    pub(crate) files: BTreeMap<String, (Vec<String>, BTreeSet<usize>)>,
    /// Files that cannot be read as a module of the crate.
    pub(crate) faults: Vec<String>,
    /// The files of tests, and those that cannot be parsed.
    other_files: BTreeSet<String>,
}

pub(crate) fn line_of(span: Span) -> usize {
    span.start().line
}

impl Tree {
    /// Parses all sources, beginning with `lib.rs`.
    pub(crate) fn parse(sources: &Sources) -> Self {
        let mut tree = Self::default();
        tree.read_file(sources, "lib.rs", 0, &[], false);
        for file in sources.keys() {
            if !tree.files.contains_key(file) && !tree.other_files.contains(file) {
                tree.faults.push(format!("src/{file}: no module declares this file; declare or delete it"));
            }
        }
        tree.index_associated();
        tree
    }

    fn read_file(
        &mut self,
        sources: &Sources,
        file: &str,
        parent: ModuleId,
        path: &[String],
        test: bool,
    ) -> Option<ModuleId> {
        let parsed = match sources.get(file).map(|text| syn::parse_file(text)) {
            Some(Ok(parsed)) => parsed,
            Some(Err(error)) => {
                self.other_files.insert(file.to_owned());
                self.faults.push(format!("src/{file}:{}: cannot be parsed: {error}", line_of(error.span())));
                return None;
            }
            // Tests share files outside of `src/`.
            None => {
                if !test {
                    self.faults.push(format!("src/{file}: a module declares this file, but it is missing"));
                }
                return None;
            }
        };
        let test = test || is_left_out(&parsed.attrs);
        if test {
            self.other_files.insert(file.to_owned());
        } else {
            self.files.insert(file.to_owned(), (path.to_vec(), BTreeSet::new()));
        }
        Some(self.read_module(sources, file, parent, path, parsed.items, test))
    }

    fn read_module(
        &mut self,
        sources: &Sources,
        file: &str,
        parent: ModuleId,
        path: &[String],
        items: Vec<Item>,
        test: bool,
    ) -> ModuleId {
        let id = self.modules.len();
        self.modules.push(Module {
            path: path.to_vec(),
            parent,
            file: file.to_owned(),
            bindings: BTreeMap::new(),
            globs: Vec::new(),
            variants: BTreeMap::new(),
            items: Vec::new(),
        });
        for item in items {
            let left_out = test || is_left_out(item_attributes(&item));
            if left_out && !test {
                let (start, end) = (item.span().start().line, item.span().end().line);
                self.files.get_mut(file).unwrap().1.extend(start..=end);
            }
            match item {
                Item::Mod(child) => {
                    let name = plain(&child.ident);
                    let mut child_path = path.to_vec();
                    child_path.push(name.clone());
                    let visible = visible_in(&child.vis, path);
                    let found = if let Some((_, items)) = child.content {
                        Some(self.read_module(sources, file, id, &child_path, items, left_out))
                    } else {
                        let child_file = self.file_of(sources, file, id, &name, &child.attrs);
                        self.read_file(sources, &child_file, id, &child_path, left_out)
                    };
                    if let (Some(found), false) = (found, left_out) {
                        self.bind(id, name, Meaning::Module(found), visible);
                    }
                }
                _ if left_out => {}
                item => {
                    for (name, binding) in bindings_of(&item, file, path) {
                        self.bind(id, name, binding.meaning, binding.visible_in);
                    }
                    self.note(id, &item);
                    self.modules[id].items.push(item);
                }
            }
        }
        id
    }

    fn bind(&mut self, id: ModuleId, name: String, meaning: Meaning, visible_in: Vec<String>) {
        self.modules[id].bindings.entry(name).or_default().push(Binding { meaning, visible_in });
    }

    /// Notes globs, variants and macros, which are no bindings.
    fn note(&mut self, id: ModuleId, item: &Item) {
        let module = &mut self.modules[id];
        match item {
            Item::Use(import) => {
                let visible = visible_in(&import.vis, &module.path);
                let globs = leaves(import).into_iter().filter(|leaf| leaf.bound == Bound::Glob);
                module.globs.extend(globs.map(|leaf| (leaf.path, visible.clone())));
            }
            Item::Enum(item) => {
                let variants = item.variants.iter().map(|variant| plain(&variant.ident)).collect();
                module.variants.insert(plain(&item.ident), variants);
            }
            Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    let definition = define(name, &module.file, true);
                    self.macros.entry(plain(name)).or_default().push(definition);
                }
            }
            _ => {}
        }
    }

    /// Returns the file of `mod name;` in module `id`, whose text is in `file`.
    fn file_of(
        &self,
        sources: &Sources,
        file: &str,
        id: ModuleId,
        name: &str,
        attributes: &[syn::Attribute],
    ) -> String {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let stem = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".rs");
        let own = if matches!(stem, "mod" | "lib") { folder.to_owned() } else { join(folder, stem) };
        // The inline modules between the file's own module and this one are folders.
        let file_depth = self.files.get(file).map_or(self.modules[id].path.len(), |(path, _)| path.len());
        let inline = self.modules[id].path[file_depth.min(self.modules[id].path.len())..].join("/");
        if let Some(path) = path_attribute(attributes) {
            let base = if inline.is_empty() { folder.to_owned() } else { join(&own, &inline) };
            return normalize(&join(&base, &path));
        }
        let base = join(&own, &inline);
        let beside = join(&base, &format!("{name}.rs"));
        let inside = join(&base, &format!("{name}/mod.rs"));
        if sources.contains_key(&inside) { inside } else { beside }
    }

    fn index_associated(&mut self) {
        let mut found = Vec::new();
        for (id, module) in self.modules.iter().enumerate() {
            for item in &module.items {
                let Item::Impl(block) = item else { continue };
                let syn::Type::Path(own) = &*block.self_ty else { continue };
                if block.trait_.is_some() {
                    continue;
                }
                let path: Vec<_> = own.path.segments.iter().map(|segment| plain(&segment.ident)).collect();
                for definition in self.resolve(id, &path, &[]).items() {
                    for part in &block.items {
                        let name = match part {
                            syn::ImplItem::Fn(function) if !is_left_out(&function.attrs) => &function.sig.ident,
                            syn::ImplItem::Const(constant) if !is_left_out(&constant.attrs) => &constant.ident,
                            _ => continue,
                        };
                        let key = (definition.file.clone(), definition.name.clone(), plain(name));
                        found.push((key, define(name, &module.file, true)));
                    }
                }
            }
        }
        for (key, definition) in found {
            self.associated.entry(key).or_default().push(definition);
        }
    }
}

fn define(name: &syn::Ident, file: &str, is_value: bool) -> Definition {
    Definition { file: file.to_owned(), line: line_of(name.span()), name: plain(name), is_value }
}

/// Returns the names that an item binds in its module or block.
pub(crate) fn bindings_of(item: &Item, file: &str, module: &[String]) -> Vec<(String, Binding)> {
    let (name, visibility, is_value) = match item {
        Item::Use(import) => {
            let visible_in = visible_in(&import.vis, module);
            return leaves(import)
                .into_iter()
                .filter_map(|leaf| match leaf.bound {
                    Bound::Name(name) => {
                        Some((name, Binding { meaning: Meaning::Import(leaf.path), visible_in: visible_in.clone() }))
                    }
                    Bound::Glob | Bound::Nothing => None,
                })
                .collect();
        }
        Item::Const(item) => (&item.ident, &item.vis, true),
        Item::Static(item) => (&item.ident, &item.vis, true),
        Item::Fn(item) => (&item.sig.ident, &item.vis, true),
        Item::Enum(item) => (&item.ident, &item.vis, false),
        Item::Struct(item) => (&item.ident, &item.vis, false),
        Item::Trait(item) => (&item.ident, &item.vis, false),
        Item::TraitAlias(item) => (&item.ident, &item.vis, false),
        Item::Type(item) => (&item.ident, &item.vis, false),
        Item::Union(item) => (&item.ident, &item.vis, false),
        Item::Macro(item) => {
            let binding =
                |name| Binding { meaning: Meaning::Item(define(name, file, true)), visible_in: module.to_vec() };
            return item.ident.iter().map(|name| (plain(name), binding(name))).collect();
        }
        _ => return Vec::new(),
    };
    let meaning = Meaning::Item(define(name, file, is_value));
    vec![(plain(name), Binding { meaning, visible_in: visible_in(visibility, module) })]
}

/// Returns the attributes of an item.
pub(crate) fn item_attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn join(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}

/// Resolves `.` and `..` in a path. One that leaves `src/` keeps its `..`.
fn normalize(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
