// What the page shows of one connection.

import { History } from "./history.js";
import { clockTime, counted, el, fill, say, stopwatch, timeSpan } from "./text.js";
import { openInAirflow } from "./theme.js";

const KINDS = ["executing", "held", "free", "unknown"];
const MOST_CELLS = 24;
const OLD_AFTER = 15; // seconds

let number = 0;

export class Card {
  #shown = null;
  #interval = null;
  #readAt = null;
  #wasWell = null;

  constructor(connectionId) {
    const id = `card-${(number += 1)}`;
    this.history = new History();
    this.name = el("h2", { id, text: connectionId });
    this.service = el("span", { class: "badge" });
    this.when = el("p", { class: "when" });
    this.error = el("p");
    this.tries = el("p", { class: "tries" });
    this.failure = el("div", { class: "message" }, this.error, this.tries);
    this.free = el("p", { class: "free-slots" });
    this.bar = el("div", { class: "bar total", role: "img" });
    this.legend = el("ul", { class: "legend" });
    this.accounts = part("Accounts", el("ul", { class: "accounts" }));
    this.jobs = part("Executing jobs", jobTable());
    this.tasks = part("Waiting tasks", el("ul", { class: "tasks" }));
    this.notes = el("ul", { class: "notes" });
    this.numbers = el("div", { class: "numbers" }, this.free, this.bar, this.legend);
    this.body = el(
      "div",
      { class: "columns" },
      el("div", {}, this.numbers, this.accounts.element, this.notes),
      el("div", {}, this.history.element, this.tasks.element),
      this.jobs.element,
    );
    this.element = el(
      "section",
      { class: "card", "aria-labelledby": id },
      el("header", {}, this.name, this.service, this.when),
      this.failure,
      this.body,
    );
  }

  // Takes in a new document; returns what is worth saying aloud.
  update(shown, interval) {
    this.#shown = { ...shown, at: performance.now() };
    this.#interval = interval;
    const { error, slots, accounts, jobs, notes } = shown;
    show(this.service, shown.service);
    this.failure.hidden = error === null;
    say(this.error, error ?? "");
    this.element.classList.toggle("failed", error !== null);
    for (const each of [this.numbers, this.accounts.element, this.jobs.element]) each.hidden = slots === null;
    if (slots !== null) {
      this.#total(slots);
      say(this.accounts.count, counted(accounts.length + shown.more_accounts, "account"));
      fill(this.accounts.list, accounts, accountItem, updateAccount);
      this.accounts.more(shown.more_accounts);
      say(this.jobs.count, jobs.length ? counted(jobs.length + shown.more_jobs, "job") : "none");
      this.jobs.list.hidden = jobs.length === 0;
      fill(this.jobs.list.tBodies[0], jobs, jobRow, (row, job) => updateJob(row, job, 0));
      this.jobs.more(shown.more_jobs);
    }
    fill(this.notes, notes, () => el("li"), (item, note) => say(item, `Note: ${note}`));
    this.#tasks(shown.tasks);
    this.#remember();
    this.tick();
    return this.#announcement(error);
  }

  // Lets the times go on between two documents.
  tick() {
    const shown = this.#shown;
    const since = this.#since;
    const age = shown.age_seconds === null ? null : shown.age_seconds + since;
    const asking = shown.asking_seconds === null ? "" : `; asking again for ${timeSpan(shown.asking_seconds + since)}`;
    const old = age !== null && age > OLD_AFTER;
    this.when.classList.toggle("old", old);
    if (age === null) say(this.when, shown.error === null ? "The first reading is being taken" : "No reading yet");
    else {
      const last = shown.error === null ? "" : "last good ";
      const text = `${last}reading of ${clockTime(shown.read_at)}, ${timeSpan(age)} ago${old ? asking : ""}`;
      say(this.when, text[0].toUpperCase() + text.slice(1));
    }
    say(this.tries, shown.error === null ? "" : this.#tried());
    for (const each of [this.accounts, this.jobs]) each.reachable();
    if (old || age === null || shown.error !== null) return;
    const rows = this.jobs.list.tBodies[0].rows;
    shown.jobs.forEach((job, index) => updateJob(rows[index], job, age));
  }

  // Nothing moves until the next document.
  rest() {
    const { read_at: readAt, error, failed_seconds: failed } = this.#shown;
    const last = error === null ? "Reading" : "Last good reading";
    if (readAt !== null) say(this.when, `${last} of ${clockTime(readAt)}`);
    if (error !== null) say(this.tries, `Tried at ${clockTime(Date.now() - 1000 * (failed + this.#since))}.`);
  }

  // Seconds since the last document.
  get #since() {
    return (performance.now() - this.#shown.at) / 1000;
  }

  // An error may be minutes old: until its time has come nothing is tried.
  #tried() {
    const { failed_seconds: failed, next_try_seconds: next, asking_seconds: asking } = this.#shown;
    const since = this.#since;
    const ago = `Tried ${timeSpan(failed + since)} ago`;
    if (asking !== null) return `${ago}; being tried again.`;
    if (next === null || next <= since) return `${ago}; next try now.`;
    // By itself the page waits for no longer than its interval.
    const asked = next > this.#interval ? "the service asked to wait, " : "";
    return `${ago}; ${asked}next try in ${timeSpan(Math.ceil(next - since))}.`;
  }

