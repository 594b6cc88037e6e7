// Reads hex frames from standard input, one a line, has the page's connection take them all, and says what it keeps.
import { createInterface } from "node:readline";
const [, , codec, link] = process.argv;
const { decode } = await import(codec);
const { Link } = await import(link);

const page = new Link();
for await (const line of createInterface({ input: process.stdin })) page.take(decode(Uint8Array.from(Buffer.from(line, "hex"))));
const values = [...page.values.entries()].map(([address, { value }]) => [address, String(value), Number(value), value?.constructor !== undefined]);
const peers = Object.entries(page.table("/clasp-edge/peers/")).map(([name, row]) => [name, Object.entries(row).map(([key, value]) => [key, String(value)])]);
console.log(JSON.stringify({ values, peers, strange: ({}).name ?? null }));
