/* One participant's study: who answers what, when, and how it is kept. Nothing leaves the page but two files that
   the participant saves. The questions, forms and pictures stand in the page as data. */
(function () {
  "use strict";
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const study = JSON.parse(byId("study").textContent);
  const sources = JSON.parse(byId("sources").textContent);
  const prefix = "study:" + study.study_sha256.slice(0, 16) + ":";
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const CONFIRM_MS = 180, NEXT_QUESTION_MS = 300;
  let session = null, steps = [], showing = null, keeping = true;

  root.classList.remove("no-js");

  /* Checksums: sorted keys, ASCII only, integers only, so that other programs write the same text. */
  function canonical(value) {
    if (Array.isArray(value)) return "[" + value.map(canonical).join(",") + "]";
    if (value && typeof value === "object") {
      return "{" + Object.keys(value).sort().map((k) => canonical(k) + ":" + canonical(value[k])).join(",") + "}";
    }
    const escape = (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
    return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escape);
  }
  function firstPrimes(count) {
    const found = [];
    for (let n = 2; found.length < count; n++) if (found.every((p) => n % p)) found.push(n);
    return found;
  }
  /* SHA-256 (FIPS 180-4) of an ASCII text, in hex. The browser's own is missing on plain http. */
  function sha256(text) {
    const fraction = (x) => ((x - Math.floor(x)) * 4294967296) | 0;
    const primes = firstPrimes(64);
    const keys = primes.map((p) => fraction(Math.cbrt(p)));
    const state = primes.slice(0, 8).map((p) => fraction(Math.sqrt(p)));
    const blocks = Math.ceil((text.length + 9) / 64);
    const words = new Int32Array(blocks * 16);
    for (let i = 0; i < text.length; i++) words[i >> 2] |= text.charCodeAt(i) << (24 - 8 * (i % 4));
    words[text.length >> 2] |= 0x80 << (24 - 8 * (text.length % 4));
    words[blocks * 16 - 1] = text.length * 8;
    const turn = (x, n) => (x >>> n) | (x << (32 - n));
    const w = new Int32Array(64);
    for (let block = 0; block < blocks; block++) {
      for (let i = 0; i < 64; i++) {
        if (i < 16) { w[i] = words[block * 16 + i]; continue; }
        const a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 64; i++) {
        const first = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + keys[i] + w[i]) | 0;
        const second = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        h = g; g = f; f = e; e = (d + first) | 0; d = c; c = b; b = a; a = (first + second) | 0;
      }
      [a, b, c, d, e, f, g, h].forEach((x, i) => { state[i] = (state[i] + x) | 0; });
    }
    return state.map((x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
  }

  /* Keeping: after every answer, in this browser. */
  function keep() {
    try {
      localStorage.setItem(prefix + session.form, JSON.stringify(session));
      keeping = true;
    } catch {
      keeping = false;
    }
  }
  function kept(form) {
    try {
      const found = JSON.parse(localStorage.getItem(prefix + form));
      return found && found.study_sha256 === study.study_sha256 && Array.isArray(found.answers) ? found : null;
    } catch {
      return null;
    }
  }
  function forget(form) {
    try { localStorage.removeItem(prefix + form); } catch { /* nothing was kept */ }
  }
  function code() {
    return Array.from(crypto.getRandomValues(new Uint8Array(6)), (b) => b.toString(16).padStart(2, "0")).join("");
  }
  function begun(form) {
    return {
      schema_version: study.schema_version,
      kind: "study answers",
      study_id: study.study_id,
      study_sha256: study.study_sha256,
      form: form,
      participant: code(),
      started: new Date().toISOString(),
      finished: null,
      client: {
        width: innerWidth,
        height: innerHeight,
        pixel_ratio_percent: Math.round(devicePixelRatio * 100),
        dark: matchMedia("(prefers-color-scheme: dark)").matches,
        reduced_motion: calm.matches,
      },
      answers: [],
    };
  }

  function screen(name) {
    ["welcome", "trial", "notice", "done"].forEach((id) => { byId(id).hidden = id !== name; });
    scrollTo(0, 0);
  }

  /* Time looked at: from the moment the pictures stand, without the time the page was hidden. */
  let hiddenSince = null;
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) hiddenSince = performance.now();
    else if (hiddenSince !== null) {
      if (showing) showing.away += performance.now() - hiddenSince;
      hiddenSince = null;
    }
  });

  /* One question. `showing` is what stands on the screen. */
  function option(trial, i) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "option";
    const image = new Image();
    image.alt = "Object " + (i + 1) + " of " + trial.shown.length + ", four views";
    image.src = sources[trial.shown[i]];
    image.draggable = false;
    const label = document.createElement("span");
    const names = trial.shown.length === 2 ? ["Left", "Right"] : [];
    const key = document.createElement("kbd");
    key.textContent = i + 1;
    label.append((names[i] || "Object " + (i + 1)) + " ", key);
    button.append(image, label);
    button.addEventListener("click", (event) => choose(i, event.detail === 0 ? "keyboard" : "pointer"));
    return button;
  }
  function fresh(trial) {
    const stage = byId("stage");
    stage.style.setProperty("--options", trial.shown.length);
    stage.classList.toggle("many", trial.shown.length > 2);
    stage.classList.add("loading");
    stage.replaceChildren(...trial.shown.map((_, i) => option(trial, i)));
    const images = Array.from(stage.querySelectorAll("img"));
    return Promise.all(images.map((image) => image.decode()));
  }
  function say(text, bad) {
    byId("status").textContent = text;
    byId("status").classList.toggle("bad", Boolean(bad));
  }
  function waiting(yes) {
    byId("stage").setAttribute("aria-busy", String(yes));
  }
  function marks(step) {
    const previous = session.answers[step.index];
    const at = previous ? step.trial.shown.indexOf(previous.choice) : -1;
    byId("stage").querySelectorAll(".option").forEach((b, i) => { b.classList.remove("chosen"); b.setAttribute("aria-pressed", String(i === at)); });
    byId("same").classList.remove("chosen");
    byId("same").setAttribute("aria-pressed", String(Boolean(previous) && previous.choice === "same"));
  }
  function describe(step) {
    const several = study.questions.length > 1;
    const place = document.createElement("span");
    place.className = "step";
    place.textContent = several ? "Question " + (step.q + 1) + " of " + study.questions.length : "";
    byId("question").replaceChildren(place, step.question.text);
    byId("hint").textContent = step.question.hint;
    byId("prompt").textContent = study.prompts[step.trial.prompt];
    byId("count").textContent = step.number + 1 + " of " + session.trials;
    byId("progress").max = steps.length;
    byId("progress").value = step.index;
    byId("practice").hidden = step.trial.training === undefined;
    byId("back").disabled = step.index === 0;
  }
  async function show(index) {
    const step = steps[index];
    const same = showing && showing.step.trial === step.trial;
    const now = { step: step, since: 0, readyAt: Infinity, away: 0, busy: false };
    showing = now;
    waiting(true);
    screen("trial");
    describe(step);
    say(keeping ? "" : "This browser does not keep answers: please finish in one go.", !keeping);
    if (!same) {
      try {
        await fresh(step.trial);
      } catch {
        if (showing === now) say("A picture is missing. Please tell the person who invited you: it must lie beside this page.", true);
        return;
      }
      if (showing !== now) return;
      byId("stage").classList.remove("loading");
    }
    marks(step);
    byId("question").focus({ preventScroll: true });
    now.since = performance.now();
    now.readyAt = now.since + (same ? NEXT_QUESTION_MS : study.minimum_ms);
    now.away = 0;
    setTimeout(() => { if (showing === now && !now.busy) waiting(false); }, now.readyAt - now.since);
    const next = steps.slice(index).find((s) => s.trial !== step.trial);
    if (next) next.trial.shown.forEach((id) => { new Image().src = sources[id]; });
  }
  function choose(position, input) {
    const now = showing;
    if (!now || now.busy || byId("trial").hidden || byId("stopping").open) return;
    if (performance.now() < now.readyAt) {
      if (now.readyAt < Infinity) say("Take a moment to look first.");
      return;
    }
    const step = now.step, previous = session.answers[step.index];
    const elapsed = performance.now() - now.since;
    now.busy = true;
    waiting(true);
    session.answers[step.index] = {
      trial: step.trial.id,
      question: step.question.id,
      shown: step.trial.shown,
      choice: position < 0 ? "same" : step.trial.shown[position],
      rt_ms: Math.max(0, Math.round(elapsed - now.away)),
      away_ms: Math.round(now.away),
      at_ms: Math.max(0, Math.round(Date.now() - Date.parse(session.started))),
      input: input,
      revised: previous ? previous.revised + 1 : 0,
    };
    keep();
    const chosen = position < 0 ? byId("same") : byId("stage").children[position];
    chosen.classList.add("chosen");
    setTimeout(() => after(step), calm.matches ? 0 : CONFIRM_MS);
  }
  function after(step) {
    const next = step.index + 1;
    if (step.q < study.questions.length - 1 || step.trial.training === undefined) { go(next); return; }
    const given = steps.filter((s) => s.trial === step.trial).map((s) => session.answers[s.index].choice);
    const last = steps[next].trial.training === undefined;
    if (step.trial.training) {
      const right = given.every((choice) => choice === step.trial.training);
      notice(right ? "That is how it works" : "Have another look", study.training_note, next);
    } else if (last) notice("Practice is over", "From now on your answers count. Take the time you need.", next);
    else go(next);
  }
  function notice(title, text, next) {
    showing = null;
    byId("notice-title").textContent = title;
    byId("notice-text").textContent = text;
    screen("notice");
    byId("continue").onclick = () => go(next);
    byId("continue").focus();
  }
  function go(index) {
    if (index < steps.length) show(index);
    else finish();
  }
  function back() {
    const index = showing ? showing.step.index : steps.length;
    if (index > 0 && !(showing && showing.busy)) show(index - 1);
  }

  /* The end, and the files. */
  function finish() {
    showing = null;
    session.finished = new Date().toISOString();
    keep();
    screen("done");
    byId("code").textContent = session.participant;
    byId("answered").textContent = session.answers.length + " of " + steps.length;
    byId("done-title").focus({ preventScroll: true });
  }
  function save(text, type, ending) {
    const name = study.study_id + "-form" + session.form + "-" + session.participant + ending;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    byId("saved").textContent = "Saved as " + name;
  }
  function answersFile() {
    const content = Object.assign({}, session);
    delete content.trials;
    content.digest = sha256(canonical(content));
    return JSON.stringify(content, null, 1) + "\n";
  }
  function answersTable() {
    const names = ["study_id", "study_sha256", "participant", "form", "order", "trial", "prompt", "question", "choice", "position"];
    const timed = ["rt_ms", "away_ms", "at_ms", "input", "revised"];
    const options = study.forms[0][0].shown.map((_, i) => "option_" + (i + 1));
    const rows = steps.map(function (step, i) {
      const a = session.answers[i];
      const own = [study.study_id, study.study_sha256, session.participant, session.form, i + 1, a.trial, study.prompts[step.trial.prompt]];
      return own.concat(a.question, a.choice, a.choice === "same" ? 0 : a.shown.indexOf(a.choice) + 1, timed.map((t) => a[t]), a.shown);
    });
    const quoted = (cell) => (/[",\r\n]/.test(cell) ? '"' + String(cell).replace(/"/g, '""') + '"' : cell);
    return [names.concat(timed, options)].concat(rows).map((row) => row.map(quoted).join(",") + "\r\n").join("");
  }

  /* The beginning. */
  function chosenForm() {
    const n = Number(byId("form-number").value);
    return Number.isInteger(n) && n >= 1 && n <= study.forms.length ? n : null;
  }
  function greet() {
    const form = chosenForm();
    const old = form && kept(form);
    byId("restart").hidden = !old;
    byId("agree").closest("label").hidden = Boolean(old);
    byId("start").textContent = !old ? "Start" : old.finished ? "To my answers" : "Continue";
    byId("form-problem").textContent = "";
    byId("agree-problem").textContent = "";
  }
  function enter(found) {
    session = found;
    const form = study.forms[session.form - 1];
    steps = form.flatMap((trial, number) => study.questions.map((question, q) => ({ trial, number, question, q })));
    steps.forEach((step, index) => { step.index = index; });
    session.trials = form.length;
    byId("which-form").textContent = " · form " + session.form;
    history.replaceState(null, "", "#" + session.form);
    go(session.finished ? steps.length : session.answers.length);
  }
  function restart() {
    forget(session ? session.form : chosenForm());
    session = null;
    showing = null;
    byId("agree").checked = false;
    byId("which-form").textContent = "";
    byId("saved").textContent = "";
    greet();
    screen("welcome");
    byId("main").focus();
  }
  byId("begin").addEventListener("submit", function (event) {
    event.preventDefault();
    greet();
    const form = chosenForm();
    if (!form) {
      byId("form-problem").textContent = "Please give a number from 1 to " + study.forms.length + ".";
      byId("form-number").focus();
      return;
    }
    const old = kept(form);
    if (!old && !byId("agree").checked) {
      byId("agree-problem").textContent = "Please confirm this first.";
      byId("agree").focus();
      return;
    }
    enter(old || begun(form));
  });
  byId("form-number").addEventListener("input", greet);
  byId("agree").addEventListener("change", () => { byId("agree-problem").textContent = ""; });
  byId("restart").addEventListener("click", restart);
  byId("same").addEventListener("click", (event) => choose(-1, event.detail === 0 ? "keyboard" : "pointer"));
  byId("back").addEventListener("click", back);
  byId("review").addEventListener("click", back);
  byId("forget").addEventListener("click", () => byId("stopping").showModal());
  byId("stop").addEventListener("click", () => byId("stopping").showModal());
  byId("stay").addEventListener("click", () => byId("stopping").close());
  byId("withdraw").addEventListener("click", () => { byId("stopping").close(); restart(); });
  byId("save-json").addEventListener("click", () => save(answersFile(), "application/json", ".json"));
  byId("save-csv").addEventListener("click", () => save(answersTable(), "text/csv", ".csv"));
  document.addEventListener("keydown", function (event) {
    if (byId("trial").hidden || byId("stopping").open || event.ctrlKey || event.metaKey || event.altKey) return;
    const pair = showing && showing.step.trial.shown.length === 2;
    const places = pair ? { ArrowLeft: 0, ArrowRight: 1 } : {};
    if (study.allow_same) { places["0"] = -1; places.ArrowDown = -1; }
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : null;
    const inside = showing && digit !== null && digit < showing.step.trial.shown.length;
    const place = inside ? digit : places[event.key];
    if (place === undefined && event.key !== "Backspace") return;
    if (event.key === "ArrowDown" && event.target === byId("prompt")) return;
    event.preventDefault();
    if (event.repeat) return;
    if (event.key === "Backspace") back();
    else choose(place, "keyboard");
  });
  const asked = /^#(\d+)$/.exec(location.hash);
  if (asked) byId("form-number").value = asked[1];
  greet();
})();
