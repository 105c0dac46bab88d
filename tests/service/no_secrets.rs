//! No 16 bytes of a token, password, hash or key appear in places that others can read.
//!
//! These are logs at TRACE, rejections, `Debug` texts, and the commands that Redis receives.

use std::{fmt::Debug, fs, sync::Arc};

use http::{Method, Request, Response};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, Claims, KeySet, MemoryStore, NewSession, RedisStore, TokenService,
    compat::Settings,
    endpoints::Endpoints,
    jwt::{Algorithm, SigningKey},
    middleware::{CurrentUserLayer, Rejection},
    password::PasswordHasher,
    users::Credentials,
};

use crate::support::{
    self, Answer, Example, HttpClient, Monitor, RedisServer, Users,
    http_client::{FORM, JSON},
    secrets::{Secrets, WINDOW},
};

/// TEST secrets.
const JWT_SECRET: &str = "TEST-secret-of-the-example-server-0123456789abcdef";
const REDIS_PASSWORD: &str = "TEST-password-of-the-Redis-server";
const WRONG_PASSWORD: &str = "TEST-password-that-is-not-hers";

fn key_file(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Returns the bcrypt hashes of the example's users.
fn password_hashes() -> Vec<&'static str> {
    let hashes: Vec<_> =
        include_str!("../../examples/users/mod.rs").split('"').filter(|text| text.starts_with("$2")).collect();
    assert_eq!(hashes.len(), 2);
    hashes
}

// ---- The scanner --------------------------------------------------------------------------------

#[test]
fn sixteen_bytes_of_a_secret_are_found_and_fifteen_are_not() {
    let mut secrets = Secrets::default();
    secrets.add("a token", "header.payload-of-a-token.signature");
    secrets.add("a short password", "hunter2");
    let with = |part: &str| secrets.find_in(format!("a log line with {part} in it").as_bytes());
    for start in 0..=19 {
        let part = &"header.payload-of-a-token.signature"[start..];
        assert!(with(&part[..WINDOW]).is_some_and(|found| found.starts_with("a token")));
        assert_eq!(with(&part[..WINDOW - 1]), None);
    }
    assert!(with("hunter2").is_some());
    assert_eq!(with("hunter"), None);
}

// ---- The example, at TRACE ----------------------------------------------------------------------

/// The secrets and answers of a run through the example.
struct Flow {
    secrets: Secrets,
    /// Bodies that contain new tokens.
    given: String,
    /// All other answers with their headers.
    other: String,
    sids: Vec<String>,
}

impl Flow {
    fn new() -> Self {
        let mut secrets = Secrets::default();
        secrets.add("the signing secret", JWT_SECRET);
        secrets.add("the password of Redis", REDIS_PASSWORD);
        secrets.add("a wrong password", WRONG_PASSWORD);
        for hash in password_hashes() {
            secrets.add("a password's hash", hash);
        }
        Self { secrets, given: String::new(), other: String::new(), sids: Vec::new() }
    }

    fn saw(&mut self, answer: Answer, status: u16) -> Value {
        let answer = answer.expect(status);
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match (body["access_token"].as_str(), body["refresh_token"].as_str()) {
            (Some(access), Some(refresh)) => {
                self.secrets.add("an access token", access);
                self.secrets.add("a refresh token", refresh);
                self.given.push_str(&body.to_string());
                self.sids.push(support::fixture::read_part(access, 1)["sid"].as_str().unwrap().to_owned());
            }
            _ => self.other.extend([format!("{answer:?}"), "\n".to_owned()]),
        }
        body
    }

