//! The paths that the code of a module writes.

use std::collections::BTreeSet;

use syn::{
    Attribute, Item,
    visit::{self, Visit},
};

use crate::{
    names::{Block, Resolution, Target},
    tokens::{Next, paths_in},
    tree::{ModuleId, Tree, bindings_of, item_attributes, line_of},
    uses::{Bound, is_left_out, leaves, plain, visible_in},
};

/// A path that names an item or a module of another file.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) written: String,
    pub(crate) resolution: Resolution,
}

/// Returns the imports of every module.
pub(crate) fn collect(tree: &Tree) -> Vec<Import> {
    let mut imports = Vec::new();
    for (module, own) in tree.modules.iter().enumerate() {
        let mut collector = Collector {
            tree,
            module,
            blocks: Vec::new(),
            locals: Vec::new(),
            self_types: Vec::new(),
            imports: Vec::new(),
        };
        for item in &own.items {
            collector.visit_item(item);
        }
        imports.append(&mut collector.imports);
    }
    imports
}

struct Collector<'a> {
    tree: &'a Tree,
    module: ModuleId,
    blocks: Vec<Block>,
    /// The names that each enclosing function binds by patterns: they hide items.
    locals: Vec<BTreeSet<String>>,
    self_types: Vec<Option<Vec<String>>>,
    imports: Vec<Import>,
}

