//! Credentials: any bytes in `Authorization`, cookies, a header of the application's own and the query get a defined answer, and only a
//! request with exactly one good token passes.
//!
//! Each line of the input is a field or the query, by its first byte: `a`uthorization, `c`ookie, `t`oken header, `q`uery. `@` stands for a
//! good token.
#![no_main]

use std::{convert::Infallible, sync::LazyLock};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, Uri,
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
        let token = runtime.block_on(tokens.create_access_token(NewSession::of("42"))).expect("a token");
        let everywhere = AuthLayer::new(tokens.clone())
            .allow_query("access_token")
            .and_then(|layer| layer.allow_cookie("token"))
            .and_then(|layer| layer.allow_header(TOKEN_HEADER))
            .expect("a layer");
        let layers = [
            AuthLayer::new(tokens),
            everywhere.clone(),
            everywhere.clone().strip_authorization(true),
            everywhere.optional().strip_authorization(true),
        ];
        Stack { runtime, layers, token: token.as_str().to_owned() }
    });
}

fuzz_target!(|data: &[u8]| STACK.with(|stack| run(stack, data)));

fn run(stack: &Stack, data: &[u8]) {
    let mut request = Request::get("/").body(Full::<Bytes>::default()).expect("a request");
    let mut good_tokens = 0;
    for line in data.split(|&byte| byte == b'\n').take(16) {
        let Some((place, value)) = line.split_first() else { continue };
        good_tokens += value.iter().filter(|&&byte| byte == b'@').count();
        let value = value.split(|&byte| byte == b'@').collect::<Vec<_>>().join(stack.token.as_bytes());
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
    for (index, layer) in stack.layers.iter().enumerate() {
        let inner = service_fn(move |request: Request<Full<Bytes>>| async move {
            if index > 1 {
                let headers = request.headers();
                assert!(!headers.contains_key(AUTHORIZATION) && !headers.contains_key(TOKEN_HEADER));
            }
            let known = request.extensions().get::<Claims>().is_some();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(if known { "known" } else { "anonymous" })))
        });
        let service = layer.layer(inner);
        let response = stack.runtime.block_on(service.oneshot(request.clone())).expect("an answer");
        match response.status().as_u16() {
            200 => {
                let body = stack.runtime.block_on(response.into_body().collect()).expect("a body");
                let known = body.to_bytes() == "known";
                // Nobody is known without a good token, and nobody but the optional layer lets a stranger in.
                assert!(if known { good_tokens > 0 } else { index == 3 });
            }
            400 | 401 => {}
            other => panic!("{other}"),
        }
    }
}
