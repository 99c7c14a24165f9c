// The token, requests, and the WebSocket that brings what is new. It comes back by itself.

const STORED = "virtmesh.token";
const FIRST_PAUSE = 300;
const LONGEST_PAUSE = 5000;

function takeToken() {
  const match = /(?:^|[#&])token=([A-Za-z0-9_-]+)/.exec(location.hash);
  if (match) {
    sessionStorage.setItem(STORED, match[1]);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(STORED) ?? "";
}

let token = takeToken();
const locked = new Set();  // sockets that wait for another token

export function setToken(text) {
  token = text.trim().replace(/^.*token=/, "");
  sessionStorage.setItem(STORED, token);
  unlock();
}

function unlock() {
  const waiting = [...locked];
  locked.clear();
  for (const socket of waiting) socket.connect();
}

// An address that is opened in the tab of this page changes only what follows the #.
window.addEventListener("hashchange", () => {
  token = takeToken();
  unlock();
});

export function protocols() {
  return ["virtmesh", "token." + token];
}

export function socketUrl(path) {
  return location.origin.replace(/^http/, "ws") + path;
}

export class Refused extends Error {
  constructor(status, reason, message) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

export async function ask(path, { method = "GET", body } = {}) {
  const headers = { Authorization: "Bearer " + token };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  let told = {};
  try { told = JSON.parse(text); } catch { told = { message: text }; }
  throw new Refused(response.status, told.reason ?? "", told.message ?? text);
}

export function devicePath(name, what) {
  return `/api/devices/${encodeURIComponent(name)}/${what}`;
}

// Is the token right? "open", "locked", or "gone" while the panel does not answer.
export async function knock() {
  try {
    await ask("/api/about");
    return "open";
  } catch (error) {
    return error instanceof Refused && error.status === 401 ? "locked" : "gone";
  }
}

// A socket that is opened again when it closes, until it is ended. One that is locked waits for a token.
export class Lasting {
  constructor(path, { open, message, lost, locked }) {
    this.path = path;
    this.on = { open, message, lost, locked };
    this.pause = FIRST_PAUSE;
    this.ended = false;
    this.connect();
  }

  connect() {
    if (this.ended) return;
    this.socket = new WebSocket(socketUrl(this.path), protocols());
    this.socket.binaryType = "arraybuffer";
    let opened = false;
    this.socket.onopen = () => {
      opened = true;
      this.pause = FIRST_PAUSE;
      this.on.open?.(this);
    };
    this.socket.onmessage = (event) => this.on.message?.(event.data);
    this.socket.onclose = async (event) => {
      if (this.ended) return;
      this.on.lost?.(event.reason);
      const tried = token;
      if (!opened && await knock() === "locked" && tried === token) {
        if (this.ended) return;
        locked.add(this);
        this.on.locked?.();
        return;
      }
      this.timer = setTimeout(() => this.connect(), this.pause);
      this.pause = Math.min(2 * this.pause, LONGEST_PAUSE);
    };
  }

  send(data) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(data);
    return true;
  }

  end() {
    this.ended = true;
    locked.delete(this);
    clearTimeout(this.timer);
    this.socket.close();
  }
}
