// The graph of pixels in ONNX Runtime Web: node agreement.mjs FOLDER_WITH_NODE_MODULES GRAPH PIXELS
// PIXELS: width and height as 32-bit numbers, then RGB, for one picture after the other.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [place, graph, packed] = process.argv.slice(2);
const ort = createRequire(`${place}/package.json`)("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(graph), { executionProviders: ["wasm"] });
const data = readFileSync(packed);
const lines = [];
for (let at = 0; at < data.length; ) {
  const [width, height] = [data.readUInt32LE(at), data.readUInt32LE(at + 4)];
  const pixels = new Uint8Array(data.subarray(at + 8, at + 8 + 3 * width * height));
  at += 8 + pixels.length;
  const found = await session.run({ pixels: new ort.Tensor("uint8", pixels, [1, height, width, 3]) });
  const logits = Array.from(found.logits.data);
  lines.push(JSON.stringify([logits.indexOf(Math.max(...logits)), found.score.data[0], Number(found.source_class.data[0])]));
}
console.log(lines.join("\n"));
