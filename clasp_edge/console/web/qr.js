// QR codes of tokens and of the page, made in the browser: a token goes nowhere else for it.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { generate } from "./vendor/lean-qr.js";
import { t } from "./text.js";

const SCALE = 5, BLACK = [0, 0, 0, 255], WHITE = [255, 255, 255, 255];

/** The page's address for another device; "" where it has been opened by a name that only this machine has. */
export const reachable = () => (/^(localhost|127\.|\[::1\])/.test(location.hostname) ? "" : location.origin + location.pathname);

export function Qr({ text, label }) {
  const place = useRef(), [fault, tell] = useState("");
  useEffect(() => {
    try {
      const code = generate(text), canvas = place.current;
      code.toCanvas(canvas, { on: BLACK, off: WHITE, padX: 4, padY: 4 });
      canvas.style.width = canvas.style.height = canvas.width * SCALE + "px";
      tell("");
    } catch { tell(t("too long for a QR code")); }
  }, [text]);
  return html`<figure class="qr"><canvas ref=${place} role="img" aria-label=${label}></canvas><figcaption class="soft">${fault || label}</figcaption></figure>`;
}
