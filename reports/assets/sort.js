// Tables are sorted by a click on a heading: ascending, descending, as they were. By leading numbers where most of a
// column's cells begin with one, else as words; what is missing stands last in both directions.
const MISSING = /^(-|skipped|failed|not measured)?(\s*\[\d+\])*$/i;
const NUMBER = /^[~≈<>≤≥±]?\s*([+\-−]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?=$|[\s%,;:(±x✓✗?≁†])/i;
const DIRECTIONS = ["ascending", "descending", "none"];

/** The number that a text begins with (`-18.15 %`, `~1,234`, `0.26x (0.23 to 0.28)`), or null. */
function leadingNumber(text) {
  const found = NUMBER.exec(text);
  return found && Number(found[1].replaceAll(",", "").replace("−", "-"));
}

/** The order of the indices of a column's texts; ties, and everything in the direction "none", as it was. */
function sorted(texts, direction) {
  const order = texts.map((_, index) => index);
  if (direction === "none") {
    return order;
  }
  const sign = direction === "ascending" ? 1 : -1;
  const present = texts.filter((text) => !MISSING.test(text));
  const numeric = present.filter((text) => leadingNumber(text) !== null).length > present.length / 2;
  const keys = texts.map((text) => {
    const number = numeric ? leadingNumber(text) : null;
    const group = MISSING.test(text) ? 2 : numeric && number === null ? 1 : 0;
    return { group, number, text };
  });
  return order.sort((first, second) => {
    const [a, b] = [keys[first], keys[second]];
    if (a.group !== b.group) {
      return a.group - b.group;
    }
    if (a.group === 2) {
      return 0;
    }
    const byWords = () => a.text.localeCompare(b.text, undefined, { numeric: true });
    return sign * (a.number === null ? byWords() : a.number - b.number);
  });
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const headings = table.tHead ? [...table.tHead.rows[0].cells] : [];
  if (!body || body.rows.length < 2) {
    return;
  }
  const rows = [...body.rows];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const now = DIRECTIONS.indexOf(heading.getAttribute("aria-sort"));
      const direction = DIRECTIONS[(now + 1) % DIRECTIONS.length];
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", direction);
      const texts = rows.map((row) => row.cells[column].textContent.trim());
      body.append(...sorted(texts, direction).map((index) => rows[index]));
    });
  });
}

document.querySelectorAll("table").forEach(makeSortable);
