//! The checks of URLs, and their form in messages.

use reqwest::Url;

/// The maximum number of characters of a server's text that a message contains.
const SHOWN: usize = 200;

/// A reason why a URL is not usable, with the remedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct UrlFault {
    pub(super) problem: &'static str,
    pub(super) remedy: &'static str,
}

const fn fault(problem: &'static str, remedy: &'static str) -> UrlFault {
    UrlFault { problem, remedy }
}

const NO_URL: UrlFault =
    fault("is not an absolute URL", "write the URL with scheme and host, as in `https://login.example`");
const NOT_HTTPS: UrlFault =
    fault("does not begin with `https:`", "use `https:`, or call `allow_http` in a trusted network");
const SCHEME: UrlFault = fault("does not begin with `https:` or `http:`", "use one of these schemes");
const CREDENTIALS: UrlFault = fault("contains a user or a password", "remove the text before the `@` and the `@`");
const FRAGMENT: UrlFault = fault("has a fragment", "remove the `#` and the text after it");

/// Parses a URL from which the client fetches a document.
///
/// # Errors
///
/// The URL is not absolute, has a scheme that is not allowed, or has credentials or a fragment.
pub(super) fn parse(text: &str, allow_http: bool) -> Result<Url, UrlFault> {
    let url = parse_any(text)?;
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        _ if allow_http => return Err(SCHEME),
        _ => return Err(NOT_HTTPS),
    }
    if has_credentials(&url) {
        return Err(CREDENTIALS);
    }
    if url.fragment().is_some() {
        return Err(FRAGMENT);
    }
    Ok(url)
}

/// Parses the URL of a proxy, which may contain credentials.
///
/// # Errors
///
/// The URL is not absolute, or has another scheme than `http` and `https`.
pub(super) fn parse_proxy(text: &str) -> Result<Url, UrlFault> {
    let url = parse_any(text)?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(SCHEME) }
}

/// Parses an absolute URL with a host. Rejects a URL that `http::Uri` cannot parse, because the
/// client converts each URL to this type.
fn parse_any(text: &str) -> Result<Url, UrlFault> {
    let url = Url::parse(text).map_err(|_| NO_URL)?;
    let is_usable = url.has_host() && url.as_str().parse::<http::Uri>().is_ok();
    if is_usable { Ok(url) } else { Err(NO_URL) }
}

/// Returns true if the URL contains a user or a password.
pub(super) fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Returns scheme, host, port and path of a URL. Omits the query, because it may contain an API
/// key.
pub(super) fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path()).chars().take(SHOWN).collect()
}

/// Returns the [`place`] of a URL that the application has set. Returns `(not a URL)` for any other
/// text.
pub(super) fn place_of(text: &str) -> String {
    parse_any(text).map_or_else(|_| "(not a URL)".to_owned(), |url| place(&url))
}

/// Returns a text from a server in quotes. Escapes control characters, and cuts the text after
/// [`SHOWN`] characters.
pub(super) fn quoted(text: &str) -> String {
    let quoted = format!("{:?}", text.chars().take(SHOWN).collect::<String>());
    if text.chars().nth(SHOWN).is_some() { format!("{quoted}...") } else { quoted }
}
