// The details of a run or an arm.

const element = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

const asText = (value) => (value === null || value === undefined ? "–" : typeof value === "boolean" ? (value ? "yes" : "no") : Array.isArray(value) ? value.join(", ") || "none" : String(value));

function pairsTable(caption, pairs, heads) {
  const table = element("table", null, { class: "pairs" });
  table.append(element("caption", caption));
  if (heads) {
    const line = element("tr");
    line.append(...heads.map((head) => element("th", head, { scope: "col" })));
    table.append(element("thead"));
    table.tHead.append(line);
  }
  const body = element("tbody");
  for (const [name, ...values] of pairs) {
    const line = element("tr");
    line.append(element("th", name, { scope: "row" }), ...values.map((value) => element("td", asText(value))));
    body.append(line);
  }
  table.append(body);
  return table;
}

function folded(summary, ...content) {
  const made = element("details");
  made.append(element("summary", summary), ...content);
  return made;
}

function showDetails(title, parts) {
  const dialog = document.getElementById("details");
  document.getElementById("details-title").textContent = title;
  document.getElementById("details-body").replaceChildren(...parts);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

const STATES = { waiting: "has not started", running: "is running", retrying: "is being retried", held: "is being computed by another process", paused: "is paused; the same command resumes it", stopped: "was not started, because its arm fails with the same error every time", finished: "finished", diverged: "diverged", pruned: "was pruned", failed: "failed; the same `ablate run` command retries it" };

function openRun(data, row) {
  const entry = data.arms.byKey.get(data.keys[row]);
  const value = (name) => data.byName.get(name)?.values[row] ?? null;
  const parts = [element("p", `This run ${STATES[value("status")] ?? value("status")}${value("reason") ? `: ${value("reason")}` : "."}`, { class: `state ${value("status")}` })];
  const traceback = data.details.tracebacks[row];
  if (traceback) parts.push(folded("End of the traceback", element("pre", traceback, { tabindex: "0" })));
  const log = data.details.logs[row];
  if (log) parts.push(folded(`Last ${counted(log.length, "line")} of the log`, element("pre", log.join("\n"), { tabindex: "0" })));
  parts.push(...runCharts(data, row));
  parts.push(differencesOf(entry));
  const listed = (groups) => data.columns.filter((column) => groups.includes(column.group) && column.values[row] !== null && column.name !== "reason");
  parts.push(pairsTable("Result", listed(["run", "measure", "cost"]).map((column) => [named(column), shownValue(column.values[row], column)])));
  parts.push(folded("Configuration", configurationOf(data, entry)));
  parts.push(folded("Network", networkOf(entry)));
  const packages = ["versions", "plugins"].map((name) => [name, data.details[name].texts[data.details[name].codes[row]] ?? {}]);
  parts.push(folded("Provenance", pairsTable("Provenance", listed(["provenance"]).map((column) => [named(column), shownValue(column.values[row], column)])), ...packages.map(([name, pairs]) => pairsTable(name, Object.entries(pairs)))));
  showDetails(runName(data, row), parts);
  drawRunCharts(data, row);
}

function differencesOf(entry) {
  if (!entry.baseline) return element("p", entry.role === "baseline" ? "This arm is the baseline." : "The study has no baseline for comparison.");
  if (!entry.differences.length) return element("p", `No option differs from ${entry.baseline}.`);
  return pairsTable(`Differences from ${entry.baseline}`, entry.differences, ["option", entry.baseline, entry.arm]);
}

const configurationOf = (data, entry) => pairsTable("Configuration", Object.entries({ ...data.arms.common, ...entry.options }).sort(([a], [b]) => (a < b ? -1 : 1)));

const networkOf = (entry) => (Object.keys(entry.network).length ? pairsTable("Network", Object.entries(entry.network)) : element("p", "The study does not contain a description of this network yet."));

const KINDS_OF_CURVES = [["accuracy", (name) => name.endsWith("accuracy")], ["loss", (name) => name.endsWith("loss")]];

function runCharts(data, row) {
  const there = KINDS_OF_CURVES.filter(([, fits]) => data.curves.measures.some((measure) => fits(measure.name) && data.curves.values[measure.name][row]?.some((each) => each !== null)));
  if (!there.length) return [element("p", "No epochs are stored yet.")];
  const pair = element("div", null, { class: "pair" });
  pair.append(...there.map(([kind]) => element("div", null, { id: `run-${kind}`, class: "small-chart", role: "img", "aria-label": `${kind} of this run by epoch` })));
  return [pair];
}

function drawRunCharts(data, row) {
  for (const [kind, fits] of KINDS_OF_CURVES) {
    const place = document.getElementById(`run-${kind}`);
    if (!place) continue;
    const traces = data.curves.measures.filter((measure) => fits(measure.name)).map((measure, at) => {
      const y = data.curves.values[measure.name][row];
      return { x: data.curves.epochs.slice(0, y.length), y, name: measure.name, mode: y.length > 1 ? "lines" : "markers", line: { color: HUES[at], dash: DASHES[at % DASHES.length] }, marker: { color: HUES[at] } };
    });
    window.Plotly.newPlot(place, traces, baseLayout({ xaxis: { title: { text: "epoch" }, tickformat: "d", dtick: data.curves.longest <= 12 ? 1 : undefined }, yaxis: { title: { text: kind } }, dragmode: "zoom", legend: { orientation: "h", y: -0.4, yanchor: "top", maxheight: 1 } }), CONFIG);
  }
}

function openArm(data, key, rows) {
  const entry = data.arms.byKey.get(key), own = rows.filter((row) => data.keys[row] === key);
  const list = element("ul", null, { class: "runs" });
  const accuracy = data.byName.get("validation_accuracy");
  for (const row of own) {
    const button = element("button", `seed ${data.byName.get("seed").values[row]}`, { type: "button" });
    button.addEventListener("click", () => openRun(data, row));
    const item = element("li");
    item.append(button, ` ${data.byName.get("status").values[row]}, validation accuracy ${shownValue(accuracy.values[row], accuracy)}`);
    list.append(item);
  }
  const only = element("button", "Show only this arm", { type: "button", id: "only-arm" });
  only.addEventListener("click", () => {
    document.getElementById("details").close();
    const conditions = [data.several ? levelsCondition(data.byName.get("study"), [entry.study]) : "", levelsCondition(data.byName.get("arm"), [entry.arm])];
    setFilter(conditions.filter(Boolean).join(" and "));
  });
  const title = data.several ? `${entry.study}: ${entry.arm}` : entry.arm;
  showDetails(title, [element("p", `Role: ${entry.role}${entry.of ? `, of ${entry.of}` : ""}.`), only, element("h3", `Runs (${own.length})`), list, differencesOf(entry), folded("Configuration", configurationOf(data, entry)), folded("Network", networkOf(entry))]);
}
