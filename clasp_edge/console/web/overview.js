// Overview: how the router is in one line, what to do where it is not well, and its numbers.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import uPlot from "./vendor/uplot.js";
import { clip, count, size, span, t } from "./text.js";

const KEPT = 120, BOARD = "/clasp-edge/board/";

/** A line over time; `data` is [seconds, numbers]. */
export function Plot({ title, data, height = 110 }) {
  const place = useRef(), plot = useRef();
  useEffect(() => {
    const axis = { stroke: "#93a1b1", grid: { stroke: "#2a323d" }, ticks: { show: false }, font: "11px system-ui" };
    const width = () => place.current.clientWidth || 280;
    plot.current = new uPlot({ width: width(), height, legend: { show: false }, cursor: { show: false }, scales: { x: { range: (u, from, to) => (from === to ? [Date.now() / 1000 - 60, Date.now() / 1000] : [from, to]) } }, axes: [{ ...axis, space: 90, values: (u, at) => at.map((s) => new Date(s * 1e3).toLocaleTimeString()) }, { ...axis, size: 55 }],
      series: [{}, { stroke: "#5ec8a0", width: 1.5, fill: "#5ec8a022" }] }, data, place.current);
    const watcher = new ResizeObserver(() => plot.current.setSize({ width: width(), height }));
    watcher.observe(place.current);
    return () => { watcher.disconnect(); plot.current.destroy(); };
  }, []);
  useEffect(() => plot.current?.setData(data));
  return html`<div class="card"><span class="soft">${title}</span><div ref=${place} role="img" aria-label=${title}></div></div>`;
}

/** Ask for a report again and again while the view is shown: [the newest, the one before, what is wrong]. */
export function useReport(link, path, period = 2000) {
  const [found, keep] = useState([]);
  useEffect(() => {
    let timer, over = false;
    const ask = async () => {
      if (link.state === "up" && !document.hidden)
        try {
          const report = { ...(await link.ask(path)), at: performance.now() / 1000 };
          keep(([before]) => [report, before]);
        } catch (error) { keep([null, null, error]); }
      if (!over) timer = setTimeout(ask, period);
    };
    ask();
    return () => { over = true; clearTimeout(timer); };
  }, []);
  return found;
}

/** What is wrong with a box, by what it says. */
export function wrongs(row) {
  const found = [...(Array.isArray(row["board/problems"]) ? row["board/problems"] : [])];
  if (row["box/fault"]) found.push(row["box/fault"]);
  for (const [key, value] of Object.entries(row)) {
    const [kind, name, what] = key.split("/");
    if ((kind === "uplinks" || kind === "bridges") && what === "state" && value !== "up" && value !== "syncing") found.push(`${kind.slice(0, -1)} ${name}: ${row[`${kind}/${name}/last_error`] || value}`);
    if (kind === "uplinks" && what === "last_error" && value && row[`uplinks/${name}/state`] === "up") found.push(`uplink ${name}: ${value}`);
    if (kind === "rules" && what === "last_error" && value) found.push(`${t("rule")} ${name}: ${value}`);
  }
  if (["memory", "failed", "degraded"].includes(row["journal/state"])) found.push(`Journal: ${t("nothing is stored")} (${row["journal/message"] || row["journal/state"]})`);
  return found.map(String);
}

/** What is wrong, each with what to do. */
function problems(link, report) {
  const found = [...(link.values.get("/clasp-edge/board/problems")?.value || [])];
  for (const kind of ["uplinks", "bridges"])
    for (const [name, row] of Object.entries(link.table(`/clasp-edge/${kind}/`)))
      if (row.state !== "up" && row.state !== "syncing") found.push(`${kind.slice(0, -1)} ${name} ${t("is not connected")}: ${row.last_error || row.state || ""}`);
  for (const [id, row] of Object.entries(link.table("/clasp-edge/peers/")))
    if (row.state === "down") found.push(`${row.name || id} ${t("has dialled in and is gone")}`);
    else found.push(...wrongs(row).map((line) => `${row.name || id}: ${line}`));
  found.push(...Object.values(report?.uncarried || {}));
  const journal = link.table("/clasp-edge/journal/"), told = (key) => journal[key]?.[""];
  if (["memory", "failed", "degraded"].includes(told("state"))) found.push(`Journal: ${t("nothing is stored")} (${told("message") || told("state")})`);
  if (told("wear_alarm") === true) found.push(`Journal: ${t("more is written to the card than its budget")} (journal.wear_budget_gb_per_day)`);
  if (report?.clock?.fault) found.push(report.clock.fault);
  if (report && !report.router.healthy) found.push("/healthz: 503");
  for (const [cause, number] of Object.entries(report?.drops || {})) if (number) found.push(`${count(number)} ${t("messages were lost")}: ${cause}`);
  return found;
}

