/* The gallery's behaviour: one clock for all turntables, search, sorting, columns, permalinks, keyboard.
   State lives in one object and in the address; the markup already holds everything else. */
(function () {
  "use strict";
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const all = (selector, parent) => Array.from((parent || document).querySelectorAll(selector));
  const data = JSON.parse(byId("data").textContent);
  const table = document.querySelector("table.gallery");
  const rows = all("tbody", table);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const texts = rows.map((row) => row.querySelector(".full, .text").textContent.toLowerCase());
  const tags = rows.map((row) => row.dataset.tags.split("|"));
  const initial = { q: "", tags: [], sort: "", of: 0, minus: -1, up: false, hide: [], mode: "rgb", az: 0, row: "", play: !calm, speed: 1 };
  let state = Object.assign({}, initial);
  const sides = ["front", "left", "back", "right"];

  root.classList.remove("no-js");

  /* Turntables: mounted while near the window, all at one angle. */
  const mounted = new Set();
  function place(element) {
    const d = element.dataset;
    const frames = Number(d.frames), columns = Number(d.columns), count = Number(d.rows);
    const turn = Math.round((state.az - Number(d.start)) / Number(d.step));
    const frame = ((turn % frames) + frames) % frames;
    if (element.frame === frame) return;
    element.frame = frame;
    const x = columns > 1 ? ((frame % columns) / (columns - 1)) * 100 : 0;
    const y = count > 1 ? (Math.floor(frame / columns) / (count - 1)) * 100 : 0;
    element.style.backgroundPosition = x + "% " + y + "%";
  }
  function mount(element) {
    mounted.add(element);
    const sheet = new Image();
    sheet.onload = function () {
      if (!mounted.has(element)) return;
      const d = element.dataset;
      element.style.backgroundSize = d.columns * 100 + "% " + d.rows * 100 + "%";
      element.style.backgroundImage = 'url("' + sheet.src.replace(/["\\\n]/g, encodeURIComponent) + '")';
      element.frame = -1;
      place(element);
      element.classList.add("turning");
    };
    sheet.src = element.dataset.src;
  }
  function unmount(element) {
    mounted.delete(element);
    element.classList.remove("turning");
    element.style.backgroundImage = "";
  }
  const near = new IntersectionObserver(function (entries) {
    for (const entry of entries) (entry.isIntersecting ? mount : unmount)(entry.target);
  }, { rootMargin: "400px 0px" });
  all(".turntable[data-src]").forEach((element) => near.observe(element));

  const azimuth = byId("azimuth"), angle = byId("angle");
  function turnTo(degrees) {
    state.az = ((degrees % 360) + 360) % 360;
    mounted.forEach(place);
    const whole = Math.round(state.az) % 360;
    if (azimuth.value !== String(whole)) azimuth.value = whole;
    const words = whole + "° " + sides[Math.round(whole / 90) % 4];
    if (angle.value !== words) angle.value = words;
    if (!state.play) azimuth.setAttribute("aria-valuetext", words);
  }
  let last = 0;
  function tick(now) {
    if (!state.play) return;
    const passed = Math.min(100, now - last);
    last = now;
    if (!document.hidden) turnTo(state.az + (passed / 1000) * 45 * state.speed);
    requestAnimationFrame(tick);
  }
  function play(on) {
    state.play = on;
    byId("play").setAttribute("aria-pressed", String(on));
    byId("play").firstChild.textContent = on ? "❚❚" : "▶";
    byId("play-label").textContent = on ? "Pause" : "Play";
    if (on) { last = performance.now(); requestAnimationFrame(tick); }
    remember();
  }
  function rotate(degrees) { play(false); turnTo(state.az + degrees); remember(); }

  let drag = null;
  table.addEventListener("pointerdown", function (event) {
    const target = event.target.closest(".turntable[data-src]");
    if (!target || event.button !== 0) return;
    drag = { x: event.clientX, az: state.az, width: target.clientWidth };
    target.setPointerCapture(event.pointerId);
    play(false);
  });
  table.addEventListener("pointermove", function (event) {
    if (drag) turnTo(drag.az - ((event.clientX - drag.x) / drag.width) * 180);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    table.addEventListener(name, function () { if (drag) { drag = null; remember(); } });
  }

  /* Which rows, in which order. */
  function value(row) {
    const metric = data.metrics.findIndex((m) => m[0] === state.sort);
    const own = data.values[row][state.of][metric];
    if (state.minus < 0) return own;
    const other = data.values[row][state.minus][metric];
    return own === null || other === null ? null : own - other;
  }
  function arrange() {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach(function (row, i) {
      const fits = words.every((w) => texts[i].includes(w)) && state.tags.every((t) => tags[i].includes(t));
      row.hidden = !fits;
      shown += fits;
    });
    const order = rows.map((_, i) => i);
    if (state.sort) {
      const sign = state.up ? 1 : -1;
      order.sort(function (a, b) {
        const x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return sign * (x - y) || a - b;
      });
    } else if (state.up) {
      order.reverse();
    }
    order.forEach((i) => table.append(rows[i]));
    const count = shown + " of " + rows.length + (rows.length === 1 ? " prompt" : " prompts");
    byId("count").textContent = count;
    byId("nothing").hidden = shown > 0;
    all("thead th", table).forEach(function (th, i) {
      const sorted = state.sort && state.minus < 0 && state.of === i;
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
    state.mode = mode;
    root.dataset.mode = mode;
    all("img[data-normal]", table).forEach(function (img) {
      if (!img.dataset.rgb) img.dataset.rgb = img.getAttribute("src");
      img.src = mode === "normal" ? img.dataset.normal : img.dataset.rgb;
    });
    all("[data-set-mode]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.setMode === mode)));
    remember();
  }

  /* The address holds what differs from the initial state. */
  let pending = 0;
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
    if (!state.play && Math.round(state.az)) parts.set("az", String(Math.round(state.az)));
    return parts.toString();
  }
  function remember() {
    clearTimeout(pending);
    pending = setTimeout(function () {
      const now = address();
      if (now || location.hash.includes("=")) history.replaceState(null, "", now ? "#" + now : location.pathname + location.search);
    }, 150);
  }
  function recall() {
    const hash = location.hash.slice(1);
    if (!hash.includes("=")) {
      const row = rows.find((r) => r.id === decodeURIComponent(hash));
      if (row) focusRow(row);
      return false;
    }
    const parts = new URLSearchParams(hash);
    const list = (name) => (parts.get(name) || "").split("|").filter(Boolean);
    const index = (name, other) => { const i = data.columns.indexOf(parts.get(name)); return i < 0 ? other : i; };
    const known = data.metrics.some((m) => m[0] === parts.get("sort") && m[2]);
    state = Object.assign({}, initial, {
      q: parts.get("q") || "",
      tags: list("tags"),
      sort: known ? parts.get("sort") : "",
      of: index("of", 0),
      minus: index("minus", -1),
      up: parts.get("up") === "1",
      hide: list("hide").map((c) => data.columns.indexOf(c)).filter((i) => i >= 0).slice(0, data.columns.length - 1),
      row: parts.get("row") || "",
      speed: state.speed,
    });
    if (parts.has("az")) { state.az = Number(parts.get("az")) || 0; state.play = false; }
    show(parts.get("mode") === "normal" ? "normal" : "rgb");
    const row = rows.find((r) => r.id === state.row);
    if (row) focusRow(row);
    return true;
  }
  function show(mode) {
    byId("search").value = state.q;
    byId("sort").value = state.sort;
    byId("of").value = state.of;
    byId("minus").value = state.minus < 0 ? "" : state.minus;
    all("[data-tag]").forEach((b) => b.setAttribute("aria-pressed", String(state.tags.includes(b.dataset.tag))));
    reflect();
    columns();
    arrange();
    if (mode !== root.dataset.mode) setMode(mode);
    turnTo(state.az);
    play(state.play);
  }
  function reflect() {
    byId("of").disabled = byId("minus").disabled = !state.sort;
    byId("direction").textContent = state.up ? "↑" : "↓";
    byId("direction").setAttribute("aria-label", "Sort direction: " + (state.up ? "ascending" : "descending"));
  }
  function resort() { reflect(); arrange(); remember(); }
  function reverse() { state.up = !state.up; resort(); }

  /* Rows by keyboard. */
  function focusRow(row) {
    row.querySelector(".prompt th").focus({ preventScroll: true });
    row.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
    state.row = row.id;
  }
  function step(by) {
    const shown = all("tbody", table).filter((row) => !row.hidden);
    if (!shown.length) return;
    const at = shown.findIndex((row) => row.contains(document.activeElement));
    const current = at < 0 ? shown.findIndex((row) => row.id === state.row) : at;
    const next = current < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, current + by));
    focusRow(shown[next]);
    remember();
  }

  /* Controls. */
  data.metrics.forEach((m) => { if (m[2]) byId("sort").append(new Option(m[1], m[0])); });
  data.columns.forEach(function (name, i) {
    byId("of").append(new Option(name, i));
    byId("minus").append(new Option(name, i));
  });
  byId("search").addEventListener("input", function () { state.q = this.value; arrange(); remember(); });
  byId("sort").addEventListener("change", function () { state.sort = this.value; resort(); });
  byId("of").addEventListener("change", function () { state.of = Number(this.value); resort(); });
  byId("minus").addEventListener("change", function () { state.minus = this.value === "" ? -1 : Number(this.value); resort(); });
  byId("direction").addEventListener("click", reverse);
  byId("reset").addEventListener("click", function () { state.q = ""; state.tags = []; show(state.mode); });
  byId("play").addEventListener("click", function () { play(!state.play); });
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
  all("[data-sort]").forEach((button) => button.addEventListener("click", function () {
    const column = Number(button.dataset.sort);
    if (state.sort && state.of === column && state.minus < 0) state.up = !state.up;
    else { state.of = column; state.minus = -1; state.sort = state.sort || (data.metrics.find((m) => m[2]) || [""])[0]; }
    show(state.mode);
  }));
  table.addEventListener("click", function (event) {
    const anchor = event.target.closest(".permalink");
    if (!anchor) return;
    event.preventDefault();
    focusRow(anchor.closest("tbody"));
    remember();
  });
  const help = byId("help");
  byId("help-open").addEventListener("click", () => help.showModal());

  const keys = {
    "/": () => { byId("search").focus(); byId("search").select(); },
    j: () => step(1),
    k: () => step(-1),
    " ": () => play(!state.play),
    n: () => setMode(state.mode === "rgb" ? "normal" : "rgb"),
    r: reverse,
    "?": () => help.showModal(),
    ArrowLeft: (event) => rotate(event.shiftKey ? -90 : -10),
    ArrowRight: (event) => rotate(event.shiftKey ? 90 : 10),
  };
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const typing = event.target.matches("input, select, textarea");
    if (typing) { if (event.key === "Escape") event.target.blur(); return; }
    if (event.key === " " && event.target.closest("button, summary, a")) return;
    if (event.key.startsWith("Arrow") && event.target.closest(".scroll")) return;
    const digit = /^[1-9]$/.test(event.key);
    if (!digit && !keys[event.key]) return;
    event.preventDefault();
    if (digit) toggleColumn(Number(event.key) - 1);
    else keys[event.key](event);
  });
  addEventListener("hashchange", recall);
  if (!recall()) show("rgb");
})();
