/* Turntables: mounted while near the window, all at one angle. */
const sides = ["front", "left", "back", "right"];
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
all(".turntable[data-src]", table).forEach((element) => near.observe(element));

const azimuth = byId("azimuth"), angle = byId("angle");
function turnTo(degrees) {
  state.az = ((degrees % 360) + 360) % 360;
  mounted.forEach(place);
  const whole = Math.round(state.az) % 360;
  const words = whole + "° " + sides[Math.round(whole / 90) % 4];
  if (angle.value !== words) angle.value = words;
  for (const slider of [azimuth, byId("turn")]) {
    if (slider.value !== String(whole)) slider.value = whole;
    if (!state.play) slider.setAttribute("aria-valuetext", words);
  }
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
  const starts = on && !state.play;
  state.play = on;
  byId("play").setAttribute("aria-pressed", String(on));
  byId("play").firstChild.textContent = on ? "❚❚" : "▶";
  byId("play-label").textContent = on ? "Pause" : "Play";
  if (starts) { last = performance.now(); requestAnimationFrame(tick); }
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
calm.addEventListener("change", function () { if (calm.matches) play(false); });
