// A click on a column's head sorts by it; without JavaScript the tables stay as written.
for (const head of document.querySelectorAll("th[scope=col]")) {
  head.addEventListener("click", () => {
    const table = head.closest("table"), body = table.tBodies[0];
    const column = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)], [m, n] = [Number(x), Number(y)];
      const by = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n;
      return up ? by : -by;
    };
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort(order));
  });
}
