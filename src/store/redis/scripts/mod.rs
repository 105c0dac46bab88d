//! The scripts: constant texts, so that a server keeps one of each and no value ever becomes code.
//!
//! | first line | refused when out of memory | scripts |
//! |--|--|--|
//! | `#!lua` | yes, whole: nothing of it has run | those that open or rotate |
//! | `#!lua flags=allow-oom` | no | revocations |
//! | `#!lua flags=no-writes` | no | those that only read |

pub(crate) mod call;
pub(crate) mod context;

use std::sync::LazyLock;

/// A script and the hash by which `EVALSHA` names it.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    /// Creates a script. The hash is computed once.
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &'static str {
        self.text
    }

    /// Returns the hash of the text, in hexadecimal.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $first_line:literal $(, $file:literal)+ $(; $constant:literal, $last:literal)?;;)*) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                $first_line, "\n", $(include_str!($file),)+
                $($constant, "\n", include_str!($last),)?
            ))
        });)*

        #[cfg(test)]
        static ALL: &[(&str, &LazyLock<Script>)] = &[$((stringify!($name), &$name)),*];
    };
}

scripts! {
    /// Opens a session.
    OPEN = "#!lua", "meta.lua", "emit.lua", "user.lua", "open.lua";;
    /// Exchanges a refresh token's counter.
    ROTATE = "#!lua", "meta.lua", "emit.lua", "user.lua"; "local MAY_ADVANCE = true", "rotate.lua";;
    /// The same when out of memory: revokes on reuse, and otherwise changes nothing.
    ROTATE_OUT_OF_MEMORY = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua"; "local MAY_ADVANCE = false", "rotate.lua";;
    /// Ends one session.
    REVOKE_SESSION = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "revoke_session.lua";;
    /// Revokes one access token.
    REVOKE_TOKEN = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "revoke_token.lua";;
    /// Ends all sessions of a user but one.
    REVOKE_ALL = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "revoke_all.lua";;
    /// Lists a page of a user's sessions.
    SESSIONS = "#!lua flags=no-writes", "sessions.lua";;
    /// Revokes a thing of another issuer.
    DENY = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "external.lua", "deny.lua";;
    /// Ends a session whose end the store may have lost.
    REPUBLISH_SESSION = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "republish_session.lua";;
    /// Revokes an access token whose mark the store may have lost.
    REPUBLISH_TOKEN = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "republish_token.lua";;
    /// Puts back a generation that the store may have lost.
    REPUBLISH_ALL = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "republish_all.lua";;
    /// Denies a thing of another issuer again, whose denial the store may have lost.
    REPUBLISH_EXTERNAL = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "external.lua", "republish_external.lua";;
    /// Returns the rights that are missing.
    RIGHTS = "#!lua flags=no-writes", "rights.lua";;
    /// Makes a bucket, or compares its layout.
    TOUCH = "#!lua flags=allow-oom", "meta.lua", "touch.lua";;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_script_starts_with_its_flags_and_no_two_are_the_same() {
        for (index, (name, script)) in ALL.iter().enumerate() {
            assert!(script.text().starts_with("#!lua"), "{name}");
            assert_eq!(script.hash().len(), 40, "{name}");
            assert!(ALL.iter().skip(index + 1).all(|(_, other)| other.hash() != script.hash()), "{name}");
        }
    }

    #[test]
    fn what_revokes_works_out_of_memory_and_what_opens_does_not() {
        for (name, script) in ALL {
            let allowed = script.text().lines().next().unwrap() != "#!lua";
            assert_eq!(allowed, !matches!(*name, "OPEN" | "ROTATE"), "{name}");
        }
    }
}
