// The connection to the router: an ordinary CLASP client of the port that the page came from, with what its token may.
import { decode, encode } from "./codec.js";

const AGAIN_MS = [300, 1000, 2000, 5000];
const MOST_VALUES = 20000;
export const OVER = 0x80000000; // a lifetime that has ended: the param is forgotten

export class Link {
  /** `changed()` is called when something of this is not what it was. */
  constructor(changed = () => {}) {
    Object.assign(this, { changed, state: "down", error: "", name: "", token: "", values: new Map(), locks: new Set() });
    this.subscriptions = new Map();
    this.tries = this.last = 0;
    this.heard = this.welcomed = () => {};
  }
  open(token) {
    this.token = token;
    this.stopped = false;
    this.state = "connecting";
    this.error = "";
    clearTimeout(this.timer);
    this.socket?.close();
    const { protocol, host, pathname } = location;
    const socket = (this.socket = new WebSocket((protocol === "https:" ? "wss://" : "ws://") + host + pathname, "clasp"));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.send({ type: "HELLO", name: "clasp-edge page", token, features: ["param", "event", "stream", "gesture", "timeline", "bare"] });
    socket.onmessage = ({ data }) => { if (socket === this.socket) this.take(decode(new Uint8Array(data))); };
    socket.onclose = () => {
      if (socket !== this.socket || this.stopped) return;
      if (this.state !== "refused") {
        this.state = "down";
        this.timer = setTimeout(() => this.open(this.token), AGAIN_MS[Math.min(this.tries++, AGAIN_MS.length - 1)]);
      }
      this.changed();
    };
    this.changed();
  }
  close() {
    this.stopped = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }
  /** Whether it could be sent. */
  send(message) {
    if (this.socket?.readyState !== 1) return false;
    this.socket.send(encode(message));
    return true;
  }
  take(message) {
    switch (message.type) {
      case "WELCOME":
        this.state = "up";
        this.tries = 0;
        this.locks.clear();
        this.name = message.name;
        this.skew = message.time / 1000 - Date.now();
        for (const each of this.subscriptions.values()) this.send(each);
        this.welcomed();
        break;
      case "SNAPSHOT": for (const param of message.params) this.keep(param); break;
      case "SET": this.keep({ timestamp: (Date.now() + (this.skew || 0)) * 1000, ...message }); break;
      case "ACK": if (message.locked) this.locks.add(message.address); break;
      case "ERROR":
        this.error = message.message + (message.address ? ": " + message.address : "");
        if (message.code >= 300 && message.code < 310 && this.state === "connecting") this.state = "refused";
    }
    this.heard(message);
    this.changed();
  }
  keep(param) {
    const known = this.values.get(param.address);
    if (param.ttl === OVER) { this.values.delete(param.address); return; }
    const past = known?.past || [];
    const number = typeof param.value === "boolean" || typeof param.value === "string" ? NaN : Number(param.value);
    if (!isNaN(number)) past.push([Date.now() / 1000, number]);
    if (past.length > 300) past.shift();
    this.values.set(param.address, { ...param, past, writer: param.writer || "" });
    if (this.values.size > MOST_VALUES) this.values.delete(this.values.keys().next().value);
  }
  /** Follow a pattern; returns what ends it. */
  follow(pattern, max_rate = 10, more = {}) {
    const each = { type: "SUBSCRIBE", id: ++this.last, pattern, max_rate, ...more };
    this.subscriptions.set(each.id, each);
    if (this.state === "up") this.send(each);
    return () => {
      this.subscriptions.delete(each.id);
      this.send({ type: "UNSUBSCRIBE", id: each.id });
    };
  }
  /** The params below a prefix, as {name: {key: value}} by the two segments that follow. */
  table(prefix) {
    const rows = Object.create(null); // a name may be "__proto__"
    for (const [address, { value }] of this.values)
      if (address.startsWith(prefix)) {
        const [name, ...key] = address.slice(prefix.length).split("/");
        (rows[name] ??= Object.create(null))[key.join("/")] = value;
      }
    return rows;
  }
  /** JSON of the router's; throws Error. `body` makes it a POST. */
  async ask(path, body) {
    const headers = { ...(this.token && { Authorization: "Bearer " + this.token }), ...(body && { "Content-Type": "application/json" }) };
    const answer = await fetch(path, { headers, ...(body && { method: "POST", body: JSON.stringify(body) }) });
    if (!answer.ok) throw Object.assign(new Error((await answer.text()).trim()), { status: answer.status });
    return answer.json();
  }
  /** What the control socket answers; throws Error. `post`: it changes something. */
  async request(asked, post) {
    const { ok, result, error } = await this.ask(post ? "ask" : "ask?" + new URLSearchParams(asked), post && asked);
    if (!ok) throw new Error(error.message);
    return result;
  }
}
