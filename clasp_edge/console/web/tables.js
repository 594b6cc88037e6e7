// Clients and devices: tables of what the router tells about itself.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { show } from "./codec.js";
import { Link } from "./link.js";
import { useReport } from "./overview.js";
import { clip, count, size, span, t } from "./text.js";

export function Table({ heads, rows }) {
  if (!rows.length) return html`<p class="soft">${t("None")}</p>`;
  const numbers = heads.map((head) => head[0] === "#");
  return html`<div class="wide"><table><thead><tr>${heads.map((head, i) => (head ? html`<th scope="col" class=${numbers[i] ? "n" : ""}>${t(head.replace("#", ""))}</th>` : html`<td></td>`))}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${row.map((cell, i) => html`<td class=${numbers[i] ? "n" : ""} data-head=${heads[i] && t(heads[i].replace("#", ""))}>${cell}</td>`)}</tr>`)}</tbody></table></div>`;
}
export const when = (s) => (s ? new Date(Number(s) * 1000).toLocaleString() : "");
export const light = (state, text = state) => html`<span class=${state === "up" ? "good" : state === "down" ? "bad" : "warn"}>● ${text}</span>`;

export function Clients({ link }) {
  const [report, before, error] = useReport(link, "clients.json");
  const [status] = useReport(link, "status.json", 4000);
  const old = new Map((before?.clients || []).map((each) => [each.id, each]));
  const rate = (each, key) => {
    const earlier = old.get(each.id);
    return earlier && each[key] !== undefined ? count(Math.max(0, each[key] - earlier[key]) / (report.at - before.at)) : "";
  };
  if (error) return html`<p class="soft">${error.message}</p>`;
  const osc = status?.osc;
  return html`<h2>${t("Clients")} (${report?.count ?? "..."})</h2>
    <${Table} heads=${["name", "protocol", "address", "#since", "#in/s", "#out B/s", "#waits", "#lost", "subscriptions", ""]} rows=${(report?.clients || []).map((each) => [
      html`<b>${each.name || "?"}</b><br /><code class="soft">${each.id.startsWith("mqtt:") ? each.id : each.id.slice(0, 13)}</code> ${each.subject}`, `${each.protocol} ${each.version || ""} ${each.transport}`,
      each.address || html`<span class="warn">${t("away")}</span>`, each.connected_s === undefined ? (each.away_s ? span(each.away_s) : "") : span(each.connected_s), rate(each, "received"), rate(each, "sent_bytes"),
      html`<span class=${each.slow ? "bad" : ""}>${size(each.queued_bytes)}</span>`, each.drops ? html`<span class="bad">${count(each.drops)}</span>` : 0,
      html`<code>${each.subscriptions.slice(0, 4).join(" ")}</code> ${each.subscription_count > 4 ? `+ ${each.subscription_count - 4}` : ""}${each.last_error && html`<br /><span class="warn">${each.last_error}</span>`}`,
      each.address && html`<${Do} link=${link} asked=${{ request: "kick", id: each.id }} name="Disconnect" label=${`${t("Disconnect")} ${each.name}`} />`])} />
    ${report?.refusals.length > 0 && html`<h2>${t("Refused lately")}</h2><${Table} heads=${["time", "name", "address", "#code", "why"]} rows=${report.refusals.map((each) => [
      when(each.time), html`<b>${each.name || "?"}</b>`, each.address, each.code, html`<span class="warn">${each.text}</span>`])} />`}
    ${status?.mqtt && html`<h2>MQTT</h2><${Monitor} link=${link} prefix="/mqtt" />`}
    ${osc && html`<h2>OSC</h2><${Monitor} link=${link} prefix="/osc" /><${Table} heads=${["name", "state", "#subscriptions", "#out", ""]} rows=${Object.entries(osc.targets).map(([name, each]) => [name, light(each.reachable ? "up" : "down"), each.patterns, count(each.sent ?? 0),
      html`<${Do} link=${link} asked=${{ request: "resync", target: name }} name="Send all again" label=${`${t("Send all again")}: ${name}`} />`])} />
      ${osc.senders && html`<h2>${t("OSC senders")}</h2><${Table} heads=${["address", "name", "#in", "#age", "refused"]} rows=${Object.entries(osc.senders).map(([name, each]) => [name, each.device || "", count(each.messages), span(each.idle_s),
        html`<span class="bad">${Object.entries(each.complaints || {}).map(([kind, n]) => `${kind} ${n} `)}</span>`])} />`}`}`;
}

/** A button that has the router do something, and what came of it. */
export function Do({ link, asked, name, label }) {
  const [said, say] = useState("");
  const click = () => link.request(asked, true).then(() => say("✓"), (error) => say(error.message));
  return html`<button aria-label=${label} onClick=${click}>${t(name)}</button> <span role="status" class="soft">${said}</span>`;
}

/** What comes in live below a namespace: the newest first, bounded, and as fast as can be read. */
export function Monitor({ link, prefix }) {
  const [filter, change] = useState(""), [on, turn] = useState(false), [, redraw] = useState(0);
  const rows = useRef([]);
  useEffect(() => {
    if (!on) return;
    const own = new Link(() => redraw((n) => n + 1));
    own.heard = (message) => {
      if (message.type !== "SET" && message.type !== "PUBLISH") return;
      rows.current.unshift([new Date(), message]);
      rows.current.length = Math.min(rows.current.length, 200);
    };
    own.follow(prefix + "/**", 20);
    own.open(link.token);
    return () => own.close();
  }, [on]);
  const shown = rows.current.filter(([, { address, value }]) => (address + " " + show(value ?? null)).includes(filter)).slice(0, 40);
  return html`<div class="row"><button aria-pressed=${on} onClick=${() => turn(!on)}>${t(on ? "Stop" : "Watch what comes in")}</button>
      <input class="grow" type="search" aria-label=${`${t("filter")} ${prefix}`} placeholder=${t("filter")} value=${filter} onInput=${(e) => change(e.target.value)} /></div>
    ${(on || rows.current.length > 0) && html`<div class="wide" tabindex="0" role="region" aria-label=${`${prefix} ${t("monitor")}`}><table><tbody>${shown.map(([at, each]) => html`<tr><td class="soft">${at.toLocaleTimeString()}</td>
      <td><a href=${"#Why=" + encodeURIComponent(each.address)}><code>${each.address}</code></a></td><td class="soft">${each.signal || "param"}</td><td><code>${clip(show(each.value ?? null))}</code></td></tr>`)}</tbody></table></div>`}`;
}
