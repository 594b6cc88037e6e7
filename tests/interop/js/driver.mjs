// The conversation with the test: a line of JSON in is a call, a line of JSON out its result or an event.
//
//   in   {"id": 1, "call": "set", "with": ["/a", 1]}
//   out  {"id": 1, "result": null}   {"id": 1, "failed": "Timeout"}   {"event": "value", ...}
//
// What JSON cannot say is tagged: {"$bytes": "00ff"}, {"$float": "nan" | "inf" | "-inf" | "-0"}, {"$int": "123"}.
import { createInterface } from "node:readline";
import NodeWebSocket from "ws";

// The client looks for a global WebSocket, which Node has only had of its own since version 22.
if (process.env.WEBSOCKET !== "native") globalThis.WebSocket = NodeWebSocket;

function tag(value) {
  if (typeof value === "bigint") return { $int: value.toString() };
  if (typeof value === "number") {
    if (Number.isNaN(value)) return { $float: "nan" };
    if (Object.is(value, -0)) return { $float: "-0" };
    if (!Number.isFinite(value)) return { $float: value > 0 ? "inf" : "-inf" };
    return value;
  }
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(tag);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, tag(inner)]));
  }
  return value;
}

function untag(value) {
  if (Array.isArray(value)) return value.map(untag);
  if (value === null || typeof value !== "object") return value;
  if ("$bytes" in value) return new Uint8Array(Buffer.from(value.$bytes, "hex"));
  if ("$float" in value) return Number(value.$float.replace("inf", "Infinity"));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, untag(inner)]));
}

export function say(line) {
  process.stdout.write(JSON.stringify(tag(line)) + "\n");
}

// Serve the calls in `methods` until standard input ends.
export function serve(methods) {
  for (const level of ["debug", "log", "warn", "error"]) {
    console[level] = (...words) => say({ event: "console", level, text: words.map(String).join(" ") });
  }
  const input = createInterface({ input: process.stdin });
  input.on("line", async (line) => {
    const { id, call, with: words } = JSON.parse(line);
    try {
      say({ id, result: (await methods[call](...untag(words))) ?? null });
    } catch (error) {
      say({ id, failed: error.message });
    }
  });
  input.on("close", () => process.exit(0));
}
