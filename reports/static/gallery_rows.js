/* Which rows, in which order, with which columns and pictures. */
const texts = rows.map((row) => row.querySelector(".full, .text").textContent.toLowerCase());
const tags = rows.map((row) => row.dataset.tags.split("|"));
const deltas = rows.map((row) => row.querySelector(".delta"));

function metric() { return data.metrics.findIndex((m) => m[0] === state.sort); }

/* The number that row i is sorted by, null where there is none. */
function number(i) {
  const own = data.values[state.stage][i];
  const a = own[state.of][metric()];
  if (state.minus < 0) return a;
  const b = own[state.minus][metric()];
  return a === null || b === null ? null : a - b;
}

/* A paired difference is ordered by who wins: for a rank, less is more. */
function sign() {
  const wins = state.minus >= 0 && state.sort ? data.metrics[metric()][3] || 1 : 1;
  return wins * (state.up ? 1 : -1);
}

function written(value) {
  const digits = Math.abs(value) >= 10 ? 1 : 2;
  return (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(value).toFixed(digits);
}

function arrange() {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  rows.forEach(function (row, i) {
    const fits = words.every((w) => texts[i].includes(w)) && state.tags.every((t) => tags[i].includes(t));
    if (row.hidden === fits) row.hidden = !fits;
    shown += fits;
  });
  const order = rows.map((_, i) => i);
  const paired = state.sort && state.minus >= 0;
  if (state.sort) {
    const numbers = order.map(number), by = sign();
    order.sort(function (a, b) {
      const x = numbers[a], y = numbers[b];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return by * (x - y) || a - b;
    });
    const pair = data.columns[state.of] + " − " + data.columns[state.minus] + ": ";
    deltas.forEach((e, i) => { e.textContent = !paired ? "" : pair + (numbers[i] === null ? "–" : written(numbers[i])); });
  } else {
    deltas.forEach((e) => { e.textContent = ""; });
    if (state.up) order.reverse();
  }
  const standing = all("tbody", table);
  if (order.some((i, k) => standing[k] !== rows[i])) order.forEach((i) => table.append(rows[i]));
  byId("count").textContent = shown + " of " + rows.length + (rows.length === 1 ? " prompt" : " prompts");
  byId("nothing").hidden = shown > 0;
  all("thead th[data-column]", table).forEach(function (th) {
    const sorted = state.sort && state.minus < 0 && state.of === Number(th.dataset.column);
    if (sorted) th.setAttribute("aria-sort", state.up ? "ascending" : "descending");
    else th.removeAttribute("aria-sort");
  });
}

function columns() {
  all("[data-column]", table).forEach((e) => { e.hidden = state.hide.includes(Number(e.dataset.column)); });
  root.style.setProperty("--shown", Math.max(1, data.columns.length - state.hide.length));
  all("[data-toggle]").forEach((b) => b.setAttribute("aria-pressed", String(!state.hide.includes(Number(b.dataset.toggle)))));
}

function toggleColumn(i) {
  if (i >= data.columns.length) return;
  const hidden = state.hide.includes(i);
  if (!hidden && state.hide.length === data.columns.length - 1) return;
  state.hide = hidden ? state.hide.filter((c) => c !== i) : state.hide.concat(i);
  columns();
  remember();
}

function setMode(mode) {
  const changed = root.dataset.mode !== mode;
  state.mode = root.dataset.mode = mode;
  if (changed) {
    all("img[data-normal]", table).forEach(function (img) {
      if (!img.dataset.rgb) img.dataset.rgb = img.getAttribute("src");
      img.src = mode === "normal" ? img.dataset.normal : img.dataset.rgb;
    });
  }
  all("[data-set-mode]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.setMode === mode)));
  remember();
}

function setStage(stage) {
  state.stage = stage;
  root.dataset.stage = stage;
  all("[data-set-stage]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.setStage) === stage)));
  if (state.sort) arrange();
  remember();
}

function reflect() {
  const paired = state.sort && state.minus >= 0;
  byId("of").disabled = byId("minus").disabled = !state.sort;
  const words = !state.sort ? ["first to last", "last to first"]
    : paired ? [data.columns[state.of] + " wins first", data.columns[state.minus] + " wins first"]
      : ["largest first", "smallest first"];
  byId("direction").textContent = (state.up ? "↑ " : "↓ ") + words[Number(state.up)];
}
function resort() { reflect(); arrange(); remember(); }
function reverse() { state.up = !state.up; resort(); }

/* Rows by keyboard. */
function focusRow(row) {
  row.querySelector(".prompt th").focus({ preventScroll: true });
  row.scrollIntoView({ block: "start", behavior: calm.matches ? "auto" : "smooth" });
  state.row = row.id;
}
function standing() { return all("tbody", table).filter((row) => !row.hidden); }
function current() {
  const shown = standing();
  return shown.find((row) => row.contains(document.activeElement)) || shown.find((row) => row.id === state.row);
}
function step(by) {
  const shown = standing();
  if (!shown.length) return;
  const at = shown.indexOf(current());
  focusRow(shown[at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + by))]);
  remember();
}
