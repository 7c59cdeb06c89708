// Texts and colors.

/** Return a text for HTML, with all markup escaped. */
const escaped = (text) => String(text).replace(/[&<>"'`]/gu, (sign) => `&#${sign.charCodeAt(0)};`);

/** Return a text for a chart, where some markup would be interpreted, with all markup escaped. */
const plain = (text) => String(text).replace(/[&<>]/gu, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" }[sign]));

/** Return a text for a CSV file that spreadsheets do not execute as a formula; numbers are unchanged. */
function spreadsheetCell(text) {
  const isFormula = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/u.test(text), isNumeral = /^[+-]?(\d[\d,]*\.?\d*|\.\d+)(e[+-]?\d+)?%?$/iu.test(text);
  return isFormula && !isNumeral ? `'${text}` : text;
}

/** Return a text that is shortened in the middle if it is too long. */
const shortened = (text, most) => (text.length <= most ? text : `${text.slice(0, Math.ceil(most / 2) - 1)}…${text.slice(-Math.floor(most / 2))}`);

const whole = new Intl.NumberFormat("en");

/** Return a column's value as text; an en dash if there is none. */
function shownValue(value, column) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (column && column.unit === "fraction") return value.toFixed(4);
  if (column && column.unit === "s") return value >= 100 ? whole.format(Math.round(value)) : value.toPrecision(3);
  if (Number.isInteger(value)) return column && ["seed", "threads"].includes(column.name) ? String(value) : whole.format(value);
  return String(Number(value.toPrecision(4)));
}

const counted = (number, noun) => `${whole.format(number)} ${noun}${number === 1 ? "" : "s"}`;
const named = (column) => (column.unit && column.unit !== "JSON" ? `${column.name} (${column.unit})` : column.name);

/** Colors that color-blind readers can distinguish (Okabe and Ito), and a scale from dark to light. */
const LIGHT = {
  hues: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a5195", "#8a8a00"],
  scale: ["#440154", "#3b528b", "#21918c", "#5ec962", "#d8c81f"],
};
const DARK = {
  hues: ["#56b4e9", "#f0803c", "#2fc898", "#e0a0c4", "#9ad0f5", "#f2b84b", "#b79be0", "#c9c94a"],
  scale: ["#8a5bb8", "#5a7fd0", "#30b0a8", "#7ad878", "#f0e060"],
};
const OTHERS = "#8b9098";
let HUES = LIGHT.hues, SCALE = LIGHT.scale;
const DASHES = ["solid", "dash", "dot", "dashdot"];

/** Return how rows are colored by a column: by bands if it is numeric with many values, or by its levels. */
function colouring(column, rows) {
  const levels = levelsOf(column, rows);
  if (isNumber(column) && levels.filter((level) => level !== null).length > HUES.length) return banded(column, rows);
  const counts = grouped(rows, (row) => column.values[row]);
  const kept = levels.length <= HUES.length ? levels : [...levels].sort((a, b) => counts.get(b).length - counts.get(a).length).slice(0, HUES.length - 1);
  const at = new Map(kept.map((level, number) => [level, number]));
  const labels = kept.map((level) => (level === null ? "none" : shownValue(level, column)));
  const colours = kept.map((_, number) => HUES[number]);
  if (kept.length < levels.length) { labels.push(`${counted(levels.length - kept.length, "other level")}`); colours.push(OTHERS); }
  return { labels, colours, of: (row) => at.get(column.values[row]) ?? kept.length };
}

function banded(column, rows) {
  const values = rows.map((row) => column.values[row]).filter((value) => value !== null).sort((a, b) => a - b);
  const edges = SCALE.map((_, band) => values[Math.min(values.length - 1, Math.floor((band * values.length) / SCALE.length))]);
  const missing = values.length < rows.length;
  const labels = edges.map((edge, band) => `${shownValue(edge, column)} to ${shownValue(band + 1 < edges.length ? edges[band + 1] : values.at(-1), column)}`);
  const of = (row) => {
    const value = column.values[row];
    return value === null ? SCALE.length : Math.max(0, edges.findLastIndex((edge) => edge <= value));
  };
  return { labels: missing ? [...labels, "none"] : labels, colours: missing ? [...SCALE, OTHERS] : SCALE, of };
}