impl Collector<'_> {
    fn add(&mut self, line: usize, written: String, mut resolution: Resolution) {
        let file = &self.tree.modules[self.module].file;
        resolution.targets.retain(|target| match target {
            Target::Item(definition) => definition.file != *file,
            Target::Module(_) => true,
        });
        if !resolution.targets.is_empty() || !resolution.through.is_empty() {
            self.imports.push(Import { file: file.clone(), line, written, resolution });
        }
    }

    fn record(&mut self, segments: &[String], line: usize) {
        let written = segments.join("::");
        let own_type = self.self_types.last().cloned().flatten();
        let path = match (segments, own_type) {
            ([first, rest @ ..], Some(own)) if first == "Self" && !rest.is_empty() => [own.as_slice(), rest].concat(),
            ([name], _) => {
                let is_local = self.locals.iter().any(|names| names.contains(name));
                if is_local || matches!(name.as_str(), "crate" | "self" | "super" | "Self") {
                    return;
                }
                vec![name.clone()]
            }
            _ => segments.to_vec(),
        };
        let resolution = self.tree.resolve(self.module, &path, &self.blocks);
        self.add(line, written, resolution);
    }

    fn record_macro(&mut self, segments: &[String], line: usize) {
        self.record(segments, line);
        if let [name] = segments {
            let targets = self.tree.macros.get(name).into_iter().flatten().cloned().map(Target::Item).collect();
            self.add(line, format!("{name}!"), Resolution { targets, through: Vec::new() });
        }
    }

    /// Records the paths among `tokens`.
    ///
    /// A lone lower-case name may be anything, such as a field. It counts if it is called. It also
    /// counts if it names a module in a macro of this crate, which can make a path of it.
    fn record_tokens(&mut self, tokens: &proc_macro2::TokenStream, for_own_macro: bool) {
        for path in paths_in(tokens.clone(), false) {
            let is_type = path.segments.iter().all(|name| name.starts_with(char::is_uppercase));
            match path.next {
                Next::Bang => self.record_macro(&path.segments, path.line),
                Next::Other if path.segments.len() == 1 && !is_type => {
                    if for_own_macro {
                        self.record_module(&path.segments, path.line);
                    }
                }
                Next::Call | Next::Other => self.record(&path.segments, path.line),
            }
        }
    }

    fn record_module(&mut self, name: &[String], line: usize) {
        if matches!(name[0].as_str(), "crate" | "self" | "super" | "Self") {
            return;
        }
        let found = self.tree.resolve(self.module, name, &self.blocks);
        if found.targets.iter().any(|target| matches!(target, Target::Module(_))) {
            let mut path = name.to_vec();
            path.push("*".to_owned());
            let resolution = self.tree.glob(self.module, name, &self.blocks);
            self.add(line, path.join("::"), resolution);
        }
    }

    fn record_use(&mut self, item: &syn::ItemUse) {
        let own = self.tree.modules[self.module].path.clone();
        let is_private = visible_in(&item.vis, &own) == own;
        for leaf in leaves(item) {
            let mut written = leaf.path.join("::");
            let resolution = if leaf.bound == Bound::Glob {
                written.push_str("::*");
                self.tree.glob(self.module, &leaf.path, &self.blocks)
            } else {
                self.tree.resolve(self.module, &leaf.path, &self.blocks)
            };
            // A parent lists its children.
            let last = resolution.through.last().map(|module| &self.tree.modules[*module].path);
            let from_child = last.is_some_and(|last| last.len() > own.len() && last.starts_with(&own));
            if from_child && !is_private {
                continue;
            }
            self.add(leaf.line, written, resolution);
        }
    }

    fn in_function(&mut self, names: Locals, visit: impl FnOnce(&mut Self)) {
        self.locals.push(names.0);
        visit(self);
        self.locals.pop();
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_left_out(item_attributes(item)) {
            return;
        }
        match item {
            // A module of its own, with its own paths.
            Item::Mod(_) => {}
            Item::Use(item) => self.record_use(item),
            Item::Impl(block) => {
                let own = match &*block.self_ty {
                    syn::Type::Path(own) => Some(segments_of(&own.path)),
                    _ => None,
                };
                self.self_types.push(own);
                visit::visit_item(self, item);
                self.self_types.pop();
            }
            Item::Fn(function) => {
                let names = Locals::of(|locals| locals.visit_item_fn(function));
                self.in_function(names, |this| visit::visit_item(this, item));
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes: &[Attribute] = match item {
            syn::ImplItem::Const(item) => &item.attrs,
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            syn::ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_left_out(attributes) {
            let names = Locals::of(|locals| locals.visit_impl_item(item));
            self.in_function(names, |this| visit::visit_impl_item(this, item));
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if !is_left_out(&item.attrs) {
            let names = Locals::of(|locals| locals.visit_trait_item_fn(item));
            self.in_function(names, |this| visit::visit_trait_item_fn(this, item));
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let own = &self.tree.modules[self.module];
        let mut names = Block::new();
        for statement in &block.stmts {
            if let syn::Stmt::Item(item) = statement {
                for (name, mut binding) in bindings_of(item, &own.file, &own.path) {
                    binding.visible_in.clear();
                    names.entry(name).or_default().push(binding);
                }
            }
        }
        self.blocks.push(names);
        visit::visit_block(self, block);
        self.blocks.pop();
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        let attributes: &[Attribute] = match statement {
            syn::Stmt::Local(statement) => &statement.attrs,
            syn::Stmt::Macro(statement) => &statement.attrs,
            syn::Stmt::Expr(syn::Expr::Block(block), _) => &block.attrs,
            syn::Stmt::Expr(syn::Expr::Call(call), _) => &call.attrs,
            syn::Stmt::Expr(syn::Expr::MethodCall(call), _) => &call.attrs,
            _ => &[],
        };
        if !is_left_out(attributes) {
            visit::visit_stmt(self, statement);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_left_out(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !is_left_out(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_left_out(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_left_out(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.record(&segments_of(path), line_of(path.segments[0].ident.span()));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let segments = segments_of(&call.path);
        self.record_macro(&segments, line_of(call.path.segments[0].ident.span()));
        let is_own = segments.last().is_some_and(|name| self.tree.macros.contains_key(name));
        self.record_tokens(&call.tokens, is_own);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let silent = ["doc", "cfg", "allow", "expect", "warn", "deny", "must_use", "deprecated"];
        match &attribute.meta {
            syn::Meta::List(list) if !silent.iter().any(|name| list.path.is_ident(name)) => {
                for path in paths_in(list.tokens.clone(), true) {
                    if path.segments.len() > 1 || path.segments[0].starts_with(char::is_uppercase) {
                        self.record(&path.segments, path.line);
                    }
                }
            }
            _ => {}
        }
    }

    /// `pub(in crate::x)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn segments_of(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| plain(&segment.ident)).collect()
}

/// The names that patterns bind.
#[derive(Default)]
struct Locals(BTreeSet<String>);

impl Locals {
    fn of(visit: impl FnOnce(&mut Self)) -> Self {
        let mut locals = Self::default();
        visit(&mut locals);
        locals
    }
}

impl<'ast> Visit<'ast> for Locals {
    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        let name = plain(&pattern.ident);
        // A pattern with a capital names a constant or a variant.
        if !name.starts_with(char::is_uppercase) {
            self.0.insert(name);
        }
        visit::visit_pat_ident(self, pattern);
    }
}
