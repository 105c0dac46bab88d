//! Stateful bearer tokens for any Tower stack.

#[cfg(feature = "axum")]
pub mod axum;
pub mod clock;
pub mod endpoints;
pub mod error;
pub mod jwt;
pub mod middleware;
#[cfg(feature = "bcrypt")]
pub mod password;
pub mod settings;
pub mod store;
pub mod tokens;
#[cfg(feature = "tonic")]
pub mod tonic;
pub mod users;

#[cfg(feature = "redis")]
pub use self::store::RedisStore;
pub use self::{
    error::{BoxError, Error},
    jwt::{Claims, KeySet, NoClaims, TokenType},
    middleware::{AuthLayer, AuthService},
    store::{MemoryStore, TokenStore},
    tokens::{NewSession, Renewal, TokenPolicy, TokenService},
};
