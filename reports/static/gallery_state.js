/* The gallery in one scope: this file holds what the page knows and what its address says; the others turn
   turntables, arrange rows, compare two columns, and listen. The markup already holds everything else. */
const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const all = (selector, parent) => Array.from((parent || document).querySelectorAll(selector));
const data = JSON.parse(byId("data").textContent);
const table = document.querySelector("table.gallery");
const rows = all("tbody", table);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const initial = {
  q: "", tags: [], sort: "", of: 0, minus: -1, up: false, hide: [], mode: "rgb", stage: 0,
  az: 0, row: "", play: !calm.matches, speed: 1, compare: null,
};
let state = Object.assign({}, initial);

root.classList.remove("no-js");

/* The address holds what differs from the initial state. */
function address() {
  const parts = new URLSearchParams();
  if (state.row) parts.set("row", state.row);
  if (state.q) parts.set("q", state.q);
  if (state.tags.length) parts.set("tags", state.tags.join("|"));
  if (state.sort) { parts.set("sort", state.sort); parts.set("of", data.columns[state.of]); }
  if (state.sort && state.minus >= 0) parts.set("minus", data.columns[state.minus]);
  if (state.up) parts.set("up", "1");
  if (state.hide.length) parts.set("hide", state.hide.map((i) => data.columns[i]).join("|"));
  if (state.mode !== "rgb") parts.set("mode", state.mode);
  if (state.stage) parts.set("stage", data.stages[state.stage]);
  if (!state.play && Math.round(state.az)) parts.set("az", String(Math.round(state.az)));
  if (state.compare) {
    const c = state.compare;
    parts.set("compare", [data.columns[c.left], data.columns[c.right], c.picture].join("|"));
  }
  return parts.toString();
}

let pending = 0;
function remember() {
  clearTimeout(pending);
  pending = setTimeout(function () {
    const now = address();
    if (!now && !location.hash.includes("=")) return;
    history.replaceState(null, "", now ? "#" + now : location.pathname + location.search);
  }, 150);
}

/* What the address says, with everything unknown left out; null where it only names a row. */
function recalled() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return null;
  const parts = new URLSearchParams(hash);
  const list = (name) => (parts.get(name) || "").split("|").filter(Boolean);
  const index = (name, other) => { const i = data.columns.indexOf(name); return i < 0 ? other : i; };
  const known = data.metrics.some((m) => m[0] === parts.get("sort") && m[2]);
  const hidden = list("hide").map((c) => index(c, -1)).filter((i) => i >= 0);
  const found = Object.assign({}, initial, {
    q: parts.get("q") || "",
    tags: list("tags"),
    sort: known ? parts.get("sort") : "",
    of: index(parts.get("of"), 0),
    minus: index(parts.get("minus"), -1),
    up: parts.get("up") === "1",
    hide: Array.from(new Set(hidden)).slice(0, data.columns.length - 1),
    mode: parts.get("mode") === "normal" ? "normal" : "rgb",
    stage: Math.max(0, data.stages.indexOf(parts.get("stage"))),
    row: parts.get("row") || "",
    speed: state.speed,
  });
  if (parts.has("az")) { found.az = Number(parts.get("az")) || 0; found.play = false; }
  const pair = (parts.get("compare") || "").split("|");
  const left = index(pair[0], -1), right = index(pair[1], -1);
  if (left >= 0 && right >= 0) found.compare = { left: left, right: right, picture: pair[2] || "turntable" };
  return found;
}
