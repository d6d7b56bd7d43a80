/* Interactive models. A button of class "model" names a sidecar (data-model) that registers a GLB as base64 under
   data-key, and the viewer's library (data-library). Both are loaded by the first press; nothing before it. */
(function () {
  "use strict";
  const MOST = 8; // viewers open at once; the oldest closes for the next
  const models = new Map();
  const scripts = new Map();
  const opened = [];

  window.registerModel = function (key, base64) {
    models.set(key, "data:model/gltf-binary;base64," + base64);
  };

  function load(address) {
    if (!scripts.has(address)) {
      scripts.set(address, new Promise(function (resolve, reject) {
        const element = document.createElement("script");
        element.src = address;
        element.onload = resolve;
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

  function close(entry) {
    opened.splice(opened.indexOf(entry), 1);
    entry.frame.replaceWith(entry.button);
  }

  function frame(button) {
    const box = document.createElement("div");
    box.className = "model-frame";
    const viewer = document.createElement("model-viewer");
    const settings = {
      alt: button.dataset.alt,
      "camera-controls": "",
      "camera-orbit": "0deg 75deg auto",
      "interaction-prompt": "none",
      "shadow-intensity": "0",
      "touch-action": "pan-y",
    };
    for (const name of Object.keys(settings)) viewer.setAttribute(name, settings[name]);
    viewer.src = models.get(button.dataset.key);
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
    box.append(viewer, end);
    return { box: box, viewer: viewer, end: end };
  }

  function open(button) {
    button.setAttribute("aria-busy", "true");
    Promise.all([load(button.dataset.library), load(button.dataset.model)]).then(function () {
      if (!models.has(button.dataset.key)) throw new Error(button.dataset.model);
      const made = frame(button);
      const entry = { frame: made.box, button: button };
      made.end.addEventListener("click", function () {
        close(entry);
        button.focus();
      });
      if (opened.length >= MOST) close(opened[0]);
      opened.push(entry);
      button.replaceWith(made.box);
      made.viewer.focus();
    }).catch(function () {
      button.querySelector(".model-note").textContent = "The model's file is missing.";
    }).finally(function () {
      button.removeAttribute("aria-busy");
    });
  }

  document.addEventListener("click", function (event) {
    const button = event.target.closest ? event.target.closest("button.model") : null;
    if (button) open(button);
  });
})();
