// The page: connection, log-in, and which view is shown. Each view is a module of its own, loaded when it is opened.
import { html, render, useEffect, useErrorBoundary, useState } from "./vendor/htm-preact.js";
import { Link } from "./link.js";
import { other, t, toggle } from "./text.js";

const VIEWS = { Overview: "overview", Tree: "tree", Clients: "tables", Boxes: "boxes", Rules: "rules", Why: "why", Journal: "journal", Setup: "setup" };
let due = false, draw = () => {};
const link = new Link(() => {
  if (due) return;
  due = true;
  // At most four times a second, not in a hidden tab: values may come faster than anybody reads.
  setTimeout(() => { due = false; if (!document.hidden) draw(); }, 250);
});
// A QR code's token is behind the #, which no server sees; it leaves the address at once.
const brought = /^#token=(.+)/.exec(location.hash);
if (brought) {
  try { sessionStorage.token = decodeURIComponent(brought[1]); } catch { /* private window, or no token */ }
  history.replaceState(null, "", location.pathname);
}
const decoded = (text) => { try { return decodeURIComponent(text); } catch { return text; } };
const stale = () => import("./stale.js").then((it) => it.compare(link, draw), () => {});
link.welcomed = stale;
const remembered = () => { try { return sessionStorage.token || ""; } catch { return ""; } };

function Page() {
  const [, redraw] = useState(0);
  const [hash, go] = useState(location.hash.slice(1));
  const [page, ...rest] = hash.split("=");
  const [fault, retry] = useErrorBoundary();
  useEffect(() => {
    draw = () => redraw((n) => n + 1);
    window.onhashchange = () => { retry(); go(location.hash.slice(1)); };
    document.onvisibilitychange = () => draw();
    link.open(remembered());
    return link.follow("/clasp-edge/**", 2);
  }, []);
  const name = Object.hasOwn(VIEWS, page) ? page : "Overview";
  const [loaded, load] = useState({});
  const refused = link.state === "refused", file = refused ? "login" : VIEWS[name];
  useEffect(() => { import(`./${file}.js`).then((module) => load((known) => ({ ...known, ...module })), stale); }, [file]);
  const View = loaded[refused ? "Login" : name];
  const shown = fault ? html`<p class="bad" role="alert">${t("This view failed")}: ${String(fault)}</p>` : View && html`<${View} key=${file} link=${link} at=${decoded(rest.join("="))} />`;
  const leave = () => { try { sessionStorage.token = ""; } catch { /* private window */ } location.reload(); };
  return html`<header><h1>${link.name || "clasp-edge"}</h1>
      <nav aria-label="views">${Object.keys(VIEWS).map((each) => html`<a href=${"#" + each} aria-current=${each === name ? "page" : null}>${t(each)}</a>`)}</nav>
      <span role="status" class=${link.state === "up" ? "good" : "bad"}>● ${link.state === "up" ? "" : t("connecting ...")}</span>
      ${link.token && html`<button onClick=${leave}>${t("Log out")}</button>`}
      <button onClick=${() => toggle().then(draw)}>${other()}</button></header>
    <div class="view">${link.changedVersion && html`<p class="row warn" role="alert">${t("The router has another version now.")} <button onClick=${() => location.reload()}>${t("Load the page again")}</button></p>`}${shown}</div>`;
}

document.getElementById("page").textContent = "";
render(html`<${Page} />`, document.getElementById("page"));
