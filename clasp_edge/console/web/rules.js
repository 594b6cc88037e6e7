// Rules: each rule, its counts, its last evaluations and why it did not fire; a switch.
import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { Do, Table, when } from "./tables.js";
import { count, t } from "./text.js";

const AGAIN_MS = 2000;

export function Rules({ link }) {
  const [rules, keep] = useState(null), [chosen, choose] = useState(""), [trace, show] = useState(null), [error, tell] = useState("");
  useEffect(() => {
    let timer, over = false;
    const ask = async () => {
      try {
        const found = await link.request({ request: "rules", action: "list" });
        const told = chosen ? await link.request({ request: "rules", action: "trace", id: chosen }) : null;
        if (!over) { keep(found.rules); show(told); tell(""); }
      } catch (fault) { if (!over) tell(fault.message); }
      if (!over) timer = setTimeout(ask, AGAIN_MS);
    };
    ask();
    return () => { over = true; clearTimeout(timer); };
  }, [chosen]);
  const rows = Object.entries(rules || {});
  return html`${error && html`<p class="bad" role="alert">${error}</p>`}
    <${Table} heads=${["name", "state", "#fired", "#refused", "last fired", "last error", ""]} rows=${rows.map(([name, each]) => [
      html`<button aria-expanded=${chosen === name} onClick=${() => choose(chosen === name ? "" : name)}>${name}</button>`,
      each.enabled ? html`<span class="good">${t("on")}</span>` : html`<span class="warn">${t("off")}</span>`, count(each.fired), count(each.refused), when(each.last_fired), html`<span class="bad">${each.last_error || ""}</span>`,
      html`<${Do} link=${link} asked=${{ request: "rules", action: each.enabled ? "disable" : "enable", id: name }} name=${each.enabled ? "Switch off" : "Switch on"} label=${`${t(each.enabled ? "Switch off" : "Switch on")} ${name}`} />`])} />
    ${trace && html`<h2>${chosen}: ${t("what happened, and why not")}</h2><${Table} heads=${["time", "evaluation"]} rows=${[...trace.trace].reverse().map((each) => [
      new Date(each.time * 1000).toLocaleTimeString(), html`<code class=${each.fired ? "good" : "warn"}>${each.text}</code>`])} />`}`;
}
