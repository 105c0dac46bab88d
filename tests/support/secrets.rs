//! Searches texts for secrets: any 16 bytes of a token, password, hash or key.

use std::collections::HashMap;

/// The number of consecutive bytes of a secret that count as a leak.
pub const WINDOW: usize = 16;

/// The secrets to search for. A secret shorter than the window is searched for as a whole.
#[derive(Default)]
pub struct Secrets {
    windows: HashMap<Vec<u8>, String>,
    short: Vec<(Vec<u8>, String)>,
}

impl Secrets {
    /// Adds a secret, which failures call `name`.
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

    /// Returns the name of a secret in `text`, with its position and the text around it.
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

    /// Panics if `text` contains a secret.
    #[track_caller]
    pub fn must_not_be_in(&self, place: &str, text: impl AsRef<[u8]>) {
        if let Some(found) = self.find_in(text.as_ref()) {
            panic!("{place} shows {found}");
        }
    }
}
