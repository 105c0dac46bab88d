//! Typed ids: [`Subject`], [`SessionId`] and [`TokenId`].
//!
//! Each kind of id has a type of its own. If all ids were plain text, a call with subject and
//! session in the wrong order would compile, and revoke nothing. This is the right order:
//!
//! ```
//! # fn in_order(tokens: tower_bearer::TokenService, claims: tower_bearer::Claims) {
//! let (subject, session) = (claims.subject(), claims.session_id().unwrap());
//! let revocation = tokens.revoke_session(subject, session);
//! # }
//! ```
//!
//! The other order does not compile:
//!
//! ```compile_fail,E0308
//! # fn swapped(tokens: tower_bearer::TokenService, claims: tower_bearer::Claims) {
//! let (subject, session) = (claims.subject(), claims.session_id().unwrap());
//! let revocation = tokens.revoke_session(session, subject);
//! # }
//! ```
//!
//! A [`Subject`] is the id that the application gives a user. Operations accept a text or a whole
//! number as a subject.
//!
//! An application gets a [`SessionId`] or a [`TokenId`] from claims, lists of sessions and events.
//! Operations take a reference to such an id, not text. An application that has stored the id as
//! text calls `SessionId::new(text)`.
//!
//! The constructors accept any text. An operation returns an error if an id is empty, has more than
//! 255 bytes or contains control characters.

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};

/// The maximum length of an id in bytes.
pub(crate) const LONGEST_ID: usize = 255;

/// Returns true if the text is a valid id: 1 to 255 bytes without control characters.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && !text.chars().any(char::is_control)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Creates an id from this text, without a check.
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Returns the text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.0 == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.0 == *text
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&String> for $name {
            fn from(text: &String) -> Self {
                Self(text.clone())
            }
        }

        impl From<&$name> for $name {
            fn from(id: &$name) -> Self {
                id.clone()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id! {
    /// The application's id of a user. Tokens contain the id as `sub` (RFC 7519 section 4.1.2).
    ///
    /// ```
    /// use tower_bearer::Subject;
    ///
    /// assert_eq!(Subject::from(42), Subject::from("42"));
    /// ```
    Subject
}

id! {
    /// The id of a session (`sid`). A session is one login with all its tokens. The id is not
    /// secret.
    SessionId
}

id! {
    /// The id of one token (`jti`, RFC 7519 section 4.1.7). The id is not secret.
    TokenId
}

macro_rules! subject_from {
    ($($number:ty),+) => {
        $(impl From<$number> for Subject {
            fn from(number: $number) -> Self {
                Self(number.to_string())
            }
        })+
    };
}

subject_from!(i32, i64, isize, u32, u64, usize, u128);
