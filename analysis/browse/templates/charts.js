// Learning curves and the scatter plot.

const CONFIG = { displaylogo: false, responsive: true, scrollZoom: false, doubleClick: "reset", modeBarButtons: [["select2d", "zoom2d", "pan2d", "resetScale2d", "toImage"]] };
const MOST_LINES = 40, MOST_GROUPS = 12, MOST_POINTS = 3000;

/** Return the layout that all charts share, in the page's colors. */
function baseLayout(more) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim(), grid = style.getPropertyValue("--grid").trim(), paper = style.getPropertyValue("--paper").trim();
  const axis = { gridcolor: grid, zeroline: false, linecolor: grid, automargin: true };
  return {
    paper_bgcolor: paper, plot_bgcolor: paper, font: { color: ink, family: "system-ui, sans-serif", size: 13 },
    margin: { l: 60, r: 20, t: 20, b: 50 }, hovermode: "closest", dragmode: "select", selectdirection: "any",
    legend: { orientation: "h", y: -0.22, yanchor: "top", maxheight: 1 }, hoverlabel: { align: "left", namelength: -1 },
    ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}

const rgba = (hex, alpha) => `rgba(${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(",")},${alpha})`;

/** Make a chart tall enough for a legend with one entry per line. */
function tall(id, entries) {
  $(id).style.height = `calc(26rem + ${entries} * 1.3rem)`;
}

/** Draw a chart, and write a note on what it shows and what it leaves out. */
function draw(id, traces, layout, note, label) {
  const place = document.getElementById(id);
  place.setAttribute("aria-label", `${label}. ${note}`);
  document.getElementById(`${id}-note`).textContent = note;
  place.dataset.drawn = String(Number(place.dataset.drawn || 0) + 1);
  return window.Plotly.react(place, traces, layout, CONFIG);
}

const runName = (data, row) => `${data.several ? `${data.byName.get("study").values[row]}: ` : ""}${data.byName.get("arm").values[row]}, seed ${data.byName.get("seed").values[row]}`;

