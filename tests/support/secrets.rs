//! Looks for secrets where none may be: any 16 bytes of a token, password, hash or key.

use std::collections::HashMap;

/// So many bytes of a secret in a row are a leak.
pub const WINDOW: usize = 16;

/// What must not be found. Secrets shorter than the window are looked for whole.
#[derive(Default)]
pub struct Secrets {
    windows: HashMap<Vec<u8>, String>,
    short: Vec<(Vec<u8>, String)>,
}

impl Secrets {
    /// Adds a secret; `name` is what a failure calls it.
    pub fn add(&mut self, name: &str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        assert!(!secret.is_empty(), "{name} is empty: it would be found everywhere");
        if secret.len() < WINDOW {
            self.short.push((secret.to_vec(), name.to_owned()));
        }
        for window in secret.windows(WINDOW) {
            self.windows.insert(window.to_vec(), name.to_owned());
        }
    }

    /// The first secret in `text`, with where it stands.
    pub fn find_in(&self, text: &[u8]) -> Option<String> {
        let whole = text.windows(WINDOW).enumerate().find_map(|(at, window)| Some((at, self.windows.get(window)?)));
        let short = || {
            self.short.iter().find_map(|(secret, name)| {
                Some((text.windows(secret.len()).position(|window| window == &secret[..])?, name))
            })
        };
        let (at, name) = whole.or_else(short)?;
        let around = &text[at.saturating_sub(80)..text.len().min(at + 80)];
        Some(format!("{name} at byte {at}: ...{}...", String::from_utf8_lossy(around)))
    }

    /// Fails if `text` holds a secret.
    #[track_caller]
    pub fn must_not_be_in(&self, place: &str, text: impl AsRef<[u8]>) {
        if let Some(found) = self.find_in(text.as_ref()) {
            panic!("{place} shows {found}");
        }
    }
}
