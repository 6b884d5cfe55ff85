// What the Pareto chart computes, without a page: dominance, the front, ranges, ticks, words.
/** Of each {x, y}, whether another is at least as good in both and better in one; equal ones don't dominate. */
function dominated(points, xMore, yMore) {
  const costs = points.map(({ x, y }) => [xMore ? -x : x, yMore ? -y : y]);
  return costs.map(([x, y]) => costs.some(([a, b]) => a <= x && b <= y && (a < x || b < y)));
}

/** Corners of the stairs through the front's points: where it lies is as good as the best that x allows. */
function stairs(front, xMore) {
  const points = [...front].sort((a, b) => a.x - b.x || a.y - b.y);
  return points.flatMap((point, index) => {
    const last = points[index - 1];
    return last ? [xMore ? { x: last.x, y: point.y } : { x: point.x, y: last.y }, point] : [point];
  });
}

/** Lowest and highest of the numbers, with room beside them. */
function range(numbers, log) {
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  if (log) {
    const room = Math.max((high / low) ** 0.08, 1.1);
    return [low / room, high * room];
  }
  const room = 0.08 * (high - low) || 0.1 * Math.abs(high) || 1;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

/** Round numbers within a range: 1, 2, 5 times a power of ten; on a log axis all of them, or only the powers. */
function ticks([low, high], log) {
  const first = Math.floor(Math.log10(log ? low : (high - low) / 10));
  if (!log) {
    const step = [1, 2, 5, 10].map((one) => one * 10 ** first).find((one) => (high - low) / one <= 7);
    const start = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - start + 1 }, (_, index) => (start + index) * step);
  }
  const powers = Array.from({ length: Math.ceil(Math.log10(high)) - first + 1 }, (_, index) => 10 ** (first + index));
  const every = (powers.length > 4 ? [1] : [1, 2, 5]).flatMap((one) => powers.map((power) => one * power));
  const within = every.filter((one) => one >= low && one <= high).sort((a, b) => a - b);
  return within.length > 1 ? within : ticks([low, high], false);
}

/** A number with as many significant digits, and never fewer than its integer part has. */
function words(value, digits) {
  const decimals = value === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** `12.3 (12.1 to 12.6)`: a {value, low, high} in the unit of its metric. */
function withInterval(number, { factor, digits }) {
  const one = (value) => words(value * factor, digits);
  return one(number.value) + (number.low === null ? "" : ` (${one(number.low)} to ${one(number.high)})`);
}
