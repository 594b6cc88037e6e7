// Set-up: options that a running router takes over (checked, shown, tried for a minute), tokens, claim, support bundle.
import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { Qr, reachable } from "./qr.js";
import { Table, when } from "./tables.js";
import { Update } from "./update.js";
import { t } from "./text.js";

/** Have the browser keep a text as a file. */
export function save(name, text, type = "application/json") {
  const at = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  at.click();
  URL.revokeObjectURL(at.href);
}
const shown = (value) => (Array.isArray(value) ? value.join(", ") : String(value));
const typed = (text, like) => (Array.isArray(like) ? text.split(",").map((each) => each.trim()).filter(Boolean) : typeof like === "number" && text.trim() !== "" && !isNaN(text) ? Number(text) : text);

export function Setup({ link }) {
  return html`<${Options} link=${link} /><${Tokens} link=${link} /><${Claim} link=${link} /><${PageCode} /><${Update} link=${link} /><${Box} link=${link} /><${Support} link=${link} />`;
}

/** Ask now and every few seconds; returns the answer, what went wrong, and how to ask at once. */
function useAsked(link, asked, every = 3000) {
  const [found, keep] = useState(null), [error, tell] = useState(""), [again, ask] = useState(0);
  useEffect(() => {
    let timer, over = false;
    const go = () => link.request(asked).then((each) => { if (!over) { keep(each); tell(""); } }, (fault) => { if (!over) tell(fault.message); }).then(() => { if (!over) timer = setTimeout(go, every); });
    go();
    return () => { over = true; clearTimeout(timer); };
  }, [again]);
  return [found, error, () => ask((n) => n + 1)];
}

function Options({ link }) {
  const [report, error, again] = useAsked(link, { request: "settings", action: "show" });
  const [edits, edit] = useState({}), [filter, change] = useState(""), [checked, show] = useState(null), [said, say] = useState("");
  const request = (action, more) => link.request({ request: "settings", action, ...more }, true).then((found) => { say(""); return found; }, (fault) => { say(fault.message); return null; });
  // What is typed stays as it is typed until it is sent.
  const changes = () => Object.fromEntries(report.options.filter(({ key }) => key in edits).map((each) => [each.key, typeof edits[each.key] === "string" ? typed(edits[each.key], each.default) : edits[each.key]]));
  const put = (key, value) => { edit({ ...edits, [key]: value }); show(null); };
  const act = (action, made) => () => request(action, made && { changes: made() }).then((found) => {
    show(action === "check" ? found : null);
    if (found && action === "try") edit({});
    again();
  });
  const trial = report?.trial, sections = {};
  for (const each of report?.options || [])
    if (!filter || (each.key + " " + each.help).toLowerCase().includes(filter.toLowerCase())) (sections[each.key.includes(".") ? each.key.split(".")[0] : "router"] ??= []).push(each);
  return html`<h2>${t("Configuration")}</h2><p class="soft">${t("What a running router takes over. Everything else stands in its files.")}</p>
    ${error && html`<p class="soft">${error}</p>`}
    ${trial && html`<p class="row warn" role="status"><b>${t("On trial: taken back by itself in")} ${Math.ceil(trial.left_s)} s</b>
      <button onClick=${act("confirm")}>${t("Keep")}</button><button onClick=${act("undo")}>${t("Take back")}</button></p>`}
    <div class="row"><input class="grow" type="search" aria-label=${t("Search options")} placeholder=${t("Search options")} value=${filter} onInput=${(e) => change(e.target.value)} />
      <button disabled=${!Object.keys(edits).length} onClick=${act("check", changes)}>${t("Check")}</button>
      <button disabled=${!Object.keys(edits).length} onClick=${() => { edit({}); show(null); say(""); }}>${t("Discard")}</button></div>
    ${said && html`<p class="bad" role="alert">${said}</p>`}
    ${checked && html`<${Table} heads=${["option", "now", "then"]} rows=${checked.changes.map((each) => [html`<code>${each.key}</code>`, html`<code>${each.before}</code>`, html`<code class="good">${each.after}</code>`])} />
      ${checked.changes.length > 0 && html`<button onClick=${act("try", changes)}>${t("Try for a minute")}</button>`}`}
    ${Object.entries(sections).map(([name, each]) => html`<details open=${!!filter} key=${name + !!filter}><summary>${name} <span class="soft">(${each.length})</span></summary>${each.map((option) => html`<${Option} option=${option} edited=${edits[option.key]} put=${put} />`)}</details>`)}`;
}

function Option({ option, edited, put }) {
  const { key, value, help } = option, id = "option-" + key.replaceAll(".", "-");
  const now = edited === undefined ? value : edited;
  const same = shown(option.default) === (now === null ? "" : shown(now));
  return html`<div class="option"><div class="row"><label for=${id}><code class=${edited === undefined ? "" : "warn"}>${key}</code></label>
      ${typeof option.default === "boolean" ? html`<input id=${id} type="checkbox" checked=${now === true} onChange=${(e) => put(key, e.target.checked)} />`
    : html`<input id=${id} class="grow mono" value=${now === null ? "" : shown(now)} onInput=${(e) => put(key, e.target.value)} />`}
      ${option.set_here && html`<button aria-label=${`${t("As in the files")}: ${key}`} onClick=${() => put(key, null)}>${t("As in the files")}</button>`}</div>
    <p class="soft">${help}${!same && ` (${t("default")}: ${shown(option.default)})`}</p></div>`;
}

