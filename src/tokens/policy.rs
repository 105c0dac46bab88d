//! Whose tokens are accepted, and what is asked of the store about them.

/// What a valid signature has to be joined by.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenPolicy {
    /// Our own tokens: the store must know the token's session, and know it as alive. A token that we signed but whose
    /// session the store does not know is refused.
    #[default]
    Tracked,
    /// Another issuer's tokens, of whose sessions we know nothing: they are accepted unless the token, its session or
    /// its subject was revoked here. No tokens are issued.
    ///
    /// Tokens issued before the store began to remember are refused: they may have been revoked in an earlier life of it.
    Denylist,
    /// Signature and claims alone decide. Nothing can be revoked, and the store is never asked.
    Stateless,
}
