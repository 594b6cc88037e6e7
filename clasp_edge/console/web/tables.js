// Clients and devices, Boxes, Rules: tables of what the router tells about itself.
import { html } from "./vendor/htm-preact.js";
import { useReport } from "./overview.js";
import { count, size, span, t } from "./text.js";

function Table({ heads, rows }) {
  if (!rows.length) return html`<p class="soft">${t("None")}</p>`;
  const numbers = heads.map((head) => head[0] === "#");
  return html`<div class="wide"><table><thead><tr>${heads.map((head, i) => html`<th scope="col" class=${numbers[i] ? "n" : ""}>${t(head.replace("#", ""))}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${row.map((cell, i) => html`<td class=${numbers[i] ? "n" : ""}>${cell}</td>`)}</tr>`)}</tbody></table></div>`;
}
const when = (s) => (s ? new Date(Number(s) * 1000).toLocaleString() : "");
const light = (state) => html`<span class=${state === "up" ? "good" : state === "down" ? "bad" : "warn"}>● ${state}</span>`;

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
    <${Table} heads=${["name", "protocol", "address", "#since", "#in/s", "#out B/s", "#waits", "#lost", "subscriptions"]} rows=${(report?.clients || []).map((each) => [
      html`<b>${each.name || "?"}</b><br /><code class="soft">${each.id.slice(0, 13)}</code> ${each.subject}`, `${each.protocol} ${each.version || ""} ${each.transport}`,
      each.address || html`<span class="warn">${t("away")}</span>`, each.connected_s === undefined ? (each.away_s ? span(each.away_s) : "") : span(each.connected_s), rate(each, "received"), rate(each, "sent_bytes"),
      html`<span class=${each.slow ? "bad" : ""}>${size(each.queued_bytes)}</span>`, each.drops ? html`<span class="bad">${count(each.drops)}</span>` : 0,
      html`<code>${each.subscriptions.slice(0, 4).join(" ")}</code> ${each.subscription_count > 4 ? `+ ${each.subscription_count - 4}` : ""}`])} />
    ${osc && html`<h2>OSC</h2><${Table} heads=${["name", "state", "#subscriptions"]} rows=${Object.entries(osc.targets).map(([name, each]) => [name, light(each.reachable ? "up" : "down"), each.patterns])} />
      ${osc.senders && html`<${Table} heads=${["address", "name", "#in", "#lost", "#age"]} rows=${Object.entries(osc.senders).map(([name, each]) => [name, each.device, count(each.messages), count(each.bad_packets + each.refused_writes), span(each.idle_s)])} />`}`}`;
}

export function Boxes({ link }) {
  const rows = (kind) => Object.entries(link.table(`/clasp-edge/${kind}/`));
  return html`<h2>${t("Uplinks")}</h2><${Table} heads=${["name", "state", "address", "since", "#waits", "#RTT", "#lost", "last error"]} rows=${rows("uplinks").map(([name, each]) => [
      name, light(each.state), `${each.hub || ""} ${each.peer || ""}`, when(each.since), count(Number(each.queue || 0)), each.echo_rtt_ms ? count(Number(each.echo_rtt_ms)) + " ms" : "", count(Number(each.drops || 0)), each.last_error || ""])} />
    <h2>${t("Routers that have dialled in")}</h2><${Table} heads=${["name", "state"]} rows=${rows("peers").map(([name, each]) => [name, light(each.state)])} />
    <h2>MQTT</h2><${Table} heads=${["name", "state", "address", "#waits", "last error"]} rows=${rows("bridges").map(([name, each]) => [name, light(each.state), each.broker || "", count(Number(each.queued || 0)), each.last_error || ""])} />`;
}

export function Rules({ link }) {
  const rows = Object.entries(link.table("/clasp-edge/rules/"));
  return html`<${Table} heads=${["name", "state", "#fired", "#refused", "last fired", "last error"]} rows=${rows.map(([name, each]) => [
    html`<b>${name}</b>`, each.enabled ? html`<span class="good">${t("on")}</span>` : html`<span class="soft">${t("off")}</span>`, count(Number(each.fired || 0)), count(Number(each.refused || 0)), when(each.last_fired), html`<span class="bad">${each.last_error || ""}</span>`])} />`;
}
