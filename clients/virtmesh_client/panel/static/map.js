// The machine as a map: the kernel, the bus, and each device service on it, with its traffic.

import { byId, element, rate, setText } from "./format.js";

const KINDS = {
  blk: ["disk", "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3v12c0 1.7-3.6 3-8 3s-8-1.3-8-3zM4 6c0 1.7 3.6 3 8 3s8-1.3 8-3M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3"],
  gpu: ["graphics", "M3 4h18v12H3zM9 20h6M12 16v4"],
  input: ["input", "M3 7h18v10H3zM7 13.5h10M7 10.5h.01M10.5 10.5h.01M14 10.5h.01M17 10.5h.01"],
  uart: ["serial port", "M4 5h16v14H4zM7 9l3 3-3 3M12.5 15H17"],
};
const POINTERS = { mouse: 1, tablet: 1, multitouch: 1 };
const POINTER = "M12 3c3.3 0 5 2.2 5 5v8c0 2.8-1.7 5-5 5s-5-2.2-5-5V8c0-2.8 1.7-5 5-5zM12 7v3";
const OTHER = ["device", "M5 5h14v14H5zM9 1.8V5M15 1.8V5M9 19v3.2M15 19v3.2"];
const POINTS = 40;
const NEWS = 12;
const SVG = "http://www.w3.org/2000/svg";

function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function sparkline() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${POINTS} 16`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("spark");
  svg.append(document.createElementNS(SVG, "path"), document.createElementNS(SVG, "path"));
  svg.firstChild.classList.add("spark-fill");
  return svg;
}

class Stop {
  constructor(device, chosen) {
    this.values = [];
    this.time = 0;
    const [, path] = KINDS[device.kind] ?? OTHER;
    const drawn = device.kind === "input" && POINTERS[device.name] ? POINTER : path;
    this.state = element("span", { class: "dot", "aria-hidden": "true" });
    this.words = element("span", { class: "muted stop-words" });
    this.rate = element("span", { class: "stop-rate" });
    this.spark = sparkline();
    this.button = element("button", { type: "button", class: "stop" },
      element("span", { class: "stop-icon" }, icon(drawn)),
      element("span", { class: "stop-text" },
        element("span", { class: "stop-name" }, device.name, this.state), this.words),
      element("span", { class: "stop-traffic" }, this.rate, this.spark));
    this.button.addEventListener("click", () => chosen(device.name));
    this.item = element("li", {}, element("span", { class: "wire", "aria-hidden": "true" }), this.button);
  }

  show(device, time, selected, gone) {
    const state = gone ? "lost" : device.state;
    this.button.dataset.state = state;
    this.button.setAttribute("aria-current", selected ? "true" : "false");
    const kind = (KINDS[device.kind] ?? OTHER)[0];
    setText(this.words, state === "ready" ? kind : state);
    const traffic = (device.requests ?? 0) + (device.mmio ?? 0);
    setText(this.rate, state === "ready" && traffic ? `${rate(traffic)}/s` : "");
    this.item.classList.toggle("busy", state === "ready" && traffic > 0);
    this.button.title = device.why || `${device.name}: ${state}`;
    if (time === this.time) return;
    this.time = time;
    this.values.push(traffic);
    if (this.values.length > POINTS) this.values.shift();
    this.draw();
  }

  draw() {
    const highest = Math.max(...this.values, 1);
    const first = POINTS - this.values.length;
    const points = this.values.map((value, index) =>
      `${first + index},${(15 - 13 * Math.sqrt(value / highest)).toFixed(1)}`);
    const [fill, line] = this.spark.children;
    line.setAttribute("d", "M" + points.join("L"));
    fill.setAttribute("d", `M${first},16L${points.join("L")}L${POINTS - 1},16Z`);
  }
}

// The latest changes of states, the newest first.
class News {
  constructor() {
    this.list = byId("news");
    this.states = null;
    this.say(null, "the page was opened");
  }

  look(machine, gone) {
    const states = new Map(machine.devices.map((one) => [one.name, one.state]));
    states.set("kernel", gone ? "lost" : "ready");
    for (const [name, state] of states) {
      const before = this.states?.get(name);
      if (this.states && before !== state && (before || name !== "kernel")) this.say(name, state);
    }
    this.states = states;
  }

  say(name, state) {
    const clock = new Date().toTimeString().slice(0, 8);
    this.list.prepend(element("li", { "data-state": name ? state : null },
      element("time", {}, clock), element("span", {}, name ? element("b", {}, name) : null, name ? ` ${state}` : state)));
    while (this.list.children.length > NEWS) this.list.lastElementChild.remove();
  }
}

export class MachineMap {
  constructor(chosen) {
    this.chosen = chosen;
    this.list = byId("devices");
    this.stops = new Map();
    this.news = new News();
  }

  show(machine, selected, gone) {
    const names = machine.devices.map((one) => one.name);
    if (names.length && names.join("\n") !== [...this.stops.keys()].join("\n")) {
      const known = this.stops;
      this.stops = new Map(machine.devices.map((one) => [one.name, known.get(one.name) ?? new Stop(one, this.chosen)]));
      this.list.replaceChildren(...[...this.stops.values()].map((one) => one.item));
    }
    const ready = machine.devices.filter((one) => one.state === "ready").length;
    byId("kernel").dataset.state = gone ? "lost" : "ready";
    setText(byId("kernel-detail"), gone ? "does not answer" : `${ready} of ${names.length} devices ready`);
    for (const device of machine.devices) {
      this.stops.get(device.name).show(device, machine.time, device.name === selected, gone);
    }
    this.news.look(machine, gone);
  }
}
