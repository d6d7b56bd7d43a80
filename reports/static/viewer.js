/* Interactive models. A button of class "model" names a sidecar (data-model) that registers a GLB as base64 under
   data-key, and the viewer's library (data-library). Both are loaded by the first press; nothing before it. */
(function () {
  "use strict";
  const FRONT = "0deg 75deg auto";
  const MOST = 8; // viewers open at once; the oldest closes for the next
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const models = new Map(); // key -> what its sidecar registered, while a viewer shows it
  const scripts = new Map();
  const opened = [];

  window.registerModel = function (key, base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    models.set(key, new Blob([bytes], { type: "model/gltf-binary" }));
  };

  function load(address) {
    if (!scripts.has(address)) {
      scripts.set(address, new Promise(function (resolve, reject) {
        const element = document.createElement("script");
        element.src = address;
        element.onload = function () {
          element.remove();
          resolve();
        };
        element.onerror = function () {
          scripts.delete(address);
          element.remove();
          reject(new Error(address));
        };
        document.head.append(element);
      }));
    }
    return scripts.get(address);
  }

  /* Nothing of a closed model stays: it is read from its sidecar again. */
  function close(entry) {
    opened.splice(opened.indexOf(entry), 1);
    entry.frame.replaceWith(entry.button);
    URL.revokeObjectURL(entry.address);
    models.delete(entry.button.dataset.key);
    scripts.delete(entry.button.dataset.model);
    entry.button.focus({ preventScroll: true });
  }

  /* Open viewers turn together, so that models can be compared; each keeps its distance. */
  function direction(viewer) {
    if (!viewer.loaded) return viewer.getAttribute("camera-orbit");
    const orbit = viewer.getCameraOrbit();
    return orbit.theta + "rad " + orbit.phi + "rad auto";
  }
  function follow(viewer) {
    const orbit = direction(viewer);
    for (const entry of opened) {
      if (entry.viewer === viewer) continue;
      entry.viewer.cameraOrbit = orbit;
      entry.viewer.jumpCameraToGoal();
    }
  }

  function frame(button) {
    const box = document.createElement("div");
    box.className = "model-frame";
    const viewer = document.createElement("model-viewer");
    const settings = {
      alt: button.dataset.alt,
      "camera-controls": "",
      "camera-orbit": opened.length ? direction(opened[0].viewer) : button.dataset.orbit || FRONT,
      "interaction-prompt": "none",
      "interpolation-decay": calm ? "0" : "50",
      "shadow-intensity": "0",
      "touch-action": "pan-y",
    };
    for (const name of Object.keys(settings)) viewer.setAttribute(name, settings[name]);
    const address = URL.createObjectURL(models.get(button.dataset.key));
    viewer.src = address;
    viewer.addEventListener("camera-change", function (event) {
      if (event.detail.source === "user-interaction") follow(viewer);
    });
    // Its own bar would be drawn over a model that is there at once.
    const bar = document.createElement("div");
    bar.slot = "progress-bar";
    viewer.append(bar);
    const end = document.createElement("button");
    end.type = "button";
    end.className = "model-close";
    end.textContent = "\u00d7";
    end.title = "Close the model";
    end.setAttribute("aria-label", end.title);
    box.append(end, viewer);
    const entry = { frame: box, viewer: viewer, end: end, button: button, address: address };
    end.addEventListener("click", () => close(entry));
    return entry;
  }

  function open(button) {
    button.setAttribute("aria-busy", "true");
    Promise.all([load(button.dataset.library), load(button.dataset.model)]).then(function () {
      if (!models.has(button.dataset.key)) throw new Error(button.dataset.model);
      if (!button.isConnected) return;
      if (opened.length >= MOST) close(opened[0]);
      const entry = frame(button);
      opened.push(entry);
      button.replaceWith(entry.frame);
      entry.end.focus({ preventScroll: true }); // the model is the next stop
    }).catch(function () {
      button.textContent = "The model's file is missing.";
    }).finally(function () {
      button.removeAttribute("aria-busy");
    });
  }

  document.addEventListener("click", function (event) {
    const button = event.target.closest ? event.target.closest("button.model") : null;
    if (button) open(button);
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "Escape" || !opened.length || document.querySelector("dialog[open]")) return;
    close(opened.find((entry) => entry.frame.contains(document.activeElement)) || opened[opened.length - 1]);
  });
})();
