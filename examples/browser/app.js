// The client of a browser session. The tokens are in cookies that no script can read. The browser
// sends them by itself, and the server sets them anew.

const element = (id) => document.getElementById(id);
const tabs = new BroadcastChannel("session");
const AWAY = "The service is not available. Try again in a moment.";
let stream = null;
let refreshes = 0;
let turns = 0;

// Sends a request. If the network fails, the response is an error as that of a server.
async function ask(method, path, body) {
  return fetch(path, { method, body, cache: "no-store" }).catch(() => Response.error());
}

// Sends a request. After a 401 the access token may only have expired: refreshes, and tries again.
async function send(method, path) {
  const response = await ask(method, path);
  if (response.status !== 401) return response;
  const refreshed = await refresh();
  return refreshed.ok ? ask(method, path) : refreshed;
}

// Gets new tokens. Several tabs may call this at once: all get the same tokens.
async function refresh() {
  const response = await ask("POST", "/auth/refresh");
  if (response.ok) {
    refreshes += 1;
    element("refreshed").textContent = `This tab has refreshed them: ${refreshes}×.`;
  }
  return response;
}

// Asks the server who the user is, and shows the account or the form for the login. Another call
// may begin meanwhile. Then only the last one shows its answer.
async function show(notice = "") {
  const turn = ++turns;
  forget();
  const response = await send("GET", "/api/me");
  const user = response.ok ? await response.json().catch(() => null) : null;
  if (turn !== turns) return;
  element("notice").textContent = user ? "" : response.status === 401 ? notice : AWAY;
  element("guest").hidden = Boolean(user);
  element("account").hidden = !user;
  if (!user) return;
  element("name").textContent = user.username;
  open();
}

function open() {
  element("stream").className = "live";
  element("stream").textContent = "live";
  stream = new EventSource("/api/events");
  stream.onmessage = (event) => list(JSON.parse(event.data));
  // The server cuts the stream at the moment when the session ends. It can also be the network, so
  // the server has to say whether the user is still logged in.
  const opened = Date.now();
  stream.onerror = () => {
    const pause = Date.now() - opened < 1000 ? 1000 : 0;
    forget();
    setTimeout(() => show("Your session has ended, and with it the stream."), pause);
  };
}

// Removes everything about the user from the page.
function forget() {
  stream?.close();
  stream = null;
  element("stream").className = "";
  element("stream").textContent = "no stream";
  element("account").hidden = true;
  element("name").textContent = "";
  list([]);
}

function list(sessions) {
  element("sessions").replaceChildren(...sessions.map(({ sid, device, opened_at, current }) => {
    const item = document.createElement("li");
    const text = document.createElement("span");
    text.textContent = nameOf(device);
    const since = document.createElement("time");
    since.textContent = `since ${new Date(opened_at * 1000).toLocaleTimeString()}${current ? ", this device" : ""}`;
    const end = document.createElement("button");
    end.textContent = current ? "Log out this device" : "Log out that device";
    end.onclick = async () => {
      const response = await send("DELETE", `/api/sessions/${encodeURIComponent(sid)}`);
      // A 404 says that the session has ended already. After a 401, this device is logged out.
      if (response.status === 401) await show();
      else if (!response.ok && response.status !== 404) element("notice").textContent = AWAY;
    };
    item.className = current ? "current" : "other";
    item.append(text, since, end);
    return item;
  }));
}

// Returns a short name of the client: its `User-Agent` is the label of the session.
function nameOf(agent) {
  const system = agent.match(/Android|iPhone|iPad|Windows|Mac OS|Linux/)?.[0];
  const program = agent.match(/(Firefox|Edg|Chrome|Safari)\/\d+/)?.[0];
  return program ? `${program.replace("/", " ")}, ${system ?? "another system"}` : agent;
}

// The other tabs have the same cookies.
async function changed(notice) {
  tabs.postMessage("changed");
  await show(notice);
}

element("login").onsubmit = async (event) => {
  event.preventDefault();
  const response = await ask("POST", "/auth/login", new URLSearchParams(new FormData(event.target)));
  if (response.ok) {
    event.target.reset();
    await changed();
  } else {
    element("notice").textContent = response.status === 401 ? "User name or password is wrong." : AWAY;
  }
};

element("logout").onclick = async () => {
  // One of the two cookies suffices, so there is no need to refresh.
  const response = await ask("POST", "/auth/logout");
  // A 401 says that the session has ended already.
  if (response.ok || response.status === 401) await changed("You are logged out.");
  else element("notice").textContent = AWAY;
};

element("logout-all").onclick = async () => {
  const response = await send("POST", "/auth/logout-all");
  if (response.ok) await changed("You are logged out.");
  else if (response.status === 401) await changed("Log in again to log out the other devices.");
  else element("notice").textContent = AWAY;
};

element("refresh").onclick = () => {
  tabs.postMessage("refresh");
  refresh();
};

tabs.onmessage = ({ data }) => (data === "refresh" ? refresh() : show());

// The button "back" may bring this page from the browser's memory, as it was before a logout.
addEventListener("pagehide", forget);
addEventListener("pageshow", (event) => event.persisted && show());

await show();
