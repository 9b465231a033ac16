// The picture: two columns against each other, the front in colour, what it dominates in grey.
const WIDE = 1100, HIGH = 470, EDGE = { left: 84, right: 18, top: 14, bottom: 52 };
const MOST = 3000; // points drawn at once; a browser stays quick with so many
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6A00", "#888888"]; // Okabe, Ito 2008
const SHAPES = [
  (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`, (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (r) => `M0 ${-1.3 * r}L${1.2 * r} ${r}H${-1.2 * r}z`, (r) => `M0 ${-1.4 * r}L${1.4 * r} 0L0 ${1.4 * r}L${-1.4 * r} 0z`,
  (r) => `M0 ${1.3 * r}L${1.2 * r} ${-r}H${-1.2 * r}z`, (r) => `M${-1.4 * r} ${-r / 2}h${2.8 * r}v${r}h${-2.8 * r}z`,
  (r) => `M${-r / 2} ${-1.4 * r}h${r}v${2.8 * r}h${-r}z`, (r) => `M0 ${-1.4 * r}L${1.4 * r} ${-r / 3}L${0.8 * r} ${1.3 * r}H${-0.8 * r}L${-1.4 * r} ${-r / 3}z`,
];
const numbers = columns.filter((c) => c.number);
const groups = columns.filter((c) => { const n = new Set(c.values).size; return n > 1 && n <= COLOURS.length; });
let marks = []; // what is drawn: {row, px, py}, by px

/** Where a value lies on an axis, and the axis's ticks. */
function scale(values, log, from, to) {
  const seen = values.filter((v) => Number.isFinite(v) && (!log || v > 0)), to_ = log ? Math.log10 : (v) => v;
  let low = Infinity, high = -Infinity;
  for (const v of seen) { low = Math.min(low, to_(v)); high = Math.max(high, to_(v)); }
  if (!seen.length) [low, high] = [0, 1];
  const room = high > low ? (high - low) * 0.04 : Math.abs(high) * 0.1 || 0.5;
  const zero = !log && low >= 0 && low < 0.3 * high; // an axis that comes near zero shows it
  [low, high] = [zero ? 0 : low - room, high + room];
  const place = (v) => from + ((to_(v) - low) / (high - low)) * (to - from);
  return { place, ticks: log ? decades(low, high) : steps(low, high) };
}

function steps(low, high) {
  const raw = (high - low) / 6, ten = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * ten).find((s) => s >= raw);
  const first = Math.ceil(low / step), last = Math.floor(high / step);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function decades(low, high) {
  const parts = high - low < 1 ? [1, 2, 3, 5, 7] : high - low < 3 ? [1, 2, 5] : [1], every = Math.ceil((high - low) / 8);
  const found = [];
  for (let d = Math.floor(low); d <= high; d++) {
    if (d % every === 0) for (const m of parts) if (Math.log10(m) + d >= low && Math.log10(m) + d <= high) found.push(m * 10 ** d);
  }
  return found;
}

function brief(v) {
  const size = Math.abs(v), [by, name] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([s]) => size >= s * (s === 1e3 ? 10 : 1)) ?? [1, ""];
  return (size >= 1e16 ? v.toExponential(0) : digits(Number((v / by).toPrecision(4)), 4) + name).replace("-", "−");
}

/** The rows to draw: all of the front, and evenly of the rest. */
function drawable(rows) {
  const x = byName.get(state.x).values, y = byName.get(state.y).values;
  const fine = (v, log) => Number.isFinite(v) && (!log || v > 0);
  const all = rows.filter((row) => fine(x[row], state.log.x) && fine(y[row], state.log.y));
  const thin = (list, most) => list.length <= most ? list : Array.from({ length: most }, (_, i) => list[Math.floor((i * list.length) / most)]);
  const best = thin(all.filter((row) => state.front.has(row)), MOST);
  const rest = all.filter((row) => !state.front.has(row)), some = thin(rest, Math.max(300, MOST - best.length));
  return { best, some, rest: rest.length, left: rows.length - all.length };
}

function draw() {
  if (!state.x || !state.y) return;
  const X = byName.get(state.x), Y = byName.get(state.y), { best, some, rest, left } = drawable(state.shown);
  const drawn = [...some, ...best];
  const sx = scale(drawn.map((r) => X.values[r]), state.log.x, EDGE.left, WIDE - EDGE.right);
  const sy = scale(drawn.map((r) => Y.values[r]), state.log.y, HIGH - EDGE.bottom, EDGE.top);
  const svg = make("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, tabindex: 0, role: "application", id: "scatter",
    "aria-label": `${heading(Y)} against ${heading(X)}. Left and right walk along the front, up and down along all points; Enter shows the row in the table.` });
  svg.append(axes(sx, sy, X, Y));
  const at = (row) => ({ row, px: sx.place(X.values[row]), py: sy.place(Y.values[row]) });
  const colour = state.colour && byName.get(state.colour), kinds = colour ? [...new Set(colour.values)].sort() : [];
  marks = [...some.map(at), ...best.map(at)];
  svg.append(stairs(best.map(at)), points(marks, colour, kinds), make("g", { id: "ring" }));
  legend(colour, kinds);
  marks.sort((a, b) => a.px - b.px || a.py - b.py);
  listen(svg);
  document.getElementById("plot").replaceChildren(svg);
  document.getElementById("caption").textContent = caption(best.length, some.length, rest, left);
}

function axes(sx, sy, X, Y) {
  const g = make("g"), low = HIGH - EDGE.bottom;
  for (const t of sx.ticks) {
    const x = sx.place(t);
    g.append(make("line", { class: "grid", x1: x, x2: x, y1: EDGE.top, y2: low }), make("text", { x, y: low + 18, "text-anchor": "middle" }, brief(t)));
  }
  for (const t of sy.ticks) {
    const y = sy.place(t);
    g.append(make("line", { class: "grid", x1: EDGE.left, x2: WIDE - EDGE.right, y1: y, y2: y }), make("text", { x: EDGE.left - 8, y: y + 4, "text-anchor": "end" }, brief(t)));
  }
  const middle = (EDGE.top + low) / 2;
  g.append(make("text", { class: "name", x: (EDGE.left + WIDE - EDGE.right) / 2, y: HIGH - 10, "text-anchor": "middle" }, heading(X)),
    make("text", { class: "name", x: 18, y: middle, "text-anchor": "middle", transform: `rotate(-90 18 ${middle})` }, heading(Y)));
  return g;
}

/** The line through the front, where the front is that of the two axes alone. */
function stairs(best) {
  const names = objectives().map((c) => c.name);
  const flat = names.length === 2 && names.includes(state.x) && names.includes(state.y);
  const line = [...best].sort((a, b) => a.px - b.px || b.py - a.py);
  return make("path", { class: "stairs", d: flat && line.length > 1 ? "M" + line.map(({ px, py }) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L") : "" });
}

function points(list, colour, kinds) {
  const g = make("g");
  for (const { row, px, py } of list) {
    const best = state.front.has(row), kind = colour ? kinds.indexOf(colour.values[row]) : 0;
    const path = make("path", { class: `point ${best ? "front" : "dominated"}`, "data-row": row, d: SHAPES[kind](best ? 5.5 : 3), transform: `translate(${px.toFixed(1)} ${py.toFixed(1)})` });
    if (colour) { path.style.fill = COLOURS[kind]; if (!best) path.classList.add("faint"); }
    g.append(path);
  }
  return g;
}

function legend(colour, kinds) {
  const entries = kinds.map((kind, i) => {
    const svg = make("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }, make("path", { d: SHAPES[i](5) }));
    svg.firstChild.style.fill = COLOURS[i];
    return make("span", {}, svg, (colour.number ? digits(kind, 6) : String(kind ?? "no value")).slice(0, 40));
  });
  document.getElementById("legend").replaceChildren(...entries);
}

function caption(best, some, rest, left) {
  const wanted = objectives().map((c) => `${state.sense.get(c.name) > 0 ? "least" : "most"} ${c.name}`).join(", ");
  const parts = [wanted ? `Pareto front (${wanted}): ${many(best)} of ${many(best + rest)} points.` : `${many(rest)} points; no column is to be least or most, so there is no front.`];
  if (some < rest) parts.push(`Of the ${many(rest)} dominated ones ${many(some)} are drawn, evenly; the table has all.`);
  if (left) parts.push(`${many(left)} rows have no value to draw (they do not fit, or are not positive on a logarithmic axis).`);
  return parts.join(" ");
}

function listen(svg) {
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), k = WIDE / box.width;
    const x = (event.clientX - box.left) * k, y = (event.clientY - box.top) * k;
    let near = null, least = 14 ** 2;
    for (const m of marks) { const d = (m.px - x) ** 2 + (m.py - y) ** 2 - (state.front.has(m.row) ? 9 : 0); if (d < least) [near, least] = [m, d]; }
    point(near);
  });
  svg.addEventListener("pointerleave", () => point(null));
  svg.addEventListener("blur", () => point(null));
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) walk(0, true); });
  svg.addEventListener("click", () => pointed && reveal(pointed.row));
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: [1, true], ArrowLeft: [-1, true], ArrowUp: [1, false], ArrowDown: [-1, false] };
    if (moves[event.key]) walk(...moves[event.key]);
    else if (event.key === "Enter" && pointed) reveal(pointed.row);
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
  });
}

let pointed = null;

/** The next point along x, of the front alone where asked and there is one. */
function walk(by, best) {
  const list = best && marks.some((m) => state.front.has(m.row)) ? marks.filter((m) => state.front.has(m.row)) : marks;
  if (!list.length) return;
  let at = list.findIndex((m) => pointed && m.row === pointed.row);
  if (at < 0 && pointed) at = Math.max(0, list.findIndex((m) => m.px >= pointed.px)) - (by > 0 ? 1 : 0);
  point(list[Math.min(list.length - 1, Math.max(0, at + by))]);
}

/** Ring a point and show its values beside it; none hides them. */
function point(mark) {
  const ring = document.getElementById("ring"), tip = document.getElementById("tip");
  if (mark && pointed && mark.row === pointed.row && !tip.hidden) return;
  pointed = mark;
  tip.hidden = !mark;
  if (ring) ring.replaceChildren(...(mark ? [make("circle", { class: "ring", cx: mark.px, cy: mark.py, r: 9 })] : []));
  if (!mark) return;
  const key = [state.x, state.y, state.colour], first = columns.filter((c) => key.includes(c.name)), others = columns.filter((c) => !key.includes(c.name));
  const list = make("dl");
  for (const c of [...first, ...others].slice(0, 20)) {
    const name = first.includes(c) ? "key" : "", value = text(c, mark.row);
    list.append(make("dt", { class: name }, c.name), make("dd", { class: name }, value.slice(0, 120) + (value && c.unit ? ` ${c.unit}` : "")));
  }
  tip.replaceChildren(list, ...(columns.length > 20 ? [make("p", { class: "hint" }, `and ${columns.length - 20} more; Enter or a click shows the row`)] : []));
  const box = document.getElementById("scatter").getBoundingClientRect(), k = box.width / WIDE;
  const x = box.left + mark.px * k, y = box.top + mark.py * k, own = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, x + 18 + own.width < innerWidth ? x + 18 : x - 18 - own.width)}px`;
  tip.style.top = `${Math.max(8, Math.min(y - 20, innerHeight - own.height - 8))}px`;
}
