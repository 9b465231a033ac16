// What people choose: axes, directions, colour, filters.
function controls() {
  const options = (list, chosen) => list.map(([value, label]) => make("option", { value, selected: value === chosen }, label));
  const axis = (name) => {
    const choose = make("select", { id: name, "aria-label": `${name} axis`, onchange: (e) => { state[name] = e.target.value; begin(); } },
      ...options(numbers.map((c) => [c.name, heading(c)]), state[name]));
    const senses = [["1", "least is best"], ["-1", "most is best"], ["0", "no matter"]];
    const sense = make("select", { id: `${name}-sense`, "aria-label": `${name}: what is best`, onchange: (e) => { state.sense.set(state[name], Number(e.target.value)); begin(); } },
      ...options(senses, String(state.sense.get(state[name]) ?? 0)));
    const log = make("input", { type: "checkbox", id: `${name}-log`, checked: state.log[name], onchange: (e) => { state.log[name] = e.target.checked; refresh(); } });
    return make("fieldset", {}, make("b", {}, name), choose, sense, make("label", {}, log, "log"));
  };
  const colour = make("select", { id: "colour", onchange: (e) => { state.colour = e.target.value; refresh(); } },
    ...options([["", "front and dominated"], ...groups.map((c) => [c.name, heading(c)])], state.colour));
  document.getElementById("controls").replaceChildren(axis("x"), axis("y"), make("label", {}, "colour", colour));
}

function begin() {
  controls();
  refresh();
}

function refresh() {
  select();
  count();
  rows();
  if (state.x && state.y) {
    try { point(null); draw(); } catch (problem) { // the table is there whatever becomes of the picture
      document.getElementById("caption").textContent = `The picture could not be drawn (${problem.message}); the table is complete.`;
    }
  }
}

document.getElementById("clear").addEventListener("click", () => {
  state.filters.clear();
  for (const input of table.querySelectorAll("thead input")) input.value = "";
  refresh();
});
frame.addEventListener("scroll", rows, { passive: true });
document.getElementById("picture").hidden = !(state.x && state.y);
head();
if (state.x && state.y) begin(); else refresh();
