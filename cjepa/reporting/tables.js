"use strict";
// A click on a header sorts its table: ascending, descending, as written. Long tables have a box that filters rows.
// Without scripts, and on paper before a click, a table is what the HTML holds.

const LONG_ROWS = 8;

for (const table of document.querySelectorAll(".table table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length > 1) makeSortable(table, rows);
  if (rows.length > LONG_ROWS) addFilter(table, rows);
}

function makeSortable(table, rows) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(head.firstChild ?? ""); // the name; a note stays below the button
    head.prepend(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[head.ariaSort];
      const order = next === undefined ? "ascending" : next;
      for (const other of heads) other.removeAttribute("aria-sort");
      if (order) head.setAttribute("aria-sort", order);
      table.tBodies[0].append(...(order ? sorted(rows, column, order === "ascending" ? 1 : -1) : rows));
    });
  });
}

// Cells without a value come last in both directions; equal cells keep the order in which they are written.
function sorted(rows, column, sign) {
  const isNumber = rows.some((row) => "value" in row.cells[column].dataset);
  const valueOf = (row) => {
    const cell = row.cells[column], text = cell.textContent.trim();
    return isNumber ? cell.dataset.value ?? null : text === "–" ? null : text;
  };
  const compare = isNumber ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
  const known = rows.filter((row) => valueOf(row) !== null);
  const unknown = rows.filter((row) => valueOf(row) === null);
  return [...known.sort((a, b) => sign * compare(valueOf(a), valueOf(b))), ...unknown];
}

function addFilter(table, rows) {
  const label = document.createElement("label"), box = document.createElement("input");
  const count = document.createElement("output");
  label.className = "filter";
  Object.assign(box, { type: "search", placeholder: "words of a row" });
  label.append("Filter ", box, " ", count);
  table.closest(".scroll").before(label);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}
