// The part of CLASP's wire format that the page speaks (docs/protocol/wire.md 1 and 2). Knows no sockets.
// A message is {type: "SET", ...}. Integers are numbers, or BigInt where a number would lose digits; floats without a
// fraction are Float, so that 1.0 goes back as a float.

export class Float {
  constructor(value) { this.value = value; }
  valueOf() { return this.value; }
  toString() { return show(this); }
}

const TYPES = { HELLO: 1, WELCOME: 2, SUBSCRIBE: 0x10, UNSUBSCRIBE: 0x11, PUBLISH: 0x20, SET: 0x21, GET: 0x22,
  SNAPSHOT: 0x23, REPLAY: 0x24, PING: 0x41, PONG: 0x42, ACK: 0x50, ERROR: 0x51 };
const NAMES = Object.fromEntries(Object.entries(TYPES).map(([name, code]) => [code, name]));
const SIGNALS = ["param", "event", "stream", "gesture", "timeline"];
const PHASES = ["start", "move", "end", "cancel"];
const FEATURES = { param: 0x80, event: 0x40, stream: 0x20, gesture: 0x10, timeline: 8, federation: 4, bare: 1 };
export const KINDS = ["null", "bool", "int", "int", "int", "int", "float", "float", "text", "bytes", "list", "map"];
const DEEPEST = 64;
// What maps inherit: whatever their keys are, they can be made a text or a number of, and no map is taken for an element.
const PLAIN = Object.create(null, { constructor: { value: Object, writable: true }, [Symbol.toPrimitive]: { value() { return show(this); } } });

// ---- reading ----

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.at = 0;
  }
  get left() { return this.bytes.length - this.at; }
  skip(size) {
    const at = this.at;
    if (size > this.left) throw new RangeError("truncated");
    this.at += size;
    return at;
  }
  u8() { return this.view.getUint8(this.skip(1)); }
  u16() { return this.view.getUint16(this.skip(2)); }
  u32() { return this.view.getUint32(this.skip(4)); }
  u64() { return small(this.view.getBigUint64(this.skip(8))); }
  f64() { return float(this.view.getFloat64(this.skip(8))); }
  raw(size) { const at = this.skip(size); return this.bytes.slice(at, at + size); }
  text() { return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.raw(this.u16())); }
  list(item) { return Array.from({ length: this.u16() }, item); }
  value(code = this.u8(), depth = 0) {
    if (depth > DEEPEST) throw new RangeError("nested too deeply");
    switch (code) {
      case 0: return null;
      case 1: return this.u8() !== 0;
      case 2: return this.view.getInt8(this.skip(1));
      case 3: return this.view.getInt16(this.skip(2));
      case 4: return this.view.getInt32(this.skip(4));
      case 5: return small(this.view.getBigInt64(this.skip(8)));
      case 6: return float(this.view.getFloat32(this.skip(4)));
      case 7: return this.f64();
      case 8: return this.text();
      case 9: return this.raw(this.u16());
      case 10: return this.list(() => this.value(undefined, depth + 1));
      case 11: {
        const map = Object.create(PLAIN);
        for (let count = this.u16(); count; count--) { const key = this.text(); map[key] = this.value(undefined, depth + 1); }
        return map;
      }
    }
    throw new RangeError("unknown value type " + code);
  }
}

const small = (big) => (big >= -9007199254740991n && big <= 9007199254740991n ? Number(big) : big);
const float = (number) => (Number.isInteger(number) ? new Float(number) : number);

/** The message in a frame (Uint8Array). Throws RangeError or TypeError for what is none. */
export function decode(frame) {
  const head = new Reader(frame);
  if (head.u8() !== 0x53) throw new RangeError("no CLASP frame");
  const flags = head.u8(), size = head.u16();
  if (flags & 0x20) head.skip(8);
  const r = new Reader(head.raw(size));
  const code = r.u8(), m = { type: NAMES[code] || code };
  switch (m.type) {
    case "WELCOME":
      m.version = r.u8(); m.features = r.u8(); m.time = r.u64(); m.session = r.text(); m.name = r.text();
      break;
    case "SET": {
      const bits = r.u8();
      m.address = r.text(); m.kind = bits & 15; m.value = r.value(bits & 15);
      if (bits & 0x80) m.revision = r.u64();
      if (bits & 0x10) m.ttl = r.u32();
      m.lock = !!(bits & 0x40); m.unlock = !!(bits & 0x20);
      break;
    }
    case "PUBLISH": {
      const bits = r.u8();
      m.signal = SIGNALS[bits >> 5] || "event"; m.phase = PHASES[bits & 7] || "start"; m.address = r.text();
      const what = r.u8();
      if (what === 1) m.value = r.value();
      if (what === 2) m.samples = r.list(() => r.f64());
      if (bits & 0x10) m.timestamp = r.u64();
      if (bits & 8) m.id = r.u32();
      if (r.left >= 4) m.rate = r.u32();
      break;
    }
    case "SNAPSHOT":
      m.params = r.list(() => {
        const p = { address: r.text(), kind: r.u8() };
        p.value = r.value(p.kind); p.revision = r.u64();
        const bits = r.u8();
        if (bits & 1) p.writer = r.text();
        if (bits & 2) p.timestamp = r.u64();
        return p;
      });
      break;
    case "ACK": {
      const bits = r.u8();
      if (bits & 1) m.address = r.text();
      if (bits & 2) m.revision = r.u64();
      if (bits & 4) m.locked = r.u8() !== 0;
      if (bits & 8) m.holder = r.text();
      if (bits & 16) m.correlation_id = r.u32();
      break;
    }
    case "ERROR": {
      m.code = r.u16(); m.message = r.text();
      const bits = r.u8();
      if (bits & 1) m.address = r.text();
      if (bits & 2) m.correlation_id = r.u32();
      break;
    }
  }
  return m;
}

