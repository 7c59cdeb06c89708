// Conditions on the table's columns: the language of `results.where`, with the same grammar and meaning.
//
//   condition  = all {"or" all}
//   all        = negation {"and" negation}
//   negation   = "not" negation | "(" condition ")" | comparison
//   comparison = column operator value | column ["not"] "in" list
//
// Conditions are not evaluated as code: a condition is split into tokens, and every rule returns the rows that meet it.

const OPERATORS = {
  ">=": (a, b) => a >= b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, "<": (a, b) => a < b,
  "!=": (a, b) => a !== b, "==": (a, b) => a === b, "=": (a, b) => a === b,
};
const TOKEN = /\s*(?:('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(`[^`]+`)|(>=|<=|!=|==|=|>|<|\(|\)|\[|\]|,)|([^\s'"`()[\],=!<>]+))/suy;
const KINDS = ["quoted", "name", "sign", "word"];
const SHORT = /^\s*([^\s!<>=`'"()]+)\s*(>=|<=|!=|==|=|>|<)\s*([^\s=!<>].*?)\s*$/su;
const KEYWORD = /(?:^|\s)(?:and|or|not|in)(?:\s|$)|['"`]/iu;
const NULLS = new Set(["null", "none", "nan", "na"]);
const BOOLEANS = { true: true, yes: true, 1: true, false: false, no: false, 0: false };
const NUMBER = /^[+-]?(?:(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+)?|inf(?:inity)?)$/iu;
const TIME = /^(\d{4})-?(\d{2})?-?(\d{2})?(?:[ T](\d{2}):?(\d{2})?:?(\d{2}(?:\.\d+)?)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?$/iu;
const DEEPEST = 50;
const EXAMPLE = "write conditions such as batch_size >= 50 and placement == stage_only";

class QueryError extends Error {}

/** Return, for every row, whether it meets a condition; all rows meet an empty one. QueryError if it is not a condition. */
function rowsThatMeet(data, condition) {
  if (!condition.trim()) return new Array(data.size).fill(true);
  const short = SHORT.exec(condition);
  return short && !KEYWORD.test(condition) ? shortForm(data, short[1], short[2], short[3]) : new Parser(data, condition).parsed();
}

function shortForm(data, name, sign, text) {
  const column = columnOf(data, name), other = data.byName.get(text);
  if (isNumber(column) && other && isNumber(other)) return compared(column, sign, other);
  if (!["=", "==", "!="].includes(sign)) {
    if (meansNull(column, text)) throw new QueryError("null can be compared with == and != only");
    return compared(column, sign, readValue(column, text));
  }
  const whole = column.type === "text" && column.values.includes(text);  // arm names may contain commas
  const parts = whole ? [text] : text.split(",");
  return among(column, parts.map((part) => (meansNull(column, part) ? null : readValue(column, part))), sign === "!=");
}

class Parser {
  constructor(data, condition) {
    this.data = data;
    this.tokens = this.split(condition);
    this.next = 0;
    this.depth = 0;
  }

  split(condition) {
    const text = condition.trimEnd(), tokens = [];
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < text.length) {
      const start = TOKEN.lastIndex, match = TOKEN.exec(text);
      if (!match) throw new QueryError(`cannot read ${text.slice(start).trim().slice(0, 20)}: ${EXAMPLE}`);
      const kind = match.slice(1).findIndex((part) => part !== undefined);
      tokens.push({ kind: KINDS[kind], text: match[kind + 1], at: TOKEN.lastIndex - match[kind + 1].length });
    }
    return [...tokens, { kind: "end", text: "", at: text.length }];
  }

  get peek() { return this.tokens[this.next]; }
  take() {
    const token = this.peek;
    if (token.kind !== "end") this.next += 1;
    return token;
  }
  isWord(word) { return this.peek.kind === "word" && this.peek.text.toLowerCase() === word; }
  error(expected) {
    const found = this.peek.kind === "end" ? "the end" : `'${this.peek.text}' at position ${this.peek.at + 1}`;
    return new QueryError(`${expected}, found ${found}: ${EXAMPLE}`);
  }

  parsed() {
    const met = this.any();
    if (this.peek.kind !== "end") throw this.error("expected 'and', 'or' or the end");
    return met;
  }
  any() {
    let met = this.all();
    while (this.isWord("or")) { this.take(); const more = this.all(); met = met.map((is, row) => is || more[row]); }
    return met;
  }
  all() {
    let met = this.negation();
    while (this.isWord("and")) { this.take(); const more = this.negation(); met = met.map((is, row) => is && more[row]); }
    return met;
  }
  negation() {
    this.depth += 1;
    if (this.depth > DEEPEST) throw new QueryError(`the condition is nested deeper than ${DEEPEST} levels`);
    try {
      if (this.isWord("not")) { this.take(); return this.negation().map((is) => !is); }
      return this.peek.kind === "sign" && this.peek.text === "(" ? this.bracketed() : this.comparison();
    } finally {
      this.depth -= 1;
    }
  }
  bracketed() {
    this.take();
    const met = this.any();
    if (this.peek.text !== ")") throw this.error("expected ')'");
    this.take();
    return met;
  }
  comparison() {
    const joins = ["and", "or", "in"].some((word) => this.isWord(word)) && !this.data.byName.has(this.peek.text);
    if (joins || !["word", "name"].includes(this.peek.kind)) throw this.error("expected the name of a column");
    const column = columnOf(this.data, unticked(this.take().text));
    const excluded = this.isWord("not");
    if (excluded) this.take();
    if (this.isWord("in")) { this.take(); return among(column, this.list(column), excluded); }
    if (excluded || !(this.peek.text in OPERATORS)) {
      throw this.error(excluded ? "expected 'in'" : "expected an operator (= == != < <= > >= in)");
    }
    return this.against(column, this.take().text);
  }
  against(column, sign) {
    const other = this.otherColumn(column);
    if (other) return compared(column, sign, other);
    const value = this.value(column);
    if (["=", "==", "!="].includes(sign)) return among(column, [value], sign === "!=");
    if (value === null) throw new QueryError("null can be compared with == and != only");
    return compared(column, sign, value);
  }
  otherColumn(column) {
    const token = this.peek;
    if (token.kind !== "name" && !(token.kind === "word" && isNumber(column) && this.data.byName.has(token.text))) return null;
    const other = columnOf(this.data, unticked(this.take().text));
    if (isNumber(column) !== isNumber(other)) {
      throw new QueryError(`${column.name} (${column.type}) cannot be compared with ${other.name} (${other.type})`);
    }
    return other;
  }
  list(column) {
    const closing = { "(": ")", "[": "]" }[this.peek.text];
    if (!closing) throw this.error("expected a list such as (a, b)");
    this.take();
    const values = [this.value(column)];
    while (this.peek.text === ",") {
      this.take();
      if (this.peek.text === closing) break;
      values.push(this.value(column));
    }
    if (this.peek.text !== closing) throw this.error(`expected ',' or '${closing}'`);
    this.take();
    return values;
  }
  value(column) {
    const token = this.peek;
    if (!["word", "quoted"].includes(token.kind)) throw this.error("expected a value");
    this.take();
    if (token.kind === "word") return meansNull(column, token.text) ? null : readValue(column, token.text);
    const text = token.text.slice(1, -1).replace(/\\(.)/gsu, "$1");
    if (isNumber(column) || column.type === "boolean") {
      throw new QueryError(`'${text}' is text, but column ${column.name} is of type ${column.type}; write the value without quotes`);
    }
    return readValue(column, text);
  }
}

const unticked = (text) => text.replace(/^`+|`+$/gu, "");

function columnOf(data, name) {
  const column = data.byName.get(name);
  if (column) return column;
  const near = [...data.byName.keys()].map((known) => [distance(name, known), known]).sort((a, b) => a[0] - b[0]);
  throw new QueryError(`unknown column '${name}'; did you mean ${near.slice(0, 3).map(([, known]) => known).join(", ")}? All columns are listed in the help below.`);
}

/** Return the edit distance between two texts; texts that contain one another are close. */
function distance(a, b) {
  if (b.includes(a)) return 0.5;
  let row = [...b, ""].map((_, at) => at);
  for (let i = 1; i <= a.length; i += 1) {
    const above = row;
    row = [i];
    for (let j = 1; j <= b.length; j += 1) row.push(Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] !== b[j - 1])));
  }
  return row[b.length];
}

