// What became of each injected event, and a way to inject some.

import { ask, devicePath } from "./connection.js";
import { byId, element, facts, setText, span } from "./format.js";

const ROWS = 200;
const CHORDS = ["enter", "tab", "esc", "backspace", "up", "down", "left", "right", "ctrl+c", "ctrl+alt+delete"];
const STEPS = [["raised", "interrupt"], ["arrived", "arrived"], ["used", "taken"]];
const ACCOUNT_PAUSE = 1000;

export class Inputs {
  constructor() {
    this.list = byId("inputs");
    this.keyboard = null;
    this.keyboards = new Set();
    this.asked = 0;
    this.longest = 100;
    byId("type-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const field = byId("type-text");
      if (field.value) this.inject("type", field.value);
      field.value = "";
    });
    byId("chords").append(...CHORDS.map((chord) => {
      const button = element("button", { type: "button", class: "key" }, chord);
      button.addEventListener("click", () => this.inject("key", chord));
      return button;
    }));
  }

  allow(may, role) {
    byId("type-form").hidden = !may.type;
    const none = byId("inputs-none");
    none.hidden = may.inputs;
    setText(none, `The role ${role} does not see what others type: it may be a password.`);
    if (!may.inputs) {
      this.list.replaceChildren();
      delete this.list.dataset.last;
    }
  }

  async inject(what, text) {
    if (!this.keyboard) return;
    try {
      const told = await ask(devicePath(this.keyboard, what), { method: "POST", body: { text } });
      setText(byId("receipt"), `${told.packets} packets, ${told.events} events: ${told.outcome}` + (told.lost ? `, ${told.lost} lost` : ""));
    } catch (error) {
      setText(byId("receipt"), error.message);
    }
    this.account();
  }

  devices(devices, shown) {
    const found = devices.filter((one) => one.kind === "input");
    this.names = found.map((one) => one.name);
    this.found = found.filter((one) => one.state === "ready").map((one) => one.name);
    this.choose();
    if (shown && performance.now() - this.asked > ACCOUNT_PAUSE) this.account();
  }

  // The first that has letters and Enter, whatever its name is.
  choose() {
    this.keyboard = this.names.find((name) => this.keyboards.has(name)) ?? null;
    setText(byId("type-device"), this.keyboard ?? "a keyboard, which the machine lacks");
    for (const one of byId("type-form").querySelectorAll("input, button")) one.disabled = !this.keyboard;
  }

  async account() {
    this.asked = performance.now();
    const names = this.found ?? [];
    const answers = await Promise.allSettled(names.map((name) => ask(devicePath(name, "input"))));
    const total = {};
    answers.forEach(({ value }, index) => {
      if (!value) return;
      if (value.is_keyboard) this.keyboards.add(names[index]);
      else this.keyboards.delete(names[index]);
      for (const [key, count] of Object.entries(value.stats)) total[key] = (total[key] ?? 0) + count;
    });
    this.choose();
    facts(byId("account"), [
      ["accepted", total.packets_accepted], ["delivered", total.packets_delivered], ["waiting", total.packets_waiting],
      ["refused", total.packets_refused], ["lost", total.packets_lost],
    ]);
  }

  add(events) {
    const known = this.list.dataset.last ?? "";
    const begin = events.findIndex((one) => `${one.device} ${one.sequence}` === known);
    const fresh = events.slice(begin + 1);
    if (!fresh.length) return;
    this.list.dataset.last = `${fresh.at(-1).device} ${fresh.at(-1).sequence}`;
    this.list.prepend(...fresh.reverse().map((one) => this.row(one)));
    while (this.list.children.length > ROWS) this.list.lastElementChild.remove();
  }

  row(event) {
    const steps = event.steps ?? {};
    const total = steps.used ?? 0;
    const report = event.event.startsWith("SYN_REPORT");
    const bar = element("span", { class: "track", "aria-hidden": "true" });
    for (const [name] of STEPS) {
      if (steps[name] === undefined) continue;
      bar.append(element("i", { "data-step": name }));
      bar.lastChild.style.left = `${Math.min(100, 100 * steps[name] / Math.max(total, 1))}%`;
    }
    const words = STEPS.filter(([name]) => steps[name] !== undefined).map(([name, word]) => `${word} +${span(steps[name])}`);
    const at = new Date(event.time_us / 1000);
    const clock = at.toTimeString().slice(0, 8) + "." + String(at.getMilliseconds()).padStart(3, "0");
    return element("li", { class: report ? "input report" : "input" },
      element("span", { class: "input-time" }, clock),
      element("span", { class: "input-event" }, element("b", {}, event.event), element("span", { class: "muted" }, ` ${event.device}`)),
      element("span", { class: "input-end" }, total ? span(total) : "delivered"),
      bar,
      element("span", { class: "input-steps muted" },
        event.buffer === undefined ? "the recorder has no more of it" : `buffer #${event.buffer} · ${words.join(" · ")}`));
  }
}
