// The Pareto chart's drawing: from points and axes to an SVG.

const [WIDTH, HEIGHT] = [880, 500];
const [LEFT, RIGHT, TOP, BOTTOM] = [70, 20, 18, 52];
const LETTER = 6.2; // width of one in a label, about
const SHAPES = [ // a family's mark, around (0, 0)
  "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0Z", "M-4.5,-4.5H4.5V4.5H-4.5Z", "M0,-5.5L5.5,4.5H-5.5Z", "M0,-6L6,0L0,6L-6,0Z",
  "M0,5.5L5.5,-4.5H-5.5Z", "M-2,-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z", "M0,-6L5.7,-1.9L3.5,4.9H-3.5L-5.7,-1.9Z",
];

/** An SVG element; children may be text, which is never read as markup. */
function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

/** `place`, from an axis's numbers to pixels, and its ticks. axis: a metric and whether it is `log`. */
function placing(axis, drawn, from, to) {
  const ends = drawn.flatMap(({ point }) => {
    const { value, low, high } = point.metrics[axis.key];
    return [value, low, high].filter((one) => one !== null && (!axis.log || one > 0)).map((one) => one * axis.factor);
  });
  const limits = range(ends, axis.log);
  const scale = axis.log ? (value) => Math.log(Math.max(value, limits[0])) : (value) => value;
  const [low, high] = limits.map(scale);
  const place = (value) => from + ((to - from) * (scale(value) - low)) / (high - low);
  return { place, ticks: ticks(limits, axis.log) };
}

/** Grid, ticks, and what the axes are. */
function axes(x, y, across, up) {
  const plain = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
  const said = ({ label, more }) => (more ? `${label}, more is better →` : `← ${label}, less is better`);
  const [right, bottom] = [WIDTH - RIGHT, HEIGHT - BOTTOM];
  return [
    ...across.ticks.flatMap((value) => {
      const at = across.place(value);
      const tick = svg("text", { x: at, y: bottom + 18, "text-anchor": "middle" }, plain(value));
      return [svg("line", { class: "grid", x1: at, x2: at, y1: TOP, y2: bottom }), tick];
    }),
    ...up.ticks.flatMap((value) => {
      const at = up.place(value);
      const tick = svg("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, plain(value));
      return [svg("line", { class: "grid", x1: LEFT, x2: right, y1: at, y2: at }), tick];
    }),
    svg("text", { x: (LEFT + right) / 2, y: HEIGHT - 10, "text-anchor": "middle" }, said(x)),
    svg("text", { transform: `translate(14 ${(TOP + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, said(y)),
  ];
}

/** The error bars of a point whose mark is at (0, 0). */
function intervals(one, x, y, across, up) {
  const ends = (axis, { place }, middle) => {
    const { low, high } = one.point.metrics[axis.key];
    return low === null ? null : [low, high].map((end) => place(end * axis.factor) - place(middle));
  };
  const wide = ends(x, across, one.x);
  const high = ends(y, up, one.y);
  const bars = [
    wide ? `M${wide[0]},0H${wide[1]}M${wide[0]},-4V4M${wide[1]},-4V4` : "",
    high ? `M0,${high[0]}V${high[1]}M-4,${high[0]}H4M-4,${high[1]}H4` : "",
  ];
  return svg("path", { class: "interval", d: bars.join("") });
}

/** Names of the front's points, each where it hides no other; those without room are in the tooltip alone. */
function names(drawn, across, up) {
  const taken = drawn.map(({ x, y }) => [across.place(x) - 6, up.place(y) - 6, across.place(x) + 6, up.place(y) + 6]);
  return drawn.flatMap(({ point, x, y, beaten }) => {
    if (beaten) {
      return [];
    }
    const [atX, atY, wide] = [across.place(x), up.place(y), point.name.length * LETTER];
    const beside = [[9, -7], [-9 - wide, -7], [9, 15], [-9 - wide, 15], [-wide / 2, -14], [-wide / 2, 24]];
    for (const [left, base] of beside) {
      const box = [atX + left, atY + base - 10, atX + left + wide, atY + base + 3];
      const within = box[0] > LEFT && box[2] < WIDTH - RIGHT && box[1] > TOP && box[3] < HEIGHT - BOTTOM;
      if (within && !taken.some((one) => one[0] < box[2] && box[0] < one[2] && one[1] < box[3] && box[1] < one[3])) {
        taken.push(box);
        return [svg("text", { class: "name", x: box[0], y: atY + base }, point.name)];
      }
    }
    return [];
  });
}

/** A family's mark. */
function mark(family) {
  return svg("path", { class: "mark", d: SHAPES[family % SHAPES.length] });
}

/**
 * The SVG, and `marks`: the group of each drawn one, which can have the focus.
 * drawn: {point, family (its number), x, y, beaten}; x, y: metrics with `log`.
 */
function chart(drawn, x, y) {
  const across = placing(x, drawn, LEFT, WIDTH - RIGHT);
  const up = placing(y, drawn, HEIGHT - BOTTOM, TOP);
  const front = drawn.filter((one) => !one.beaten);
  const line = stairs(front, x.more).map((corner) => `${across.place(corner.x)},${up.place(corner.y)}`);
  const marks = new Map();
  for (const one of [...drawn].sort((a, b) => b.beaten - a.beaten)) {
    const spoken = [x, y].map((axis) => `${axis.label} ${withInterval(one.point.metrics[axis.key], axis)}`);
    const group = svg("g", {
      class: one.beaten ? "point beaten" : `point family-${one.family}`,
      tabindex: 0,
      role: "img",
      "aria-label": `${one.point.name}, ${one.beaten ? "dominated" : "on the front"}: ${spoken.join(", ")}`,
      transform: `translate(${across.place(one.x)} ${up.place(one.y)})`,
    });
    group.append(intervals(one, x, y, across, up), mark(one.family));
    marks.set(group, one);
  }
  const said = `${y.label} against ${x.label}`;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": said });
  picture.append(...axes(x, y, across, up), svg("path", { class: "front", d: `M${line.join("L")}` }));
  picture.append(...marks.keys(), ...names(drawn, across, up));
  return { picture, marks };
}