  // The line goes on with each new reading, and with each moment at which there is none.
  #remember() {
    const { error, slots, read_at: readAt, age_seconds: age } = this.#shown;
    if (error !== null) this.history.add(null, 1000 * this.#interval, Date.now());
    else if (readAt !== this.#readAt) this.history.add(slots, 1000 * this.#interval, Date.now() - 1000 * age);
    this.#readAt = readAt;
  }

  #total(slots) {
    this.free.replaceChildren(
      el("strong", { text: slots.free.toLocaleString("en") }),
      ` of ${counted(slots.slots, "slot")} free`,
    );
    drawBar(this.bar, slots);
    this.bar.setAttribute("aria-label", inWords(slots));
    const known = KINDS.filter((kind) => slots[kind] !== null && (kind !== "unknown" || slots[kind]));
    fill(this.legend, known, () => el("li"), (item, kind) => {
      item.className = kind;
      say(item, `${slots[kind].toLocaleString("en")} ${kind}`);
    });
  }

  #tasks({ waiting, longest_seconds: longest, first, watching, complete }) {
    const none = complete ? "none" : "none found, but not all could be counted";
    const some = `${complete ? "" : "at least "}${counted(waiting, "task")}`;
    const since = longest === null ? "" : `, the longest for ${timeSpan(longest)}`;
    const watchers = watching ? `; ${counted(watching, "task")} ${watching === 1 ? "watches a" : "watch their"} job` : "";
    say(this.tasks.count, `${waiting ? some : none}${since}${watchers}`);
    fill(this.tasks.list, first, taskItem, updateTask);
    this.tasks.more(waiting - first.length);
  }

  #announcement(error) {
    const [was, is] = [this.#wasWell, error === null];
    this.#wasWell = is;
    if (was === is || (was === null && is)) return null;
    return is ? `${this.name.textContent} can be read again.` : `${this.name.textContent}: ${error}`;
  }
}

function part(heading, list) {
  const count = el("span", { class: "count" });
  const more = el("p", { class: "quiet", hidden: "" });
  const box = el("div", { class: "scroll" }, list);
  const element = el("div", { class: "part" }, el("h3", { text: heading }), count, box, more);
  return {
    element,
    count,
    list,
    more(rest) {
      more.hidden = rest <= 0;
      say(more, `and ${rest.toLocaleString("en")} more`);
    },
    // What scrolls must be within reach of the keyboard; only what has a role may have a name.
    reachable() {
      const scrolls = box.scrollHeight > box.clientHeight;
      for (const [name, value] of Object.entries({ tabindex: "0", role: "region", "aria-label": heading })) {
        if (scrolls) box.setAttribute(name, value);
        else box.removeAttribute(name);
      }
    },
  };
}

function show(element, text) {
  element.hidden = text === null;
  say(element, text ?? "");
}

// A cell for each slot, or a stretch for each kind if there are too many.
function drawBar(bar, slots) {
  const known = KINDS.filter((kind) => slots[kind]);
  const cells = slots.slots <= MOST_CELLS;
  const pieces = cells ? known.flatMap((kind) => Array(slots[kind]).fill([kind, 1])) : known.map((kind) => [kind, slots[kind]]);
  bar.classList.toggle("cells", cells);
  fill(bar, pieces, () => el("span"), (piece, [kind, share]) => {
    piece.className = kind;
    piece.style.flexGrow = share;
  });
}

function inWords(slots) {
  return KINDS.filter((kind) => slots[kind] !== null && (kind !== "unknown" || slots[kind]))
    .map((kind) => `${slots[kind].toLocaleString("en")} ${kind}`)
    .join(", ");
}

function accountItem() {
  const [name, words] = [el("span", { class: "account" }), el("span", { class: "quiet" })];
  return el("li", {}, name, words, el("div", { class: "bar", "aria-hidden": "true" }));
}

function updateAccount(item, account) {
  const [name, words, bar] = item.children;
  say(name, account.account);
  say(words, inWords(account));
  drawBar(bar, account);
}

function jobTable() {
  // Browsers take what is laid out differently on a narrow screen for no table: hence the roles.
  const heads = ["Elapsed", "Account", "Reference", "Job"].map((text) => el("th", { role: "columnheader", text }));
  const head = el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads));
  return el("table", { role: "table" }, head, el("tbody", { role: "rowgroup" }));
}

function jobRow() {
  const cell = (name) => el("td", { role: "cell", class: name });
  return el("tr", { role: "row" }, ...["elapsed", "account", "reference", "quiet"].map(cell));
}

function updateJob(row, job, age) {
  const [elapsed, account, reference, id] = row.cells;
  say(elapsed, job.elapsed_seconds === null ? "–" : stopwatch(job.elapsed_seconds + age));
  say(account, job.account ?? "–");
  say(reference, job.reference ?? "–");
  say(id, job.job_id ?? "–");
}

function taskItem() {
  const link = el("a", { on: { click: openInAirflow } });
  return el("li", {}, link, el("span", { class: "quiet" }));
}

function updateTask(item, task) {
  const [link, words] = item.children;
  const mapped = task.map_index >= 0;
  const path = ["dags", task.dag_id, "runs", task.run_id, "tasks", task.task_id];
  if (mapped) path.push("mapped", String(task.map_index));
  link.href = `../../${path.map(encodeURIComponent).join("/")}`;
  say(link, `${task.dag_id} › ${task.task_id}${mapped ? ` [${task.map_index}]` : ""}`);
  say(words, `for ${timeSpan(task.seconds)}, in ${task.run_id}`);
}
