// Boxes: this router's uplinks, and the routers that have dialled in, each with what it says of itself.
import { html } from "./vendor/htm-preact.js";
import { useReport, wrongs } from "./overview.js";
import { light, Table, when } from "./tables.js";
import { count, span, t } from "./text.js";

const number = (value) => (value === undefined ? "" : count(Number(value)));

/** Only what a browser opens as a page. */
const page = (url) => (/^https?:\/\/[0-9a-f.:[\]]+\/$/.test(url || "") ? url : "");

function Box({ id, row, told, now }) {
  const wrong = row.state === "up" ? wrongs(row) : [], url = page(row.url);
  const below = Object.keys(row).filter((key) => /^peers\/[^/]+\/state$/.test(key)).map((key) => key.split("/")[1]);
  const rtt = Object.keys(row).filter((key) => key.startsWith("uplinks/") && key.endsWith("/echo_rtt_ms") && Number(row[key]) > 0).map((key) => number(row[key]) + " ms").join(", ");
  const fact = (name, text) => text !== "" && text !== undefined && html`<span><span class="soft">${t(name)}</span> ${text}</span>`;
  return html`<li class="card" aria-label=${row.name || id}><div class="row">${light(wrong.length ? "warn" : row.state, row.state)}<b class="grow">${row.name || id}</b>
      ${url && (row.state === "up" ? html`<a href=${url} target="_blank" rel="noopener noreferrer" aria-label=${`${t("Open its page")}: ${row.name || id}`}>${t("Open its page")} ↗</a>` : html`<code class="soft">${url}</code>`)}</div>
    ${wrong.map((line) => html`<p class="warn">${line}</p>`)}
    <p class="facts">${fact("id", html`<code>${id}</code>`)}${fact("version", row["box/version"])}${fact("security", row["box/security"])}${row["box/started"] && fact("running", span(now - Number(row["box/started"])))}
      ${fact("clients", number(row["box/clients"]))}${fact("params", number(row["box/params"]))}${fact("RTT", rtt)}${fact("address", told?.remote)}${fact("waits", told && number(told.queue))}${told?.drops > 0 && fact("lost", number(told.drops))}
      ${told?.held > 0 && fact("held back", number(told.held))}${row.state !== "up" && told && fact("was up until", when(told.since))}</p>
    ${told && html`<p class="soft">${t("owns")} ${told.owns.length ? html`<code>${told.owns.join("  ")}</code>` : html`<span class="warn">${t("nothing: none of its values comes here")}</span>`} ${told.shares && html`<span class="warn">${t("shares")} ${told.shares}</span>`}</p>`}
    ${below.length > 0 && html`<p>${t("below it")}: ${below.map((each) => html`${light(row[`peers/${each}/state`], row[`peers/${each}/name`] || each)} `)}</p>`}</li>`;
}

export function Boxes({ link }) {
  const [report] = useReport(link, "status.json", 4000);
  const rows = (kind) => Object.entries(link.table(`/clasp-edge/${kind}/`));
  const order = (row) => (row.state === "up" ? (wrongs(row).length ? 1 : 2) : 0);
  const peers = rows("peers").sort(([, a], [, b]) => order(a) - order(b));
  const now = (Date.now() + (link.skew || 0)) / 1000;
  return html`<h2>${t("Uplinks")}</h2><${Table} heads=${["name", "state", "address", "since", "#waits", "#RTT", "#lost", "#refused", "last error"]} rows=${rows("uplinks").map(([name, each]) => [
      name, light(each.state), `${each.hub || ""} ${each.peer || ""}`, when(each.since), number(each.queue), each.echo_rtt_ms ? number(each.echo_rtt_ms) + " ms" : "", number(each.drops), number(each.refused), html`<span class="warn">${each.last_error || ""}</span>`])} />
    <h2>${t("Boxes that have dialled in")} (${peers.filter(([, row]) => row.state === "up").length} / ${peers.length})</h2>
    ${peers.length ? html`<ul class="boxes">${peers.map(([id, row]) => html`<${Box} key=${id} ...${{ id, row, now }} told=${Object.hasOwn(report?.federation?.peers || {}, id) ? report.federation.peers[id] : undefined} />`)}</ul>` : html`<p class="soft">${t("None")}</p>`}
    <h2>${t("MQTT bridges")}</h2><${Table} heads=${["name", "state", "address", "#waits", "last error"]} rows=${rows("bridges").map(([name, each]) => [name, light(each.state), each.broker || "", number(each.queued), each.last_error || ""])} />`;
}
