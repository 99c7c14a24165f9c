// The dialogue of driver and device as a sequence diagram: two lifelines, an arrow for each event.

import { byId, element, setText, span } from "./format.js";

const ROWS = 300;
const GROUPS = {
  register: ["register_read", "register_write", "read_refused", "write_refused", "reserved_bits", "cpu_access"],
  queue: ["add", "pop", "push", "pop_used", "request_start", "request_end", "request_held"],
  interrupt: ["notify", "notify_suppressed", "interrupt", "interrupt_suppressed", "level", "acknowledge", "irq"],
  state: ["status", "reset", "attach", "detach", "fault", "quirk", "violation"],
};
// Which way an event goes: to the device, to the driver, or neither.
const WAYS = {
  register_write: "to-device", write_refused: "to-device", notify: "to-device", add: "to-device", acknowledge: "to-device",
  register_read: "to-driver", read_refused: "to-driver", push: "to-driver", interrupt: "to-driver", level: "to-driver",
  pop: "at-device", request_start: "at-device", request_end: "at-device", request_held: "at-device", irq: "at-driver", pop_used: "at-driver",
};
const ALWAYS = ["lost", "gone", "back"];
const ALARMS = ["read_refused", "write_refused", "request_held", "fault", "violation", "quirk", ...ALWAYS];

export class Dialogue {
  constructor(changed) {
    this.list = byId("dialogue");
    this.changed = changed;
    this.paused = false;
    this.events = [];
    this.last = 0;
    byId("dialogue-pause").addEventListener("click", () => this.pause(!this.paused));
    byId("dialogue-group").addEventListener("change", () => this.redraw());
    byId("dialogue-all").addEventListener("change", () => this.begin());
  }

  get topic() {
    return byId("dialogue-all").checked ? "dialogue:" : `dialogue:${this.name}`;
  }

  // Another topic brings its latest events again.
  begin() {
    this.events = [];
    this.redraw();
    if (this.paused) this.pause(false);
    else this.changed();
  }

  select(name) {
    this.name = name;
    if (!byId("dialogue-all").checked) this.begin();
  }

  pause(paused) {
    this.paused = paused;
    const button = byId("dialogue-pause");
    button.setAttribute("aria-pressed", String(paused));
    setText(button, paused ? "Go on" : "Pause");
    this.list.classList.toggle("paused", paused);
    this.changed();
  }

  add(events, dropped) {
    if (events.length && events.at(-1).number < this.last) this.events = [];  // the panel began anew
    const first = events.findIndex((one) => one.number > (this.events.at(-1)?.number ?? 0));
    if (first < 0 || this.paused) return;
    const fresh = events.slice(first);
    if (dropped) fresh.unshift({ number: fresh[0].number, us: fresh[0].us, device: this.name, kind: "lost", actor: "", text: `${dropped} events are left out here: they came faster than the page shows them` });
    this.last = fresh.at(-1).number;
    this.events.push(...fresh);
    if (this.events.length > 4 * ROWS) this.events.splice(0, this.events.length - 4 * ROWS);
    this.append(fresh.filter((one) => this.fits(one)));
  }

  fits(event) {
    const group = byId("dialogue-group").value;
    return !group || GROUPS[group].includes(event.kind) || ALWAYS.includes(event.kind);
  }

  redraw() {
    this.list.replaceChildren();
    this.before = null;
    this.append(this.events.filter((one) => this.fits(one)));
  }

  append(events) {
    if (!events.length) {
      if (!this.list.children.length) this.list.replaceChildren(element("li", { class: "nothing muted" }, "Nothing was said yet. Use the device, and it appears here."));
      return;
    }
    if (this.list.firstElementChild?.classList.contains("nothing")) this.list.replaceChildren();
    const { list } = this;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    list.append(...events.slice(-ROWS).map((one) => this.row(one)));
    while (list.children.length > ROWS) list.firstElementChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  row(event) {
    const pause = this.before === null || this.before === undefined ? null : event.us - this.before;
    this.before = event.us;
    const way = WAYS[event.kind] ?? (event.side === "driver" ? "at-driver" : "at-device");
    const since = event.since_us === undefined ? "" : `+${span(event.since_us)}`;
    return element("li", { class: `say ${way}`, "data-kind": event.kind, "data-alarm": ALARMS.includes(event.kind) },
      element("span", { class: "say-time" }, pause === null ? "" : pause >= 0 ? `+${span(pause)}` : ""),
      element("span", { class: "say-line", "aria-hidden": "true" }),
      element("span", { class: "say-text" }, byId("dialogue-all").checked ? element("b", {}, `${event.device} `) : null, event.text),
      element("span", { class: "say-since" }, since));
  }
}
