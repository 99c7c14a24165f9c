// The screen: noVNC in a WebSocket. Keys and the pointer go to the machine while it has the focus.

import { protocols, socketUrl } from "./connection.js";
import { byId, lasting, setText } from "./format.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;

export class Screen {
  constructor() {
    this.name = null;
    this.pause = FIRST_PAUSE;
    this.target = byId("screen");
    byId("capture").addEventListener("click", () => this.capture());
    byId("send-cad").addEventListener("click", () => this.rfb?.sendCtrlAltDel());
    byId("fullscreen").addEventListener("click", () => byId("screen-panel").querySelector(".screen-box").requestFullscreen());
    this.target.addEventListener("focusin", () => this.captured(true));
    this.target.addEventListener("focusout", () => this.left());
    window.addEventListener("keydown", (event) => {
      if (!this.has || !(event.ctrlKey && event.altKey && event.key === "Escape")) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      this.release();
    }, true);
  }

  // Who may only look has a screen that takes no keys.
  allow(may) {
    this.viewOnly = !may.use;
    for (const id of ["capture", "send-cad"]) byId(id).hidden = this.viewOnly;
    if (this.rfb) this.rfb.viewOnly = this.viewOnly;
  }

  devices(devices, gone) {
    if (!devices.length) return;
    const gpu = devices.find((one) => one.kind === "gpu");
    if (!gpu) {
      this.end();
      this.name = null;
      this.empty("This machine has no screen", "Start one with a GPU: virtmesh up --device gpu");
      return;
    }
    this.state = gone ? "lost" : gpu.state;
    if (gpu.name !== this.name) {
      this.name = gpu.name;
      setText(byId("screen-title"), `Screen · ${gpu.name}`);
      this.open();
    }
    if (!this.shown) this.explain();
  }

  async open() {
    clearTimeout(this.timer);
    const { RFB } = await lasting(() => import("./vendor/novnc.js"));
    if (this.name === null) return;  // the GPU is gone by now
    this.rfb?.disconnect();
    const rfb = new RFB(this.target, socketUrl(`/vnc/${encodeURIComponent(this.name)}`), { shared: true, wsProtocols: protocols() });
    this.rfb = rfb;
    rfb.scaleViewport = true;
    rfb.clipViewport = false;
    rfb.resizeSession = false;
    rfb.focusOnClick = true;
    rfb.viewOnly = this.viewOnly;
    rfb.background = "transparent";
    rfb.addEventListener("connect", () => {
      if (rfb !== this.rfb) return;
      this.pause = FIRST_PAUSE;
      this.usable(true);
    });
    rfb.addEventListener("disconnect", () => {
      if (rfb !== this.rfb) return;
      this.rfb = null;
      this.usable(false);
      this.timer = setTimeout(() => this.open(), this.pause);
      this.pause = Math.min(2 * this.pause, LONGEST_PAUSE);
    });
  }

  end() {
    clearTimeout(this.timer);
    const { rfb } = this;
    this.rfb = null;
    rfb?.disconnect();
    this.usable(false);
  }

  usable(usable) {
    this.shown = usable;
    for (const id of ["capture", "send-cad", "fullscreen"]) byId(id).disabled = !usable;
    byId("screen-empty").hidden = usable;
    clearInterval(this.measuring);
    if (usable) {
      this.measure();
      this.measuring = setInterval(() => this.measure(), 1000);
    } else {
      this.captured(false);
      this.explain();
      setText(byId("screen-size"), "");
    }
  }

  measure() {
    const canvas = this.target.querySelector("canvas");
    if (canvas) setText(byId("screen-size"), `${canvas.width} × ${canvas.height}`);
  }

  explain() {
    const words = { ready: "Connecting to the screen", detached: "The GPU is detached", lost: "The GPU does not answer" };
    this.empty(words[this.state] ?? `The GPU is ${this.state ?? "being looked for"}`, "The page connects by itself when it is there.");
  }

  empty(title, why) {
    byId("screen-empty").hidden = false;
    setText(byId("screen-empty").firstElementChild, title);
    setText(byId("screen-why"), why);
  }

  capture() {
    this.rfb?.focus();
  }

  captured(has) {
    this.has = has;
    byId("screen-panel").classList.toggle("captured", has);
    byId("capture").setAttribute("aria-pressed", String(has));
    setText(byId("capture"), has ? "Ctrl + Alt + Esc leaves" : "Use keyboard and mouse");
  }

  left() {
    this.captured(false);
    // The release of keys that are down goes elsewhere now. noVNC releases them when the window is left.
    window.dispatchEvent(new Event("blur"));
  }

  release() {
    if (!this.rfb) return;
    this.rfb.blur();
    byId("capture").focus();
  }
}
