//! Two services that keep their sessions in one `SQLite` file, and a restart.
//!
//! Run `cargo run --example sqlite_store`. The module `store` is a starting point for your own
//! store.

mod store;

use std::time::Duration;

use tower_bearer::{BoxError, NewSession, TokenService, TokenType, store::Page};

use self::store::SqliteStore;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let path = std::env::temp_dir().join(format!("sqlite_store-{}.db", std::process::id()));
    let mut secret = [0; 64];
    getrandom::fill(&mut secret).map_err(|error| format!("the system has no random numbers: {error}"))?;

    let service = || -> Result<TokenService, BoxError> {
        let store = SqliteStore::open(&path, Duration::from_secs(2))?;
        Ok(TokenService::builder().issuer("example").audience("example").secret(secret).store(store).build()?)
    };

    let (one, two) = (service()?, service()?);
    let phone = one.create_token_pair(NewSession::new("alice").label("phone")).await?;
    let laptop = one.create_token_pair(NewSession::new("alice").label("laptop")).await?;
    two.validate_token(phone.access().as_str(), TokenType::Access).await?;
    println!("two services share the file {}: a login at one is valid at the other", path.display());
    two.revoke_session("alice", phone.session_id()).await?;
    match one.validate_token(phone.access().as_str(), TokenType::Access).await {
        Ok(_) => return Err("a revoked token was accepted".into()),
        Err(error) => println!("the second service revoked a session of alice, and the first refuses it: {error}"),
    }

    drop((one, two));
    let restarted = service()?;
    restarted.refresh(laptop.refresh().as_str()).await?;
    let sessions = restarted.sessions("alice", Page::default()).await?.sessions;
    let labels: Vec<_> = sessions.iter().map(|session| session.label.as_str()).collect();
    println!("after a restart the sessions of alice are: {labels:?}");

    drop(restarted);
    Ok(std::fs::remove_file(path)?)
}
