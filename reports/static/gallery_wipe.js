/* Two columns of one prompt over each other, with a boundary that moves. */
const compare = byId("compare"), boundary = byId("boundary");
const choices = { left: byId("left"), right: byId("right"), picture: byId("picture") };
let compared = null;

function cellOf(row, column) {
  const cells = all("[data-column='" + column + "'] .cell", row);
  return cells[cells.length > 1 ? state.stage : 0];
}

function empty(pane) { all(".turntable", pane).forEach(unmount); pane.replaceChildren(); }

function fill(side) {
  const pane = byId("pane-" + side), told = byId("side-" + side).querySelector(".told");
  const cell = cellOf(compared, state.compare[side]);
  const view = sides.indexOf(state.compare.picture);
  const found = view < 0 ? cell.querySelector(".turntable") : all("figure", cell)[view];
  empty(pane);
  if (found) {
    const copy = (view < 0 ? found : found.querySelector("img")).cloneNode(true);
    copy.removeAttribute("style");
    copy.classList.remove("turning");
    all("img", copy).concat(copy).forEach((e) => e.removeAttribute("loading"));
    pane.append(copy);
    if (copy.dataset.src) mount(copy);
  } else {
    pane.append(Object.assign(document.createElement("p"), { textContent: "No picture." }));
  }
  const lines = all(".reason > strong, .line", cell).map((e) => e.cloneNode(true));
  const caption = view < 0 ? null : found && found.querySelector("figcaption").cloneNode(true);
  told.replaceChildren(...(caption ? [caption] : []), ...lines);
}

function refresh() {
  if (!compared) return;
  const long = compared.querySelector(".full, .text");
  byId("compare-title").textContent = long.textContent;
  for (const name of Object.keys(choices)) choices[name].value = state.compare[name];
  byId("turn").disabled = state.compare.picture !== "turntable";
  fill("left");
  fill("right");
  turnTo(state.az);
  remember();
}

function openCompare(row) {
  if (!row || data.columns.length < 2) return;
  const shown = data.columns.map((_, i) => i).filter((i) => !state.hide.includes(i));
  const pair = state.minus >= 0 && state.sort && state.of !== state.minus ? [state.of, state.minus] : shown;
  const other = pair.length > 1 ? pair[1] : (pair[0] + 1) % data.columns.length;
  state.compare = state.compare || { left: pair[0], right: other, picture: "turntable" };
  compared = row;
  state.row = row.id;
  if (!compare.open) compare.showModal();
  refresh();
  boundary.focus();
}

function stepCompared(by) {
  const shown = standing();
  const next = shown[shown.indexOf(compared) + by];
  if (next) { compared = next; state.row = next.id; refresh(); }
}

function slide() { compare.style.setProperty("--at", boundary.value + "%"); }

compare.addEventListener("close", function () {
  ["left", "right"].forEach((side) => empty(byId("pane-" + side)));
  state.compare = null;
  if (compared) focusRow(compared);
  compared = null;
  remember();
});
for (const name of Object.keys(choices)) {
  choices[name].addEventListener("change", function () {
    state.compare[name] = name === "picture" ? this.value : Number(this.value);
    refresh();
  });
}
boundary.addEventListener("input", slide);
byId("turn").addEventListener("input", function () { play(false); turnTo(Number(this.value)); remember(); });
byId("compare-back").addEventListener("click", () => stepCompared(-1));
byId("compare-on").addEventListener("click", () => stepCompared(1));
byId("compare-close").addEventListener("click", () => compare.close());
