// The page: one state of the machine comes in, and each part shows its share of it.

import { Lasting, setToken } from "./connection.js";
import { Console } from "./console.js";
import { DeviceHead } from "./device.js";
import { Dialogue } from "./dialogue.js";
import { byId, rate, setText } from "./format.js";
import { Inputs } from "./inputs.js";
import { MachineMap } from "./map.js";
import { Overview } from "./overview.js";
import { Registers } from "./registers.js";
import { Screen } from "./screen.js";
import { Tabs } from "./tabs.js";
import { ThemeSwitch } from "./theme-switch.js";

const state = { machine: null, selected: null, live: false, locked: false, may: null };

const map = new MachineMap(select);
const head = new DeviceHead();
const overview = new Overview();
const dialogue = new Dialogue(sendWants);
const registers = new Registers();
const inputs = new Inputs();
const screen = new Screen();
const serial = new Console();
const tabs = new Tabs(byId("view-overview").parentElement, () => {
  sendWants();
  show();
});
new ThemeSwitch(() => {
  serial.paint();
  overview.paint();
});

const live = new Lasting("/live", {
  open: () => {
    state.live = true;
    state.locked = false;
    byId("locked").close();
    setText(byId("locked-why"), "");
    setText(byId("link"), "waiting for the machine");
    sendWants();
    show();
  },
  message: (text) => take(JSON.parse(text)),
  lost: () => {
    state.live = false;
    if (!state.locked) show();
  },
  locked: askForToken,
});

function take(message) {
  const { topic } = message;
  if (topic === "machine") {
    // Of a machine that is gone the devices stay on the map, as lost.
    if (message.state.gone) message.state.devices = state.machine?.devices ?? [];
    state.machine = message.state;
    const names = message.state.devices.map((one) => one.name);
    if (message.state.devices.length && !names.includes(state.selected)) select(favourite(message.state.devices));
    overview.add(message.state);
    show();
  } else if (topic === "history") overview.begin(message.state);
  else if (topic.startsWith("dialogue:")) dialogue.add(message.events, message.dropped);
  else if (topic === "inputs") inputs.add(message.events);
  else if (topic === "role") begin(message.state);
  else if (topic.startsWith("registers:")) registers.values(topic.slice("registers:".length), message.state);
}

// What the role of the token may: the rest is left out, or explained.
function begin({ role, may }) {
  state.may = may;
  setText(byId("role"), role);
  for (const part of [head, inputs, screen, serial]) part.allow(may, role);
  sendWants();
  show();
}

function favourite(devices) {
  return (devices.find((one) => one.kind === "gpu") ?? devices[0]).name;
}

function select(name) {
  if (name === state.selected) return;
  state.selected = name;
  overview.select(name);
  dialogue.select(name);
  registers.select(name);
  sendWants();
  show();
}

function sendWants() {
  const wants = [];
  if (tabs.shown === "dialogue" && !dialogue.paused) wants.push(dialogue.topic);
  if (tabs.shown === "inputs" && state.may?.inputs) wants.push("inputs");
  if (tabs.shown === "registers" && state.selected) wants.push("registers:" + state.selected);
  live.send(JSON.stringify({ wants }));
}

function show() {
  const { machine } = state;
  const gone = !state.live ? "the panel does not answer" : machine?.gone;
  const link = byId("link");
  link.dataset.state = gone && !state.locked ? "lost" : machine ? "ready" : "waiting";
  setText(link, state.locked ? "locked" : gone ? (state.live ? "machine gone" : "reconnecting") : machine ? "live" : "connecting");
  const notice = byId("notice");
  notice.hidden = !gone || state.locked;
  if (gone) setText(notice, state.live
    ? `The kernel service does not answer: ${gone}. The page waits for it.`
    : "The panel does not answer. The page waits for it, and goes on by itself.");
  document.body.classList.toggle("stale", Boolean(gone));
  if (!machine || !state.may) return;
  const devices = machine.devices;
  if (machine.machine) {
    setText(byId("machine-name"), machine.machine);
    document.title = `${machine.machine} · virtmesh`;
  }
  const total = (key) => devices.reduce((sum, one) => sum + (one[key] ?? 0), 0);
  for (const key of ["requests", "interrupts", "mmio"]) setText(byId("total-" + key), rate(total(key)) + " /s");
  const device = devices.find((one) => one.name === state.selected) ?? null;
  map.show(machine, state.selected, Boolean(gone));
  head.show(device, Boolean(gone));
  if (tabs.shown === "overview") overview.show(device);
  inputs.devices(devices, tabs.shown === "inputs");
  screen.devices(devices, Boolean(gone));
  serial.devices(devices, Boolean(gone));
}

function askForToken() {
  state.locked = true;
  show();
  const dialog = byId("locked");
  if (!dialog.open) dialog.showModal();
  byId("token").focus();
}

byId("token-form").addEventListener("submit", () => {
  setText(byId("locked-why"), "That token does not open this panel.");
  setToken(byId("token").value);
  byId("token").value = "";
});
byId("locked").addEventListener("cancel", (event) => event.preventDefault());
