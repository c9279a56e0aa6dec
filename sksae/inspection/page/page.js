"use strict";
// Sorting, searching, going to a unit, and the theme. Text from the data is only ever set as text.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = new Map([...body.rows].map((row) => [Number(row.id.slice(4)), row]));
  const inOrder = () => [...body.rows].filter((row) => !row.hidden).map((row) => Number(row.id.slice(4)));

  const make = (name, attributes = {}, ...children) => {
    const svg = ["svg", "rect", "path", "text", "title"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const short = (value) => {
    if (value === null) return "–";
    const size = Math.abs(value);
    return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  };

  // The theme: that of the system until somebody chooses.
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const showTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
  };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  system.addEventListener("change", showTheme);
  showTheme();

  // Sorting: most numbers fall at the first click, text rises; what is missing comes last.
  const heads = [...table.tHead.rows[0].cells];
  const valueOf = (row, column, isText) => {
    const cell = row.cells[column];
    if (isText) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? NaN : Number(cell.dataset.value);
  };
  const sortBy = (column) => {
    const head = heads[column];
    const isText = head.classList.contains("text");
    const first = isText || head.dataset.first === "ascending" ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const isMissing = (value) => (isText ? value === "" || value === "–" : Number.isNaN(value));
    const keyed = [...body.rows].map((row) => [valueOf(row, column, isText), row]);
    keyed.sort(([a, rowA], [b, rowB]) => {
      if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
      if (a !== b) return a < b ? -sign : sign;
      return Number(rowA.id.slice(4)) - Number(rowB.id.slice(4));
    });
    body.append(...keyed.map(([, row]) => row));
  };
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, head.textContent.trim());
    button.addEventListener("click", () => sortBy(column));
    head.replaceChildren(button);
  });

  // Searching: every word must be found in the row's label, class or words; a number is a unit's.
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  document.querySelector(".tools").hidden = false;
  const textOf = new Map(
    data.units.map((unit) => {
      const cells = [...rows.get(unit.unit).querySelectorAll(".text")].map((cell) => cell.textContent);
      return [unit.unit, [...cells, ...(unit.atom.names || [])].join(" ").toLowerCase()];
    })
  );
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [unit, row] of rows) {
      const number = words.length === 1 && /^\d+$/.test(words[0]) ? Number(words[0]) : null;
      row.hidden = number === null ? !words.every((word) => textOf.get(unit).includes(word)) : unit !== number;
      shown += !row.hidden;
    }
    found.textContent = words.length ? `${shown} of ${rows.size} units` : `${rows.size} units`;
  };
  search.addEventListener("input", filter);
  filter();

  // One unit.
  const article = document.getElementById("unit");
  const units = new Map(data.units.map((unit) => [unit.unit, unit]));

  const bars = (names, values) => {
    const largest = Math.max(...values.map(Math.abs), 1e-300);
    const isSigned = values.some((value) => value < 0);
    const made = make("table", { class: "bars" });
    names.forEach((name, index) => {
      const value = values[index];
      const share = ((isSigned ? 50 : 100) * Math.abs(value)) / largest;
      const bar = make("span", value < 0 ? { class: "minus" } : {});
      const left = isSigned ? (value < 0 ? 50 - share : 50) : 0;
      bar.style.left = `${left}%`;
      bar.style.width = `${share}%`;
      made.append(
        make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, make("div", { class: "bar" }, bar)), make("td", {}, short(value)))
      );
    });
    return made;
  };
  const line = ({ points, low, high }, name) => {
    const heights = Array.from(atob(points), (letter) => letter.charCodeAt(0));
    const path = heights.map((height, x) => `${x ? "L" : "M"}${x},${(100 - height / 2.55).toFixed(1)}`).join("");
    const svg = make("svg", {
      class: "line chart", role: "img", viewBox: `0 -4 ${Math.max(heights.length - 1, 1)} 108`, preserveAspectRatio: "none",
      "aria-label": `${name}: a line from ${short(low)} to ${short(high)}`,
    });
    svg.append(make("title", {}, `from ${short(low)} to ${short(high)}`));
    if (low < 0 && high > 0) {
      const zero = (100 * high) / (high - low);
      svg.append(make("path", { class: "zero", d: `M0,${zero.toFixed(1)}H${heights.length - 1}` }));
    }
    svg.append(make("path", { d: path }));
    return svg;
  };
  const picture = (source, name) => make("img", { src: source, alt: name });
  const atomOf = (unit) => {
    const atom = unit.atom;
    const name = `What unit ${unit.unit} stands for`;
    const made = make("div", { class: "atom" });
    if (atom.kind === "image") made.append(picture(atom.src, name));
    else if (atom.kind === "line") made.append(line(atom.line, name));
    else made.append(bars(atom.names, atom.values));
    return made;
  };
  const histogram = ({ counts, low, high }) => {
    const highest = Math.max(...counts, 1);
    const width = 300 / counts.length;
    const svg = make("svg", {
      class: "histogram", role: "img", viewBox: "0 0 300 92",
      "aria-label": `Histogram of activations where the unit is active, from ${short(low)} to ${short(high)}: ${counts.join(", ")}`,
    });
    counts.forEach((count, index) => {
      const height = (70 * count) / highest;
      const box = { x: index * width + 0.5, y: 72 - height, width: width - 1, height };
      svg.append(make("rect", box, make("title", {}, `${count} rows`)));
    });
    svg.append(make("text", { x: 0, y: 88 }, short(low)), make("text", { x: 300, y: 88, "text-anchor": "end" }, short(high)));
    return svg;
  };
  const marked = (text, terms) => {
    if (!terms.length) return [text];
    const escaped = terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const parts = text.split(new RegExp(`(?<![\\p{L}\\p{N}])(${escaped.join("|")})(?![\\p{L}\\p{N}])`, "giu"));
    return parts.map((part, index) => (index % 2 ? make("mark", {}, part) : part));
  };
  const samples = (unit, chosen) => {
    const tiles = make("ul", { class: data.kind === "image" ? "tiles" : "rows" });
    for (const [row, value] of chosen) {
      const shown = data.rows[row];
      const name = `Row ${row}`;
      if (data.kind === "image") {
        tiles.append(make("li", {}, picture(shown, name), value === null ? "" : short(value)));
        continue;
      }
      const cell = make("div", { title: name });
      if (data.kind === "line") cell.append(line(shown, name));
      else cell.append(...marked(shown, unit.terms || []));
      tiles.append(make("li", {}, make("span", { class: "value" }, value === null ? "" : short(value)), cell));
    }
    return tiles;
  };

  let shown = null;
  const show = (unit, moves) => {
    shown = unit.unit;
    const title = make("h3", { id: "unit-title", tabindex: "-1" }, `Unit ${unit.unit}`);
    const steps = make("div", { class: "steps" });
    for (const [name, step] of [["Previous", -1], ["Next", 1]]) {
      const button = make("button", { type: "button" }, name);
      button.addEventListener("click", () => go(step));
      steps.append(button);
    }
    const back = make("a", { href: "#units" }, "Back to the table");
    steps.append(back);
    const parts = [steps, title];
    if (unit.label) parts.push(make("p", { class: "label" }, unit.label));
    if (unit.says) parts.push(make("p", { class: "soft" }, unit.says));
    const isNarrow = ["image", "line"].includes(unit.atom.kind);
    const beside = make("div", { class: isNarrow ? "beside" : "" });
    const put = (heading, shown) => beside.append(make("div", {}, make("h4", {}, heading), shown));
    put(data.atom_title, atomOf(unit));
    if (unit.histogram) put("Activations where it is active", histogram(unit.histogram));
    parts.push(beside);
    for (const [which, heading] of data.samples) {
      const chosen = unit.samples[which] || [];
      if (chosen.length) parts.push(make("h4", {}, heading), samples(unit, chosen));
    }
    if (unit.classes) parts.push(make("h4", {}, "Share of each class in which it is active"), bars(data.class_names, unit.classes));
    article.replaceChildren(...parts);
    article.scrollTop = 0;
    document.querySelectorAll("[aria-current]").forEach((each) => each.removeAttribute("aria-current"));
    const row = rows.get(unit.unit);
    row.setAttribute("aria-current", "true");
    const tile = document.querySelector(`.atlas a[href="#unit-${unit.unit}"]`);
    if (tile) tile.setAttribute("aria-current", "true");
    if (moves) {
      row.scrollIntoView({ block: "nearest" });
      title.focus({ preventScroll: true });
      // Beside the table all of it is in view; below the table it begins at the top.
      article.scrollIntoView({ block: getComputedStyle(article).position === "sticky" ? "nearest" : "start" });
    }
  };
  const current = () => {
    const match = /^#unit-(\d+)$/.exec(location.hash);
    return match && units.has(Number(match[1])) ? Number(match[1]) : null;
  };
  const go = (step) => {
    const order = inOrder();
    if (!order.length) return;
    const at = order.indexOf(shown);
    const next = at === -1 ? 0 : (at + step + order.length) % order.length;
    shown = order[next]; // before the browser tells of the new address, for who types fast
    location.hash = `unit-${shown}`;
  };
  const follow = () => {
    const unit = current();
    if (unit === null) {
      if (shown === null) show(units.get(inOrder()[0]), false);
      return;
    }
    if (rows.get(unit).hidden) {
      search.value = "";
      filter();
    }
    show(units.get(unit), true);
  };
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      filter();
      return;
    }
    if (["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement.tagName)) return;
    if (event.key === "/") {
      event.preventDefault();
      search.focus();
    } else if (event.key === "j") go(1);
    else if (event.key === "k") go(-1);
  });
  follow();
})();
