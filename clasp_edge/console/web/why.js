// Why?: the way of one address through this router and what may be in it: who writes, who is told, links, rules.
import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { span, t } from "./text.js";

const AGAIN_MS = 1500;
const MARKS = { true: ["good", "✓", "fine"], false: ["bad", "✗", "in the way"], null: ["soft", "·", "note"] };

/** What is written here at the moment: where a fader's values really come out, or that none arrive. */
function Changed({ link }) {
  const [found, keep] = useState(null), [error, tell] = useState("");
  useEffect(() => {
    let timer, over = false;
    const ask = async () => {
      const all = [];
      try {
        // Piece by piece, so that nobody else waits for it.
        for (let from = "", n = 0; n < 50 && !over; n++) {
          const part = await link.ask(`tree.json?changed=10&from=${from}`);
          all.push(...part.changed);
          if (!(from = part.next)) break;
        }
        if (!over) { keep(all.sort(([a], [b]) => a - b).slice(0, 30)); tell(""); }
      } catch (fault) { if (!over) tell(fault.message); }
      if (!over) timer = setTimeout(ask, AGAIN_MS);
    };
    ask();
    return () => { over = true; clearTimeout(timer); };
  }, []);
  return html`<h2>${t("Move the fader now: what was written here in the last 10 s")}</h2>${error && html`<p class="soft">${error}</p>`}
    ${found && (found.length ? html`<ul class="tree" id="changed">${found.map(([age, at]) => html`<li class="row"><a href=${"#Why=" + encodeURIComponent(at)}><code>${at}</code></a> <span class="soft">${span(age)}</span></li>`)}</ul>`
    : html`<p class="warn">${t("Nothing. What the fader sends does not reach this box: is it sent to this address and port?")}</p>`)}`;
}

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
    ${!at && html`<${Changed} link=${link} />`}
    ${found && html`<ul class="tree" aria-live="polite">${sorted.map((each) => {
      const [kind, mark, word] = MARKS[each.well];
      return html`<li class="row"><span class=${kind} role="img" aria-label=${t(word)}>${mark}</span><b>${each.about}</b><span class=${each.well === false ? "bad" : ""}>${each.text}</span></li>`;
    })}</ul><p><a href="#Tree">${t("Tree")}</a> · <a href="#Why">${t("What is written here at the moment")}</a></p>`}`;
}
