// The page: connection, log-in, and which view is shown. Each view is a module of its own, loaded when it is opened.
import { html, render, useEffect, useState } from "./vendor/htm-preact.js";
import { Link } from "./link.js";
import { other, t, toggle } from "./text.js";

const VIEWS = { Overview: "overview", Tree: "tree", Clients: "tables", Boxes: "boxes", Rules: "rules", Why: "why", Journal: "journal", Setup: "setup" };
let due = false, draw = () => {};
const link = new Link(() => {
  if (due) return;
  due = true;
  // At most four times a second and not in a hidden tab: values may come faster than anybody can read.
  setTimeout(() => { due = false; if (!document.hidden) draw(); }, 250);
});
// A QR code of the page brings a token behind the #, which no server sees; it is taken out of the address at once.
const brought = /^#token=(.+)/.exec(location.hash);
if (brought) {
  try { sessionStorage.token = decodeURIComponent(brought[1]); } catch { /* private window, or no token */ }
  history.replaceState(null, "", location.pathname);
}
const remembered = () => { try { return sessionStorage.token || ""; } catch { return ""; } };

function Login() {
  const [token, change] = useState("");
  const enter = (event) => {
    event.preventDefault();
    try { sessionStorage.token = token; } catch { /* private window */ }
    link.open(token);
  };
  return html`<form class="view" onSubmit=${enter}><h2>${t("This router needs a token.")}</h2>
    ${link.token && html`<p class="bad" role="alert">${link.error}</p>`}
    <div class="row"><label for="token">${t("Token")}</label>
      <input id="token" class="grow" type="password" autocomplete="current-password" autofocus value=${token} onInput=${(e) => change(e.target.value)} />
      <button>${t("Log in")}</button></div></form>`;
}

function Page() {
  const [, redraw] = useState(0);
  const [hash, go] = useState(location.hash.slice(1));
  const [page, ...rest] = hash.split("=");
  useEffect(() => {
    draw = () => redraw((n) => n + 1);
    window.onhashchange = () => go(location.hash.slice(1));
    document.onvisibilitychange = () => draw();
    link.open(remembered());
    return link.follow("/clasp-edge/**", 2);
  }, []);
  const name = page in VIEWS ? page : "Overview";
  const [loaded, load] = useState({});
  useEffect(() => { import(`./${VIEWS[name]}.js`).then((module) => load((known) => ({ ...known, ...module }))); }, [name]);
  const View = loaded[name];
  const leave = () => { try { sessionStorage.token = ""; } catch { /* private window */ } location.reload(); };
  return html`<header><h1>${link.name || "clasp-edge"}</h1>
      <nav aria-label="views">${Object.keys(VIEWS).map((each) => html`<a href=${"#" + each} aria-current=${each === name ? "page" : null}>${t(each)}</a>`)}</nav>
      <span role="status" class=${link.state === "up" ? "good" : "bad"}>● ${link.state === "up" ? "" : t("connecting ...")}</span>
      ${link.token && html`<button onClick=${leave}>${t("Log out")}</button>`}
      <button onClick=${() => toggle().then(draw)}>${other()}</button></header>
    ${link.state === "refused" ? html`<${Login} />` : html`<div class="view">${View && html`<${View} key=${name} link=${link} at=${decodeURIComponent(rest.join("="))} />`}</div>`}`;
}

document.getElementById("page").textContent = "";
render(html`<${Page} />`, document.getElementById("page"));
