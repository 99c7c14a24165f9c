// Tabs, as the ARIA practices describe them: arrows move, and the tab in focus is shown.

export class Tabs {
  constructor(root, changed) {
    this.tabs = [...root.querySelectorAll("[role=tab]")];
    this.changed = changed;
    this.shown = "overview";
    for (const tab of this.tabs) {
      tab.addEventListener("click", () => this.show(tab));
      tab.addEventListener("keydown", (event) => this.key(event, tab));
    }
  }

  key(event, tab) {
    const last = this.tabs.length - 1;
    const at = this.tabs.indexOf(tab);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = this.tabs[(to + last + 1) % (last + 1)];
    next.focus();
    this.show(next);
  }

  show(tab) {
    for (const one of this.tabs) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
    }
    this.shown = tab.id.replace("tab-", "");
    this.changed();
  }
}
