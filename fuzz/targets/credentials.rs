//! Sends any bytes in `Authorization`, cookies, a custom header and the query. Every request gets a
//! defined answer, and only one with exactly one good token passes.
//!
//! The first byte of each input line selects its place: `a`uthorization, `c`ookie, `t`oken header,
//! `q`uery. `@` is replaced by a good token.
#![no_main]

use std::{convert::Infallible, sync::LazyLock};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{AUTHORIZATION, COOKIE},
};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{AuthLayer, Claims, MemoryStore, NewSession, TokenService};

const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-token");

struct Stack {
    runtime: Runtime,
    layers: [AuthLayer; 4],
    token: String,
}

thread_local! {
    static STACK: LazyLock<Stack> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let tokens = TokenService::builder()
            .secret("TEST secret of the fuzz targets, long enough for HS256")
            .store(MemoryStore::default())
            .session_lifetime(std::time::Duration::from_secs(86_400 * 30))
            .access_lifetime(std::time::Duration::from_secs(86_400))
            .build()
            .expect("a service");
        let token = runtime.block_on(tokens.create_access_token(NewSession::new("42"))).expect("a token");
        let everywhere = || {
            AuthLayer::builder(tokens.clone())
                .allow_query("access_token")
                .allow_cookie("token")
                .allow_header(TOKEN_HEADER)
        };
        let layers = [
            AuthLayer::builder(tokens.clone()),
            everywhere(),
            everywhere().strip_credentials(true),
            everywhere().optional().strip_credentials(true),
        ]
        .map(|builder| builder.build().expect("a layer"));
        Stack { runtime, layers, token: token.as_str().to_owned() }
    });
}

fuzz_target!(|data: &[u8]| STACK.with(|stack| run(stack, data)));

fn run(stack: &Stack, data: &[u8]) {
    let request = request(stack, data);
    let [field, elsewhere, empty] = places(request.headers(), request.uri());
    for (index, layer) in stack.layers.iter().enumerate() {
        let inner = service_fn(move |request: Request<Full<Bytes>>| async move {
            if index > 1 {
                let left = places(request.headers(), request.uri());
                assert!(!request.headers().contains_key(AUTHORIZATION) && left.iter().all(Vec::is_empty), "{left:?}");
            }
            let known = request.extensions().get::<Claims>().is_some();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(if known { "known" } else { "anonymous" })))
        });
        let service = layer.layer(inner);
        let response = stack.runtime.block_on(service.oneshot(request.clone())).expect("an answer");
        let status = response.status().as_u16();
        let body = stack.runtime.block_on(response.into_body().collect()).expect("a body").to_bytes();
        let found: Vec<_> = if index == 0 { field.iter().collect() } else { field.iter().chain(&elsewhere).collect() };
        match status {
            // A known client presented exactly one credential, which contains the good token. Only
            // the optional layer accepts anonymous clients.
            200 if body == "known" => assert!(found.len() == 1 && found[0].contains(&stack.token), "{found:?}"),
            200 => assert!(index == 3 && found.is_empty(), "{found:?}"),
            400 => assert!(!found.is_empty() || empty.len() > 1, "no credential is malformed"),
            401 => assert!(found.len() < 2, "{found:?}"),
            other => panic!("{other}"),
        }
    }
}

fn request(stack: &Stack, data: &[u8]) -> Request<Full<Bytes>> {
    let mut request = Request::get("/").body(Full::<Bytes>::default()).expect("a request");
    for line in data.split(|&byte| byte == b'\n').take(16) {
        let Some((place, value)) = line.split_first() else { continue };
        let value = value.split(|&byte| byte == b'@').collect::<Vec<_>>().join(stack.token.as_bytes());
        // The layer refuses longer values and more pairs unread, so the oracle below does not apply
        // to them.
        if value.len() >= 1000 || value.iter().filter(|byte| b";&".contains(byte)).count() >= 10 {
            continue;
        }
        let name = match place {
            b'a' => AUTHORIZATION,
            b'c' => COOKIE,
            b't' => TOKEN_HEADER,
            b'q' => {
                if let Ok(uri) = Uri::from_maybe_shared(Bytes::from([b"/p?", value.as_slice()].concat())) {
                    *request.uri_mut() = uri;
                }
                continue;
            }
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            request.headers_mut().append(name, value);
        }
    }
    request
}

/// Returns the credentials in `Authorization`, those in all other places, and the cookies with an
/// empty value, which are no credentials. Uses a simple independent parser.
fn places(headers: &HeaderMap, uri: &Uri) -> [Vec<String>; 3] {
    let lines = |name: HeaderName| {
        let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
        lines.collect::<Vec<_>>().into_iter()
    };
    let is_bearer = |line: &String| {
        let scheme = line.split([' ', '\t']).find(|word| !word.is_empty()).unwrap_or_default();
        scheme.eq_ignore_ascii_case("bearer")
    };
    let mut field: Vec<_> = lines(AUTHORIZATION).filter(is_bearer).collect();
    // Two lines are two credentials, independently of their schemes.
    if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        field = lines(AUTHORIZATION).collect();
    }
    let mut own: Vec<_> = lines(TOKEN_HEADER).filter(|line| !line.trim_matches([' ', '\t']).is_empty()).collect();
    if headers.get_all(TOKEN_HEADER).iter().nth(1).is_some() {
        own = lines(TOKEN_HEADER).collect();
    }
    let cookies = lines(COOKIE).flat_map(|line| line.split(';').map(str::to_owned).collect::<Vec<_>>());
    let cookies =
        cookies.filter(|pair| pair.split_once('=').is_some_and(|(name, _)| name.trim_matches([' ', '\t']) == "token"));
    let value = |pair: &str| pair.split_once('=').unwrap_or_default().1.trim_matches([' ', '\t']).to_owned();
    let (empty, cookies): (Vec<_>, Vec<_>) = cookies.partition(|pair| ["", "\"\""].contains(&&*value(pair)));
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query = query.filter(|(name, _)| name == "access_token").map(|(_, value)| value.into_owned());
    [field, own.into_iter().chain(cookies).chain(query).collect(), empty]
}
