// The page: the filter, everything that depends on it, and new data while a study is running.

const state = { data: unpack(window.shown), rows: [], tables: {}, chosen: {}, parallel: null, tag: null };
const $ = (id) => document.getElementById(id);
const SETTLE_MS = 200;

function selectOptions(id, columns, preferred) {
  const select = $(id), before = select.value || preferred;
  select.replaceChildren(...columns.map(([value, text]) => element("option", text, { value })));
  select.value = columns.some(([value]) => value === before) ? before : columns[0]?.[0] ?? "";
}

function fillControls() {
  const { data } = state, all = data.columns;
  const factors = all.filter((column) => column.group === "factor"), pairs = (columns) => columns.map((column) => [column.name, column.name]);
  const useful = all.filter((column) => ["run", "factor", "measure", "cost"].includes(column.group) && !["run_id", "reason", "also_in"].includes(column.name));
  const varied = factors.find((column) => { const n = levelsOf(column, state.rows).filter((level) => level !== null).length; return n > 1 && n <= HUES.length; });
  selectOptions("colour", pairs(useful), data.several ? "study" : varied ? varied.name : "arm");
  selectOptions("measure", data.curves.measures.map((each) => [each.name, each.name]), "validation_accuracy");
  selectOptions("lines", [["auto", "run or arm, depending on number"], ["run", "run"], ["arm", "arm"], ...(data.several ? [["study", "study"]] : []), ...pairs(factors)], "auto");
  const axes = useful.filter((column) => isNumber(column) || column.group === "factor" || column.name === "study");
  selectOptions("x", pairs(axes), "seconds");
  selectOptions("y", pairs(axes), "validation_accuracy");
  const levels = new Map(factors.map((column) => [column, levelsOf(column, state.rows)]));
  const differ = factors.filter((column) => levels.get(column).length > 1), told = differ.filter((column) => levels.get(column).filter((level) => level !== null).length > 1);
  const several = (told.length ? told : differ).slice(0, 7).map((column) => column.name);  // an option that is only present or absent is not informative
  const first = new Set([...(data.several ? ["study"] : []), ...several, ...(several.length ? [] : ["arm", "seed"]), "validation_accuracy"]);
  const before = new Set([...$("axes").querySelectorAll("input:checked")].map((box) => box.value));
  const arms = data.byName.get("arm");
  $("axes").replaceChildren(...[arms, ...axes].map((column) => {
    const label = element("label"), box = element("input", null, { type: "checkbox", value: column.name });
    box.checked = before.size ? before.has(column.name) : first.has(column.name);
    label.append(box, ` ${column.name}`);
    return label;
  }));
}

function chosen() {
  const { data } = state, column = (id) => data.byName.get($(id).value);
  return {
    colour: column("colour"), measure: $("measure").value, lines: $("lines").value, x: column("x"), y: column("y"),
    axes: [...$("axes").querySelectorAll("input:checked")].map((box) => data.byName.get(box.value)).filter(Boolean),
  };
}

const CHARTS = { curves: drawCurves, parallel: drawParallel, scatter: drawScatter };
const due = new Set(), visible = new Set();

/** Draw a chart when it is visible and there is nothing else to do. */
function drawDue() {
  for (const id of [...due].filter((each) => visible.has(each))) {
    due.delete(id);
    Promise.resolve(CHARTS[id](state.data, state.rows, chosen())).then(() => { listen(id); $(id).removeAttribute("aria-busy"); });
  }
}
const later = window.requestIdleCallback ? (work) => window.requestIdleCallback(work, { timeout: 300 }) : (work) => setTimeout(work, 30);
function redraw(...ids) {
  for (const id of ids.length ? ids : Object.keys(CHARTS)) { due.add(id); $(id).setAttribute("aria-busy", "true"); }
  later(drawDue);
}

