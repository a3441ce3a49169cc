// A small line of how many slots were in use since the page was opened.

import { clockTime, counted } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [600, 100];
const MOST_POINTS = 1440;
const SHORTEST = 60_000; // milliseconds that the whole width stands for at the least
const GAP = 3.5; // intervals without a reading, after which the line has a gap

export class History {
  #runs = []; // readings in a row, each row with the moment until which its last one counts, once that is over
  #begin = null;
  #end = null;
  #readAt = null;
  #area = shape("path", "area");
  #held = shape("path", "held-line");
  #line = shape("path", "line");

  constructor() {
    this.element = document.createElement("figure");
    this.element.className = "history";
    this.svg = shape("svg", "plot");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.svg.append(this.#area, this.#held, this.#line);
    this.caption = document.createElement("figcaption");
    this.most = document.createElement("span");
    this.most.className = "most";
    this.element.append(this.most, this.svg, this.caption);
  }

  // One for each reading; without numbers where there was none. All times are in milliseconds.
  add(slots, interval, takenAt) {
    const at = Math.max(takenAt, this.#end);
    this.#begin ??= at;
    this.#end = at;
    if (this.#open && at - this.#readAt > GAP * interval) this.#open.until = this.#readAt + interval;
    if (slots === null) {
      if (this.#open) this.#open.until = at;
    } else {
      if (!this.#open) this.#runs.push({ points: [], until: null });
      this.#open.points.push({ at, slots });
      this.#readAt = at;
      this.#thin();
    }
    this.#draw();
  }

  // The row that goes on.
  get #open() {
    const last = this.#runs.at(-1);
    return last?.until === null ? last : null;
  }

  // Leaves out every other reading, but no gap. Where there are mostly gaps, the oldest rows have to go.
  #thin() {
    const count = () => this.#runs.reduce((sum, { points }) => sum + points.length, 0);
    if (count() <= MOST_POINTS) return;
    for (const run of this.#runs) run.points = run.points.filter((_, index) => index % 2 === 0);
    while (count() > 0.75 * MOST_POINTS) {
      this.#runs.shift();
      this.#begin = this.#runs[0].points[0].at;
    }
  }

  #draw() {
    const known = this.#runs.flatMap(({ points }) => points);
    this.element.hidden = known.length === 0;
    const top = Math.max(1, ...known.map(({ slots }) => Math.max(slots.slots, slots.executing + (slots.held ?? 0))));
    const begin = this.#begin;
    const end = Math.max(this.#end, begin + SHORTEST);
    const x = (at) => round(((at - begin) / (end - begin)) * WIDTH);
    const y = (number) => round(HEIGHT - 2 - (number / top) * (HEIGHT - 4));
    const now = Math.max(this.#end, begin + (end - begin) / 60); // the first reading can be seen, too
    const steps = ({ points, until }, value) =>
      points.map(({ at, slots }, index) => `${index ? `H${x(at)}V` : `M${x(at)} `}${y(value(slots))}`).join("") +
      `H${x(until ?? now)}`;
    const executing = (slots) => slots.executing;
    const taken = (slots) => slots.executing + (slots.held ?? 0);
    this.#line.setAttribute("d", this.#runs.map((run) => steps(run, executing)).join(""));
    const anyHeld = known.some(({ slots }) => slots.held);
    this.#held.setAttribute("d", !anyHeld ? "" : this.#runs.map((run) => steps(run, taken)).join(""));
    this.#area.setAttribute(
      "d",
      this.#runs.map((run) => `${steps(run, executing)}V${y(0)}H${x(run.points[0].at)}Z`).join(""),
    );
    this.most.textContent = counted(top, "slot");
    const late = this.#runs.length > 0 && this.#runs[0].points[0].at > begin;
    const gaps = this.#runs.filter(({ until }) => until !== null).length + (late ? 1 : 0);
    this.caption.textContent = `Slots in use since ${clockTime(begin)}${gaps ? ", with gaps where nothing was read" : ""}`;
    this.svg.setAttribute("aria-label", summary(known, begin, gaps));
  }
}

function summary(known, begin, gaps) {
  if (known.length === 0) return `No reading since ${clockTime(begin)}`;
  const numbers = known.map(({ slots }) => slots.executing);
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  const without = gaps ? `; ${counted(gaps, "gap")} without a reading` : "";
  return `Executing since ${clockTime(begin)}: from ${least} to ${most}, ${numbers.at(-1)} at last${without}`;
}

function shape(tag, name) {
  const element = document.createElementNS(SVG, tag);
  element.setAttribute("class", name);
  return element;
}

function round(number) {
  return Math.round(number * 10) / 10;
}
