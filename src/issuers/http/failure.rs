//! The cause of a failed fetch, with the address but without credentials.

use std::{borrow::Cow, error::Error as StdError, fmt};

use reqwest::Url;

use super::url::place;
use crate::error::{BoxError, KeySourceError, KeySourceErrorKind};

/// The source of a [`KeySourceError`]. It names an address and the problem at this address.
#[derive(Debug)]
struct Failure {
    place: String,
    problem: Cow<'static, str>,
    source: Option<BoxError>,
}

/// Creates an error about this URL. The text of the error is the URL, followed by `problem`.
pub(super) fn failure(kind: KeySourceErrorKind, url: &Url, problem: impl Into<Cow<'static, str>>) -> KeySourceError {
    caused(kind, url, problem, None)
}

/// Creates an error as [`failure`] does, with a cause. The cause must not contain credentials.
pub(super) fn caused(
    kind: KeySourceErrorKind,
    url: &Url,
    problem: impl Into<Cow<'static, str>>,
    source: Option<BoxError>,
) -> KeySourceError {
    KeySourceError::new(kind).with_source(Failure { place: place(url), problem: problem.into(), source })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.place, self.problem)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
