// Values as JSON that any program reads.
import { Float, show } from "./codec.js";

/** A value as JSON that any program reads; what that has no words for is tagged as the command line does. */
export function json(value) {
  if (value instanceof Uint8Array) return JSON.stringify({ $bytes: Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("") });
  if ((value instanceof Float || typeof value === "number") && !isFinite(value)) return JSON.stringify({ $float: isNaN(value) ? "nan" : value < 0 ? "-inf" : "inf" });
  if (Array.isArray(value)) return "[" + value.map(json).join(", ") + "]";
  if (value !== null && typeof value === "object" && !(value instanceof Float)) return "{" + Object.entries(value).map(([key, item]) => JSON.stringify(key) + ": " + json(item)).join(", ") + "}";
  return show(value);
}
