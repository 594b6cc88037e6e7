// A page that was loaded from another version of the router: its files do not go with what that answers now.
const version = () => fetch("page/version", { cache: "no-store" }).then((answer) => (answer.ok ? answer.text() : "none"), () => "");
let own;

/** Called whenever the router has been reached, and when a part of the page is not there any more. */
export async function compare(link, draw) {
  const found = await version();
  own ||= found;
  if (!found || found === own) return;
  link.changedVersion = true;
  draw();
}
