// Numbers in words, and elements without markup: texts of a machine are never parsed as HTML.

export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (value < 10) return value.toFixed(1);
  return quantity(value);
}

export function quantity(value) {
  if (value === null || value === undefined) return "–";
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (value >= limit) return (value / (unit === "k" ? 1e3 : limit)).toFixed(1) + " " + unit;
  }
  return Number.isInteger(value) ? String(value) : value.toFixed(0);
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [limit, unit] of [[1 << 30, "GiB"], [1 << 20, "MiB"], [1 << 10, "KiB"]]) {
    if (value >= limit) return (value / limit).toFixed(1) + " " + unit;
  }
  return Math.round(value) + " B";
}

export function span(microseconds) {
  if (microseconds === null || microseconds === undefined) return "–";
  if (microseconds < 1000) return microseconds.toFixed(microseconds < 10 ? 1 : 0) + " µs";
  if (microseconds < 1e6) return (microseconds / 1e3).toFixed(microseconds < 1e4 ? 2 : 1) + " ms";
  return (microseconds / 1e6).toFixed(2) + " s";
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

// Loads a module, however often the network fails on the way.
export async function lasting(load) {
  for (;;) {
    try {
      return await load();
    } catch {
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    }
  }
}

export function byId(id) {
  return document.getElementById(id);
}

// Changes a text only when it differs: what is selected stays selected, and nothing is laid out anew.
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export function facts(target, pairs) {
  const wanted = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const names = wanted.map(([name]) => name).join("\n");
  if (target.dataset.names !== names) {
    target.dataset.names = names;
    target.replaceChildren(...wanted.map(([name]) =>
      element("div", {}, element("dt", {}, name), element("dd"))));
  }
  wanted.forEach(([, value], index) => setText(target.children[index].lastChild, String(value)));
}