function listen(id) {
  const place = $(id);
  if (place.dataset.listens || !place.on) return;
  place.dataset.listens = "yes";
  place.on("plotly_click", (event) => {
    const point = event.points[0], row = id === "curves" ? point.data.meta : point.customdata;
    if (typeof row === "string") openArm(state.data, row, state.rows); else if (Number.isInteger(row)) openRun(state.data, row);
  });
  place.on("plotly_selected", (event) => {
    if (!event || !event.range) return;
    const condition = id === "parallel" ? parallelCondition(event.range) : id === "scatter" ? scatterCondition(event.range) : "";
    if (condition) addCondition(condition);
    window.Plotly.relayout(place, { selections: [] });
  });
}

function scatterCondition(range) {
  const { x, y } = chosen();
  if (!isNumber(x) || !isNumber(y)) return "";
  return `${rangeCondition(x, ...[...range.x].sort((a, b) => a - b))} and ${rangeCondition(y, ...[...range.y].sort((a, b) => a - b))}`;
}

function addCondition(condition) {
  const before = $("where").value.trim();
  setFilter(before ? `${/\bor\b/iu.test(before) ? `(${before})` : before} and ${condition}` : condition);
}

function setFilter(text) {
  $("where").value = text;
  applyFilter(true);
}

/** Show the rows that meet the filter; while a condition is being typed, a mistake does not change the page yet. */
function applyFilter(finished) {
  const problem = $("problem"), { data } = state;
  let met;
  try {
    met = rowsThatMeet(data, $("where").value);
  } catch (error) {
    if (!(error instanceof QueryError)) throw error;
    if (finished) { problem.textContent = `${error.message}`; problem.hidden = false; $("where").setAttribute("aria-invalid", "true"); }
    return;
  }
  problem.hidden = true;
  $("where").removeAttribute("aria-invalid");
  state.rows = met.flatMap((is, row) => (is ? [row] : []));
  const arms = new Set(state.rows.map((row) => data.keys[row])).size;
  $("count").textContent = `${whole.format(state.rows.length)} of ${counted(data.size, "run")}, ${counted(arms, "arm")}`;
  remember();
  showTable();
  redraw();
}

function remember() {
  const text = $("where").value.trim();
  history.replaceState(null, "", text ? `#where=${encodeURIComponent(text)}` : location.pathname + location.search);
}

const stale = new Set();
function showTable() {
  for (const name of Object.keys(state.tables)) stale.add(name);
  const shown = $("runs-tab").getAttribute("aria-selected") === "true" ? "runs" : "arms";
  if (stale.delete(shown)) state.tables[shown].show(state.rows);
}

function selectTab(name, focus) {
  for (const each of ["arms", "runs"]) {
    const is = each === name;
    $(`${each}-tab`).setAttribute("aria-selected", String(is));
    $(`${each}-tab`).tabIndex = is ? 0 : -1;
    $(`${each}-panel`).hidden = !is;
  }
  if (focus) $(`${name}-tab`).focus();
  if (stale.delete(name)) state.tables[name].show(state.rows);
}

function buildTables() {
  for (const { table } of Object.values(state.tables)) table.destroy();
  for (const id of ["runs-table", "arms-table"]) $(id).replaceChildren();
  state.tables = { arms: armsTable(state.data, (key) => openArm(state.data, key, state.rows)), runs: runsTable(state.data, (row) => openRun(state.data, row)) };
}

function fillHead() {
  const { data } = state;
  $("title").textContent = data.title;
  $("studies").replaceChildren(...data.studies.map((study) => element("li", `${data.several ? `${study.name}: ` : ""}${whole.format(study.settled)} of ${counted(study.planned, "run")} settled, ${counted(study.arms, "arm")}, ${counted(study.seeds, "seed")}, ${study.backbone} on ${study.dataset}${study.unblinded.map((text) => `. Test measures were shown before the verdict ${text}`).join("")}`)));
  $("notes").replaceChildren(...data.notes.map((note) => element("li", note)));
  $("known").replaceChildren(...data.columns.flatMap((column) => [element("dt", ticked(column.name)), element("dd", `${column.meaning}${column.unit ? ` (${column.unit})` : ""}`)]));
}

