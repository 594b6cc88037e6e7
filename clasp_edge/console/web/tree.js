// Tree: the params branch by branch. Only what is open is asked for, however many there are.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Float, kindOf, KINDS, parse, show } from "./codec.js";
import { OVER } from "./link.js";
import { Plot } from "./overview.js";
import { clip, span, t } from "./text.js";

const REFRESH_MS = 5000;

/** What there is one level below, and its values, while it is open. */
function Branch({ link, at, chosen, choose }) {
  const [found, keep] = useState({ branches: [], next: "" });
  const [after, more] = useState([""]);
  const [fault, tell] = useState("");
  useEffect(() => {
    let timer, over = false;
    const ask = async () => {
      try {
        const all = { branches: [], next: "" };
        for (let cursor = "", n = 0; n < after.length; n++) {
          const part = await link.ask(`tree.json?at=${encodeURIComponent(at)}&after=${cursor}`);
          all.branches.push(...part.branches);
          cursor = all.next = part.next;
          if (!cursor) break;
        }
        if (!over) { keep(all); tell(""); }
      } catch (error) { if (!over) tell(error.message); }
      if (!over) timer = setTimeout(ask, REFRESH_MS);
    };
    ask();
    return () => { over = true; clearTimeout(timer); };
  }, [at, after]);
  // All of a small branch with one pattern; of a large one only what is listed.
  const listed = found.next ? found.branches.filter(([, param]) => param).map(([name]) => `${at}/${name}`) : [`${at}/*`];
  useEffect(() => {
    const ends = listed.slice(0, 400).map((pattern) => link.follow(pattern));
    return () => ends.forEach((end) => end());
  }, [listed.join("\n")]);
  const names = new Map(found.branches.map(([name, param, below]) => [name, below]));
  return html`<ul class="tree">${fault && html`<li class="bad">${fault}</li>`}
    ${!names.size && !fault && html`<li class="soft">${t("Nothing here yet")}</li>`}
    ${[...names].map(([name, below]) => html`<${Node} key=${name} ...${{ link, name, below, chosen, choose }} at=${`${at}/${name}`} />`)}
    ${found.next && html`<li><button onClick=${() => more([...after, ""])}>${t("more ...")}</button></li>`}</ul>`;
}

function Node({ link, at, name, below, chosen, choose }) {
  const [open, set] = useState(false);
  const param = link.values.get(at);
  const keys = ({ key }) => { if (below && (key === "ArrowRight" || key === "ArrowLeft")) set(key === "ArrowRight"); };
  return html`<li onKeyDown=${(event) => { event.stopPropagation(); keys(event); }}><div class="leaf">
      <button aria-expanded=${below ? open : null} aria-label=${below ? `${name}: ${open ? "−" : "+"}` : null} disabled=${!below} onClick=${() => set(!open)}>${below ? (open ? "▾" : "▸") : "·"}</button>
      <button aria-current=${chosen === at ? "true" : null} onClick=${() => { choose(at); if (below) set(true); }}>${name || "(empty)"}</button>
      ${param && html`<output title=${clip(show(param.value), 1000)}>${clip(show(param.value))}</output>`}</div>
    ${open && html`<${Branch} ...${{ link, at, chosen, choose }} />`}</li>`;
}

/** What fits the value: a switch, a slider, a colour, a text. */
function Widget({ value, put }) {
  if (typeof value === "boolean") return html`<label class="row"><input type="checkbox" checked=${value} onChange=${(e) => put(e.target.checked)} /> ${String(value)}</label>`;
  if (typeof value === "string" && /^#[0-9a-f]{6}$/i.test(value)) return html`<input type="color" aria-label=${t("value")} value=${value} onInput=${(e) => put(e.target.value)} />`;
  const float = value instanceof Float || (typeof value === "number" && !Number.isInteger(value)), number = Number(value);
  if (float && number >= 0 && number <= 1) return html`<input class="grow" type="range" aria-label=${t("value")} min="0" max="1" step="0.001" value=${number}
    onInput=${(e) => put(+e.target.value % 1 ? +e.target.value : new Float(+e.target.value))} />`;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 255) return html`<input class="grow" type="range" aria-label=${t("value")} min="0" max="255" value=${value} onInput=${(e) => put(+e.target.value)} />`;
  return null;
}

const FORMS = {
  Python: (at, text) => `await client.set(${JSON.stringify(at)}, ${text.replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None")})`,
  JavaScript: (at, text) => `client.set(${JSON.stringify(at)}, ${text});`,
  MQTT: (at, text) => `mosquitto_pub -h ${location.hostname} -r -t ${quoted(at.replace(/^\/mqtt\//, ""))} -m ${quoted(text)}`,
  OSC: (at, text, value) => `oscsend ${location.hostname} 8000 ${quoted(at.replace(/^\/osc(?=\/)/, ""))} ${{ 1: value ? "T" : "F", 5: "i " + text, 7: "f " + text }[kindOf(value)] || "s " + quoted(typeof value === "string" ? value : text)}`,
};
const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

