// The texts in the chosen language. A text is its English sentence (german.js).
let words = {};
let language = "en";
try { language = localStorage.language || (navigator.language.startsWith("de") ? "de" : "en"); } catch { /* private window */ }
document.documentElement.lang = language;
if (language === "de") words = (await import("./german.js")).GERMAN;

/** The text in the chosen language. */
export const t = (text) => (Object.hasOwn(words, text) ? words[text] : text);
/** As much as a line has room for: a value may have 60 kB. */
export const clip = (text, most = 200) => (text.length > most ? text.slice(0, most) + "… (" + size(text.length) + ")" : text);
export const other = () => (language === "de" ? "English" : "Deutsch");
export async function toggle() {
  language = language === "de" ? "en" : "de";
  words = language === "de" ? (await import("./german.js")).GERMAN : {};
  document.documentElement.lang = language;
  try { localStorage.language = language; } catch { /* private window */ }
}

/** A number of seconds for people. */
export function span(s) {
  s = Math.max(0, s);
  if (s < 60) return s.toFixed(s < 10 ? 1 : 0) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  return s < 86400 ? Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min" : Math.floor(s / 86400) + " d";
}
export const size = (n) => (n < 1e3 ? n + " B" : n < 1e6 ? (n / 1e3).toFixed(1) + " kB" : n < 1e9 ? (n / 1e6).toFixed(1) + " MB" : (n / 1e9).toFixed(2) + " GB");
export const count = (n) => (n < 10 && n % 1 ? n.toFixed(1) : Math.round(n).toLocaleString("en").replaceAll(",", "\u202f"));
