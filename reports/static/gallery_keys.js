/* Controls and keys; then the page as its address says. */
function show(next) {
  if (next) state = next;
  byId("search").value = state.q;
  byId("sort").value = state.sort;
  byId("of").value = state.of;
  byId("minus").value = state.minus < 0 ? "" : state.minus;
  all("[data-tag]").forEach((b) => b.setAttribute("aria-pressed", String(state.tags.includes(b.dataset.tag))));
  reflect();
  columns();
  setStage(state.stage);
  arrange();
  setMode(state.mode);
  turnTo(state.az);
  const on = state.play;
  state.play = false;
  play(on);
}

function recall() {
  const found = recalled();
  if (found) show(found);
  const id = found ? state.row : decodeURIComponent(location.hash.slice(1));
  const row = rows.find((r) => r.id === id);
  if (row) focusRow(row);
  else if (found) byId("gallery").scrollIntoView({ behavior: "instant" }); // what the address tells of
  if (row && state.compare) openCompare(row);
  return Boolean(found);
}

data.metrics.forEach((m) => { if (m[2]) byId("sort").append(new Option(m[1], m[0])); });
data.columns.forEach(function (name, i) {
  for (const id of ["of", "minus", "left", "right"]) byId(id).append(new Option(name, i));
});
byId("search").addEventListener("input", function () { state.q = this.value; arrange(); remember(); });
byId("sort").addEventListener("change", function () { state.sort = this.value; resort(); });
byId("of").addEventListener("change", function () { state.of = Number(this.value); resort(); });
byId("minus").addEventListener("change", function () { state.minus = this.value === "" ? -1 : Number(this.value); resort(); });
byId("direction").addEventListener("click", reverse);
byId("reset").addEventListener("click", function () { state.q = ""; state.tags = []; show(); });
byId("play").addEventListener("click", () => play(!state.play));
byId("speed").addEventListener("change", function () { state.speed = Number(this.value); });
azimuth.addEventListener("input", function () { play(false); turnTo(Number(this.value)); remember(); });
all("[data-tag]").forEach((button) => button.addEventListener("click", function () {
  const tag = button.dataset.tag, on = state.tags.includes(tag);
  state.tags = on ? state.tags.filter((t) => t !== tag) : state.tags.concat(tag);
  button.setAttribute("aria-pressed", String(!on));
  arrange();
  remember();
}));
all("[data-toggle]").forEach((b) => b.addEventListener("click", () => toggleColumn(Number(b.dataset.toggle))));
all("[data-set-mode]").forEach((b) => b.addEventListener("click", () => setMode(b.dataset.setMode)));
all("[data-set-stage]").forEach((b) => b.addEventListener("click", () => setStage(Number(b.dataset.setStage))));
all("[data-sort]").forEach((button) => button.addEventListener("click", function () {
  const column = Number(button.dataset.sort);
  if (state.sort && state.of === column && state.minus < 0) state.up = !state.up;
  else { state.of = column; state.minus = -1; state.sort = state.sort || (data.metrics.find((m) => m[2]) || [""])[0]; }
  show();
}));
table.addEventListener("click", function (event) {
  const row = event.target.closest("tbody");
  const model = event.target.closest("button.model");
  if (model) model.dataset.orbit = Math.round(state.az) + "deg 75deg auto"; // from where the turntables stand
  if (event.target.closest(".compare")) openCompare(row);
  if (!event.target.closest(".permalink")) return;
  event.preventDefault();
  focusRow(row);
  remember();
});
const help = byId("help");
byId("help-open").addEventListener("click", () => help.showModal());

/* The models of the prompt in hand in 3D, or its pictures again. */
function models() {
  const row = current() || standing()[0];
  if (!row) return;
  const open = all(".model-close", row);
  const closed = all("button.model", row).filter((b) => b.offsetParent !== null);
  (open.length ? open : closed).forEach((b) => b.click());
}

const keys = {
  "/": () => { byId("search").focus(); byId("search").select(); },
  j: () => step(1),
  k: () => step(-1),
  " ": () => play(!state.play),
  n: () => setMode(state.mode === "rgb" ? "normal" : "rgb"),
  s: () => setStage((state.stage + data.stages.length - 1) % data.stages.length),
  v: models,
  c: () => openCompare(current() || standing()[0]),
  r: reverse,
  "?": () => help.showModal(),
  ArrowLeft: (event) => rotate(event.shiftKey ? -90 : -10),
  ArrowRight: (event) => rotate(event.shiftKey ? 90 : 10),
};
document.addEventListener("keydown", function (event) {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const typing = event.target.matches("input:not([type=range]), select, textarea");
  if (compare.open) {
    if (!typing && (event.key === "j" || event.key === "k")) stepCompared(event.key === "j" ? 1 : -1);
    return;
  }
  if (typing) { if (event.key === "Escape") event.target.blur(); return; }
  if (event.target.closest(".model-frame")) return;
  if (event.key === " " && event.target.closest("button, summary, a")) return;
  if (event.key.startsWith("Arrow") && event.target.closest(".scroll, pre, input")) return;
  const digit = /^[1-9]$/.test(event.key);
  if (!digit && !keys[event.key]) return;
  event.preventDefault();
  if (digit) toggleColumn(Number(event.key) - 1);
  else keys[event.key](event);
});
addEventListener("hashchange", recall);
slide();
if (!recall()) show();
