// The Pareto view around the chart: what to choose, all numbers of the point that is looked at, the legend, and why
// points are missing.

/** An HTML element; children may be text, which is never read as markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

/** A select of `words` with its label. */
function choice(label, words, chosen, changed) {
  const select = element("select", {}, ...words.map((one) => new Option(one)));
  select.selectedIndex = chosen;
  select.addEventListener("change", changed);
  return { select, field: element("label", {}, `${label} `, select) };
}

/** An axis to choose: a metric, and whether it is logarithmic, which starts as fits the metric. */
function axisChoice(label, metrics, chosen, changed) {
  const box = element("input", { type: "checkbox" });
  const { select, field } = choice(label, metrics.map((metric) => metric.label), chosen, () => {
    box.checked = metrics[select.selectedIndex].log;
    changed();
  });
  box.checked = metrics[chosen].log;
  box.addEventListener("change", changed);
  const fields = element("span", {}, field, " ", element("label", {}, box, " logarithmic"));
  return { fields, axis: () => ({ ...metrics[select.selectedIndex], log: box.checked }) };
}

/** The points that have both axes, and of the others why they have not. x, y: metrics with `log`. */
function split(points, families, x, y) {
  const reasons = (point, axis) => {
    const number = point.metrics[axis.key];
    if (!number) {
      return [`${axis.label}: ${point.missing[axis.key]}`];
    }
    return axis.log && number.value <= 0 ? [`${axis.label}: not above zero`] : [];
  };
  const why = points.map((point) => [...new Set([...reasons(point, x), ...reasons(point, y)])]);
  const drawn = points
    .filter((_, index) => why[index].length === 0)
    .map((point) => ({
      point,
      family: families.indexOf(point.family),
      x: point.metrics[x.key].value * x.factor,
      y: point.metrics[y.key].value * y.factor,
    }));
  const beaten = dominated(drawn, x.more, y.more);
  const missing = points.flatMap(({ name }, index) => (why[index].length ? [`${name}: ${why[index].join("; ")}`] : []));
  return { drawn: drawn.map((one, index) => ({ ...one, beaten: beaten[index] })), missing };
}

/** All that is known of a point. */
function facts({ point, beaten }, metrics) {
  const rows = metrics.map((metric) => {
    const number = point.metrics[metric.key];
    const value = number ? withInterval(number, metric) : `- (${point.missing[metric.key]})`;
    return element("tr", {}, element("th", { scope: "row" }, metric.label), element("td", {}, value));
  });
  const said = `${point.family}; ${point.words}; ${beaten ? "dominated" : "on the front"}`;
  return [element("strong", {}, point.name), element("p", {}, said), element("table", {}, ...rows)];
}

/** Shows the facts beside a mark while the pointer or the focus is on it; Escape hides them. */
function explain(marks, metrics, plot, tooltip) {
  const show = (group, one) => {
    tooltip.replaceChildren(...facts(one, metrics));
    tooltip.hidden = false;
    const [at, around] = [group.getBoundingClientRect(), plot.getBoundingClientRect()];
    const left = Math.min(at.right - around.left + 8, around.width - tooltip.offsetWidth);
    tooltip.style.left = `${Math.max(0, left)}px`;
    tooltip.style.top = `${at.bottom - around.top + 8}px`;
  };
  const hide = () => {
    tooltip.hidden = true;
  };
  for (const [group, one] of marks) {
    group.setAttribute("aria-describedby", tooltip.id);
    ["pointerenter", "focus"].forEach((event) => group.addEventListener(event, () => show(group, one)));
    ["pointerleave", "blur"].forEach((event) => group.addEventListener(event, hide));
    group.addEventListener("keydown", ({ key }) => key === "Escape" && hide());
  }
}

function legend(drawn, families) {
  const entries = [...new Set(drawn.map((one) => one.family))].sort((a, b) => a - b).map((family) => {
    const picture = svg("svg", { viewBox: "-8 -8 16 16", class: `point family-${family}`, "aria-hidden": "true" });
    picture.append(mark(family));
    return element("li", {}, picture, ` ${families[family]}`);
  });
  return element("ul", { class: "legend" }, ...entries);
}

function listed(missing) {
  const title = element("summary", {}, `${missing.length} not drawn`);
  return element("details", {}, title, element("ul", {}, ...missing.map((one) => element("li", {}, one))));
}

/** Fills `place` with the view of `data`, which `reports.pareto.chart` made. */
function view(place, { metrics, families, points }) {
  const settings = [...Map.groupBy(points, ({ words }) => words)].sort((a, b) => b[1].length - a[1].length);
  const measured = metrics.findIndex(({ key }) => settings[0][1].some((point) => point.metrics[key]));
  const macs = metrics.findIndex(({ key }) => key === "macs");
  const setting = choice("Setting", settings.map(([name, own]) => `${name} (${own.length})`), 0, show);
  const across = axisChoice("Across", metrics, macs, show);
  const up = axisChoice("Up", metrics, Math.max(measured, 0), show);
  const plot = element("div", { class: "plot" });
  const tooltip = element("div", { class: "tooltip", role: "tooltip", id: "pareto-tooltip", hidden: "" });
  const below = element("div");

  function show() {
    const own = settings[setting.select.selectedIndex][1];
    const [x, y] = [across.axis(), up.axis()];
    const { drawn, missing } = split(own, families, x, y);
    below.replaceChildren(...(missing.length ? [listed(missing)] : []));
    tooltip.hidden = true;
    if (!drawn.length) {
      plot.replaceChildren("No model of this setting has both numbers.");
      return;
    }
    const { picture, marks } = chart(drawn, x, y);
    plot.replaceChildren(picture, tooltip);
    explain(marks, metrics, plot, tooltip);
    below.prepend(legend(drawn, families));
  }

  place.replaceChildren(element("div", { class: "choices" }, setting.field, across.fields, up.fields), plot, below);
  show();
}

const place = document.querySelector(".pareto");
if (place) {
  view(place, JSON.parse(document.querySelector(".pareto-data").textContent));
}
