//! Resolves a path to the file that defines the item.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Binding, Definition, Meaning, ModuleId, Tree};

/// The names that the items of a block bind.
pub(crate) type Block = BTreeMap<String, Vec<Binding>>;

#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A module that is named alone.
    Module(ModuleId),
    Item(Definition),
}

/// The meaning of a path. Paths into other crates have no targets.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    pub(crate) targets: Vec<Target>,
    /// The modules that the path as written leads through.
    pub(crate) through: Vec<ModuleId>,
}

impl Resolution {
    pub(crate) fn items(&self) -> impl Iterator<Item = &Definition> {
        self.targets.iter().filter_map(|target| match target {
            Target::Item(definition) => Some(definition),
            Target::Module(_) => None,
        })
    }
}

/// The imports that are being followed: imports may name each other in a circle.
type Trail = BTreeSet<(ModuleId, String, usize)>;

impl Tree {
    /// Resolves a path that module `from` writes inside `blocks`.
    pub(crate) fn resolve(&self, from: ModuleId, path: &[String], blocks: &[Block]) -> Resolution {
        let mut through = Vec::new();
        let targets = self.walk(from, path, blocks, Some(&mut through), &mut Trail::new());
        Resolution { targets, through }
    }

    fn walk(
        &self,
        from: ModuleId,
        path: &[String],
        blocks: &[Block],
        mut through: Option<&mut Vec<ModuleId>>,
        trail: &mut Trail,
    ) -> Vec<Target> {
        let Some((first, mut rest)) = path.split_first() else { return Vec::new() };
        let starts = match first.as_str() {
            "crate" => vec![Target::Module(0)],
            "self" | "super" => {
                let mut module = if first == "self" { from } else { self.modules[from].parent };
                while let Some(("super", after)) = rest.split_first().map(|(name, after)| (name.as_str(), after)) {
                    module = self.modules[module].parent;
                    rest = after;
                }
                vec![Target::Module(module)]
            }
            name => match blocks.iter().rev().find_map(|block| block.get(name)) {
                Some(bindings) => self.meanings(from, name, bindings, None, trail),
                None => self.look_up(from, name, None, trail).unwrap_or_default(),
            },
        };
        starts.into_iter().flat_map(|start| self.step(start, rest, through.as_deref_mut(), trail)).collect()
    }

    /// Follows the rest of a path.
    fn step(
        &self,
        target: Target,
        rest: &[String],
        mut through: Option<&mut Vec<ModuleId>>,
        trail: &mut Trail,
    ) -> Vec<Target> {
        let Some((name, after)) = rest.split_first() else { return vec![target] };
        match target {
            Target::Module(module) => {
                if let Some(through) = through.as_deref_mut() {
                    through.push(module);
                }
                let Some(found) = self.look_up(module, name, None, trail) else {
                    // A macro has made this name, so the module's file defines it.
                    let file = self.modules[module].file.clone();
                    return vec![Target::Item(Definition { file, line: 1, name: name.clone(), is_value: false })];
                };
                found.into_iter().flat_map(|next| self.step(next, after, through.as_deref_mut(), trail)).collect()
            }
            Target::Item(definition) if definition.is_value => Vec::new(),
            Target::Item(definition) => {
                let key = (definition.file.clone(), definition.name.clone(), name.clone());
                let associated = self.associated.get(&key).into_iter().flatten().cloned();
                associated.chain([definition]).map(Target::Item).collect()
            }
        }
    }

    /// Returns the meanings of a name in a module, or `None` if the module has no such name.
    ///
    /// With a `viewer`, the name comes through a glob, which brings in only visible names.
    fn look_up(
        &self,
        module: ModuleId,
        name: &str,
        viewer: Option<ModuleId>,
        trail: &mut Trail,
    ) -> Option<Vec<Target>> {
        let own = &self.modules[module];
        if let Some(bindings) = own.bindings.get(name) {
            return Some(self.meanings(module, name, bindings, viewer, trail));
        }
        let mut found = Vec::new();
        for (index, (path, visible_in)) in own.globs.iter().enumerate() {
            let key = (module, format!("*{name}"), index);
            if viewer.is_some_and(|viewer| !self.sees(viewer, visible_in)) || !trail.insert(key.clone()) {
                continue;
            }
            for target in self.walk(module, path, &[], None, trail) {
                match target {
                    Target::Module(other) => {
                        found.extend(self.look_up(other, name, Some(module), trail).into_iter().flatten());
                    }
                    Target::Item(item) if self.has_variant(&item, name) => found.push(Target::Item(item)),
                    Target::Item(_) => {}
                }
            }
            trail.remove(&key);
        }
        (!found.is_empty()).then_some(found)
    }

    fn meanings(
        &self,
        module: ModuleId,
        name: &str,
        bindings: &[Binding],
        viewer: Option<ModuleId>,
        trail: &mut Trail,
    ) -> Vec<Target> {
        let mut found = Vec::new();
        for (index, binding) in bindings.iter().enumerate() {
            if viewer.is_some_and(|viewer| !self.sees(viewer, &binding.visible_in)) {
                continue;
            }
            match &binding.meaning {
                Meaning::Module(child) => found.push(Target::Module(*child)),
                Meaning::Item(definition) => found.push(Target::Item(definition.clone())),
                Meaning::Import(path) => {
                    let key = (module, name.to_owned(), index);
                    if trail.insert(key.clone()) {
                        found.extend(self.walk(module, path, &[], None, trail));
                        trail.remove(&key);
                    }
                }
            }
        }
        found
    }

    /// Returns everything that the glob import `path::*` in module `from` could bring in.
    pub(crate) fn glob(&self, from: ModuleId, path: &[String], blocks: &[Block]) -> Resolution {
        let mut resolution = self.resolve(from, path, blocks);
        let mut modules = BTreeSet::new();
        for target in std::mem::take(&mut resolution.targets) {
            match target {
                Target::Module(module) => {
                    resolution.through.push(module);
                    self.add_names_of(module, from, &mut modules, &mut resolution.targets);
                }
                item @ Target::Item(_) => resolution.targets.push(item),
            }
        }
        resolution
    }

    fn add_names_of(
        &self,
        module: ModuleId,
        viewer: ModuleId,
        seen: &mut BTreeSet<ModuleId>,
        targets: &mut Vec<Target>,
    ) {
        if !seen.insert(module) {
            return;
        }
        for (name, bindings) in &self.modules[module].bindings {
            targets.extend(self.meanings(module, name, bindings, Some(viewer), &mut Trail::new()));
        }
        for (path, visible_in) in &self.modules[module].globs {
            if self.sees(viewer, visible_in) {
                for target in self.walk(module, path, &[], None, &mut Trail::new()) {
                    match target {
                        Target::Module(other) => self.add_names_of(other, module, seen, targets),
                        item @ Target::Item(_) => targets.push(item),
                    }
                }
            }
        }
    }

    fn has_variant(&self, item: &Definition, name: &str) -> bool {
        let in_file = self.modules.iter().filter(|module| module.file == item.file);
        in_file.filter_map(|module| module.variants.get(&item.name)).any(|variants| variants.contains(name))
    }

    fn sees(&self, viewer: ModuleId, visible_in: &[String]) -> bool {
        self.modules[viewer].path.starts_with(visible_in)
    }
}
