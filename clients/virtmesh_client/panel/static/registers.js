// The registers of a device bit by bit, with the values that the recorder saw last.

import { ask, devicePath } from "./connection.js";
import { byId, element, setText } from "./format.js";

const hex = (value, size) => "0x" + value.toString(16).padStart(2 * Math.min(size, 4), "0");

// "QueueSize[1]" and "capacity+4" are values of the registers QueueSize and capacity.
function baseOf(name) {
  return name.replace(/\[[^\]]*\]$/, "").replace(/\+\d+$/, "");
}

class Row {
  constructor(register) {
    this.register = register;
    this.value = element("code", { class: "reg-value" }, "–");
    this.how = element("span", { class: "muted small" });
    this.meaning = element("p", { class: "reg-meaning muted" });
    this.cells = element("div", { class: "cells", "aria-hidden": "true" });
    const bits = 8 * Math.min(register.size, 4);
    for (let bit = bits - 1; bit >= 0; bit -= 1) {
      const field = register.fields.find((one) => bit >= one.low && bit < one.low + one.width);
      this.cells.append(element("i", { "data-bit": bit, "data-field": field && !field.reserved ? field.name : null, title: field ? `[${bit}] ${field.name}` : `[${bit}]` }));
    }
    const offset = "0x" + register.offset.toString(16).padStart(3, "0");
    this.item = element("article", { class: "reg", tabindex: "0" },
      element("header", {},
        element("code", { class: "muted" }, offset),
        element("span", { class: "reg-name" }, register.name + (register.bank ? ` (${register.bank})` : "")),
        element("span", { class: "reg-access" }, register.access === "reserved" ? "–" : register.access),
        element("span", { class: "grow" }), this.how, this.value),
      this.cells, this.meaning);
    this.item.title = register.doc;
  }

  show(seen) {
    const last = seen.at(-1);
    this.item.classList.toggle("unseen", !last);
    if (!last) {
      setText(this.value, "–");
      setText(this.how, "");
      setText(this.meaning, this.register.doc);
      for (const cell of this.cells.children) delete cell.dataset.set;
      return;
    }
    const [name, [text, meaning, how]] = last;
    const value = BigInt("0x" + text);
    setText(this.value, hex(value, this.register.size));
    setText(this.how, how);
    const others = seen.slice(0, -1).map(([other, [, spelled]]) => `${other} = ${spelled}`);
    const words = /^(0x[0-9a-f]+|\d+)$/.test(meaning) && name === this.register.name ? this.register.doc : `${name === this.register.name ? "" : name + " = "}${meaning}`;
    setText(this.meaning, [...others, words].join("\n"));
    for (const cell of this.cells.children) {
      const set = (value >> BigInt(cell.dataset.bit)) & 1n;
      cell.dataset.set = set ? "1" : "0";
    }
  }
}

export class Registers {
  constructor() {
    this.target = byId("registers");
    this.rows = [];
    this.known = {};
  }

  async select(name) {
    this.name = name;
    this.rows = [];
    this.known = {};
    this.target.replaceChildren(element("p", { class: "muted" }, "Asking the device for its registers"));
    try {
      const about = await ask(devicePath(name, "registers"));
      if (this.name !== name) return;
      this.rows = about.registers.map((one) => new Row(one));
      this.target.replaceChildren(...this.rows.map((row) => row.item));
      this.show();
    } catch (error) {
      if (this.name !== name) return;
      const again = element("button", { type: "button", class: "button" }, "Ask again");
      again.addEventListener("click", () => this.select(name));
      this.target.replaceChildren(element("p", { class: "why" }, error.message), again);
    }
  }

  values(name, known) {
    if (name !== this.name) return;
    this.known = known;
    this.show();
  }

  show() {
    const seen = new Map();
    for (const [name, value] of Object.entries(this.known)) {
      for (const part of name.split("/")) {
        const base = baseOf(part);
        if (!seen.has(base)) seen.set(base, []);
        seen.get(base).push([name, value]);
      }
    }
    for (const row of this.rows) row.show(seen.get(row.register.name) ?? []);
  }
}
