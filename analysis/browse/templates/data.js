// The page's content as columns of values.

/** Return the content with every column's values by row, and null for missing values. */
function unpack(shown) {
  const columns = shown.columns.map((column, at) => ({ ...column, values: spread(shown.runs[at]) }));
  const byName = new Map(columns.map((column) => [column.name, column]));
  const studies = byName.get("study"), alone = shown.studies[0].name;
  const size = byName.get("run_id").values.length;
  const arms = new Map(shown.arms.entries.map((entry) => [armKey(entry.study, entry.arm), entry]));
  const keys = Array.from({ length: size }, (_, row) => armKey(studies ? studies.values[row] : alone, byName.get("arm").values[row]));
  return { ...shown, columns, byName, size, arms: { common: shown.arms.common, byKey: arms }, keys, several: shown.studies.length > 1 };
}

const armKey = (study, arm) => `${study}\n${arm}`;

/** Return the values of a column, which is stored either as is or as its distinct texts and their positions. */
function spread(stored) {
  if (Array.isArray(stored)) return stored;
  return stored.codes.map((code) => (code < 0 ? null : stored.texts[code]));
}

const isNumber = (column) => column.type === "number" || column.type === "integer";

/** Return the mean and the standard deviation of numbers; null with no numbers or, for the latter, fewer than two. */
function moments(values) {
  const n = values.length;
  if (!n) return { n, mean: null, sd: null };
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const sd = n > 1 ? Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1)) : null;
  return { n, mean, sd };
}

/** Return the rows by key, with keys in order of appearance. */
function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const name = key(row);
    if (groups.has(name)) groups.get(name).push(row); else groups.set(name, [row]);
  }
  return groups;
}

/** Return the distinct values of a column in some rows: numbers in order of size, text in order of appearance, null last. */
function levelsOf(column, rows) {
  const found = [...new Set(rows.map((row) => column.values[row]))];
  const known = found.filter((value) => value !== null);
  if (isNumber(column)) known.sort((a, b) => a - b);
  return known.length < found.length ? [...known, null] : known;
}
