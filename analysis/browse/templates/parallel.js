// Parallel coordinates: one line per run, or per arm, across the chosen columns.

const MOST_PARALLEL = 2000, MOST_TICKS = 12;

/** Return the position of every value of a column between 0 and 1, and the ticks of its axis. */
function scaleOf(column, points) {
  const values = points.map((point) => point.of(column));
  const missing = values.includes(null), from = missing ? 0.12 : 0;  // runs without the option are drawn along the bottom
  if (isNumber(column)) {
    const known = values.filter((value) => value !== null), least = Math.min(...known), most = Math.max(...known);
    const place = (value) => (value === null ? 0 : most > least ? from + (1 - from) * (value - least) / (most - least) : 0.5);
    const levels = [...new Set(known)].sort((a, b) => a - b);
    const ticks = levels.length <= 6 ? levels : [0, 0.25, 0.5, 0.75, 1].map((share) => least + share * (most - least));
    const value = (at) => least + (Math.max(at, from) - from) / (1 - from || 1) * (most - least);
    return { place, value, ticks: ticks.map((each) => [place(each), shownValue(each, column)]), missing };
  }
  const levels = [...new Set(values)].filter((value) => value !== null);
  const at = new Map(levels.map((level, number) => [level, levels.length > 1 ? from + (1 - from) * number / (levels.length - 1) : 0.5]));
  const place = (value) => (value === null ? 0 : at.get(value));
  const step = Math.ceil(levels.length / MOST_TICKS);
  return { place, levels, at, ticks: levels.filter((_, number) => number % step === 0).map((level) => [at.get(level), shortened(shownValue(level, column), 22)]), missing };
}

function drawParallel(data, rows, chosen) {
  const found = pointsOf(data, rows, MOST_PARALLEL);
  const colour = colouring(chosen.colour, rows);
  const measured = (column) => Number(["measure", "cost"].includes(column.group));  // measured columns are on the right
  const axes = chosen.axes.filter((column) => found.points.some((point) => point.of(column) !== null)).sort((a, b) => measured(a) - measured(b));
  const points = found.points.filter((point) => axes.every((column) => column.group !== "measure" || point.of(column) !== null));
  if (axes.length < 2 || !points.length) {
    return draw("parallel", [], baseLayout({ xaxis: { visible: false }, yaxis: { visible: false } }), rows.length ? "Choose at least two columns that have values." : "No run meets the filter.", "Parallel coordinates");
  }
  const scales = axes.map((column) => scaleOf(column, points));
  const traces = colour.labels.map((label, at) => lines(points.filter((point) => colour.of(point.row) === at), axes, scales, colour.colours[at], plain(`${chosen.colour.name}: ${shortened(label, 40)}`), points.length));
  traces.push(...keys(chosen, colour));
  const layout = baseLayout({
    margin: { l: 30, r: 90, t: 40, b: 20 }, legend: { orientation: "h", y: 0, yanchor: "top" },
    xaxis: { range: [-0.15, axes.length - 0.6], tickvals: axes.map((_, at) => at), ticktext: axes.map((column) => `<b>${plain(shortened(column.name, 26))}</b>`), side: "top", showgrid: false, fixedrange: true },
    yaxis: { range: [-0.05, 1.05], visible: false, fixedrange: true },
    shapes: axes.map((_, at) => ({ type: "line", x0: at, x1: at, y0: 0, y1: 1, line: { color: OTHERS, width: 1.5 } })),
    annotations: scales.flatMap((scale, at) => [...scale.ticks, ...(scale.missing ? [[0, "none"]] : [])].map(([y, text]) => ({ x: at, y, text: plain(text), xanchor: "left", xshift: 5, showarrow: false, font: { size: 11 }, bgcolor: rgbaOfPaper() }))),
  });
  state.parallel = { axes, scales };
  const what = found.perArm ? `${counted(points.length, "arm")}, as means of ${counted(rows.length, "run")}` : counted(points.length, "run");
  const left = found.points.length - points.length;
  return draw("parallel", traces, layout, `${what}.${left ? ` ${whole.format(left)} without a value for a chosen measure.` : ""} Draw a box over an axis to filter by it.`, `Parallel coordinates of ${axes.map((column) => column.name).join(", ")}`);
}

const rgbaOfPaper = () => rgba(getComputedStyle(document.documentElement).getPropertyValue("--paper").trim(), 0.75);

function lines(points, axes, scales, colour, name, all) {
  const x = [], y = [];
  for (const point of points) {
    axes.forEach((column, at) => { x.push(at); y.push(scales[at].place(point.of(column))); });
    x.push(null); y.push(null);
  }
  const alpha = Math.max(0.12, Math.min(0.8, 30 / Math.sqrt(all) / 4));
  return { x, y, mode: "lines", line: { color: rgba(colour, alpha), width: all > 300 ? 1 : 1.8 }, name, hoverinfo: "skip", showlegend: false };
}

/** Return the condition for a box over axes in the parallel coordinates. */
function parallelCondition(range) {
  const { axes, scales } = state.parallel, conditions = [];
  axes.forEach((column, at) => {
    if (at < Math.min(...range.x) || at > Math.max(...range.x)) return;
    const [low, high] = [Math.min(...range.y), Math.max(...range.y)], scale = scales[at];
    if (isNumber(column)) {
      if (high < (scale.missing ? 0.1 : 0)) conditions.push(`${ticked(column.name)} == null`);
      else conditions.push(rangeCondition(column, scale.value(Math.max(low, 0)), scale.value(Math.min(high, 1))));
    } else {
      const inside = scale.levels.filter((level) => low <= scale.at.get(level) && scale.at.get(level) <= high);
      const none = scale.missing && low <= 0.02;
      if (inside.length || none) conditions.push(levelsCondition(column, [...inside, ...(none ? [null] : [])]));
    }
  });
  return conditions.join(" and ");
}

const ticked = (name) => (/^[^\s'"`()[\],=!<>]+$/u.test(name) && !/^(and|or|not|in)$/iu.test(name) ? name : `\`${name}\``);
const quoted = (value) => (value === null ? "null" : typeof value === "string" ? `'${value.replace(/[\\']/gu, "\\$&")}'` : String(value));
const levelsCondition = (column, levels) => (levels.length === 1 ? `${ticked(column.name)} == ${quoted(levels[0])}` : `${ticked(column.name)} in (${levels.map(quoted).join(", ")})`);

/** Return the condition for a range; its limits are rounded outward to four digits. */
function rangeCondition(column, low, high) {
  const digits = 10 ** (3 - Math.floor(Math.log10(Math.max(Math.abs(low), Math.abs(high), 1e-12))));
  const text = (value) => (column.type === "integer" ? String(value) : String(Number(value.toPrecision(6))));
  const [from, to] = column.type === "integer" ? [Math.ceil(low), Math.floor(high)] : [Math.floor(low * digits) / digits, Math.ceil(high * digits) / digits];
  return `${ticked(column.name)} >= ${text(from)} and ${ticked(column.name)} <= ${text(to)}`;
}
