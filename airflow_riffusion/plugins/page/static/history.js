// A small line of how many slots were in use since the page was opened.

import { clockTime, counted } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [600, 100];
const MOST_POINTS = 1440;
const SHORTEST = 60_000; // milliseconds that the whole width stands for at the least

export class History {
  #points = [];
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

  // One point for each reading; without numbers where there was none.
  add(slots, at = Date.now()) {
    this.#points.push({ at, slots });
    if (this.#points.length > MOST_POINTS) this.#points = this.#points.filter((_, index) => index % 2 === 0);
    this.#draw();
  }

  #draw() {
    const known = this.#points.filter((point) => point.slots !== null);
    this.element.hidden = known.length === 0;
    const top = Math.max(1, ...known.map(({ slots }) => Math.max(slots.slots, slots.executing + (slots.held ?? 0))));
    const begin = this.#points[0].at;
    const end = Math.max(this.#points.at(-1).at, begin + SHORTEST);
    const x = (at) => round(((at - begin) / (end - begin)) * WIDTH);
    const y = (number) => round(HEIGHT - 2 - (number / top) * (HEIGHT - 4));
    const now = Math.max(this.#points.at(-1).at, begin + (end - begin) / 60); // the first reading can be seen, too
    const runs = this.#runs();
    const steps = (run, value) =>
      run.map(({ at, slots }, index) => `${index ? `H${x(at)}V` : `M${x(at)} `}${y(value(slots))}`).join("") +
      `H${x(run.until ?? now)}`;
    const executing = (slots) => slots.executing;
    const taken = (slots) => slots.executing + (slots.held ?? 0);
    this.#line.setAttribute("d", runs.map((run) => steps(run, executing)).join(""));
    const anyHeld = known.some(({ slots }) => slots.held);
    this.#held.setAttribute("d", !anyHeld ? "" : runs.map((run) => steps(run, taken)).join(""));
    this.#area.setAttribute(
      "d",
      runs.map((run) => `${steps(run, executing)}V${y(0)}H${x(run[0].at)}Z`).join(""),
    );
    this.most.textContent = counted(top, "slot");
    this.caption.textContent = `Slots in use since ${clockTime(begin)}`;
    this.svg.setAttribute("aria-label", summary(known, begin));
  }

  // Readings in a row, each row up to the moment at which there was none.
  #runs() {
    const runs = [];
    let run = null;
    for (const point of this.#points) {
      if (point.slots === null) {
        if (run) run.until = point.at;
        run = null;
      } else if (run) run.push(point);
      else runs.push((run = [point]));
    }
    return runs;
  }
}

function summary(known, begin) {
  if (known.length === 0) return `No reading since ${clockTime(begin)}`;
  const numbers = known.map(({ slots }) => slots.executing);
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  return `Executing since ${clockTime(begin)}: from ${least} to ${most}, ${numbers.at(-1)} at last`;
}

function shape(tag, name) {
  const element = document.createElementNS(SVG, tag);
  element.setAttribute("class", name);
  return element;
}

function round(number) {
  return Math.round(number * 10) / 10;
}
