// Polls Airflow for what to show, as long as the page is visible.

import { Card } from "./card.js";
import { clockTime, say } from "./text.js";
import { followAirflow } from "./theme.js";

const LOGGED_OUT = "You are no longer logged in. Log in to Airflow, and open this page again.";
const NOT_ALLOWED = "You may no longer read connections.";
const UNREADABLE = "is not what this page asked for: reload it, and log in to Airflow if need be.";
const AT_FAULT = "This page has an error of its own: reload it. The browser's console says more.";

const TIMEOUT = 30_000; // milliseconds

const byId = (id) => document.getElementById(id);
const [place, problem, pause] = [byId("cards"), byId("problem"), byId("pause")];
const cards = new Map();
let interval = 5;
let timer = null;
let asking = false;
let lastAnswer = null;

async function ask() {
  if (asking) return;
  asking = true;
  const answer = await fetchCards();
  try {
    take(answer);
  } catch (error) {
    console.error(error);
    complain(AT_FAULT);
  } finally {
    asking = false;
    plan();
  }
}

// What came back; null if nothing did.
async function fetchCards() {
  try {
    const headers = { Accept: "application/json" };
    const answer = await fetch("cards", { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
    return { ok: answer.ok, status: answer.status, body: parsed(await answer.text()) };
  } catch {
    return null;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // something between the browser and Airflow has answered
  }
}

function take(answer) {
  if (answer === null) return complain("Airflow does not answer.");
  const { ok, status, body } = answer;
  // Airflow takes a session that it can't read, or that was ended, for forbidden.
  if (status === 401 || (status === 403 && body?.detail === "Invalid JWT token")) refuse(LOGGED_OUT);
  else if (status === 403) refuse(NOT_ALLOWED);
  else if (!ok) complain(`Airflow answers with an error (${status}).`);
  else if (!Array.isArray(body?.cards)) complain(`The answer (status ${status}) ${UNREADABLE}`);
  else update(body);
}

function plan() {
  clearTimeout(timer);
  if (!paused() && !document.hidden) timer = setTimeout(ask, interval * 1000);
}

function update({ cards: shown, interval_seconds: seconds, error }) {
  interval = seconds;
  warn(error);
  byId("loading").hidden = true;
  byId("none").hidden = shown.length > 0 || error !== null;
  const ids = new Set(shown.map((each) => each.connection_id));
  for (const [id, card] of cards) if (!ids.has(id)) forget(id, card);
  const spoken = shown.map((each) => cardOf(each.connection_id).update(each, interval)).filter((text) => text !== null);
  if (spoken.length) say(byId("status"), spoken.join(" "));
  place.dataset.cards = String(shown.length);
  lastAnswer = Date.now();
  showPace();
  // What was on its way when it was paused is shown, but doesn't go on.
  if (paused()) rest();
}

function cardOf(id) {
  if (!cards.has(id)) {
    cards.set(id, new Card(id));
    // In the order of their names, whenever they come.
    const next = [...cards.keys()].sort().find((other) => other > id);
    place.insertBefore(cards.get(id).element, next === undefined ? null : cards.get(next).element);
  }
  return cards.get(id);
}

function forget(id, card) {
  card.element.remove();
  cards.delete(id);
}

function refuse(text) {
  for (const [id, card] of cards) forget(id, card);
  for (const id of ["loading", "none"]) byId(id).hidden = true;
  lastAnswer = null;
  warn(text);
}

function complain(text) {
  byId("loading").hidden = true;
  warn(lastAnswer === null ? text : `${text} What you see is from ${clockTime(lastAnswer)}.`);
}

function warn(text) {
  problem.hidden = text === null;
  if (text !== null && problem.textContent !== text) say(byId("status"), text);
  say(problem, text ?? "");
}

function paused() {
  return pause.getAttribute("aria-pressed") === "true";
}

function rest() {
  for (const card of cards.values()) card.rest();
}

function showPace() {
  say(byId("pace"), paused() ? "Paused" : `Updates every ${interval} s`);
}

pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!paused()));
  showPace();
  if (!paused()) return ask();
  clearTimeout(timer);
  rest();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (!paused()) ask();
});

setInterval(() => {
  if (!paused()) for (const card of cards.values()) card.tick();
}, 1000);

followAirflow();
ask();
