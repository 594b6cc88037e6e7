// One client of mqtt (MQTT.js), used through its public methods only.   node mqtt.mjs URL OPTIONS-AS-JSON
import mqtt from "mqtt";
import { say, serve } from "./driver.mjs";

const [url, options] = process.argv.slice(2);
const { will, ...rest } = JSON.parse(options ?? "{}");
let client;

function start() {
  client = mqtt.connect(url, { ...rest, ...(will && { will: { ...will, payload: Buffer.from(will.payload) } }) });
  client.on("message", (topic, payload, packet) => {
    const { qos, retain, properties } = packet;
    const said = properties && { user: { ...properties.userProperties }, contentType: properties.contentType ?? null };
    say({ event: "message", topic, payload: new Uint8Array(payload), qos, retain, properties: said ?? null });
  });
  client.on("close", () => say({ event: "close" }));
  client.on("disconnect", (packet) => say({ event: "disconnect", code: packet.reasonCode }));
  client.on("error", (error) => say({ event: "error", text: error.message, code: error.code ?? null }));
  client.on("connect", (packet) => say({ event: "connect", session: packet.sessionPresent }));
}

serve({
  connect: () =>
    new Promise((resolve, reject) => {
      start();
      client.once("connect", (packet) => resolve(packet.sessionPresent));
      client.once("error", reject);
    }),
  subscribe: async (topic, options) => (await client.subscribeAsync(topic, options ?? {})).map((grant) => grant.qos),
  unsubscribe: async (topic) => void (await client.unsubscribeAsync(topic)),
  publish: async (topic, payload, options) => void (await client.publishAsync(topic, Buffer.from(payload), options ?? {})),
  end: () => client.endAsync(),
  vanish: () => void client.stream.destroy(),
});
