// Small plots of the last two minutes.

import { element, lasting, setText } from "./format.js";

const SECONDS = 120;
let loading = null;

function load() {
  loading ??= lasting(() => import("./vendor/uplot.js")).then((module) => module.uPlot);
  return loading;
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export class Plot {
  constructor(target, legend, series, spell, sparse = false) {
    this.sparse = sparse;  // values that stand alone are points
    this.target = target;
    this.values = series.map(() => element("b"));
    legend.append(...series.map(([label, name], index) => {
      const made = element("span", {}, label, this.values[index]);
      made.style.setProperty("--tone", `var(${name})`);
      return made;
    }));
    this.series = series;
    this.spell = spell;
    this.data = null;
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(target);
  }

  size() {
    return { width: Math.max(this.target.clientWidth, 120), height: 106 };
  }

  async make() {
    const uPlot = await load();
    this.plot?.destroy();
    const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    this.plot = new uPlot({
      ...this.size(),
      padding: [8, 22, 0, 0],
      cursor: { show: false },
      legend: { show: false },
      scales: { x: { time: false, range: () => [-SECONDS, 0] }, y: { range: (_, low, high) => [0, Math.max(high * 1.15, 1)] } },
      axes: [
        { ...axis, size: 22, gap: 5, incrs: [30], values: (_, splits) => splits.map((at) => (at === 0 ? "now" : at <= -SECONDS ? "" : `${at} s`)) },
        { ...axis, size: 54, gap: 4, space: 26, values: (_, splits) => splits.map(this.spell) },
      ],
      series: [
        {},
        ...this.series.map(([label, name]) => ({
          label, stroke: color(name), width: 1.6, points: { show: this.sparse, size: 3 }, spanGaps: false,
          fill: color(name) + "1f",
        })),
      ],
    }, this.data, this.target);
  }

  show(data) {
    const first = this.data === null;
    const last = data[0].at(-1) ?? 0;
    this.data = [data[0].map((at) => at - last), ...data.slice(1)];
    this.values.forEach((target, index) => {
      const value = data[index + 1].at(-1);
      setText(target, value === null || value === undefined ? "–" : this.spell(value));
    });
    if (first) this.making = this.make();
    else this.plot?.setData(this.data);
  }

  paint() {
    if (this.data !== null) this.making = this.make();
  }
}
