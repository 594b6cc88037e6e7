// Update: a signed bundle is sent to the box's update program, piece by piece; elsewhere it says where updates come from.
import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { size, t } from "./text.js";

const AGAIN_MS = 1000, BUSY_MS = 150;
const WORDS = { nothing: "", receiving: "Being sent", installing: "Being installed: do not switch off the box", done: "Installed", refused: "Refused" };

export function Update({ link }) {
  const [report, keep] = useState(null), [file, choose] = useState(null), [sending, set] = useState(false), [said, say] = useState("");
  useEffect(() => {
    let timer, over = false;
    const ask = () => link.request({ request: "update" }).then((found) => { if (!over && !sending) keep(found); }, (fault) => { if (!over) say(fault.message); })
      .then(() => { if (!over) timer = setTimeout(ask, AGAIN_MS); });
    ask();
    return () => { over = true; clearTimeout(timer); };
  }, [sending]);
  const post = async (at, piece) => {
    const headers = { "Content-Type": "application/octet-stream", ...(link.token && { Authorization: "Bearer " + link.token }) };
    const answer = await fetch(`update?at=${at}&size=${file.size}`, { method: "POST", headers, body: piece });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const { ok, result, error } = await answer.json();
    if (!ok) throw new Error(error.message);
    return result;
  };
  const send = async (event) => {
    event.preventDefault();
    set(true);
    say("");
    try {
      let told = { taken: 0, state: "receiving" };
      while (told.state === "receiving") {
        const at = told.taken;
        told = await post(at, file.slice(at, at + report.piece_bytes));
        keep(told);
        if (told.busy) await new Promise((done) => setTimeout(done, BUSY_MS));
      }
    } catch (error) { say(error.message); }
    set(false);
  };
  const under = report && (report.state === "receiving" || report.state === "installing");
  return html`<h2>${t("Update")}</h2>${!report ? html`<p class="soft">${said}</p>` : !report.possible ? html`<p class="soft">${report.message}</p>` : html`
    <p class="soft">${t("Signed updates only (clasp-edge-VERSION-arm64.update). The running system is not touched; the new one is tried at the next start, and if it does not work, the box goes back.")}</p>
    <form class="row" onSubmit=${send}><label for="update-file">${t("File")}</label><input id="update-file" class="grow" type="file" accept=".update" required onChange=${(e) => choose(e.target.files[0] || null)} />
      <button disabled=${!file || under || sending}>${t("Install")}</button></form>
    ${under && html`<progress aria-label=${t("Update")} max=${report.size} value=${report.taken}></progress> <span class="soft">${size(report.taken)} / ${size(report.size)}</span>`}
    <p role="status" class=${report.state === "refused" ? "bad" : report.state === "done" ? "good" : ""}>${t(WORDS[report.state])}${report.said && `: ${report.said}`}</p>
    ${said && html`<p class="bad" role="alert">${said}</p>`}`}`;
}