function Tokens({ link }) {
  const [report, error, again] = useAsked(link, { request: "token", action: "list" });
  const [name, call] = useState(""), [scopes, allow] = useState("write:/**"), [secret, show] = useState(""), [said, say] = useState("");
  const ask = (asked) => link.request({ request: "token", ...asked }, true).then((found) => { show(found.token || ""); say(""); again(); }, (fault) => say(fault.message));
  const make = (event) => { event.preventDefault(); ask({ action: "new", name: name.trim(), scopes: typed(scopes, []) }).then(() => call("")); };
  return html`<h2>${t("Tokens")}</h2>${error && html`<p class="soft">${error}</p>`}${report?.open && html`<p class="soft">${t("This router asks for no tokens; claim it first.")}</p>`}
    ${report && html`<${Table} heads=${["name", "allows", "expires", ""]} rows=${report.tokens.map((each) => [html`<b>${each.name}</b> <code class="soft">${each.id}</code>`, html`<code>${each.scopes.join(" ")}</code>`, html`<span class=${each.expired ? "bad" : ""}>${when(each.expires)}</span>`,
      html`<button aria-label=${`${t("Revoke")} ${each.name}`} onClick=${() => confirm(`${t("Revoke")} ${each.name}?`) && ask({ action: "revoke", name: each.name })}>${t("Revoke")}</button>`])} />`}
    ${report && !report.open && html`<form class="row" onSubmit=${make}><label class="row">${t("name")} <input id="token-name" required value=${name} onInput=${(e) => call(e.target.value)} /></label>
      <label class="row grow">${t("allows")} <input class="grow mono" required value=${scopes} onInput=${(e) => allow(e.target.value)} /></label><button>${t("New token")}</button></form>`}
    ${said && html`<p class="bad" role="alert">${said}</p>`}${secret && html`<p role="status">${t("Shown once:")} <code class="good" id="secret">${secret}</code></p><${TokenCode} token=${secret} />`}`;
}

/** For devices the token alone; for a phone the page that is logged in with it, where the phone can reach it. */
function TokenCode({ token }) {
  const page = reachable();
  return html`<div class="row"><${Qr} text=${token} label=${t("QR code of the token")} />${page && html`<${Qr} text=${page + "#token=" + encodeURIComponent(token)} label=${t("QR code of this page, logged in with the token")} />`}</div>`;
}

function PageCode() {
  const [open, set] = useState(false), page = reachable();
  return html`<h2>${t("This page on a phone")}</h2>${page ? html`<button aria-expanded=${open} onClick=${() => set(!open)}>${t("QR code")}</button>${open && html`<${Qr} text=${page} label=${page} />`}`
    : html`<p class="soft">${t("This browser has opened the page as localhost, where no phone can reach it. Open it by the box's name or address.")}</p>`}`;
}

function Claim({ link }) {
  const [report] = useAsked(link, { request: "claim", action: "report" }, 5000);
  const [made, keep] = useState(null), [said, say] = useState("");
  if (made) return html`<h2>${t("Claimed")}</h2><p role="status">${t("Shown once:")}</p><${Table} heads=${["name", "token"]} rows=${[["admin", html`<code class="good" id="admin-token">${made.admin}</code>`], ["devices", html`<code class="good">${made.devices}</code>`]]} />
    <p>${t("The first may do everything: keep it, and log in with it. The second is for devices.")}</p><${TokenCode} token=${made.devices} />`;
  if (!report || report.claimed) return null;
  const enter = (found) => {
    keep(found);
    // Whoever has no token is closed now, this page as well; and what is shown once must stay to be read.
    try { sessionStorage.token = found.admin; } catch { /* private window */ }
    link.open(found.admin);
  };
  const claim = () => confirm(t("From now on everybody needs a token. Claim the router?")) && link.request({ request: "claim", action: "claim", networks: [], who: "page" }, true).then(enter, (fault) => say(fault.message));
  return html`<h2>${t("Claim")}</h2><p>${t("Everybody in the network may do everything here.")} ${report.count ? `${t("Have to log in then:")} ${report.locked_out.slice(0, 8).map((each) => each.name || each.address).join(", ")}${report.count > 8 ? " ..." : ""}` : ""}</p>
    <button onClick=${claim}>${t("Claim this router")}</button>${said && html`<p class="bad" role="alert">${said}</p>`}`;
}

function Box({ link }) {
  const [there, tell] = useState(false), [said, say] = useState("");
  useEffect(() => { link.request({ request: "update" }).then((found) => tell(found.box), () => {}); }, []);
  const load = () => link.request({ request: "box" }).then((found) => { save(found.name, Uint8Array.from(atob(found.content), (each) => each.charCodeAt(0)), "application/zip"); say("✓"); }, (fault) => say(fault.message));
  return there && html`<h2>${t("For another box")}</h2><p class="soft">${t("The settings of this box without passwords, tokens and keys. Put the file on the other box's card as it is.")}</p>
    <button onClick=${load}>clasp-edge-box.zip</button> <span role="status" class="soft">${said}</span>`;
}

function Support({ link }) {
  const [said, say] = useState("");
  const load = () => link.request({ request: "support" }).then((found) => { save(`clasp-edge-support-${found.made.replaceAll(":", "")}.json`, JSON.stringify(found, null, 1)); say("✓"); }, (fault) => say(fault.message));
  return html`<h2>${t("Support bundle")}</h2><p class="soft">${t("Status, configuration without tokens and passwords, the last lines of the log.")}</p>
    <button onClick=${load}>${t("Download")}</button> <span role="status" class="soft">${said}</span>`;
}
