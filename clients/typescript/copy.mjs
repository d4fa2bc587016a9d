// After tsc: the dashboard gets the very modules, and SHA256SUMS says of what they were compiled.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const here = import.meta.dirname;
const dashboard = join(here, "../../lokifi/dashboard/static/dashboard/client");
const sums = [];
for (const folder of ["src", "dist"]) {
  for (const name of readdirSync(join(here, folder)).sort()) {
    const content = readFileSync(join(here, folder, name));
    sums.push(`${createHash("sha256").update(content).digest("hex")}  ${folder}/${name}\n`);
  }
}
writeFileSync(join(here, "SHA256SUMS"), sums.join(""));
mkdirSync(dashboard, { recursive: true });
for (const name of readdirSync(join(here, "dist"))) {
  if (name.endsWith(".js")) copyFileSync(join(here, "dist", name), join(dashboard, name));
}
