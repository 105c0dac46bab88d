//! A headless Chromium, driven by `chromedriver` through `WebDriver` (W3C).
//!
//! The protocol is JSON over HTTP, and the tests need eight commands. The published clients bring
//! 22 more crates, or change the order of members in every `serde_json` map of the tests.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};

use super::{HttpClient, eventually, http_client::JSON};

/// A browser with its own empty profile. Dropping it ends it.
pub struct Browser {
    client: HttpClient,
    session: String,
    _driver: Driver,
}

struct Driver {
    process: Child,
    port: u16,
}

impl Browser {
    /// Starts a browser. `scripts/test.sh` installs it.
    pub async fn start() -> Self {
        let driver = Driver::start();
        let client = HttpClient::of(&format!("http://127.0.0.1:{}", driver.port));
        // In a container, Chromium's sandbox lacks rights and `/dev/shm` is small. The browser
        // loads only pages of the tests.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=900,700"];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "performance": "ALL", "browser": "ALL" },
        } } });
        let value = command(&client, Method::POST, "/session", capabilities).await;
        let session = value["sessionId"].as_str().expect("a session").to_owned();
        Self { client, session, _driver: driver }
    }

    /// Opens a page in the present tab.
    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    pub async fn reload(&self) {
        self.post("/refresh", json!({})).await;
    }

    pub async fn back(&self) {
        self.post("/back", json!({})).await;
    }

    /// Opens a tab and makes it the present one. Returns its handle.
    pub async fn new_tab(&self) -> String {
        let tab = self.post("/window/new", json!({ "type": "tab" })).await["handle"].as_str().expect("text").to_owned();
        self.switch_to(&tab).await;
        tab
    }

    /// Returns the handle of the present tab.
    pub async fn tab(&self) -> String {
        self.command(Method::GET, "/window", Value::Null).await.as_str().expect("text").to_owned()
    }

    pub async fn switch_to(&self, tab: &str) {
        self.post("/window", json!({ "handle": tab })).await;
    }

    /// Runs a script, which may `await`. Returns its value.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Clicks the first visible element, as a user does.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        let element = found.as_object().and_then(|found| found.values().next()).expect("an element");
        element.as_str().expect("text").to_owned()
    }

    /// Returns the visible text of the page.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the visible text contains `part`.
    pub async fn shows(&self, part: &str) {
        eventually(&format!("the text {part:?} on the page"), async || self.text().await.contains(part).then_some(()))
            .await;
    }

    /// Returns the cookies of the page, also those that scripts cannot read.
    pub async fn cookies(&self) -> Vec<Value> {
        self.command(Method::GET, "/cookie", Value::Null).await.as_array().expect("cookies").clone()
    }

    /// Returns the responses of the present tab since the last call: method, address, status and
    /// body. The body is empty if the browser no longer has it, as with a stream.
    pub async fn responses(&self) -> Vec<Exchange> {
        let log = self.post("/se/log", json!({ "type": "performance" })).await;
        let events: Vec<Value> = log.as_array().expect("a log").iter().filter_map(event).collect();
        let mut exchanges = Vec::new();
        for event in events.iter().filter(|event| event["method"] == "Network.responseReceived") {
            let (id, response) = (&event["params"]["requestId"], &event["params"]["response"]);
            let sent = events
                .iter()
                .find(|event| event["method"] == "Network.requestWillBeSent" && event["params"]["requestId"] == *id);
            let params = json!({ "cmd": "Network.getResponseBody", "params": { "requestId": id } });
            let body = self.answer(Method::POST, "/goog/cdp/execute", params).await;
            exchanges.push(Exchange {
                method: sent.map(|event| text(&event["params"]["request"]["method"])).unwrap_or_default(),
                url: text(&response["url"]),
                status: response["status"].as_u64().unwrap_or_default(),
                body: text(&body["value"]["body"]),
            });
        }
        exchanges
    }

    /// Returns the messages of the console since the last call.
    pub async fn console(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        log.as_array().expect("a log").iter().map(|entry| text(&entry["message"])).collect()
    }

    /// Writes a picture of the page.
    pub async fn picture(&self, path: &Path) {
        let picture = self.command(Method::GET, "/screenshot", Value::Null).await;
        std::fs::write(path, STANDARD.decode(text(&picture)).expect("base64")).expect("a folder for pictures");
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.command(Method::POST, path, body).await
    }

    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        command(&self.client, method, &format!("/session/{}{path}", self.session), body).await
    }

    async fn answer(&self, method: Method, path: &str, body: Value) -> Value {
        answer(&self.client, method, &format!("/session/{}{path}", self.session), body).await.1
    }
}

/// A request of a page, and the answer to it.
#[derive(Debug)]
pub struct Exchange {
    pub method: String,
    pub url: String,
    pub status: u64,
    pub body: String,
}

/// Sends a command. Returns its value. Panics if the driver reports an error.
async fn command(client: &HttpClient, method: Method, path: &str, body: Value) -> Value {
    let (is_ok, mut answer) = answer(client, method, path, body).await;
    assert!(is_ok, "{path}: {}", answer["value"]["message"]);
    answer["value"].take()
}

async fn answer(client: &HttpClient, method: Method, path: &str, body: Value) -> (bool, Value) {
    let mut call = client.call(method, path);
    if !body.is_null() {
        call = call.header("content-type", JSON).body(body.to_string());
    }
    let answer = call.send().await;
    (answer.status.is_success(), answer.json())
}

/// Returns an entry of the performance log: a message of the `DevTools` protocol.
fn event(entry: &Value) -> Option<Value> {
    let mut entry: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
    Some(entry["message"].take())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Driver {
    fn start() -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver: {error}; scripts/test.sh installs it"));
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.trim_end_matches('.').rsplit_once("successfully on port ")?.1.parse().ok());
        // Reads the rest, so that the driver never blocks on a full pipe. Ends with the driver.
        std::thread::spawn(move || lines.for_each(drop));
        let Some(port) = port else {
            let _ = (process.kill(), process.wait());
            panic!("chromedriver does not start; scripts/test.sh installs it");
        };
        Self { process, port }
    }
}

impl Drop for Driver {
    /// Asks the driver to end, because it then ends its browser too.
    fn drop(&mut self) {
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
            stream.write_all(b"GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
            stream.read_to_end(&mut Vec::new())
        });
        if asked.is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