const meansNull = (column, text) => NULLS.has(text.trim().toLowerCase()) && !(column.type === "text" && column.values.includes(text));

function readValue(column, text) {
  const word = text.trim();
  let found = text;
  if (column.type === "boolean") found = BOOLEANS[word.toLowerCase()];
  else if (isNumber(column)) found = NUMBER.test(word) ? Number(word.replaceAll("_", "").replace(/inf(inity)?$/iu, "Infinity")) : undefined;
  else if (column.type === "time") found = timeOf(word);
  else if (column.name === "role" && text === "aim") found = "treatment";  // its name in earlier versions
  if (found === undefined) throw new QueryError(`'${text}' cannot be read as ${column.type}, the type of column ${column.name}`);
  return found;
}

/** Return a time in milliseconds, in UTC unless it contains an offset; undefined if it is not a time. */
function timeOf(text) {
  const [whole, year, month = "01", day = "01", hour = "00", minute = "00", second = "00", zone = "Z"] = TIME.exec(text) || [];
  if (!whole) return undefined;
  const offset = /utc/iu.test(zone) ? "Z" : zone.replace(/^([+-]\d{2})(\d{2})$/u, "$1:$2");
  const found = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second.includes(".") ? second : `${second}.000`}${offset.toUpperCase()}`);
  return Number.isNaN(found) ? undefined : found;
}

const comparable = (column) => (column.type === "time" ? column.values.map((text) => (text === null ? null : timeOf(text))) : column.values);

function among(column, values, excluded) {
  const known = new Set(values);
  return comparable(column).map((value) => known.has(value) !== excluded);
}

/** Compare a column with a value or a second column; a row without a value meets only `!=`. */
function compared(column, sign, other) {
  const compare = OPERATORS[sign], right = other !== null && typeof other === "object" ? comparable(other) : null;
  return comparable(column).map((value, row) => {
    const against = right ? right[row] : other;
    return value === null || against === null ? sign === "!=" : compare(value, against);
  });
}
