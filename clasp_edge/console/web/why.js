// Why?: the way of one address through this router and what may be in it: who writes, who is told, links, rules.
import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { t } from "./text.js";

const AGAIN_MS = 1500;
const MARKS = { true: ["good", "✓", "fine"], false: ["bad", "✗", "in the way"], null: ["soft", "·", "note"] };

export function Why({ link, at }) {
  const [typed, type] = useState(at || "");
  const [found, keep] = useState(null), [error, tell] = useState("");
  useEffect(() => type(at || ""), [at]);
  useEffect(() => {
    keep(null);
    if (!at) return;
    let timer, over = false;
    const ask = async () => {
      try {
        const told = await link.request({ request: "why", address: at });
        if (!over) { keep(told.findings); tell(""); }
      } catch (fault) { if (!over) tell(fault.message); }
      if (!over) timer = setTimeout(ask, AGAIN_MS);
    };
    ask();
    return () => { over = true; clearTimeout(timer); };
  }, [at]);
  const go = (event) => { event.preventDefault(); location.hash = "Why=" + encodeURIComponent(typed.trim()); };
  // What is in the way first.
  const sorted = [...(found || [])].sort((a, b) => (a.well !== false) - (b.well !== false));
  return html`<h2>${t("Why does a value not arrive?")}</h2><p class="soft">${t("The address that the lamp listens to, or the fader writes. It is asked again while you look.")}</p>
    <form class="row" onSubmit=${go}><label for="why">${t("address")}</label><input id="why" class="grow mono" placeholder="/stage/lamp/1" value=${typed} onInput=${(e) => type(e.target.value)} /><button>${t("Look")}</button></form>
    ${error && html`<p class="bad" role="alert">${error}</p>`}
    ${found && html`<ul class="tree" aria-live="polite">${sorted.map((each) => {
      const [kind, mark, word] = MARKS[each.well];
      return html`<li class="row"><span class=${kind} role="img" aria-label=${t(word)}>${mark}</span><b>${each.about}</b><span class=${each.well === false ? "bad" : ""}>${each.text}</span></li>`;
    })}</ul>`}`;
}
