//! Attributes, visibilities and `use` trees.

use syn::{Attribute, Meta, Token, UseTree, Visibility, punctuated::Punctuated, spanned::Spanned};

use crate::tree::line_of;

/// Returns whether the attributes keep an item out of the shipped crate.
pub(crate) fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<Meta>().is_ok_and(|predicate| needs_test(&predicate))
    })
}

/// Returns whether a `cfg` predicate holds only in tests, doctests or under loom.
fn needs_test(predicate: &Meta) -> bool {
    match predicate {
        Meta::Path(path) => ["test", "doctest", "loom"].iter().any(|key| path.is_ident(key)),
        Meta::NameValue(_) => false,
        Meta::List(list) => {
            let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
                return false;
            };
            if list.path.is_ident("all") {
                parts.iter().any(needs_test)
            } else {
                list.path.is_ident("any") && !parts.is_empty() && parts.iter().all(needs_test)
            }
        }
    }
}

/// Returns the path of an attribute such as `#[path = "other.rs"]`.
pub(crate) fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Returns the path of the module inside which an item of `module` is visible.
pub(crate) fn visible_in(visibility: &Visibility, module: &[String]) -> Vec<String> {
    match visibility {
        Visibility::Public(_) => Vec::new(),
        Visibility::Inherited => module.to_vec(),
        Visibility::Restricted(restricted) => {
            let mut place = module.to_vec();
            for segment in &restricted.path.segments {
                match segment.ident.to_string().as_str() {
                    "crate" => place.clear(),
                    "super" => drop(place.pop()),
                    "self" => {}
                    name => place.push(name.to_owned()),
                }
            }
            place
        }
    }
}

/// A name that a `use` brings into scope.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) path: Vec<String>,
    pub(crate) bound: Bound,
    pub(crate) line: usize,
}

/// The way in which a `use` binds its path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    Name(String),
    Glob,
    /// `as _`: a trait whose methods alone are wanted.
    Nothing,
}

/// Returns every path of a `use` item. A path that begins with `::` names another crate.
pub(crate) fn leaves(item: &syn::ItemUse) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    if item.leading_colon.is_none() {
        collect_leaves(&item.tree, &[], &mut leaves);
    }
    leaves
}

fn collect_leaves(tree: &UseTree, prefix: &[String], leaves: &mut Vec<Leaf>) {
    let line = line_of(tree.span());
    let join = |name: &syn::Ident| {
        let name = plain(name);
        let mut path = prefix.to_vec();
        if name != "self" || prefix.is_empty() {
            path.push(name);
        }
        path
    };
    match tree {
        UseTree::Path(part) => collect_leaves(&part.tree, &join(&part.ident), leaves),
        UseTree::Name(part) => {
            let path = join(&part.ident);
            let bound = Bound::Name(path.last().cloned().unwrap_or_default());
            leaves.push(Leaf { path, bound, line });
        }
        UseTree::Rename(part) => {
            let bound = if part.rename == "_" { Bound::Nothing } else { Bound::Name(plain(&part.rename)) };
            leaves.push(Leaf { path: join(&part.ident), bound, line });
        }
        UseTree::Glob(_) => leaves.push(Leaf { path: prefix.to_vec(), bound: Bound::Glob, line }),
        UseTree::Group(group) => {
            for part in &group.items {
                collect_leaves(part, prefix, leaves);
            }
        }
    }
}

/// Returns an identifier without `r#`.
pub(crate) fn plain(identifier: &proc_macro2::Ident) -> String {
    let text = identifier.to_string();
    text.strip_prefix("r#").map_or(text.clone(), str::to_owned)
}