// ---- writing ----

class Writer {
  constructor() { this.bytes = []; }
  u8(n) { this.bytes.push(n & 255); return this; }
  u16(n) { if (n > 65535) throw new RangeError("longer than 65535"); return this.u8(n >> 8).u8(n); }
  u32(n) { return this.u16(n >>> 16).u16(n & 65535); }
  raw(data) { for (const byte of data) this.bytes.push(byte); return this; }
  wide(set, n) { const view = new DataView(new ArrayBuffer(8)); view[set](0, n); return this.raw(new Uint8Array(view.buffer)); }
  u64(n) { return this.wide("setBigUint64", BigInt(n)); }
  text(text) { const data = new TextEncoder().encode(text); return this.u16(data.length).raw(data); }
  typed(value) { return this.u8(kindOf(value)).value(value); }
  value(value) {
    switch (kindOf(value)) {
      case 1: return this.u8(+value);
      case 5: return this.wide("setBigInt64", BigInt(value));
      case 7: return this.wide("setFloat64", +value);
      case 8: return this.text(value);
      case 9: return this.u16(value.length).raw(value);
      case 10: this.u16(value.length); for (const item of value) this.typed(item); return this;
      case 11: {
        const entries = Object.entries(value);
        this.u16(entries.length);
        for (const [key, item] of entries) this.text(key).typed(item);
      }
    }
    return this;
  }
}

/** The code of a value's type as it is written: integers are i64, all else that is a number f64. */
export function kindOf(value) {
  if (value === null || value === undefined) return 0;
  if (typeof value === "boolean") return 1;
  if (typeof value === "bigint") return 5;
  if (typeof value === "number") return Number.isInteger(value) ? 5 : 7;
  if (value instanceof Float) return 7;
  if (typeof value === "string") return 8;
  if (value instanceof Uint8Array) return 9;
  return Array.isArray(value) ? 10 : 11;
}

const mask = (types) => (types && types.length ? types.reduce((bits, name) => bits | (1 << SIGNALS.indexOf(name)), 0) : 255);

/** The frame of a message. Throws RangeError for one that is too long. */
export function encode(m) {
  const w = new Writer().u8(TYPES[m.type]);
  switch (m.type) {
    case "HELLO":
      w.u8(1).u8((m.features || []).reduce((bits, name) => bits | FEATURES[name], 0)).text(m.name).text(m.token || "");
      break;
    case "SUBSCRIBE": {
      const rate = m.max_rate !== undefined, history = m.history !== undefined;
      w.u32(m.id).text(m.pattern).u8(mask(m.types)).u8((rate ? 1 : 0) | (history ? 4 : 0));
      if (rate) w.u32(m.max_rate);
      if (history) w.u32(m.history);
      break;
    }
    case "UNSUBSCRIBE": w.u32(m.id); break;
    case "PUBLISH":
      w.u8(SIGNALS.indexOf(m.signal) << 5).text(m.address);
      if (m.value === undefined) w.u8(0); else w.u8(1).typed(m.value);
      break;
    case "SET":
      w.u8((m.lock ? 0x40 : 0) | (m.unlock ? 0x20 : 0) | (m.ttl === undefined ? 0 : 0x10) | kindOf(m.value));
      w.text(m.address).value(m.value);
      if (m.ttl !== undefined) w.u32(m.ttl);
      break;
    case "GET": w.text(m.address); break;
    case "REPLAY": {
      const has = (name) => m[name] !== undefined;
      w.u8((has("from") ? 0x80 : 0) | (has("to") ? 0x40 : 0) | (has("limit") ? 0x20 : 0)).text(m.pattern);
      if (has("from")) w.u64(m.from);
      if (has("to")) w.u64(m.to);
      if (has("limit")) w.u32(m.limit);
      w.u8(mask(m.types));
    }
  }
  if (w.bytes.length > 65535) throw new RangeError("a message has at most 65535 bytes");
  // QoS "confirm" for what is answered (2.1): the end of a replay is an ACK.
  return new Uint8Array([0x53, m.type === "SET" || m.type === "REPLAY" ? 0x41 : 0x01, w.bytes.length >> 8, w.bytes.length & 255, ...w.bytes]);
}

// ---- values as people write them: JSON, with 1.0 for a float ----

/** A value as text. */
export function show(value) {
  if (value instanceof Float) { const text = Object.is(value.value, -0) ? "-0" : String(value.value); return /[.eIN]/.test(text) ? text : text + ".0"; }
  if (value instanceof Uint8Array) return "<" + Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join(" ") + ">";
  if (Array.isArray(value)) return "[" + value.map(show).join(", ") + "]";
  if (value !== null && typeof value === "object") return "{" + Object.entries(value).map(([key, item]) => JSON.stringify(key) + ": " + show(item)).join(", ") + "}";
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** The value that a text means. Throws SyntaxError. */
export function parse(text) {
  // Numbers are marked, outside of strings, so that what they look like is not lost.
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (part) => {
    if (part[0] === '"') return part;
    JSON.parse(part);
    return '{"$number":"' + part + '"}';
  });
  return JSON.parse(marked, (key, item) => {
    if (!item || typeof item.$number !== "string") return item;
    const big = /[.eE]/.test(item.$number) ? null : BigInt(item.$number);
    return big !== null && BigInt.asIntN(64, big) === big ? small(big) : float(Number(item.$number));
  });
}
