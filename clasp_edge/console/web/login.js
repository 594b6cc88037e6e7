// The log-in: a token for this browser tab.
import { html, useState } from "./vendor/htm-preact.js";
import { t } from "./text.js";

export function Login({ link }) {
  const [token, change] = useState("");
  const enter = (event) => {
    event.preventDefault();
    try { sessionStorage.token = token; } catch { /* private window */ }
    link.open(token);
  };
  return html`<form onSubmit=${enter}><h2>${t("This router needs a token.")}</h2>
    ${link.token && html`<p class="bad" role="alert">${link.error}</p>`}
    <div class="row"><label for="token">${t("Token")}</label>
      <input id="token" class="grow" type="password" autocomplete="current-password" autofocus value=${token} onInput=${(e) => change(e.target.value)} />
      <button>${t("Log in")}</button></div></form>`;
}