function listenToPage() {
  let timer;
  $("where").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => applyFilter(false), SETTLE_MS); });
  $("filter").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); applyFilter(true); });
  $("clear").addEventListener("click", () => { setFilter(""); $("where").focus(); });
  for (const [id, charts] of Object.entries({ colour: [], measure: ["curves"], lines: ["curves"], x: ["scatter"], y: ["scatter"], axes: ["parallel"] })) $(id).addEventListener("change", () => redraw(...charts));
  for (const name of ["arms", "runs"]) {
    $(`${name}-tab`).addEventListener("click", () => selectTab(name));
    $(`${name}-tab`).addEventListener("keydown", (event) => {
      if (["ArrowLeft", "ArrowRight"].includes(event.key)) selectTab(name === "arms" ? "runs" : "arms", true);
    });
  }
  $("close").addEventListener("click", () => $("details").close());
  $("details").addEventListener("click", (event) => { if (event.target === $("details")) $("details").close(); });
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) visible.add(entry.target.id); else visible.delete(entry.target.id);
    later(drawDue);
  }, { rootMargin: "300px" });
  for (const id of Object.keys(CHARTS)) observer.observe($(id));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colourScheme(); redraw(); });
  window.addEventListener("beforeprint", () => { for (const id of Object.keys(CHARTS)) visible.add(id); drawDue(); });
}

function colourScheme() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark", dark);  // the tables' style sheet needs this
  ({ hues: HUES, scale: SCALE } = dark ? DARK : LIGHT);
}

/** Request new data, and show them with the same filter, order and columns; an open run stays open. */
async function update() {
  try {
    const answer = await fetch("data", { headers: state.tag ? { "If-None-Match": state.tag } : {}, cache: "no-store" });
    if (answer.status === 304) { $("live").textContent = "up to date"; return; }
    if (!answer.ok) throw new Error(answer.statusText);
    const first = state.tag === null;
    state.tag = answer.headers.get("ETag");
    const text = await answer.text();
    if (first && text === window.received) return;
    window.received = text;
    replaceData(JSON.parse(text));
    $("live").textContent = `updated ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    $("live").textContent = `no response: is \`ablate browse --serve\` still running? (${error.message})`;
  }
}

function replaceData(shown) {
  const names = JSON.stringify(state.data.columns.map((column) => column.name));
  const kept = Object.fromEntries(Object.entries(state.tables).map(([name, { table }]) => [name, { order: table.order(), page: table.page(), length: table.page.len(), visible: table.columns().visible().toArray() }]));
  const focused = document.activeElement?.dataset?.opens;
  state.data = unpack(shown);
  buildTables();
  if (JSON.stringify(state.data.columns.map((column) => column.name)) === names) {
    for (const [name, { table }] of Object.entries(state.tables)) {
      kept[name].visible.forEach((is, at) => table.column(at).visible(is, false));
      table.order(kept[name].order).page.len(kept[name].length);
    }
  }
  fillHead();
  fillControls();
  applyFilter(true);
  for (const [name, { table }] of Object.entries(state.tables)) if (!stale.has(name)) restorePage(table, kept[name].page);
  if (focused) document.querySelector(`button.open[data-opens="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function start() {
  colourScheme();
  state.rows = Array.from({ length: state.data.size }, (_, row) => row);
  fillHead();
  fillControls();
  buildTables();
  listenToPage();
  const wanted = /^#where=(.*)$/u.exec(location.hash);
  if (wanted) { try { $("where").value = decodeURIComponent(wanted[1]); } catch { /* not ours */ } }
  applyFilter(true);
  $("page").hidden = false;
  const live = Number(document.body.dataset.live) * 1000;
  if (live) setInterval(() => { if (!document.hidden) update(); }, live);
  window.ready = true;
}

start();
