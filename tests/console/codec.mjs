// Reads lines of JSON from standard input and answers each with one: {hex} is decoded by the page's codec, {message} is
// encoded, {text} is read as a value and written again. Values as in tests/data/vectors.json.
import { createInterface } from "node:readline";
const { decode, encode, Float, parse, show } = await import(process.argv[2]);

const tagged = (value) => {
  if (value instanceof Float) return { $float: show(value) };
  if (typeof value === "number" && !Number.isInteger(value)) return { $float: Number.isNaN(value) ? "nan" : String(value).replace("Infinity", "inf") };
  if (typeof value === "bigint") return { $int: String(value) };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(tagged);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, tagged(item)]));
  return value;
};
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    if (asked.hex !== undefined) answer = tagged(decode(Uint8Array.from(Buffer.from(asked.hex, "hex"))));
    else if (asked.message) {
      const message = { ...asked.message };
      if (asked.value !== undefined) message.value = parse(asked.value);
      answer = Buffer.from(encode(message)).toString("hex");
    } else answer = show(parse(asked.text));
  } catch (error) { answer = { failed: String(error) }; }
  console.log(JSON.stringify(answer));
}
