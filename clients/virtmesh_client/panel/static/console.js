// The serial console: a terminal at the far end of the machine's line.

import { Lasting } from "./connection.js";
import { byId, lasting, setText } from "./format.js";

const THEME = { foreground: "--term-ink", background: "--term-bg", cursor: "--accent", cursorAccent: "--term-bg", selectionBackground: "--term-select" };
const SCROLLBACK = 5000;
const encoder = new TextEncoder();

export class Console {
  constructor() {
    this.name = null;
    this.may = false;
    byId("console-clear").addEventListener("click", () => this.terminal?.clear());
  }

  allow(may, role) {
    this.may = may.serial;
    if (this.may) return;
    this.line?.end();
    this.line = null;
    this.name = null;
    this.terminal?.reset();
    this.why = `The role ${role} does not open it: what is typed there may be a password.`;
    this.say("", "lost");
  }

  devices(devices, gone) {
    const port = devices.find((one) => one.kind === "uart" || one.compatible === "ns16550a");
    if (!devices.length) return;
    const empty = byId("console-empty");
    if (!port) {
      empty.hidden = false;
      setText(empty.firstElementChild, "This machine has no serial port");
      return;
    }
    if (!this.may) {
      empty.hidden = false;
      setText(empty.firstElementChild, `Serial console of ${port.name}`);
      setText(byId("console-why"), this.why);
      return;
    }
    empty.hidden = Boolean(this.terminal);
    setText(byId("console-why"), "");
    if (port.name !== this.name) this.open(port.name);
    if (gone) this.say("the machine is gone", "lost");
  }

  async open(name) {
    this.name = name;
    setText(byId("console-title"), `Serial console · ${name}`);
    const { Terminal, FitAddon } = await lasting(() => import("./vendor/xterm.js"));
    if (!this.may) return;  // another token came meanwhile
    this.terminal ??= this.make(Terminal, FitAddon);
    this.terminal.reset();
    byId("console-empty").hidden = true;
    this.line?.end();
    this.line = new Lasting(`/serial/${encodeURIComponent(name)}`, {
      open: () => {
        if (this.seen) this.terminal.reset();  // the earlier output comes again
        this.seen = true;
        this.say("connected", "ready");
      },
      message: (data) => (typeof data === "string" ? this.happened(JSON.parse(data)) : this.terminal.write(new Uint8Array(data))),
      lost: (why) => this.say(why ? `lost: ${why}` : "lost, waiting for it", "lost"),
    });
  }

  make(Terminal, FitAddon) {
    const terminal = new Terminal({
      fontFamily: "ui-monospace, 'JetBrains Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace",
      fontSize: 13, lineHeight: 1.15, scrollback: SCROLLBACK, cursorBlink: true, screenReaderMode: true,
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(byId("terminal"));
    terminal.onData((text) => this.type(encoder.encode(text)));
    terminal.onBinary((text) => this.type(Uint8Array.from(text, (one) => one.charCodeAt(0))));
    // Ctrl+Alt+Escape leaves the terminal, which takes the Tab key for itself.
    terminal.attachCustomKeyEventHandler((event) => {
      if (!(event.ctrlKey && event.altKey && event.key === "Escape")) return true;
      if (event.type === "keydown") byId("console-clear").focus();
      return false;
    });
    new ResizeObserver(() => fit.fit()).observe(byId("terminal"));
    fit.fit();
    this.terminal = terminal;
    this.paint();
    return terminal;
  }

  type(data) {
    if (!this.line?.send(data)) this.say("not connected: what you type is lost", "lost");
  }

  happened({ event, message, missed_bytes: missed, reason }) {
    if (event === "disconnected") this.say(`the port is gone: ${reason}`, "lost");
    else if (event === "reconnected") this.say("connected again", "ready");
    else if (event === "restarted") this.say("its service was restarted", "ready");
    else if (event === "gap") this.say(`${missed} bytes are missing`, "ready");
    else if (event === "refused" || event === "error") this.say(message, "lost");
  }

  say(text, state) {
    const target = byId("console-state");
    target.dataset.state = state;
    setText(target, text);
  }

  paint() {
    if (!this.terminal) return;
    const style = getComputedStyle(document.documentElement);
    this.terminal.options.theme = Object.fromEntries(
      Object.entries(THEME).map(([key, name]) => [key, style.getPropertyValue(name).trim()]));
  }
}
