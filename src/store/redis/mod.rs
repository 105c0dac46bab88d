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
//! Every change is one Lua script over keys of one slot, with Redis `TIME` as its clock. So no
//! client sees half of a change, and every later call on every node sees an acknowledged one. If a
//! command inside a script fails (for a missing right), Redis keeps the effects of those before it.
//! So a script ends a session before it logs that end, and the next script that reads the session
//! writes a missing entry. Every call ends within one deadline ([`RedisStoreBuilder::timeout`]),
//! whatever the server or the network does.
//!
//! Every read also asks for the server's role. A demoted primary (behind a name or an address that
//! moved) still answers on open connections, from stale data. The store rejects such an answer and
//! drops its connection.
//!
//! A primary that was cut off keeps its role. So every read ends with a write that changes nothing,
//! and behind sentinels a majority of them must name the server. A node may still believe an old
//! primary for a time. [`Failover`] and
//! [`failover_bound`](crate::store::SessionStore::failover_bound) bound it.
//!
//! # Rights
//!
//! The user needs these rights, here for the prefix `tb`:
//!
//! ```text
//! ~tb:* &tb:* +@read +@write +@connection +@scripting +@pubsub -@dangerous +role +info +time
//! ```
//!
//! A cluster needs `+cluster|slots` as well. With `+config|get` the store reads the settings that
//! determine the failover bound.
//!
//! # Failures
//!
//! * **The server is unreachable**: every call fails, within the deadline or at once. No node has
//!   to be restarted when the server is back.
//! * **It is out of memory**: revocations work, also that of a session whose refresh token was
//!   reused. Logins and refreshes fail.
//! * **It lost its data**: every session is unknown, and its tokens are rejected. The log starts a
//!   new [incarnation](crate::store::LogPage::incarnation).
//! * **It fails over to a replica that lags**: changes that the replica had not received are lost,
//!   also revocations. A [`TokenService`](crate::TokenService) that made or read these revocations
//!   republishes them. If that is not enough, run the server with `appendfsync always` and
//!   `min-replicas-to-write`.
//!
//! # Storage
//!
//! One hash holds all of a user that a check needs, so a check is one `HMGET`. The checks of
//! simultaneous requests form a batch with one `TIME` and one `ROLE`. `docs/protocol.md` lists the
//! keys and their contents (section 1). The store writes ids and records to Redis, never a token.
//!
//! # Generations
//!
//! `revoke_all` is one step however many sessions there are. It sets the user's generation `g`
//! above that of each session, and a record of a lower generation is dead. Only `revoke_all` and
//! its republication write `g`. A new session gets the greatest of the server's time, `g`, and `o`,
//! all in milliseconds. `o` is the highest generation that any session of this user ever had.
//! `revoke_all` sets `g` one above the greatest of the three. Each part is needed:
//!
//! * If a login wrote `g`, it would end the user's other sessions.
//! * If a session had the generation 0 while no `g` exists, new sessions could not live after a
//!   loss of data: nodes may still remember an earlier `revoke_all`.
//! * Without `o`, after the server's clock was set back, `revoke_all` would set `g` below the
//!   generations of the sessions that it has to end.
//!
//! The time of the last `revoke_all` (`r`) decides whether a login in progress is superseded. `g`
//! cannot decide that: if the clock was ahead once, `g` stays ahead, and would refuse every login
//! until the clock reaches it.
//!
//! # Sessions that ended
//!
//! The record of a revoked session stays, marked, with its end cut to that moment. So a check
//! answers *revoked* with the time, instead of *unknown*. The record names the log entry of the
//! revocation. A repeated revocation finds that entry and writes nothing.
//!
//! Later writes prune records that ended longer ago than
//! [`keep_log_for`](crate::store::RevocationLog::keep_log_for) asks. The keys of a user who never
//! returns expire: every key except the bucket's `m` has a time to live.
//!
//! # Time
//!
//! Opening, rotating and `revoke_all` would do harm if they ran late. They carry a deadline in the
//! server's time, after which their script does nothing. So after a
//! [`Timeout`](crate::error::StoreErrorKind::Timeout) such an operation may have happened. It does
//! not happen later, unless the server's clock is set back. The store estimates the server's time
//! from answers ([`now`](crate::store::SessionStore::now)). The estimate is never ahead, and falls
//! behind by 15 ms for each minute without a call.
//!
//! # TLS
//!
//! TLS needs the feature `tls` and a `rediss://` URL. The server's certificate must be signed by an
//! authority that the system trusts. The variable `SSL_CERT_FILE` names a file of other
//! authorities. If the application has not chosen a `rustls` crypto provider for its process, the
//! first such URL chooses AWS-LC.
//!
//! # Your own pool
//!
//! [`RedisStoreBuilder::from_pool`] takes a [`deadpool_redis::Pool`] of the application. The store
//! takes a few connections from it for good. They must not receive pushes (no subscriptions, no
//! client-side caching).

mod builder;
mod client;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layout;
mod ops;
mod preflight;
mod scripts;
mod store;

pub use self::{
    builder::RedisStoreBuilder,
    client::{
        connect_error::{ConnectError, ConnectErrorKind},
        failover::deployment::Failover,
    },
    store::RedisStore,
};
