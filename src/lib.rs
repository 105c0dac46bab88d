//! Stateful bearer tokens for any Tower stack.

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
pub mod users;

pub use self::{
    error::{BoxError, Error},
    jwt::{Claims, KeySet, NoClaims, TokenType},
    middleware::{AuthLayer, AuthService},
    store::{MemoryStore, TokenStore},
    tokens::{NewSession, Renewal, TokenPolicy, TokenService},
};
