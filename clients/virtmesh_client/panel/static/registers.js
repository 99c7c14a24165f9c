// The registers of a device bit by bit, with the values that the recorder saw last.

import { ask, devicePath } from "./connection.js";
import { byId, element } from "./format.js";

const NUMBER = /^(0x[0-9a-f]+|\d+)$/;

// "QueueSize[1]" and "capacity+4" are values of the registers QueueSize and capacity.
function partsOf(name) {
  const match = /^(.*?)(\[[^\]]*\])?(\+\d+)?$/.exec(name);
  return { base: match[1], which: (match[2] ?? "") + (match[3] ?? "") };
}

function strip(value, bits, fields) {
  const cells = element("div", { class: "cells", "aria-hidden": "true" });
  for (let bit = bits - 1; bit >= 0; bit -= 1) {
    const field = fields.find((one) => bit >= one.low && bit < one.low + one.width);
    cells.append(element("i", {
      "data-set": (value >> BigInt(bit)) & 1n ? "1" : "0",
      title: `bit ${bit}${field ? `: ${field.name}` : ""}`,
    }));
  }
  return cells;
}

function places(field) {
  return field.width > 1 ? `${field.low + field.width - 1}:${field.low}` : `${field.low}`;
}

function fieldNames(value, fields) {
  return fields.filter((one) => !one.reserved).map((one) => {
    const part = (value >> BigInt(one.low)) & ((1n << BigInt(one.width)) - 1n);
    const named = one.values.find((known) => BigInt(known.value) === part)?.name;
    const words = one.width === 1 && !named ? one.name : `${one.name} = ${named ?? part}`;
    return element("span", { "data-set": part ? "1" : "0", title: one.doc }, words, element("sub", {}, places(one)));
  });
}

// Names of bits without a field, such as those of features, come with the meaning.
function bitNames(meaning) {
  const words = meaning.replace(/^0x[0-9a-f]+ /, "");
  if (!words || NUMBER.test(words)) return [];
  return words.split("|").map((one) => element("span", { "data-set": "1" }, one.replace(/^VIRTIO_/, "")));
}

class Row {
  constructor(register) {
    this.register = register;
    this.body = element("div");
    const offset = "0x" + register.offset.toString(16).padStart(3, "0");
    this.head = element("header", {},
      element("code", { class: "muted" }, offset),
      element("span", { class: "reg-name" }, register.name + (register.bank ? ` (${register.bank})` : "")),
      element("span", { class: "reg-access" }, register.access === "reserved" ? "–" : register.access),
      element("span", { class: "grow" }));
    this.item = element("article", { class: "reg unseen" }, this.head,
      register.doc ? element("p", { class: "reg-doc muted" }, register.doc) : null, this.body);
  }

  show(seen) {
    const text = JSON.stringify(seen);
    if (text === this.text) return;
    this.text = text;
    this.item.classList.toggle("unseen", !seen.length);
    this.body.replaceChildren(...seen.map((one) => this.sighting(one)));
  }

  sighting({ which, value: [text, meaning, how] }) {
    const value = BigInt("0x" + text);
    const { fields, size } = this.register;
    const bits = 8 * Math.min(which.startsWith("+") ? 4 : size, 8);
    const named = fields.some((one) => !one.reserved) && !which;
    const names = named ? fieldNames(value, fields) : bitNames(meaning);
    return element("div", { class: "seen" },
      element("div", { class: "seen-head" },
        which ? element("span", {}, which) : null,
        element("code", {}, "0x" + text.padStart(bits / 4, "0")),
        element("span", { class: "how" }, how)),
      strip(value, bits, named ? fields : []),
      names.length ? element("div", { class: "names" }, ...names) : null);
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
        const { base, which } = partsOf(part);
        if (!seen.has(base)) seen.set(base, []);
        seen.get(base).push({ which, value });
      }
    }
    for (const list of seen.values()) list.sort((one, other) => one.which.localeCompare(other.which, "en", { numeric: true }));
    for (const row of this.rows) row.show(seen.get(row.register.name) ?? []);
    byId("registers-none").hidden = seen.size > 0;
  }
}
