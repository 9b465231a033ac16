// The table's columns, which of its rows are shown and in which order, and which of those no other dominates.
const page = JSON.parse(document.getElementById("data").textContent);
const real = (value) => (value === null ? NaN : Number(value)); // infinities travel as "Infinity"
const columns = page.columns.map((c) => ({ ...c, values: c.number ? Float64Array.from(c.values, real) : c.values }));
const byName = new Map(columns.map((c) => [c.name, c]));
const total = columns.length ? columns[0].values.length : 0;
const state = {
  x: page.x, y: page.y, colour: "", log: { x: false, y: false },
  sense: new Map(page.senses), // column -> 1: least is best, -1: most is best, 0: no matter
  filters: new Map(), sort: null, down: false, shown: [], front: new Set(), chosen: -1,
};

/** An element with attributes and children; text is only ever text. */
function make(tag, attributes = {}, ...children) {
  const drawn = ["svg", "g", "path", "circle", "rect", "line", "text"].includes(tag);
  const element = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function digits(value, most) {
  if (Number.isNaN(value)) return "";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en-US");
  if (size >= 1e15 || size < 1e-4) return value.toExponential(most - 1).replace(/\.?0+e/, "e");
  return Number(value.toPrecision(most)).toLocaleString("en-US", { maximumFractionDigits: 12 });
}

const many = (count) => count.toLocaleString("en-US");
const text = (column, row) => (column.number ? digits(column.values[row], 6) : column.values[row] ?? "");
const heading = (column) => column.name + (column.unit ? ` (${column.unit})` : "");

/** What a filter's text asks of a row. */
function asks(column, wanted) {
  const number = "(-?(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?)";
  const one = column.number && wanted.match(new RegExp(`^(<=|>=|<|>|=)\\s*${number}$`));
  const two = column.number && wanted.match(new RegExp(`^${number}\\s*\\.\\.\\s*${number}$`));
  const v = column.values;
  if (two) return (row) => v[row] >= Number(two[1]) && v[row] <= Number(two[2]);
  if (one) {
    const to = Number(one[2]);
    return { "<": (r) => v[r] < to, ">": (r) => v[r] > to, "<=": (r) => v[r] <= to, ">=": (r) => v[r] >= to,
      "=": (r) => v[r] === to }[one[1]];
  }
  const low = wanted.toLowerCase();
  return (row) => text(column, row).toLowerCase().includes(low);
}

/** Rows that pass every filter, in the order of the sorted column; what has no value comes last. */
function select(again = true) {
  const tests = [...state.filters].map(([name, wanted]) => asks(byName.get(name), wanted));
  const rows = [];
  for (let row = 0; row < total; row++) if (tests.every((test) => test(row))) rows.push(row);
  if (again) state.front = front(rows); // an order changes none of it
  if (state.sort) {
    const { values, number } = byName.get(state.sort), turn = state.down ? -1 : 1;
    const none = number ? (v) => Number.isNaN(v) : (v) => v === null;
    const order = number ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
    rows.sort((a, b) => none(values[a]) - none(values[b]) || (none(values[a]) ? 0 : turn * compare(order, values, a, b)));
  }
  state.shown = rows;
}

const compare = (order, values, a, b) => (values[a] === values[b] ? 0 : order(values[a], values[b]));

/** The columns that matter: those named when the page was made, else the two axes. */
function objectives() {
  const names = page.fixed ? [...state.sense.keys()] : [...new Set([state.x, state.y])];
  return names.filter((name) => name && state.sense.get(name)).map((name) => byName.get(name));
}

/** Rows that none dominates: no worse in every objective and better in one. Equal rows all stay. */
function front(rows) {
  const costs = objectives().map((c) => ({ values: c.values, turn: state.sense.get(c.name) }));
  if (!costs.length) return new Set();
  const cost = (row) => costs.map(({ values, turn }) => turn * values[row]);
  const points = rows.map((row) => ({ row, at: cost(row) })).filter(({ at }) => !at.some(Number.isNaN));
  points.sort((p, q) => order(p.at, q.at)); // whatever dominates a point comes before it
  const kept = costs.length === 2 ? staircase(points) : points.reduce(keep, []);
  return new Set(kept.map(({ row }) => row));
}

function order(p, q) {
  const at = p.findIndex((value, i) => value !== q[i]);
  return at < 0 ? 0 : p[at] < q[at] ? -1 : 1;
}

function staircase(points) {
  let best = null;
  return points.filter(({ at }) => {
    if (best && !(at[1] < best[1]) && order(at, best)) return false;
    best = at;
    return true;
  });
}

function keep(kept, point) {
  const beaten = kept.some(({ at }) => at.every((v, i) => v <= point.at[i]) && at.some((v, i) => v < point.at[i]));
  return beaten ? kept : (kept.push(point), kept);
}
