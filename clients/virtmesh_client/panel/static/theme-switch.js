// Light, dark, or as the system has it.

import { byId } from "./format.js";

const KEY = "virtmesh.theme";
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };
const WORDS = { auto: "as the system", light: "light", dark: "dark" };

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export class ThemeSwitch {
  constructor(changed) {
    this.button = byId("theme");
    this.changed = changed;
    this.theme = document.documentElement.dataset.theme ?? "auto";
    this.button.addEventListener("click", () => this.next());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
    this.show();
  }

  next() {
    const order = isDark() ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    this.theme = order[(order.indexOf(this.theme) + 1) % order.length];
    if (this.theme === "auto") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem(KEY);
    } else {
      document.documentElement.dataset.theme = this.theme;
      localStorage.setItem(KEY, this.theme);
    }
    this.show();
    this.changed();
  }

  show() {
    this.button.firstElementChild.textContent = SIGNS[this.theme];
    this.button.setAttribute("aria-label", `Theme: ${WORDS[this.theme]}`);
    this.button.title = `Theme: ${WORDS[this.theme]}`;
  }
}
