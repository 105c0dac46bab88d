//! The tokens that are accepted, and the question to the store about them.

/// The condition of acceptance beside a valid signature.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenPolicy {
    /// Our own tokens: the store must know the token's session, and know it as alive. A token that
    /// we signed but whose session the store does not know is refused.
    #[default]
    Tracked,
    /// Another issuer's tokens, whose sessions the store does not know. They are accepted unless
    /// the token, its session or its subject was revoked here. No tokens are issued.
    ///
    /// Tokens issued before the store began to remember are refused: they may have been revoked in
    /// an earlier incarnation of it.
    Denylist,
    /// Signature and claims alone decide. Nothing can be revoked, and the store is never asked.
    Stateless,
}
