// The device that is chosen: its state, and what can be done to it.

import { ask, devicePath } from "./connection.js";
import { byId, setText } from "./format.js";

const WORDS = {
  reset: ["Reset", "The kernel gives the device back and brings it up anew. Requests in flight fail, and what it held is lost."],
  restart: ["Restart", "The service of the device is ended and started anew, and one that is held is brought back. What a disk had in flight is carried out by the new one."],
  detach: ["Detach", "The kernel gives the device back and leaves it alone. What uses it fails until it is attached again."],
};

export function confirmed(title, text, verb) {
  const dialog = byId("confirm");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), verb);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export class DeviceHead {
  constructor() {
    this.device = null;
    this.underWay = "";
    this.failure = "";
    byId("reset").addEventListener("click", () => this.act("reset"));
    byId("restart").addEventListener("click", () => this.act("restart"));
    byId("detach").addEventListener("click", () => this.act(this.device.state === "detached" ? "attach" : "detach"));
  }

  allow(may) {
    this.may = may;
    byId("reset").hidden = !may.reset;
    byId("restart").hidden = !may.restart;
  }

  show(device, gone) {
    if (device?.name !== this.device?.name) this.failure = "";
    this.device = device;
    this.gone = gone;
    if (!device) return;
    const state = gone ? "lost" : device.state;
    setText(byId("device-name"), device.name);
    const pill = byId("device-state");
    pill.dataset.state = state;
    setText(pill, this.underWay || state);
    setText(byId("device-kind"), [device.driver, device.kind && `kind ${device.kind}`, device.compatible].filter(Boolean).join(" · "));
    const ours = !gone && device.state !== "reserved" && !this.underWay;
    byId("reset").disabled = !ours;
    byId("restart").disabled = Boolean(gone || this.underWay);
    const detach = byId("detach");
    detach.disabled = !ours;
    setText(detach, device.state === "detached" ? "Attach" : "Detach");
    detach.hidden = !this.may[device.state === "detached" ? "attach" : "detach"];
    detach.classList.toggle("danger", device.state !== "detached");
    const why = this.failure || (device.state === "ready" ? "" : device.why);
    byId("device-why").hidden = !why;
    setText(byId("device-why"), why);
  }

  async act(what) {
    const { name } = this.device;
    const [verb, text] = WORDS[what] ?? [];
    if (verb && !await confirmed(`${verb} ${name}?`, text, verb)) return;
    this.underWay = { reset: "resetting", restart: "restarting", detach: "detaching", attach: "attaching" }[what];
    this.failure = "";
    this.show(this.device, this.gone);
    try {
      await ask(devicePath(name, what), { method: "POST" });
    } catch (error) {
      this.failure = error.message;
    }
    this.underWay = "";
    this.show(this.device, this.gone);
  }
}
