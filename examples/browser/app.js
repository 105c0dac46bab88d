// The client of a browser session. The tokens are in cookies that no script can read. The browser
// sends them by itself, and the server sets them anew.

const element = (id) => document.getElementById(id);
const tabs = new BroadcastChannel("session");
let stream = null;
let refreshes = 0;

// Sends a request. After a 401, refreshes the tokens and tries again, because the access token may
// only have expired.
async function send(method, path) {
  const response = await fetch(path, { method });
  return response.status === 401 && (await refresh()) ? fetch(path, { method }) : response;
}

// Refreshes the tokens. Returns true if the session lives. If several tabs call this at once, all
// get the same tokens.
async function refresh() {
  const response = await fetch("/auth/refresh", { method: "POST" });
  if (response.ok) {
    refreshes += 1;
    element("refreshed").textContent = `This tab has refreshed them: ${refreshes}×.`;
  }
  return response.ok;
}

// Asks the server who the user is, and shows the account or the form for the login.
async function show(notice = "") {
  close();
  const response = await send("GET", "/api/me").catch(() => null);
  const user = response?.ok ? await response.json() : null;
  if (!user && response?.status !== 401) {
    notice = "The service is not available. Reload the page in a moment.";
  }
  element("notice").textContent = user ? "" : notice;
  element("guest").hidden = Boolean(user);
  element("account").hidden = !user;
  element("name").textContent = user?.username ?? "";
  if (user) open();
}

function open() {
  element("stream").className = "live";
  element("stream").textContent = "live";
  stream = new EventSource("/api/events");
  stream.onmessage = (event) => list(JSON.parse(event.data));
  // The server cuts the stream when the session ends. But a failure of the network also ends the
  // stream, so the page asks the server if the user is still logged in.
  stream.onerror = () => show("Your session has ended, and with it the stream.");
}

// Forgets everything about the user.
function close() {
  stream?.close();
  stream = null;
  element("stream").className = "";
  element("stream").textContent = "no stream";
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
    end.onclick = () => send("DELETE", `/api/sessions/${encodeURIComponent(sid)}`);
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
  const form = new FormData(event.target);
  const response = await fetch("/auth/login", { method: "POST", body: new URLSearchParams(form) });
  if (response.ok) {
    event.target.reset();
    await changed();
  } else {
    element("notice").textContent =
      response.status === 401 ? "User name or password is wrong." : "The login failed. Try again in a moment.";
  }
};

for (const [id, path] of [["logout", "/auth/logout"], ["logout-all", "/auth/logout-all"]]) {
  element(id).onclick = async () => {
    const response = await send("POST", path);
    // A 401 says that the session had ended already.
    const isOut = response.ok || response.status === 401;
    await changed(isOut ? "You are logged out." : "");
    if (!isOut) element("notice").textContent = "You may still be logged in. Try again.";
  };
}

element("refresh").onclick = () => {
  tabs.postMessage("refresh");
  refresh();
};

tabs.onmessage = ({ data }) => (data === "refresh" ? refresh() : show());

// The button "back" may show this page from the browser's memory, as it was before a logout.
addEventListener("pageshow", (event) => event.persisted && show());

await show();