export function Overview({ link }) {
  const [report, before, error] = useReport(link, "status.json");
  const past = useRef([[], [], []]);
  useEffect(() => {
    if (!report || !before) return;
    const seconds = report.at - before.at;
    const sum = (each) => Object.values(each.messages.by_signal).reduce((a, b) => a + b, 0);
    past.current[0].push(Date.now() / 1000);
    past.current[1].push((sum(report) - sum(before)) / seconds);
    past.current[2].push((report.messages.deliveries - before.messages.deliveries) / seconds);
    for (const line of past.current) if (line.length > KEPT) line.shift();
  }, [report]);
  const wrong = link.state === "up" ? problems(link, report) : [t("No connection to the router; trying again")];
  const [times, messages, deliveries] = past.current;
  const card = (title, text, more = "") => html`<div class="card"><span class="soft">${t(title)}</span><b>${text}</b>${more}</div>`;
  const lost = Object.values(report?.drops || {}).reduce((a, b) => a + b, 0);
  const perDay = link.values.get("/clasp-edge/journal/bytes_per_day")?.value;
  const board = [...link.values].filter(([at, { value }]) => at.startsWith(BOARD) && !Array.isArray(value)).map(([at, { value }]) => [at.slice(BOARD.length), value]);
  const clock = new Date(Date.now() + (link.skew || 0)).toLocaleTimeString();
  return html`<p class=${"state " + (wrong.length ? "warn" : "good")} role="status">${wrong.length ? wrong[0] : t("All is well")}</p>
    ${wrong.length > 1 && html`<ul>${wrong.slice(1).map((line) => html`<li class="warn">${line}</li>`)}</ul>`}
    ${error && html`<p class="soft">${error.message}</p>`}
    ${report && html`<div class="plots"><${Plot} title=${t("messages/s")} data=${[times, messages]} /><${Plot} title=${t("deliveries/s")} data=${[times, deliveries]} /></div>
    <div class="cards">
      ${card("clients", count(Object.values(report.sessions.by_kind).reduce((a, b) => a + b, 0)), Object.entries(report.sessions.by_kind).map(([kind, n]) => (n ? `${kind} ${n} ` : "")))}
      ${card("params", count(report.params.count), size(report.params.bytes))}
      ${card("lost messages", count(lost))}
      ${report.machine?.temperature_c && card("temperature", report.machine.temperature_c.toFixed(0) + " °C")}
      ${card("running", span(report.router.uptime_s))}
      ${card("memory", size(report.memory.resident_bytes))}
      ${card("loop lag", (report.loop.lag_s * 1000).toFixed(1) + " ms", "max " + (report.loop.worst_lag_s * 1000).toFixed(0) + " ms")}
      ${perDay !== undefined && card("written to the card", size(Number(perDay)), t("per day"))}
      ${card("version", report.router.version)}${card("security", report.router.security, location.protocol === "https:" ? "TLS" : "")}${report.tls && card("certificate", html`<code title=${report.tls.fingerprint}>${report.tls.fingerprint.slice(0, 23)}…</code>`, report.tls.self_signed ? t("its own") : "")}${card("clock", clock)}${board.map(([key, value]) => card(key.replaceAll(/[_/]/g, " "), clip(String(value), 40)))}
    </div>`}
    ${["uplinks", "bridges", "peers"].map((kind) => Object.entries(link.table(`/clasp-edge/${kind}/`)).map(([name, row]) =>
      html`<div class="row"><span class=${row.state === "up" ? "good" : "bad"}>●</span><b>${kind === "peers" ? row.name || name : name}</b><span class="soft">${kind} ${row.hub || ""} ${row.state}</span></div>`))}`;
}
