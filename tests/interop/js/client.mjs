// One client of @clasp-to/core, used through its public methods only.   node client.mjs URL [OPTIONS as JSON]
import { Clasp } from "@clasp-to/core";
import { say, serve } from "./driver.mjs";

const [url, options] = process.argv.slice(2);
const client = new Clasp(url, JSON.parse(options ?? "{}"));
const unsubscribe = new Map();

client.onConnect(() => say({ event: "connect" }));
client.onDisconnect((reason) => say({ event: "disconnect", reason }));
client.onReconnect((attempt) => say({ event: "reconnect", attempt }));
client.onError((error) => say({ event: "error", text: error.message }));

serve({
  connect: () => client.connect(),
  close: () => client.close(),
  session: () => client.session,
  connected: () => client.connected,
  time: () => client.time(),
  set: (address, value) => client.set(address, value),
  get: (address) => client.get(address),
  cached: (address) => client.cached(address),
  emit: (address, payload) => client.emit(address, payload),
  stream: (address, value) => client.stream(address, value),
  gesture: (address, id, phase, payload) => client.gesture(address, id, phase, payload),
  timeline: (address, keyframes, options) => client.timeline(address, keyframes, options ?? undefined),
  bundle: (messages, options) => client.bundle(messages, options ?? undefined),
  lastError: () => client.getLastError(),
  subscribe: (key, pattern, options) => {
    const heard = (value, address) => say({ event: "value", key, address, value });
    unsubscribe.set(key, client.on(pattern, heard, options ?? undefined));
  },
  unsubscribe: (key) => unsubscribe.get(key)(),
});
