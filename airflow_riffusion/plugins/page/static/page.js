// Asks Airflow for what to show, again and again, while somebody can see it.

import { Card } from "./card.js";
import { clockTime, say } from "./text.js";
import { followAirflow } from "./theme.js";

const REFUSED = {
  401: "You are no longer logged in. Log in to Airflow, and open this page again.",
  403: "You may no longer read connections.",
};

const byId = (id) => document.getElementById(id);
const [place, trouble, pause] = [byId("cards"), byId("trouble"), byId("pause")];
const cards = new Map();
let interval = 5;
let timer = null;
let asking = false;
let lastAnswer = null;

async function ask() {
  if (asking) return;
  asking = true;
  try {
    const answer = await fetch("cards", { headers: { Accept: "application/json" }, cache: "no-store" });
    if (answer.status in REFUSED) refuse(REFUSED[answer.status]);
    else if (answer.ok) update(await answer.json());
    else complain(`Airflow answers with an error (${answer.status}).`);
  } catch {
    complain("Airflow does not answer.");
  } finally {
    asking = false;
    plan();
  }
}

function plan() {
  clearTimeout(timer);
  if (!paused() && !document.hidden) timer = setTimeout(ask, interval * 1000);
}

function update({ cards: shown, interval_seconds: seconds, error }) {
  interval = seconds;
  lastAnswer = Date.now();
  warn(error);
  byId("loading").hidden = true;
  byId("none").hidden = shown.length > 0 || error !== null;
  const ids = new Set(shown.map((each) => each.connection_id));
  for (const [id, card] of cards) if (!ids.has(id)) forget(id, card);
  // What was on its way when it was paused is shown, but doesn't go on.
  const said = shown.map((each) => cardOf(each.connection_id).update(each)).filter((text) => text !== null);
  if (said.length) say(byId("status"), said.join(" "));
  place.dataset.cards = String(shown.length);
  tellPace();
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
  byId("loading").hidden = true;
  warn(text);
}

function complain(text) {
  warn(lastAnswer === null ? text : `${text} What you see is from ${clockTime(lastAnswer)}.`);
}

function warn(text) {
  trouble.hidden = text === null;
  if (text !== null && trouble.textContent !== text) say(byId("status"), text);
  say(trouble, text ?? "");
}

function paused() {
  return pause.getAttribute("aria-pressed") === "true";
}

function tellPace() {
  say(byId("pace"), paused() ? "Paused" : `Updates every ${interval} s`);
}

pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!paused()));
  tellPace();
  if (!paused()) return ask();
  clearTimeout(timer);
  for (const card of cards.values()) card.rest();
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
