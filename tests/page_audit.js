/* What is wrong with a page as it stands: for tests, which run it in the page and expect an empty list. */
(() => {
  /* Every visible text whose contrast with what lies behind it is below WCAG AA (4.5; 3 for large). */
  const poorContrast = () => {
    const parse = (c) => { const n = c.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
    const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
    const light = (c) => {
      const [r, g, b] = c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (e) => {
      const layers = [];
      for (; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
      return layers.reverse().reduce((below, c) => over(c, below), [255, 255, 255, 1]);
    };
    const found = new Set();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const e = walk.currentNode.parentElement, style = getComputedStyle(e);
      if (!walk.currentNode.data.trim() || e.closest("script, style, svg, option, [disabled], .hidden, .skip")) continue;
      if (!e.checkVisibility({ visibilityProperty: true })) continue;
      const back = ground(e), front = over(parse(style.color), back);
      const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
      const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < (large ? 3 : 4.5)) found.add(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
    }
    return [...found];
  };

  /* What an audit for accessibility finds in the markup. */
  const audit = () => {
    const found = [], all = (s) => [...document.querySelectorAll(s)];
    const seen = (e) => e.checkVisibility();
    const name = (e) => (e.getAttribute("aria-label") || e.textContent || e.getAttribute("alt") || "").trim()
      || [...(e.labels || [])].map((l) => l.textContent.trim()).join("") || e.title;
    const said = (what, e) => found.push(`${what}: ${e.outerHTML.slice(0, 120)}`);
    const ids = all("[id]").map((e) => e.id);
    ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => found.push(`two elements are #${id}`));
    all("img:not([alt])").forEach((e) => said("no alt", e));
    all("button, a[href], input, select, summary").filter(seen).filter((e) => !name(e)).forEach((e) => said("no name", e));
    all("button button, a button, button a, summary button, label button").forEach((e) => said("nested control", e));
    for (const a of ["aria-labelledby", "aria-describedby", "aria-controls"])
      all(`[${a}]`).forEach((e) => e.getAttribute(a).split(" ").every((id) => ids.includes(id)) || said(`dangling ${a}`, e));
    all("a[href^='#']").filter((e) => !document.getElementById(decodeURIComponent(e.hash.slice(1)))).forEach((e) => said("dangling link", e));
    all("th:not([scope])").forEach((e) => said("header without scope", e));
    all("table:not(:has(caption)):not([aria-labelledby]):not([aria-label])").forEach((e) => said("table without name", e));
    all("[tabindex]").filter((e) => e.tabIndex > 0).forEach((e) => said("tab order", e));
    all("dialog, [role=region], [role=group]").filter((e) => !e.ariaLabel && !e.getAttribute("aria-labelledby")).forEach((e) => said("no name", e));
    all("button, select, input, summary, .permalink").filter(seen).forEach((e) => {
      const box = e.getBoundingClientRect(); // WCAG 2.2: 24 pixels, or text within a line
      if (e.type !== "range" && (box.width < 24 || box.height < 18)) said(`small target ${box.width}x${box.height}`, e);
    });
    const levels = all("h1, h2, h3").filter(seen).map((e) => Number(e.tagName[1]));
    levels.forEach((l, i) => { if (i && l > levels[i - 1] + 1) found.push(`heading ${l} after ${levels[i - 1]}`); });
    if (levels.filter((l) => l === 1).length !== 1 || !document.documentElement.lang || !document.title) found.push("no single h1, language or title");
    return found;
  };
  return poorContrast().concat(audit());
})()