function Detail({ link, at }) {
  const param = link.values.get(at);
  const [text, write] = useState(null);
  const [said, say] = useState("");
  useEffect(() => { write(null); say(""); return link.follow(at); }, [at]);
  const place = useRef();
  useEffect(() => place.current.scrollIntoView({ block: "nearest" }), [at]);
  const shown = text ?? (param ? show(param.value) : "");
  const send = (message) => { link.error = ""; say(link.send({ address: at, ...message }) ? "" : t("not sent: no connection")); };
  const put = (value) => send({ type: "SET", value });
  const held = link.locks.has(at);
  const lock = () => { send({ type: "SET", value: param.value, [held ? "unlock" : "lock"]: true }); if (held) link.locks.delete(at); };
  const typed = (then) => { try { then(parse(shown === "" ? "null" : shown)); write(null); } catch (error) { say(error.message); } };
  const copy = (name) => {
    const line = FORMS[name](at, shown || "null", param ? param.value : null);
    say(clip(line, 500));
    navigator.clipboard?.writeText(line).then(() => say(`${t("copied")}: ${clip(line, 500)}`), () => {});
  };
  const age = param?.timestamp ? Number(param.timestamp) / 1e6 : 0;
  return html`<section class="card panel" ref=${place} aria-label=${at}><code>${at}</code>
    ${param && html`<${Widget} value=${param.value} put=${put} />`}
    <form class="row" onSubmit=${(event) => { event.preventDefault(); typed(put); }}>
      <input class="grow mono" aria-label=${t("value")} value=${shown} onInput=${(e) => write(e.target.value)} />
      <button>${t("Set")}</button><button type="button" onClick=${() => typed((value) => send({ type: "PUBLISH", signal: "event", value }))}>${t("Emit")}</button>
      <button type="button" disabled=${!param} onClick=${() => send({ type: "SET", value: null, ttl: OVER })}>${t("Forget")}</button>
      <button type="button" disabled=${!param} aria-pressed=${held} onClick=${lock}>${t(held ? "Unlock" : "Lock")}</button></form>
    <p role="status">${said && html`<code>${said}</code>`} ${link.error && html`<span class="bad">${link.error}</span>`}</p>
    ${param && html`<p class="soft">${t("type")} ${KINDS[param.kind]} · ${t("revision")} ${String(param.revision)} · ${t("age")} ${age ? span((Date.now() + (link.skew || 0)) / 1000 - age) : "?"}<br />${param.writer && `${t("written by")} ${param.writer}`}</p>`}
    ${param?.past.length > 1 && html`<${Plot} key=${at} title="" data=${[param.past.map(([x]) => x), param.past.map(([, y]) => y)]} />`}
    <p><a href=${"#Why=" + encodeURIComponent(at)}>${t("Why does a value not arrive?")}</a></p><div class="row"><span class="soft">${t("copy as")}</span>${Object.keys(FORMS).map((name) => html`<button onClick=${() => copy(name)}>${name}</button>`)}</div></section>`;
}

export function Tree({ link }) {
  const [chosen, choose] = useState("");
  const [wanted, want] = useState("");
  const [found, keep] = useState(null);
  useEffect(() => {
    if (!wanted) { keep(null); return; }
    let over = false;
    const timer = setTimeout(async () => {
      const all = [];
      try {
        // Piece by piece, so that nobody else waits for it.
        for (let from = "", n = 0; n < 200 && all.length < 50 && !over; n++) {
          const part = await link.ask(`tree.json?find=${encodeURIComponent(wanted)}&from=${from}`);
          all.push(...part.addresses);
          if (!over) keep([...all]);
          if (!(from = part.next)) break;
        }
      } catch (error) { link.error = error.message; }
    }, 250);
    return () => { over = true; clearTimeout(timer); };
  }, [wanted]);
  return html`<div class="row"><input class="grow" type="search" aria-label=${t("Search addresses")} placeholder=${t("Search addresses")} value=${wanted} onInput=${(e) => want(e.target.value.trim())}
      onKeyDown=${(e) => { if (e.key === "Enter" && e.target.value.startsWith("/")) choose(e.target.value.trim()); }} /></div>
    <div class="two"><div>${found ? html`<ul class="tree">${found.map((at) => html`<${Node} key=${at} ...${{ link, at, name: at, below: false, chosen, choose }} />`)}
      ${!found.length && html`<li class="soft">${t("None")}</li>`}</ul>` : html`<${Branch} ...${{ link, at: "", chosen, choose }} />`}</div>
    ${chosen ? html`<${Detail} link=${link} at=${chosen} />` : html`<p class="soft">${t("Choose an address")}</p>`}</div>`;
}
