// A device in numbers: rates and latencies of the last two minutes, its status, figures and facts.

import { byId, bytes, element, facts, quantity, rate, span } from "./format.js";
import { Plot } from "./plots.js";

const KEPT = 130;
const KEYS = ["requests", "interrupts", "mmio", "bytes", "p50_ns", "p99_ns"];
const STATUS = ["ACKNOWLEDGE", "DRIVER", "FEATURES_OK", "DRIVER_OK", "DEVICE_NEEDS_RESET", "FAILED"];

function spell(figure) {
  const value = figure.is_rate ? figure.rate : figure.value;
  const words = figure.unit === "bytes" ? bytes(value) : figure.is_rate ? rate(value) : quantity(value);
  return figure.is_rate ? `${words}/s` : words;
}

export class Overview {
  constructor() {
    this.rows = [];
    this.name = null;
    this.rates = new Plot(byId("plot-rates"), byId("legend-rates"), [["requests", "--series-1"], ["interrupts", "--series-2"], ["registers", "--series-3"]], (value) => rate(value));
    this.latency = new Plot(byId("plot-latency"), byId("legend-latency"), [["median", "--series-1"], ["p99", "--series-2"]], (value) => (value ? span(value) : "0"), true);
  }

  begin(history) {
    this.rows = history.slice(-KEPT);
  }

  add(machine) {
    if (machine.gone || this.rows.at(-1)?.time >= machine.time) return;
    const rates = Object.fromEntries(machine.devices.map((one) => [one.name, KEYS.map((key) => one[key])]));
    this.rows.push({ time: machine.time, rates });
    if (this.rows.length > KEPT) this.rows.shift();
  }

  select(name) {
    this.name = name;
  }

  paint() {
    this.rates.paint();
    this.latency.paint();
  }

  column(key, scale = 1) {
    const at = KEYS.indexOf(key);
    return this.rows.map((row) => {
      const value = row.rates[this.name]?.[at];
      return value === null || value === undefined ? null : value * scale;
    });
  }

  show(device) {
    if (!device) return;
    const times = this.rows.map((row) => row.time);
    this.rates.show([times, this.column("requests"), this.column("interrupts"), this.column("mmio")]);
    this.latency.show([times, this.column("p50_ns", 1e-3), this.column("p99_ns", 1e-3)]);
    this.status(device);
    const figures = device.figures.filter((one) => one.value !== null && one.value !== undefined);
    byId("figures-title").hidden = !figures.length;
    facts(byId("figures"), figures.map((one) => [one.label, spell(one)]));
    facts(byId("facts"), [
      ["registers at", "0x" + device.address.toString(16)],
      ["interrupt line", device.irq],
      ["virtio device ID", device.virtio_id || ""],
      ["notified by", device.doorbell],
      ["in flight", device.in_flight],
      ["interrupts saved", device.suppressed === null ? "" : `${Math.round(device.suppressed * 100)} %`],
      ["bytes", device.bytes === null ? "" : `${bytes(device.bytes)}/s`],
      ["service", device.endpoint],
    ]);
    byId("features-title").hidden = !device.features.length;
    const features = byId("features");
    if (features.dataset.names !== device.features.join()) {
      features.dataset.names = device.features.join();
      features.replaceChildren(...device.features.map((one) => element("li", {}, one.replace(/^VIRTIO_/, ""))));
    }
  }

  status(device) {
    const names = device.virtio_id ? STATUS : [];
    const target = byId("status-bits");
    if (target.dataset.names !== names.join()) {
      target.dataset.names = names.join();
      target.replaceChildren(...(names.length
        ? names.map((name) => element("span", { class: "bit" }, name))
        : [element("span", { class: "muted" }, "no virtio device: it has no status")]));
    }
    names.forEach((name, index) => {
      const set = device.status.includes(name);
      target.children[index].dataset.set = String(set);
      target.children[index].setAttribute("aria-label", `${name}: ${set ? "set" : "clear"}`);
      target.children[index].classList.toggle("alarm", set && index >= 4);
    });
  }
}
