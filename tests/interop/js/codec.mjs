// The codec of @clasp-to/core on a bare WebSocket: every message that it can express.   node codec.mjs URL
import { decode, encode, WS_SUBPROTOCOL } from "@clasp-to/core";
import { say, serve } from "./driver.mjs";

let socket;

serve({
  connect: () =>
    new Promise((resolve, reject) => {
      socket = new WebSocket(process.argv[2], WS_SUBPROTOCOL);
      socket.binaryType = "arraybuffer";
      socket.onopen = () => resolve(socket.protocol);
      socket.onerror = () => reject(new Error("no connection"));
      socket.onmessage = (event) => say({ event: "message", message: decode(new Uint8Array(event.data)) });
      socket.onclose = (event) => say({ event: "close", code: event.code, reason: event.reason });
    }),
  send: (message, qos) => socket.send(encode(message, qos)),
  close: () => socket.close(),
});
