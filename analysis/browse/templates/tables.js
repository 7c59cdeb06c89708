// The tables of runs and of arms.

const DataTable = window.Tables.jQuery.fn.dataTable;
DataTable.ext.errMode = "throw";
const PAGE = 15, LONGEST = 44, LONGEST_OF_ARMS = 110;

/** Return the settings of a table column; its cells are text, never markup. */
function tableColumn(column, valueOf, opens) {
  return {
    title: `<span title="${escaped(column.meaning)}">${escaped(column.name)}</span>`,
    name: column.name,
    visible: column.visible,
    type: isNumber(column) ? "num" : "string",
    className: isNumber(column) ? "number" : "",
    defaultContent: "",
    searchable: false,
    orderSequence: ["asc", "desc"],
    data: (item, kind) => {
      const value = valueOf(item);
      if (kind !== "display") return kind === "sort" || kind === "type" ? value ?? (isNumber(column) ? null : "\uffff") : shownValue(value, column);
      const text = shownValue(value, column), short = escaped(shortened(text, opens ? LONGEST_OF_ARMS : LONGEST));
      if (opens) return `<button type="button" class="open" data-opens="${escaped(opens(item))}" title="${escaped(text)}">${short}</button>`;
      return text.length > LONGEST ? `<span title="${escaped(text)}">${short}</span>` : short;
    },
  };
}

function newTable(selector, columns, label, groups) {
  const table = new DataTable(selector, {
    columns, data: [], deferRender: true, autoWidth: false, pageLength: PAGE, order: [],
    lengthMenu: [PAGE, 50, 200],
    layout: { topStart: { buttons: [chooser(groups), { extend: "csv", text: "Save CSV", exportOptions: { columns: ":visible", orthogonal: "filter", format: { body: (text) => spreadsheetCell(String(text)) } } }] }, topEnd: null, bottomStart: ["info", "pageLength"], bottomEnd: "paging" },
    language: { info: "_START_ to _END_ of _TOTAL_", infoEmpty: `no ${label}`, infoFiltered: "(of _MAX_)", emptyTable: `No ${label} meet the filter.`, zeroRecords: `No ${label} meet the filter.`, lengthMenu: "_MENU_ a page" },
  });
  const body = table.table().body();
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.matches("button.open")) return;
    const buttons = [...body.querySelectorAll("button.open")];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (next) { event.preventDefault(); next.focus(); }
  });
  return table;
}

/** Return the button for choosing columns, with one list per column group. */
function chooser(groups) {
  const lists = [...groups].map(([name, columns]) => ({ extend: "collection", text: name, buttons: [{ extend: "columnsToggle", columns: columns.map((column) => `${column}:name`) }] }));
  return { extend: "collection", text: "Columns", autoClose: false, buttons: lists };
}

const GROUPS = { run: "Run", factor: "Factors", measure: "Measures", cost: "Cost", provenance: "Provenance" };

function runsTable(data, open) {
  const groups = new Map();
  for (const column of data.columns) {
    const name = GROUPS[column.group];
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(column.name);
  }
  const columns = data.columns.map((column) => tableColumn(column, (row) => column.values[row], column.name === "arm" ? (row) => data.byName.get("run_id").values[row] : null));
  const table = newTable("#runs-table", columns, "runs", groups);
  table.table().body().addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    const row = line && table.row(line).data();
    if (row !== undefined) open(row);
  });
  let kept = new Set();
  table.rows.add(Array.from({ length: data.size }, (_, row) => row));
  table.search.fixed("filter", (_, row) => kept.has(row));  // faster than replacing the rows
  return { table, show: (rows) => { const page = table.page(); kept = new Set(rows); table.draw(); restorePage(table, page); } };
}

function restorePage(table, page) {
  if (page && page < table.page.info().pages) table.page(page).draw("page");
}

/** Return one item per arm in some rows: its factors, numbers of runs, and means over its settled runs. */
function armItems(data, rows) {
  const status = data.byName.get("status").values;
  return [...grouped(rows, (row) => data.keys[row])].map(([key, own]) => {
    const state = (name) => own.filter((row) => status[row] === name).length;
    const item = { key, row: own[0], rows: own, runs: own.length, failed: state("failed"), diverged: state("diverged") };
    item.settled = state("finished") + item.diverged + state("pruned");
    return item;
  });
}

/** Return a column's mean and standard deviation over some runs; accuracies and losses of pruned runs, which have fewer epochs, are excluded. */
function summary(data, column, rows) {
  const status = data.byName.get("status").values, full = column.group !== "measure";
  return moments(rows.filter((row) => full || !["pruned", "failed"].includes(status[row])).map((row) => column.values[row]).filter((value) => value !== null));
}

function armsTable(data, open) {
  const factors = data.columns.filter((column) => column.group === "factor");
  const measures = data.columns.filter((column) => isNumber(column) && ["measure", "cost"].includes(column.group));
  const shownMeasures = new Set(["validation_accuracy", "test_accuracy", "seconds", "parameters"]);
  const own = (name, meaning, type, visible, of) => [{ name, meaning, type, unit: "", visible, group: "run" }, of];
  const front = data.several ? [[data.byName.get("study"), (item) => data.byName.get("study").values[item.row]]] : [];
  const listed = [
    ...front,
    [data.byName.get("arm"), (item) => data.byName.get("arm").values[item.row]],
    [{ ...data.byName.get("role"), visible: true }, (item) => data.byName.get("role").values[item.row]],
    own("runs", "planned runs that meet the filter", "integer", true, (item) => item.runs),
    own("settled", "runs that finished, diverged or were pruned", "integer", true, (item) => item.settled),
    own("failed", "runs whose last attempt failed", "integer", false, (item) => item.failed),
    own("diverged", "runs whose loss was not finite", "integer", false, (item) => item.diverged),
  ];
  const settings = factors.map((column) => [column, (item) => column.values[item.row]]);
  for (const column of measures) {
    if (column.group === "cost" && settings.length) listed.push(...settings.splice(0));
    const visible = shownMeasures.has(column.name), means = new WeakMap();
    const found = (item) => { if (!means.has(item)) means.set(item, summary(data, column, item.rows)); return means.get(item); };
    const constant = ["parameters", "trainable_parameters", "multiply_adds"].includes(column.name);
    listed.push([{ ...column, name: constant ? column.name : `mean ${column.name}`, meaning: `mean over the runs: ${column.meaning}`, visible }, (item) => found(item).mean]);
    if (!constant) listed.push([{ ...column, name: `sd ${column.name}`, meaning: `standard deviation over the runs: ${column.meaning}`, type: "number", visible: visible && column.name.endsWith("accuracy") }, (item) => found(item).sd]);
  }
  listed.push(...settings);
  const groups = new Map([["Arm", ["study", "arm", "role", "runs", "settled", "failed", "diverged"].filter((name) => name !== "study" || data.several)], ["Factors", factors.map((column) => column.name)], ["Measures and cost", listed.filter(([column]) => ["measure", "cost"].includes(column.group)).map(([column]) => column.name)]]);
  const columns = listed.map(([column, of]) => tableColumn(column, of, column.name === "arm" ? (item) => item.key : null));
  const table = newTable("#arms-table", columns, "arms", groups);
  table.table().body().addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    const item = line && table.row(line).data();
    if (item) open(item.key);
  });
  return { table, show: (rows) => { const page = table.page(); table.clear().rows.add(armItems(data, rows)).draw(); restorePage(table, page); } };
}
