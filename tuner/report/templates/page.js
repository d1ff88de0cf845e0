// Draws the page from its data, links figures and tables by trial, and redraws in place.
const report = (() => {
  "use strict";
  const FEW = 10, ERRORS_ONLY = 1; // because scales of empty data warn
  const COLOURS = ["complete", "stopped", "failed", "waiting", "running", "accent", "second", "ink", "muted", "grid",
    "surface", "raised", "low", "high", "on_high"];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const views = new Map(); // by figure: {view, part, names, spec, drawn, box}
  const tables = new Map(); // by table: {sort, down, all}
  const written = new WeakMap(); // by the element of a block: its JSON
  const kept = new Map(); // by part: a set of trials
  let data, focus = {part: null, trial: null}, drawing = Promise.resolve(), ready = null;

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const breakable = (text) => text.split("_").flatMap((part, index) => index ? ["_", element("wbr"), part] : [part]);
  const dot = (colour) => element("i", {style: `background: var(--${colour})`});

  // Cells as people read them.
  const digits = (value, count) => Number(value.toPrecision(count)).toLocaleString("en", {maximumSignificantDigits: count});
  const duration = (seconds) => seconds < 90 ? `${digits(seconds, 3)} s`
    : seconds < 5400 ? `${digits(seconds / 60, 3)} min`
    : seconds < 172800 ? `${digits(seconds / 3600, 3)} h` : `${digits(seconds / 86400, 3)} days`;
  const number = (value) => value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)
    ? Number(value.toPrecision(4)).toExponential().replace("e+", "e") : digits(value, 4);
  const WRITE = {
    text: String, trial: String, fate: String, time: String, number,
    whole: (value) => value.toLocaleString("en"),
    share: (value) => value.toFixed(4),
    percent: (value) => `${(100 * value).toFixed(1)} %`,
    seconds: duration,
    interval: ([mean, half]) => mean === null ? "" : mean.toFixed(4) + (half === null ? "" : ` ± ${half.toFixed(4)}`),
  };
  const write = (kind, value) => value === null || value === "" ? ""
    : typeof value === "string" || typeof value === "boolean" ? String(value) : WRITE[kind](value);

  // Sections and blocks, kept by their id from one update to the next.
  function reconcile(parent, items, make, update) {
    const old = new Map([...parent.children].filter((child) => child.id).map((child) => [child.id, child]));
    let before = null;
    for (const item of items) {
      const shown = old.get(item.id) ?? make(item);
      old.delete(item.id);
      const next = before ? before.nextSibling : parent.firstChild;
      if (next !== shown) parent.insertBefore(shown, next);
      update(shown, item);
      before = shown;
    }
    for (const child of old.values()) {
      forget(child);
      child.remove();
    }
  }
  function forget(node) {
    for (const [id, each] of views) if (node.contains(each.box)) {
      each.finalize?.();
      views.delete(id);
    }
  }

  function render() {
    document.title = data.title;
    document.querySelector("h1").textContent = data.title;
    document.getElementById("made").textContent = data.made;
    const several = data.parts.length > 1;
    reconcile(document.getElementById("page"), data.parts, (part) => {
      const heading = element("h2", {dir: "auto"});
      return element("div", {id: part.id, class: "part"}, heading, element("div", {class: "blocks lead"}), element("div", {class: "sections"}));
    }, (shown, part) => {
      shown.classList.toggle("several", several);
      const [heading, lead, sections] = shown.children;
      heading.textContent = part.title;
      heading.hidden = !several;
      reconcile(lead, part.lead, makeBlock, (box, block) => updateBlock(box, block, part.id));
      reconcile(sections, part.sections, (section) =>
        element("section", {id: section.id}, element("h3"), element("div", {class: "blocks"})),
      (box, section) => {
        box.children[0].textContent = section.title;
        reconcile(box.children[1], section.blocks, makeBlock, (inner, block) => updateBlock(inner, block, part.id));
      });
    });
    renderContents(several);
  }
  function renderContents(several) {
    const entries = several ? data.parts : data.parts.flatMap((part) => part.sections);
    document.getElementById("contents").replaceChildren(
      ...entries.map((entry) => {
        const link = element("a", {href: `#${entry.id}`, dir: "auto"});
        link.textContent = entry.title;
        return link;
      }));
  }

  const makeBlock = (block) => element("div", {id: block.id});
  const UPDATE = {text: updateText, facts: updateFacts, table: updateTable, figure: updateFigure, pictures: updatePictures, code: updateCode};
  function updateBlock(box, block, part) {
    const json = JSON.stringify(block);
    if (block.kind !== "figure" && written.get(box) === json) return; // so that a selected text stays selected
    written.set(box, json);
    box.className = `block ${block.width ?? "wide"} ${block.style ?? ""}`;
    box.style.setProperty("--least", `${block.least ?? 0}px`);
    UPDATE[block.kind](box, block, part);
  }
  const legend = (entries) => element("ul", {class: "legend"}, ...entries.map(([name, colour]) => element("li", {}, dot(colour), name)));

  function updateText(box, block) {
    box.replaceChildren(...(block.legend ? [legend(block.legend)] : []), ...block.lines.map((line) => element("p", {dir: "auto"}, line)));
  }
  function updateFacts(box, block) {
    box.replaceChildren(element("dl", {class: "facts"}, ...block.items.map(([label, value, note]) => element("div", {},
      element("dt", {}, label), element("dd", {class: "number"}, value), element("dd", {class: "note"}, note)))));
  }
  function updatePictures(box, block) {
    box.replaceChildren(element("h4", {}, block.title), element("div", {class: "pictures"}, ...block.groups.map((group) =>
      element("div", {}, element("p", {dir: "auto"}, group.title), ...group.images.map((image) => element("img", {src: image.src, alt: image.alt, title: image.alt}))))));
  }
  function updateCode(box, block) {
    const open = box.querySelector("details")?.open ?? false;
    box.replaceChildren(element("details", open ? {open: ""} : {}, element("summary", {}, block.title), element("pre", {}, block.text)));
  }

  // Tables.
  function updateTable(box, block, part) {
    const state = tables.get(block.id) ?? {sort: null, down: false, all: false};
    tables.set(block.id, state);
    const rows = block.columns[0]?.cells.length ?? 0;
    const copy = element("button", {type: "button"}, "Copy");
    copy.addEventListener("click", () => copyTable(block, copy));
    const title = block.title ? element("h4", {}, block.title) : element("p", {class: "count"});
    if (!block.title) title.textContent = `${(rows + block.left_out).toLocaleString("en")} ${block.noun}`;
    const isLong = block.columns.some((column) => column.kind === "text" && column.cells.some((cell) => String(cell).length > 40));
    box.classList.toggle("narrow", block.columns.length <= 6 && !isLong);
    const head = element("tr", {}, ...block.columns.map((column, index) => heading(box, block, part, state, column, index)));
    const body = element("tbody");
    const shown = state.all ? rows : Math.min(rows, FEW);
    for (const row of ordered(block, state).slice(0, shown)) body.append(tableRow(block, part, row));
    const left = element("p", {class: "left-out"});
    if (rows > FEW) {
      const more = element("button", {type: "button", class: "more"}, state.all ? `Show ${FEW}` : `Show all ${rows.toLocaleString("en")}`);
      more.addEventListener("click", () => {
        state.all = !state.all;
        updateTable(box, block, part);
      });
      left.append(more, " ");
    }
    if (block.left_out) left.append(`${block.left_out.toLocaleString("en")} more ${block.noun} are not in this page.`);
    box.replaceChildren(element("div", {class: "bar"}, title, copy),
      element("div", {class: "scroll"}, element("table", {}, element("thead", {}, head), body)), left);
    markRows();
  }
  const isText = (kind) => kind === "text" || kind === "fate" || kind === "time";
  function heading(box, block, part, state, column, index) {
    const button = element("button", {type: "button", dir: "auto"}, ...breakable(column.title));
    const cell = element("th", {scope: "col", class: isText(column.kind) ? "text" : ""}, button);
    if (state.sort === index) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    button.addEventListener("click", () => {
      [state.sort, state.down] = [index, state.sort === index ? !state.down : false];
      updateTable(box, block, part);
      document.getElementById(block.id).querySelectorAll("th button")[index].focus();
    });
    return cell;
  }
  function ordered(block, state) {
    const order = (block.columns[0]?.cells ?? []).map((_, row) => row);
    const column = block.columns[state.sort];
    if (!column) return order;
    const key = (row) => Array.isArray(column.cells[row]) ? column.cells[row][0] : column.cells[row];
    const empty = (value) => value === null || value === "";
    const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
    return order.sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (empty(a) || empty(b)) return empty(a) - empty(b);
      return (state.down ? -1 : 1) * compare(a, b) || one - other;
    });
  }
  function tableRow(block, part, row) {
    const made = element("tr");
    for (const column of block.columns) {
      const value = column.cells[row], cell = element("td", {class: isText(column.kind) ? `text ${column.kind}` : "", dir: "auto"});
      if (column.kind === "fate") cell.append(element("span", {class: "dot"}, dot(value), value));
      else cell.textContent = write(column.kind, value);
      if (column.kind === "trial") Object.assign(made.dataset, {trial: value, part});
      made.append(cell);
    }
    if (made.dataset.trial !== undefined) {
      const trial = Number(made.dataset.trial);
      made.tabIndex = 0;
      for (const name of ["mouseenter", "focus"]) made.addEventListener(name, () => setFocus(part, trial));
      for (const name of ["mouseleave", "blur"]) made.addEventListener(name, () => setFocus(null, null));
      made.addEventListener("keydown", (event) => event.key === "Enter" && toggle(part, trial));
      made.addEventListener("click", () => getSelection().isCollapsed && toggle(part, trial));
    }
    return made;
  }
  async function copyTable(block, button) {
    const rows = ordered(block, tables.get(block.id));
    const clean = (value) => String(Array.isArray(value) ? value.filter((each) => each !== null).join(" ± ") : value ?? "").replace(/[\t\n\r]/g, " ");
    const lines = [block.columns.map((column) => clean(column.title)), ...rows.map((row) => block.columns.map((column) => clean(column.cells[row])))];
    const text = lines.map((line) => line.join("\t")).join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch { // because a page from disk may not have the clipboard
      const area = element("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  // Figures.
  function colours(name) {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(COLOURS.map((colour) => [colour, style.getPropertyValue(`--${name}-${colour}`).trim()]));
  }
  const expr = (name) => ({expr: name});
  const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
  const CONFIG = {
    background: "transparent", font: FONT, view: {stroke: null}, padding: {left: 2, top: 6, right: 8, bottom: 2},
    axis: {
      labelColor: expr("muted"), titleColor: expr("muted"), gridColor: expr("grid"), domain: false, ticks: false,
      labelFontSize: 11, titleFontSize: 11.5, titleFontWeight: 400, labelPadding: 7, titlePadding: 9, labelFlush: false,
    },
    axisY: {titleAngle: 0, titleAlign: "left", titleAnchor: "end", titleBaseline: "bottom", titleY: -9, titleX: 0, tickCount: 5},
    axisX: {grid: false, domain: true, domainColor: expr("grid")},
    legend: {labelColor: expr("muted"), titleColor: expr("muted"), labelFontSize: 11, titleFontSize: 11, titleFontWeight: 400},
  };
  const namesOf = (spec) => [...new Set([spec, ...(spec.layer ?? [])].map((each) => each.data?.name).filter(Boolean))];
  function rowsOf(name) {
    const columns = Object.entries(data.datasets[name] ?? {});
    const length = columns[0]?.[1].length ?? 0;
    return Array.from({length}, (_, row) => Object.fromEntries(columns.map(([key, cells]) => [key, cells[row]])));
  }
  function complete(spec, part) {
    const shades = colours(dark.matches ? "dark" : "light");
    const params = [...Object.entries(shades).map(([name, value]) => ({name, value})),
      {name: "focus", value: focus.part === part ? focus.trial : null}, {name: "kept", value: [...(kept.get(part) ?? [])]}];
    return {
      ...spec, params, width: "container", autosize: {type: "fit-x", contains: "padding"}, config: CONFIG,
      datasets: Object.fromEntries(namesOf(spec).map((name) => [name, rowsOf(name)])),
    };
  }
  function updateFigure(box, block, part) {
    let each = views.get(block.id);
    if (!each) {
      const drawn = element("div", {class: "drawing"});
      each = {id: block.id, part, box: drawn, drawn: null, text: element("figcaption"), head: element("div")};
      views.set(block.id, each);
      box.replaceChildren(element("figure", {}, each.head, drawn, each.text));
      seen.observe(drawn);
    }
    each.head.replaceChildren(...(block.title ? [element("h4", {dir: "auto"}, block.title)] : []), ...(block.legend.length ? [legend(block.legend)] : []));
    each.text.textContent = block.caption;
    each.text.hidden = !block.caption;
    each.box.setAttribute("role", "img");
    each.box.setAttribute("aria-label", `${block.title || block.id}. ${block.caption}`);
    const names = namesOf(block.spec), spec = JSON.stringify(block.spec), cells = names.map((name) => JSON.stringify(data.datasets[name]));
    if (each.spec === spec && each.cells.every((cell, index) => cell === cells[index])) return;
    const isSame = each.spec === spec;
    Object.assign(each, {spec, cells, names});
    drawing = drawing.then(pause).then(() => isSame && each.view ? change(each) : draw(each, block))
      .catch((error) => console.error(`${block.id} cannot be drawn: ${error.stack ?? error}`));
  }
  const pause = () => new Promise((resolve) => setTimeout(resolve));
  async function change(each) {
    for (const name of each.names) each.view.data(name, rowsOf(name));
    await each.view.resize().runAsync();
  }
  async function draw(each, block) {
    if (!each.box.isConnected) return;
    const room = element("div", {class: "drawing"});
    room.style.cssText = "position: absolute; visibility: hidden";
    room.style.width = `${each.box.clientWidth}px`;
    const target = each.view ? room : each.box;
    if (each.view) each.box.after(room);
    const made = await vegaEmbed(target, complete(block.spec, each.part), {
      mode: "vega-lite", renderer: "canvas", logLevel: ERRORS_ONLY, actions: false, hover: false, defaultStyle: false, tooltip: (_, event, item, value) => tip(event, item, value, each.part),
    });
    if (target === room) {
      each.finalize();
      seen.unobserve(each.box);
      room.style.cssText = "";
      each.box.replaceWith(room);
      each.box = room;
      seen.observe(room);
    }
    each.view = made.view;
    each.finalize = made.finalize;
    made.view.addEventListener("mousemove", (event, item) => {
      const trial = item?.datum?.trial ?? null;
      setFocus(trial === null ? null : each.part, trial);
      if (trial !== null) tip(event, item, null, each.part);
      else if (!item?.tooltip) hideTip();
    });
    made.view.addEventListener("mouseout", () => { setFocus(null, null); hideTip(); });
    made.view.addEventListener("click", (_, item) => {
      const trial = item?.datum?.trial ?? null;
      if (trial !== null) toggle(each.part, trial);
    });
    each.box.dataset.drawn = "true";
  }

  // Linked hovering: every figure of a part knows the trial that is pointed at, and those that are kept.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const each = [...views.values()].find((view) => view.box === entry.target);
      if (!each) continue;
      each.isVisible = entry.isIntersecting;
      if (each.isVisible) signal(each);
    }
  }, {rootMargin: "150px"});
  let isWaiting = false;
  function signal(each) {
    if (!each.view) return;
    const trial = focus.part === each.part ? focus.trial : null, own = [...(kept.get(each.part) ?? [])];
    const state = JSON.stringify([trial, own]);
    if (each.state === state) return;
    each.state = state;
    each.view.signal("focus", trial).signal("kept", own).runAsync();
  }
  function spread() {
    markRows();
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      for (const each of views.values()) if (each.isVisible) signal(each);
    });
  }
  function setFocus(part, trial) {
    if (focus.part === part && focus.trial === trial) return;
    focus = {part, trial};
    spread();
  }
  function toggle(part, trial) {
    const own = kept.get(part) ?? new Set();
    kept.set(part, own);
    if (!own.delete(trial)) own.add(trial);
    showKept();
    spread();
  }
  function markRows() {
    for (const row of document.querySelectorAll("tr[data-trial]")) {
      const trial = Number(row.dataset.trial), {part} = row.dataset;
      row.classList.toggle("focus", focus.part === part && focus.trial === trial);
      row.classList.toggle("kept", kept.get(part)?.has(trial) ?? false);
    }
  }
  function showKept() {
    const box = document.getElementById("kept");
    const chips = data.parts.flatMap((part) => [...(kept.get(part.id) ?? [])].map((trial) => {
      const chip = element("button", {type: "button", class: "chip", title: "No longer keep it"}, nameOf(part.id, trial));
      chip.addEventListener("click", () => toggle(part.id, trial));
      return chip;
    }));
    const clear = element("button", {type: "button", class: "clear"}, "clear");
    clear.addEventListener("click", () => {
      kept.clear();
      showKept();
      spread();
    });
    box.replaceChildren(...chips, ...(chips.length > 1 ? [clear] : []));
    box.hidden = !chips.length;
  }
  function nameOf(part, trial) {
    const studies = data.parts.filter((each) => each.lead.length);
    const study = studies.length > 1 ? `${studies.find((each) => each.id === part)?.title ?? ""} ` : "";
    return `${study}trial ${trial}`;
  }

  // The tooltip names the trial that is pointed at, or tells of a cell.
  function facts(part, trial) {
    const columns = data.datasets[`${part}_trials`], found = columns?.trial.indexOf(trial) ?? -1;
    const names = data.parts.find((each) => each.id === part)?.names ?? {};
    if (found < 0) return [];
    return Object.entries(names).map(([key, [title, kind]]) => [title, write(kind, columns[key][found])]).filter(([, value]) => value !== "");
  }
  function tip(event, item, value, part) {
    const trial = item?.datum?.trial ?? null, box = document.getElementById("tip");
    const isCell = value !== null && value !== undefined && value !== "";
    if (trial === null && !isCell) return;
    const pairs = trial !== null ? facts(part, trial) : typeof value === "object" ? Object.entries(value) : [["", String(value)]];
    const title = trial !== null ? [element("strong", {dir: "auto"}, nameOf(part, trial))] : [];
    box.replaceChildren(...title, element("dl", {}, ...pairs.flatMap(([name, said]) =>
      [element("dt", {dir: "auto"}, name), element("dd", {dir: "auto"}, String(said))])));
    box.hidden = false;
    const {width, height} = box.getBoundingClientRect();
    const left = event.clientX + 16 + width > innerWidth ? event.clientX - width - 12 : event.clientX + 16;
    const top = event.clientY + 16 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 16;
    box.style.left = `${Math.max(4, left)}px`;
    box.style.top = `${Math.max(4, top)}px`;
  }
  const hideTip = () => { document.getElementById("tip").hidden = true; };

  // Dark and light screens, and light paper.
  function recolour(name) {
    for (const {view} of views.values()) {
      if (!view) continue;
      for (const [colour, value] of Object.entries(colours(name))) view.signal(colour, value);
      view.run();
    }
  }
  dark.addEventListener("change", () => recolour(dark.matches ? "dark" : "light"));
  addEventListener("beforeprint", () => recolour("light"));
  addEventListener("afterprint", () => recolour(dark.matches ? "dark" : "light"));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && [...kept.values()].some((own) => own.size)) {
      kept.clear();
      showKept();
      spread();
    }
  });

  function update(found) {
    data = found;
    render();
    showKept();
    ready = drawing;
    return drawing;
  }
  const status = (text) => { document.getElementById("status").textContent = text; };
  update(JSON.parse(document.getElementById("data").textContent));
  return {update, status, views, get ready() { return ready; }, get kept() { return kept; }};
})();
window.report = report;
