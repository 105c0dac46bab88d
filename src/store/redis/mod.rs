//! A store of sessions and revocations in Redis 7.0 or later, or Valkey.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_bearer::store::RedisStore;
//!
//! let store = RedisStore::connect("redis://127.0.0.1/").await?;
//! # Ok(()) }
//! ```
//!
//! # Guarantees
//!
//! Every change is one Lua script over keys of one slot, so no client reads half of a change. Once
//! the server has acknowledged a change, every later call on every node reads the new state. Every
//! call ends by its deadline ([`RedisStoreBuilder::timeout`]), even if the server or the network
//! hangs.
//!
//! If a command in a script fails, Redis keeps the effects of the earlier commands. So a script
//! first ends a session, and then logs that end. If the log entry is missing, the next script that
//! reads the session writes the entry.
//!
//! After a failover, the old primary may still answer on open connections, from stale data. So
//! every read also checks the server:
//!
//! * It asks for the role. If the server is not a primary, the store rejects the answer and drops
//!   the connection.
//! * It includes a write that changes nothing. A primary that the network has cut off keeps its
//!   role, but it refuses the write if it may not accept writes.
//! * Behind sentinels, a majority of the sentinels must name the server.
//!
//! A node may still use a replaced primary for a limited time. [`Failover`] declares the limit, and
//! [`failover_bound`](crate::store::SessionStore::failover_bound) returns it.
//!
//! # Rights
//!
//! The user needs these rights, here for the prefix `tb`:
//!
//! ```text
//! ~tb:* &tb:* +@read +@write +@connection +@scripting +@pubsub -@dangerous +role +info +time
//! ```
//!
//! In a cluster the user also needs `+cluster|slots`. With `+config|get` the store can read the
//! settings that determine the failover bound. `docs/operations/redis.md` lists the necessary
//! commands, and the use of each optional right.
//!
//! # Failures
//!
//! * **The server is unreachable**: every call fails by its deadline. When the server is back, the
//!   nodes need no restart.
//! * **The server is out of memory**: logins and refreshes fail. Revocations work. The reuse of a
//!   refresh token still revokes the session.
//! * **The server has lost its data**: every session is unknown to the store, so nodes reject the
//!   tokens. The log starts a new [incarnation](crate::store::LogPage::incarnation).
//! * **A Redis replica that lags becomes the primary**: the changes that this replica had not
//!   received are lost, including revocations. A [`TokenService`](crate::TokenService) that made or
//!   read these revocations republishes them. To lose fewer changes, run the server with
//!   `appendfsync always` and `min-replicas-to-write`.
//!
//! # Start
//!
//! | method of the builder | if the server is away | if a setting is wrong |
//! |--|--|--|
//! | [`connect`] | returns the error | returns the error |
//! | [`connect_retrying`] | tries again for a time | returns the error |
//! | [`connect_lazy`] | calls fail until it is back | calls fail, and warnings name the setting |
//!
//! [`connect`]: RedisStoreBuilder::connect
//! [`connect_retrying`]: RedisStoreBuilder::connect_retrying
//! [`connect_lazy`]: RedisStoreBuilder::connect_lazy
//!
//! # Storage
//!
//! Each user has one hash, which contains all data for a check. So a check is one `HMGET`. The
//! store sends the checks of simultaneous requests in one batch. The store writes ids and records
//! to Redis, but no tokens. `docs/protocol.md` lists the keys and their contents (section 1).
//!
//! # Generations
//!
//! `revoke_all` takes one step, however many sessions the user has: it sets the user's generation
//! `g` above that of each session. A session with a lower generation than `g` is revoked. A login
//! does not raise `g`, because that would end the user's other sessions.
//!
//! The generation of a new session is the greatest of three numbers in ms: the server's time, `g`,
//! and `o`. `o` is the highest generation that any session of this user ever had. `revoke_all` sets
//! `g` one above the greatest of the three. The reasons:
//!
//! * The server's time: after a loss of data, `g` and `o` are missing. Without the server's time, a
//!   new session would get the generation 0. Nodes that remember an earlier `revoke_all` would
//!   refuse its tokens.
//! * `o`: the server's clock may be set back. Without `o`, `revoke_all` could then set `g` below
//!   the generations of the sessions that it has to end.
//!
//! `r` is the time of the last `revoke_all`. The store refuses a login that began at `r` or
//! earlier. The store does not use `g` for this, because `g` is in the future if the server's clock
//! was ahead once. The store would then refuse every login until the clock reaches `g`.
//!
//! # Sessions that ended
//!
//! The store keeps the record of a revoked session, with a flag and the time of the revocation. So
//! a check returns *revoked* with that time, instead of *unknown*. The record also names the log
//! entry of the revocation. A repeated revocation finds that entry and writes nothing.
//!
//! Later scripts remove the records of sessions that ended longer ago than
//! [`keep_log_for`](crate::store::RevocationLog::keep_log_for) demands. Every key except the
//! bucket's `m` has a time to live, so the keys of a user who never returns expire.
//!
//! # Time
//!
//! `open`, `rotate` and `revoke_all` would do harm if their scripts ran after the caller gave up.
//! So the store passes each of these scripts a deadline in the server's time. After the deadline
//! the script does nothing. If such a call returns
//! [`Timeout`](crate::error::StoreErrorKind::Timeout), the operation may have happened. It cannot
//! happen later, except if the server's clock is set back.
//!
//! The store estimates the server's time from the server's answers
//! ([`now`](crate::store::SessionStore::now)). The estimate is never ahead of the server's clock.
//! It falls behind by 15 ms for each minute without a call.
//!
//! # TLS
//!
//! TLS needs the feature `tls` and a `rediss://` URL. The server's certificate must be signed by an
//! authority that the system trusts.
//!
//! * To trust other authorities instead, use `root_certificates`, or set the environment variable
//!   `SSL_CERT_FILE` to the path of their certificates.
//! * If the server demands a certificate of the client, use `client_certificate`.
//! * If the process has no `rustls` crypto provider, the store installs AWS-LC.
//!
//! # Passwords that change
//!
//! [`RedisStoreBuilder::credentials_provider`] takes a function that returns the user and password
//! for each new connection.
//!
//! # Your own pool
//!
//! [`RedisStoreBuilder::from_pool`] takes a [`deadpool_redis::Pool`] of the application. The store
//! takes a few connections from the pool and never returns them. These connections must not receive
//! pushes, so the application must not subscribe or use client-side caching on them.

mod builder;
mod client;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layout;
mod ops;
mod preflight;
mod scripts;
mod start;
mod store;

pub use self::{
    builder::RedisStoreBuilder,
    client::{
        cause::{RedisCause, RedisFailure},
        connect_error::{ConnectError, ConnectErrorKind},
        credentials::{Credentials, CredentialsError},
        failover::deployment::Failover,
    },
    store::RedisStore,
};