    /// Runs a session from login to logout, with all possible rejections. Returns its last tokens.
    async fn run(&mut self, client: &HttpClient) -> (String, String) {
        let text = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
        let login = [("username", "alice"), ("password", "alice-password")];
        let first = self.saw(client.post_form("/login", &login).await, 200);
        let (access, refresh) = (text(&first, "access_token"), text(&first, "refresh_token"));

        for path in ["/", "/me", "/claims", "/admin", "/optional", "/sessions", "/health"] {
            self.saw(client.get(path, &access).await, 200);
        }
        let second = self.saw(client.post_form("/refresh", &[("refresh_token", &refresh)]).await, 200);
        self.saw(client.post_form("/refresh", &[("refresh_token", &refresh)]).await, 200);

        let forged = {
            let (signed, signature) = access.rsplit_once('.').unwrap();
            format!("{signed}.{}", signature.chars().rev().collect::<String>())
        };
        self.secrets.add("a forged token", &forged);
        for bad in [forged.as_str(), refresh.as_str(), &refresh[..40], &refresh.repeat(20)] {
            self.saw(client.get("/me", bad).await, 401);
            self.saw(client.get("/optional", bad).await, 401);
            self.saw(client.post("/logout", bad).await, 401);
        }
        for malformed in [format!("Bearer {access} {access}"), format!("Bearer {access},"), format!("Bearer\t{access}")]
        {
            self.saw(client.call(Method::GET, "/me").header("authorization", &malformed).send().await, 400);
        }
        for other in [format!("Basic {access}"), access.clone()] {
            self.saw(client.call(Method::GET, "/me").header("authorization", &other).send().await, 401);
        }
        self.saw(client.call(Method::GET, "/me").bearer(&access).bearer(&access).send().await, 400);
        self.saw(client.call(Method::GET, &format!("/me?access_token={access}")).send().await, 401);
        self.saw(client.call(Method::GET, "/me").header("cookie", &format!("access_token={access}")).send().await, 401);

        let wrong = [("username", "alice"), ("password", WRONG_PASSWORD)];
        self.saw(client.post_form("/login", &wrong).await, 401);
        self.saw(client.post_form("/login", &[("password", WRONG_PASSWORD)]).await, 400);
        self.saw(client.post_form("/refresh", &[("refresh_token", &access)]).await, 400);
        self.saw(client.post_form("/refresh", &[("refresh_token", &forged)]).await, 400);
        for (media, body, status) in [
            (JSON, format!(r#"{{"username":"alice","password":"{WRONG_PASSWORD}""#), 400),
            (JSON, format!(r#"{{"username":"alice","password":["{WRONG_PASSWORD}"]}}"#), 400),
            (JSON, format!(r#""{WRONG_PASSWORD}""#), 400),
            (FORM, format!("password={WRONG_PASSWORD}&password={WRONG_PASSWORD}&username=alice"), 400),
            ("text/plain", format!("password={WRONG_PASSWORD}"), 415),
            (FORM, format!("username=alice&password={}", WRONG_PASSWORD.repeat(1000)), 413),
        ] {
            self.saw(client.call(Method::POST, "/login").header("content-type", media).body(body).send().await, status);
        }

        // Reuse of a token two rotations old, then logout, then all tokens of the ended sessions.
        let newest = text(&second, "refresh_token");
        self.saw(client.post_form("/refresh", &[("refresh_token", &newest)]).await, 200);
        self.saw(client.post_form("/refresh", &[("refresh_token", &refresh)]).await, 400);
        self.saw(client.get("/me", &access).await, 401);
        let again = self.saw(
            client.post_json("/login", serde_json::json!({ "username": "bob", "password": "bob-password" })).await,
            200,
        );
        let (access, refresh) = (text(&again, "access_token"), text(&again, "refresh_token"));
        self.saw(client.get("/admin", &access).await, 403);
        self.saw(client.post("/logout-all?keep_current=true", &access).await, 200);
        self.saw(client.call(Method::DELETE, "/sessions/no-such-session").bearer(&access).send().await, 404);
        self.saw(client.post("/logout", &access).await, 200);
        self.saw(client.get("/me", &access).await, 401);
        self.saw(client.post_form("/refresh", &[("refresh_token", &refresh)]).await, 400);
        let last = self.saw(client.post_form("/login", &login).await, 200);
        (text(&last, "access_token"), text(&last, "refresh_token"))
    }

    /// Searches the server's output for secrets. Standard output may show the users' passwords,
    /// because the example prints them. Returns all secrets.
    fn judge(mut self, example: Example) -> Secrets {
        let (stdout, stderr) = example.stop();
        // Proves that the scanner works: the bodies with new tokens contain secrets.
        assert!(self.secrets.find_in(self.given.as_bytes()).is_some());
        assert!(stderr.contains("TRACE") && stderr.contains("/refresh"), "the logs are not at TRACE: {stderr}");
        self.secrets.must_not_be_in("standard output", &stdout);
        self.secrets.must_not_be_in("an answer that gives no token out", &self.other);
        self.secrets.add("alice's password", "alice-password");
        self.secrets.add("bob's password", "bob-password");
        self.secrets.must_not_be_in("the log", &stderr);
        self.secrets
    }
}

fn at_trace(variables: &[(&str, &str)]) -> Example {
    Example::start("server", &[&[("RUST_LOG", "trace")], variables].concat())
}

#[tokio::test]
async fn the_example_on_memory_shows_no_secret() {
    let example = at_trace(&[("JWT_SECRET_KEY", JWT_SECRET)]);
    let mut flow = Flow::new();
    flow.run(&HttpClient::of(example.url())).await;
    flow.judge(example);
}

#[tokio::test]
async fn the_example_with_a_private_key_shows_none_of_it() {
    for (algorithm, file) in [("RS256", "TEST-rsa-2048-pkcs8.pem"), ("ES256", "TEST-ec-p256-pkcs8.pem")] {
        let file = key_file(file);
        let example = at_trace(&[("JWT_ALGORITHM", algorithm), ("JWT_PRIVATE_KEY_FILE", &file)]);
        let mut flow = Flow::new();
        for line in fs::read_to_string(&file).unwrap().lines().filter(|line| !line.starts_with('-')) {
            flow.secrets.add("the private key", line);
        }
        let client = HttpClient::of(example.url());
        let body =
            flow.saw(client.post_form("/login", &[("username", "bob"), ("password", "bob-password")]).await, 200);
        let refresh = body["refresh_token"].as_str().unwrap();
        flow.saw(client.post_form("/refresh", &[("refresh_token", refresh)]).await, 200);
        flow.saw(client.get("/me", refresh).await, 401);
        flow.judge(example);
    }
}

#[tokio::test]
async fn lek_09_the_example_on_redis_shows_no_secret_and_tells_redis_none() {
    let mut redis = RedisServer::start();
    let mut admin = redis.admin().await;
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(REDIS_PASSWORD).exec_async(&mut admin).await.unwrap();
    // Every command counts as slow, so that the slow log contains all of them.
    for (setting, value) in [("slowlog-log-slower-than", "0"), ("slowlog-max-len", "100000")] {
        redis::cmd("CONFIG").arg("SET").arg(setting).arg(value).exec_async(&mut admin).await.unwrap();
    }
    let monitor = Monitor::start(redis.port(), Some(REDIS_PASSWORD));
    let url = redis.url().replace("127.0.0.1", &format!(":{REDIS_PASSWORD}@127.0.0.1"));
    let example = at_trace(&[("JWT_SECRET_KEY", JWT_SECRET), ("REDIS_URL", &url)]);
    let client = HttpClient::of(example.url());

    let mut flow = Flow::new();
    let (access, refresh) = flow.run(&client).await;
    let slow: redis::Value = redis::cmd("SLOWLOG").arg("GET").arg("-1").query_async(&mut admin).await.unwrap();
    let slow = format!("{slow:?}");
    assert!(slow.to_lowercase().contains("evalsha") && slow.to_lowercase().contains("hmget"), "{slow}");
    // A hanging Redis, then a killed one.
    redis.pause();
    flow.saw(client.get("/me", &access).await, 503);
    flow.saw(client.post_form("/refresh", &[("refresh_token", &refresh)]).await, 503);
    redis.kill();
    for path in ["/me", "/optional", "/sessions", "/health"] {
        flow.saw(client.get(path, &access).await, 503);
    }
    flow.saw(client.post_form("/refresh", &[("refresh_token", &refresh)]).await, 503);
    flow.saw(client.post_form("/login", &[("username", "bob"), ("password", "bob-password")]).await, 503);

    let told = monitor.all();
    for sid in &flow.sids {
        assert!(told.contains(sid.as_str()), "the monitor has not seen the session {sid}");
    }
    let secrets = flow.judge(example);
    secrets.must_not_be_in("what Redis is told", &told);
    secrets.must_not_be_in("the slow log", &slow);
}

// ---- Debug --------------------------------------------------------------------------------------

#[tokio::test]
async fn lek_02_no_debug_text_shows_a_secret() {
    let mut texts = Vec::new();
    let mut show = |value: &dyn Debug| texts.push(format!("{value:?} {value:#?}"));
    let mut secrets = Secrets::default();
    secrets.add("the signing secret", JWT_SECRET);
    secrets.add("a password", WRONG_PASSWORD);
    secrets.add("the password of Redis", REDIS_PASSWORD);

    let pem = fs::read_to_string(key_file("TEST-rsa-2048-pkcs8.pem")).unwrap();
    pem.lines().filter(|line| !line.starts_with('-')).for_each(|line| secrets.add("the private key", line));
    let rsa = SigningKey::from_pem(Algorithm::RS256, &pem).unwrap();
    let hmac = SigningKey::from_secret(Algorithm::HS256, JWT_SECRET).unwrap();
    show(&rsa);
    show(&hmac);
    show(hmac.verifying_key());
    show(&KeySet::signing(hmac).and_verifying(rsa.verifying_key().clone()).unwrap());
    show(&KeySet::signing(rsa));
    show(&SigningKey::from_pem(Algorithm::ES256, &pem).unwrap_err());
    show(&SigningKey::from_secret(Algorithm::HS512, JWT_SECRET).unwrap_err());
    show(&SigningKey::from_secret(Algorithm::HS256, &pem).unwrap_err());
    show_json_web_keys(&mut secrets, &mut show);
    show(&Settings::from_vars([("JWT_SECRET_KEY", JWT_SECRET)]).unwrap());
    show(&Settings::from_vars([("JWT_ALLOWED_AUDIENCES", format!("[{JWT_SECRET}"))]).unwrap_err());
    show(&JWT_SECRET.parse::<Algorithm>().unwrap_err());
    show(&Credentials::new("alice", WRONG_PASSWORD));

    let passwords = PasswordHasher::new(10).unwrap();
    let hash = passwords.hash(WRONG_PASSWORD).await.unwrap();
    secrets.add("a password's hash", hash.as_str());
    show(&passwords);
    show(&passwords.hash(&WRONG_PASSWORD.repeat(3)).await.unwrap_err());

    let url = format!("redis://:{REDIS_PASSWORD}@127.0.0.1:{}/", support::redis_server::free_port());
    show(&RedisStore::builder(&url));
    let with_all = RedisStore::builder(&url).prefix("p").buckets(2).connections(1);
    show(&with_all);
    show(&RedisStore::cluster([url.as_str(), &url]));
    show(&RedisStore::sentinel([url.as_str()], "primary").credentials("user", REDIS_PASSWORD));
    show(&RedisStore::connect(&url).await.unwrap_err());
    show(&RedisStore::connect(url.replace(':', "::")).await.unwrap_err());
    let redis = RedisServer::start();
    let mut admin = redis.admin().await;
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(REDIS_PASSWORD).exec_async(&mut admin).await.unwrap();
    let url = redis.url().replace("127.0.0.1", &format!(":{REDIS_PASSWORD}@127.0.0.1"));
    let store = RedisStore::connect(url).await.unwrap();
    show(&store);
    show(&TokenService::builder().secret(JWT_SECRET).store(store.clone()));
    show(&TokenService::builder().secret(JWT_SECRET).store(store).build().unwrap());
    show(&MemoryStore::default());

    let builder = TokenService::builder().secret(JWT_SECRET).store(MemoryStore::default());
    show(&builder);
    let tokens = builder.build().unwrap();
    let session = NewSession::new("42").scope("read").label("Firefox");
    show(&session);
    let pair = tokens.create_token_pair(session).await.unwrap();
    let (access, refresh) = (pair.access().as_str().to_owned(), pair.refresh().as_str().to_owned());
    secrets.add("an access token", &access);
    secrets.add("a refresh token", &refresh);
    show(&tokens);
    show(&pair);
    show(pair.access());
    show(&tokens.decode_token(&refresh).unwrap());
    show(&tokens.validate_jwt_stateless(&refresh[..refresh.len() - 4], tower_bearer::TokenType::Refresh).unwrap_err());
    show(&tokens.status().await);

    let auth = AuthLayer::new(tokens.clone());
    let users = Arc::new(Users);
    let endpoints = Endpoints::new(&auth, Arc::clone(&users));
    show(&auth);
    show(&auth.require_scope("read").unwrap());
    show(&CurrentUserLayer::new(&auth, users));
    show(&endpoints);
    show(&endpoints.login());
    show(&endpoints.refresh());
    show(&endpoints.logout());
    show(&endpoints.logout_all());
    show(&endpoints.refresh_without_rotation());
    show(&endpoints.sessions());
    show(&endpoints.revoke_session());
    show(&endpoints.health());
    show(&tokens.revoke_token(&access));
    show(&tokens.sessions("42", tower_bearer::store::Page::default()).await.unwrap());
    show(&auth.require_scope("read").unwrap().layer(auth.layer(())));

    // The request that the inner service gets, and the response that outer layers get.
    let (sender, seen) = std::sync::mpsc::channel();
    let inner = service_fn(move |request: Request<String>| {
        sender.send(format!("{request:?} {:?}", request.extensions().get::<Claims>())).unwrap();
        async { Ok::<_, std::convert::Infallible>(Response::new(String::new())) }
    });
    let mut service = auth.layer(inner);
    let request =
        |token: &str| Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new()).unwrap();
    show(&service.ready().await.unwrap().call(request(&access)).await.unwrap());
    show(&seen.recv().unwrap());
    let refused = service.ready().await.unwrap().call(request(&refresh)).await.unwrap();
    show(&refused);
    show(refused.extensions().get::<Rejection>().unwrap());
    let future = service.ready().await.unwrap().call(request(&access));
    show(&future);

    for text in texts {
        secrets.must_not_be_in("a Debug text", &text);
    }
}

fn show_json_web_keys(secrets: &mut Secrets, show: &mut dyn FnMut(&dyn Debug)) {
    // The `Jwk` of jsonwebtoken shows the octets of a secret key.
    let octets = "VEVTVC1rZXktb2YtYS1KV0stdGhhdC1uby10ZXh0LW1heS1zaG93";
    secrets.add("the octets of a JWK", octets);
    secrets.add("the octets of a JWK, decoded", "TEST-key-of-a-JWK-that-no-text-may-show");
    let jwk = format!(r#"{{"kty":"oct","alg":"HS256","k":"{octets}"}}"#);
    let private = fs::read_to_string(key_file("RFC-7515-A.2.jwk.json")).unwrap();
    let members: Value = serde_json::from_str(&private).unwrap();
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        secrets.add("a private JWK", members[name].as_str().unwrap());
    }
    for key in [SigningKey::from_jwk(&jwk).unwrap(), SigningKey::from_jwk_with(Algorithm::RS256, &private).unwrap()] {
        show(&key);
        show(key.verifying_key());
        show(&KeySet::verifying(key.verifying_key().clone()));
        show(&TokenService::builder().keys(KeySet::signing(key.clone())).store(MemoryStore::default()));
        show(&TokenService::builder().keys(KeySet::signing(key)).store(MemoryStore::default()).build().unwrap());
    }
}
