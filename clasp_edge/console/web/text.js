// The texts in other languages. A text is its English sentence; what is not listed stays English.
const GERMAN = {
  "Overview": "Übersicht", "Tree": "Baum", "Clients": "Teilnehmer", "Boxes": "Boxen", "Rules": "Regeln", "Journal": "Journal",
  "All is well": "Alles in Ordnung", "connecting ...": "verbindet ...", "No connection to the router; trying again": "Keine Verbindung zum Router, neuer Versuch läuft",
  "Token": "Token", "Log in": "Anmelden", "Log out": "Abmelden", "This router needs a token.": "Dieser Router verlangt einen Token.",
  "messages/s": "Nachrichten/s", "deliveries/s": "Zustellungen/s", "clients": "Teilnehmer", "params": "Parameter", "lost messages": "verlorene Nachrichten",
  "running": "läuft seit", "memory": "Speicher", "loop lag": "Verzug", "written to the card": "auf die Karte geschrieben", "per day": "pro Tag",
  "version": "Version", "security": "Sicherheit", "clock": "Uhr", "Search addresses": "Adressen suchen", "more ...": "mehr ...", "Nothing here yet": "Noch nichts hier",
  "Choose an address": "Eine Adresse wählen", "value": "Wert", "Set": "Setzen", "Emit": "Auslösen", "Forget": "Löschen", "type": "Typ", "written by": "geschrieben von",
  "age": "Alter", "revision": "Revision", "copy as": "kopieren als", "copied": "kopiert", "not sent: no connection": "nicht gesendet: keine Verbindung",
  "name": "Name", "address": "Adresse", "protocol": "Protokoll", "since": "seit", "in/s": "ein/s", "out B/s": "aus B/s", "waits": "wartet", "lost": "verloren",
  "subscriptions": "Abonnements", "away": "abwesend", "Devices": "Geräte", "Uplinks": "Uplinks", "Routers that have dialled in": "Eingewählte Router", "state": "Zustand",
  "fired": "ausgelöst", "refused": "abgelehnt", "last fired": "zuletzt", "last error": "letzter Fehler", "No rules": "Keine Regeln", "on": "an", "off": "aus",
  "pattern": "Muster", "minutes": "Minuten", "Load": "Laden", "Save as JSON": "Als JSON sichern", "records": "Einträge", "None": "Keine",
  "is not connected": "ist nicht verbunden", "has dialled in and is gone": "hat sich eingewählt und ist weg", "messages were lost": "Nachrichten gingen verloren",
  "nothing is stored": "nichts wird gespeichert", "more is written to the card than its budget": "auf die Karte wird mehr geschrieben als vorgesehen",
};
let language = "en";
try { language = localStorage.language || (navigator.language.startsWith("de") ? "de" : "en"); } catch { /* private window */ }
document.documentElement.lang = language;

/** The text in the chosen language. */
export const t = (text) => (language === "de" && GERMAN[text]) || text;
export const other = () => (language === "de" ? "English" : "Deutsch");
export function toggle() {
  language = language === "de" ? "en" : "de";
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
