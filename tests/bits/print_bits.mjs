// What print_bits.c does, for the WebAssembly module: node print_bits.mjs MODULE. The module may not import anything.
import { readFileSync } from "node:fs";
import process from "node:process";

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const imports = WebAssembly.Module.imports(module);
if (imports.length > 0) {
  throw new Error(`the module imports ${JSON.stringify(imports)}`);
}
const core = new WebAssembly.Instance(module, {}).exports;
core._initialize();
const status = core.same_bits_run();
if (status !== 0) {
  throw new Error(`status ${status}`);
}
const lines = [];
for (const kind of [0, 1]) {
  lines.push(`kind ${kind}`);
  const bits = new BigUint64Array(core.memory.buffer, core.same_bits_values(kind), core.same_bits_count(kind));
  for (const number of bits) {
    lines.push(number.toString(16).padStart(16, "0"));
  }
}
console.log(lines.join("\n"));
