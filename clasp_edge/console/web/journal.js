// Journal: what was written, from REPLAY over a connection of its own, since a replay looks like live messages.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { show } from "./codec.js";
import { json } from "./json.js";
import { Link } from "./link.js";
import { Table, when } from "./tables.js";
import { clip, t } from "./text.js";

const SHOWN = 200;

export function Journal({ link }) {
  const [pattern, change] = useState("/**");
  const [minutes, span] = useState(10);
  const [records, keep] = useState(null), [to, aim] = useState(""), [said, say] = useState(""), [trail, follow] = useState(null);
  const reader = useRef();
  useEffect(() => () => reader.current?.close(), []);
  const load = (event) => {
    event.preventDefault();
    reader.current?.close();
    const own = (reader.current = new Link()), all = [];
    keep([]);
    own.heard = (message) => {
      if (message.type === "WELCOME") own.send({ type: "REPLAY", pattern, limit: 10000, from: Math.round(Number(message.time) - minutes * 6e7) });
      else if (message.type === "SET" || message.type === "PUBLISH") all.push(message);
      else if (message.type === "ACK" || message.type === "ERROR") {
        own.close();
        link.error = message.type === "ERROR" ? message.message : "";
        keep(all);
      }
    };
    own.open(link.token);
  };
  const audit = () => (trail ? follow(null) : link.request({ request: "audit" }).then(({ entries }) => { link.error = ""; follow(entries); }, (fault) => { link.error = fault.message; say(""); }));
  // To its own address, or to another one: what a fader wrote in the rehearsal is tried at another lamp.
  const again = ({ type, address, signal, value }) => {
    const at = to.trim() || address, sent = link.send(type === "SET" ? { type, address: at, value } : { type, address: at, signal, value });
    link.error = "";
    say(sent ? `✓ ${at} ${clip(show(value ?? null), 80)}` : t("not sent: no connection"));
  };
  const save = () => {
    const lines = records.map((each) => `{"address": ${show(each.address)}, "signal": ${show(each.signal || "param")}, "value": ${json(each.value ?? null)}}`);
    const at = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob(["[" + lines.join(",\n") + "]\n"], { type: "application/json" })), download: "journal.json" });
    at.click();
    URL.revokeObjectURL(at.href);
  };
  return html`<form class="row" onSubmit=${load}><label class="row grow">${t("pattern")} <input class="grow mono" value=${pattern} onInput=${(e) => change(e.target.value)} /></label>
      <label class="row">${t("minutes")} <input type="number" min="1" value=${minutes} onInput=${(e) => span(+e.target.value)} /></label><button>${t("Load")}</button>
      <button type="button" aria-expanded=${!!trail} onClick=${audit}>${t("Audit")}</button>
      <button type="button" disabled=${!records?.length} onClick=${save}>${t("Save as JSON")}</button></form>
    ${link.error && html`<p class="bad" role="alert">${link.error}</p>`}
    ${trail && html`<h2>${t("Audit")}</h2><${Table} heads=${["time", "what happened"]} rows=${trail.map(([at, text]) => [when(at), html`<code>${clip(text, 400)}</code>`])} />`}
    ${records && html`<p class="soft">${records.length} ${t("records")}</p>
      <div class="row"><label class="row grow">${t("Send again")} ${t("to address")} <input class="grow mono" placeholder=${t("to its own")} value=${to} onInput=${(e) => aim(e.target.value)} /></label><span role="status" class="soft">${said}</span></div><div class="wide"><table><tbody>${records.slice(-SHOWN).reverse().map((each) =>
      html`<tr><td><code>${each.address}</code></td><td class="soft">${each.signal || "param"}</td><td><code>${clip(show(each.value ?? null))}</code></td>
      <td><button aria-label=${`${t("Send again")}: ${each.address}`} onClick=${() => again(each)}>${t("Send again")}</button></td></tr>`)}</tbody></table></div>`}`;
}
