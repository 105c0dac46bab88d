//! The paths among the tokens of macros and attributes.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::{tree::line_of, uses::plain};

/// A path among tokens.
#[derive(Debug, PartialEq)]
pub(crate) struct TokenPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) next: Next,
}

/// The token after a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    Call,
    Bang,
    Other,
}

/// Returns the paths of `tokens`. With `literals`, string literals that hold a path count, as in
/// `#[serde(with = "crate::times")]`.
pub(crate) fn paths_in(tokens: TokenStream, literals: bool) -> Vec<TokenPath> {
    let mut found = Vec::new();
    scan(tokens, literals, &[], &mut found);
    found
}

fn scan(tokens: TokenStream, literals: bool, prefix: &[String], found: &mut Vec<TokenPath>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_punct = |at: usize, character: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == character);
    let is_separator = |at: usize| is_punct(at, ':') && is_punct(at + 1, ':');
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) => scan(group.stream(), literals, &[], found),
            TokenTree::Literal(literal) if literals => {
                let text = literal.to_string();
                let path = text.trim_matches('"');
                if path.contains("::") && syn::parse_str::<syn::Path>(path).is_ok() {
                    let segments = path.split("::").map(|segment| segment.trim().to_owned()).collect();
                    found.push(TokenPath { segments, line: line_of(literal.span()), next: Next::Call });
                }
            }
            TokenTree::Ident(first) => {
                let before = |character| at > 0 && is_punct(at - 1, character);
                // A field, a lifetime, a macro's variable, or the rest of a path.
                let is_variable = before('$') && first != "crate";
                let is_rest = at > 1 && is_separator(at - 2);
                let is_start = !(before('.') || before('\'') || is_variable || is_rest);
                let mut segments = prefix.to_vec();
                segments.push(plain(first));
                while is_separator(at + 1) {
                    match tokens.get(at + 3) {
                        Some(TokenTree::Ident(next)) => {
                            segments.push(plain(next));
                            at += 3;
                        }
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace && is_start => {
                            scan(group.stream(), literals, &segments, found);
                            at += 3;
                        }
                        _ => break,
                    }
                }
                let next = match tokens.get(at + 1) {
                    Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => Next::Call,
                    Some(TokenTree::Punct(punct)) if punct.as_char() == '!' => Next::Bang,
                    _ => Next::Other,
                };
                if is_start {
                    found.push(TokenPath { segments, line: line_of(first.span()), next });
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}
