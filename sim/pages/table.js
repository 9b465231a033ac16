// The table: only the rows in sight are in the document, so that a hundred thousand scroll like ten.
const TALL = 28, SPARE = 12;
const frame = document.getElementById("window"), table = document.getElementById("table"), body = table.tBodies[0];

/** A name's parts, between which it may be broken. */
const parts = (name) => name.split(/(?<=[_.])/);

function head() {
  const width = (c) => {
    let most = 6;
    for (let i = 0; i < Math.min(total, 400); i++) most = Math.max(most, text(c, Math.floor((i * total) / Math.min(total, 400))).length);
    return Math.min(40, Math.max(most + 3, ...parts(c.name).map((part) => part.length + 4), (c.unit ?? "").length + 6));
  };
  const cells = columns.map((c) => {
    const title = make("button", { type: "button", onclick: () => sort(c) }, ...parts(c.name).flatMap((part) => [part, make("wbr")]));
    if (c.unit) title.append(" ", make("span", { class: "unit" }, `(${c.unit})`));
    title.append(make("span", { class: "mark", "aria-hidden": "true" }));
    const filter = make("input", { type: "text", placeholder: "filter", "aria-label": `filter ${c.name}`, oninput: (event) => sift(c, event.target.value) });
    return make("th", { scope: "col", class: c.number ? "number" : "", "aria-sort": "none", "data-column": c.name }, title, filter);
  });
  table.tHead.replaceChildren(make("tr", {}, ...cells));
  const widths = columns.map((c) => { const col = make("col"); col.style.width = `${width(c)}ch`; return col; });
  table.querySelector("colgroup").replaceChildren(...widths);
  table.setAttribute("aria-rowcount", total + 1);
}

function sort(column) {
  if (state.sort !== column.name) [state.sort, state.down] = [column.name, false];
  else if (!state.down) state.down = true;
  else [state.sort, state.down] = [null, false];
  for (const th of table.querySelectorAll("th")) {
    const own = th.dataset.column === state.sort;
    th.setAttribute("aria-sort", own ? (state.down ? "descending" : "ascending") : "none");
    th.querySelector(".mark").textContent = own ? (state.down ? " ▼" : " ▲") : "";
  }
  select(false);
  frame.scrollTop = 0;
  rows();
}

let waiting = 0;

function sift(column, wanted) {
  if (wanted.trim()) state.filters.set(column.name, wanted.trim());
  else state.filters.delete(column.name);
  clearTimeout(waiting);
  waiting = setTimeout(refresh, total > 5000 ? 150 : 0);
}

/** The rows in sight, between two that stand for all above and below. */
function rows() {
  const first = Math.max(0, Math.floor(frame.scrollTop / TALL) - SPARE);
  const last = Math.min(state.shown.length, first + Math.ceil((frame.clientHeight || 540) / TALL) + 2 * SPARE);
  const spacer = (count) => {
    const cell = make("td", { colspan: Math.max(1, columns.length) });
    cell.style.height = `${count * TALL}px`;
    return make("tr", { class: "spacer", "aria-hidden": "true" }, cell);
  };
  const made = state.shown.slice(first, last).map((row, i) => {
    const cells = columns.map((c) => make("td", { class: c.number ? "number" : "", title: c.number ? (Number.isNaN(c.values[row]) ? "no value" : c.values[row]) : c.values[row] }, text(c, row)));
    const kind = `row${state.front.has(row) ? " best" : ""}${row === state.chosen ? " chosen" : ""}`;
    return make("tr", { class: kind, "data-row": row, "aria-rowindex": first + i + 2 }, ...cells);
  });
  body.replaceChildren(spacer(first), ...made, spacer(state.shown.length - last));
}

function reveal(row) {
  state.chosen = row;
  frame.scrollTop = Math.max(0, state.shown.indexOf(row) * TALL - 200);
  rows();
  document.getElementById("count").textContent = `row ${row + 1} is marked`;
  frame.scrollIntoView({ block: "nearest" });
}

function count() {
  const shown = state.filters.size ? `${many(state.shown.length)} of ${many(total)} rows` : `${many(total)} rows`;
  document.getElementById("count").textContent = shown + (state.front.size ? `, ${many(state.front.size)} on the front` : "");
  document.getElementById("clear").hidden = !state.filters.size;
}
