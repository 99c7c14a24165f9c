// Bundles what the panel takes from others: one module for each, beside its licence.
// Run by tools/panel_assets.py, with the output folder as the only argument.
import { build } from "esbuild";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const out = process.argv[2];
const modules = {
  "novnc.js": 'export { default as RFB } from "@novnc/novnc";',
  "xterm.js": 'export { Terminal } from "@xterm/xterm"; export { FitAddon } from "@xterm/addon-fit";',
  "uplot.js": 'export { default as uPlot } from "uplot";',
};
for (const [name, contents] of Object.entries(modules)) {
  await build({
    stdin: { contents, resolveDir: process.cwd() },
    bundle: true, format: "esm", minify: true, charset: "utf8", legalComments: "none",
    target: "es2022", outfile: join(out, name), logLevel: "warning",
  });
}
await build({
  stdin: {
    contents: '@import "@xterm/xterm/css/xterm.css"; @import "uplot/dist/uPlot.min.css";',
    resolveDir: process.cwd(), loader: "css",
  },
  bundle: true, minify: true, legalComments: "none", outfile: join(out, "vendor.css"),
});
const parts = [["@novnc/novnc", "LICENSE.txt"], ["@novnc/novnc", "docs/LICENSE.MPL-2.0"],
  ["@novnc/novnc", "vendor/pako/LICENSE"], ["@xterm/xterm", "LICENSE"],
  ["@xterm/addon-fit", "LICENSE"], ["uplot", "LICENSE"]];
let text = "";
for (const [name, file] of parts) {
  const folder = join("node_modules", name);
  const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  text += `${name} ${about.version} (${about.license}), https://www.npmjs.com/package/${name}\n\n`;
  text += (await readFile(join(folder, file), "utf8")).trim() + "\n\n";
}
// The licences of noVNC's DES stand at the head of its file only.
const des = await readFile("node_modules/@novnc/novnc/core/crypto/des.js", "utf8");
text += "core/crypto/des.js of @novnc/novnc\n\n";
text += des.slice(0, des.indexOf("*/")).replace(/^ ?\/?\*+ ?/gm, "").trim() + "\n";
await writeFile(join(out, "LICENSES.txt"), text);