function drawCurves(data, rows, chosen) {
  const measure = data.curves.measures.find((each) => each.name === chosen.measure);
  const values = measure ? data.curves.values[measure.name] : [];
  const there = rows.filter((row) => values[row] && values[row].some((value) => value !== null));
  const layout = baseLayout({
    xaxis: { title: { text: "epoch" }, tickformat: "d", dtick: data.curves.longest <= 12 ? 1 : undefined },
    yaxis: { title: { text: measure ? plain(named(measure)) : "", standoff: 10 } },
  });
  tall("curves", 0);
  if (!there.length) return draw("curves", [], layout, rows.length ? "No run that meets the filter has this measure yet." : "No run meets the filter.", "Learning curves");
  const single = chosen.lines === "run" || (chosen.lines === "auto" && there.length <= MOST_LINES);
  const found = single ? runCurves(data, there, values, chosen) : groupCurves(data, there, values, chosen, measure);
  const without = rows.length - there.length;
  if (found.entries) {  // one legend line each, below the axis
    layout.legend = { ...layout.legend, orientation: "v", x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom" };
    layout.margin = { ...layout.margin, b: 62 + 20.8 * found.entries };
    tall("curves", found.entries);
  }
  const note = without ? `${found.note} ${counted(without, "run")} without this measure.` : found.note;
  return draw("curves", found.traces, layout, note, `Learning curves of ${measure.name}`);
}

function runCurves(data, rows, values, chosen) {
  const shown = rows.slice(0, 400), colour = colouring(chosen.colour, rows), { epochs } = data.curves;
  const traces = shown.map((row) => ({
    x: epochs.slice(0, values[row].length), y: values[row], mode: values[row].length > 1 ? "lines" : "markers", customdata: [row],
    line: { color: colour.colours[colour.of(row)], width: 1.5 }, marker: { color: colour.colours[colour.of(row)] },
    name: plain(runName(data, row)), meta: row, showlegend: false, hovertemplate: "%{y:.4g}, epoch %{x}",
  }));
  const note = shown.length < rows.length ? `The first ${shown.length} of ${counted(rows.length, "run")} are shown; narrow the filter, or draw one line per arm.` : `${counted(rows.length, "run")}, one line each.`;
  return { traces: [...traces, ...keys(chosen, colour)], note };
}

/** Return empty traces that explain the colors in the legend. */
function keys(chosen, colour) {
  return colour.labels.map((label, at) => ({
    x: [null], y: [null], mode: "lines", line: { color: colour.colours[at], width: 3 }, hoverinfo: "skip",
    name: plain(`${chosen.colour.name}: ${shortened(label, 40)}`),
  }));
}

function groupCurves(data, rows, values, chosen, measure) {
  const by = chosen.lines === "auto" || chosen.lines === "run" ? data.byName.get("arm") : data.byName.get(chosen.lines);
  const isArm = by.name === "arm";
  const label = (row) => (isArm && data.several ? data.keys[row].replace("\n", ": ") : by.values[row] === null ? "none" : shownValue(by.values[row], by));
  const groups = [...grouped(rows, label)].map(([name, own]) => ({ name, own, points: data.curves.epochs.map((_, at) => moments(own.map((row) => values[row][at]).filter((value) => value !== null && value !== undefined))) }));
  const lower = measure.name.endsWith("loss"), last = (group) => group.points.findLast((point) => point.n)?.mean ?? (lower ? Infinity : -Infinity);
  groups.sort((a, b) => (lower ? last(a) - last(b) : last(b) - last(a)));
  const kept = groups.slice(0, MOST_GROUPS), rest = groups.slice(MOST_GROUPS), { epochs } = data.curves;
  const traces = rest.length ? [restCurves(rest, epochs)] : [];
  kept.forEach((group, at) => traces.push(...bandAndMean(group, epochs, at)));
  const what = by.name === "arm" ? "arm" : `level of ${by.name}`;
  const left = rest.length ? ` The ${kept.length} ${lower ? "lowest" : "highest"} at the last epoch are colored; ${counted(rest.length, by.name === "arm" ? "further arm" : "further level")} in gray.` : "";
  return { traces, entries: traces.filter((trace) => trace.showlegend !== false).length, note: `Mean of ${counted(rows.length, "run")} by ${what}; bands are ± 1 standard deviation over the runs.${left}` };
}

function restCurves(groups, epochs) {
  const x = [], y = [];
  for (const group of groups) {
    group.points.forEach((point, at) => { if (point.n) { x.push(epochs[at]); y.push(point.mean); } });
    x.push(null); y.push(null);
  }
  return { x, y, mode: "lines", line: { color: OTHERS, width: 0.6 }, opacity: 0.5, hoverinfo: "skip", name: `${counted(groups.length, "other mean")}` };
}

function bandAndMean(group, epochs, at) {
  const there = group.points.map((point, index) => ({ ...point, epoch: epochs[index] })).filter((point) => point.n);
  const colour = HUES[at % HUES.length], x = there.map((point) => point.epoch), spread = there.map((point) => point.sd ?? 0);
  const name = plain(`${shortened(group.name, 56)} (${group.own.length})`);
  const band = {
    x: [...x, ...[...x].reverse()], y: [...there.map((point, i) => point.mean + spread[i]), ...there.map((point, i) => point.mean - spread[i]).reverse()],
    fill: "toself", fillcolor: rgba(colour, 0.13), line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false, legendgroup: String(at),
  };
  const mean = {
    x, y: there.map((point) => point.mean), mode: x.length > 1 ? "lines" : "markers", name, legendgroup: String(at),
    line: { color: colour, width: 2, dash: DASHES[Math.floor(at / HUES.length) % DASHES.length] }, marker: { color: colour },
    text: there.map((point) => `${point.n}`), hovertemplate: "%{y:.4g}, epoch %{x}, %{text} runs",
  };
  return [band, mean];
}

/** Return the points in a chart: one per run, or if there are too many runs, one per arm with the means. */
function pointsOf(data, rows, most) {
  if (rows.length <= most) return { points: rows.map((row) => ({ row, of: (column) => column.values[row] })), perArm: false };
  const points = armItems(data, rows).map((item) => ({
    row: item.row, key: item.key,
    of: (column) => (isNumber(column) && ["measure", "cost"].includes(column.group) ? summary(data, column, item.rows).mean : column.values[item.row]),
  }));
  return { points, perArm: true };
}

function drawScatter(data, rows, chosen) {
  const { x, y } = chosen, { points, perArm } = pointsOf(data, rows, MOST_POINTS);
  const there = points.filter((point) => point.of(x) !== null && point.of(y) !== null);
  const colour = colouring(chosen.colour, rows);
  const traces = colour.labels.map((label, at) => {
    const own = there.filter((point) => colour.of(point.row) === at);
    return {
      x: own.map((point) => axisValue(point.of(x), x)), y: own.map((point) => axisValue(point.of(y), y)), mode: "markers", type: "scatter",
      marker: { color: colour.colours[at], size: there.length > 500 ? 5 : 8, opacity: 0.75, symbol: at },
      name: plain(`${chosen.colour.name}: ${shortened(label, 40)}`), customdata: own.map((point) => (perArm ? point.key : point.row)),
      text: own.map((point) => plain(perArm ? point.key.replace("\n", ": ") : runName(data, point.row))),
      hovertemplate: "%{text}<br>%{x:.5g}, %{y:.5g}<extra></extra>",
    };
  }).filter((trace) => trace.x.length);
  const layout = baseLayout({ xaxis: { title: { text: plain(named(x)) }, type: isNumber(x) ? undefined : "category" }, yaxis: { title: { text: plain(named(y)) }, type: isNumber(y) ? undefined : "category" } });
  if (!there.length) return draw("scatter", [], layout, rows.length ? "No run that meets the filter has both values yet." : "No run meets the filter.", `${y.name} against ${x.name}`);
  const what = perArm ? `${counted(there.length, "arm")}, as means of ${counted(rows.length, "run")}` : counted(there.length, "run");
  const left = points.length - there.length;
  return draw("scatter", traces, layout, `${what}.${left ? ` ${whole.format(left)} without both values.` : ""} Click a point to open it; select an area to filter.`, `${y.name} against ${x.name}`);
}

const axisValue = (value, column) => (isNumber(column) ? value : plain(shortened(shownValue(value, column), 30)));
