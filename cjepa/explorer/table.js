"use strict";
// The page for an environment with interventions: model beside simulator, as it was and with a body changed.

const WORDS = {
  ways: { remove: "remove", mask: "mask", set_velocity: "push", set_position: "shift", freeze: "freeze" },
  done: { remove: "removed", mask: "masked", set_velocity: "pushed", set_position: "shifted", freeze: "frozen" },
  hints: {
    remove: "The body is taken away; the model gets no token of it.",
    mask: "The model does not see the body's history after its first block. Nothing changes in the simulator.",
    set_velocity: "The body gets another velocity. Click the table where it should get within half a second.",
    set_position: "The body gets another place. Click the table where it should be.",
    freeze: "The body is held where it is.",
  },
};
const PANELS = [["simulator", "factual"], ["model", "factual"], ["simulator", "changed"], ["model", "changed"]];
const ARROW_SECONDS = 0.5; // a velocity is drawn as the way of half a second
const TRUE_EDGE = "#2fd19b", WRONG_EDGE = "#ff9f43";

// --- What the page shows -------------------------------------------------------------------------------------------

function about({ held_out, scenes, ways }) {
  $("held-out").textContent = `Scenes from ${held_out}`;
  $("scene").max = scenes - 1;
  // also where the first answer is a refusal, so that another change can be chosen
  chips("ways", ways, settings().get("way") ?? ways[0], (way) => WORDS.ways[way], (way) => ask({ way, x: null, y: null }));
}

async function loadChanged(answer) {
  answer.changedImages = await pictures(answer.counterfactual_frames);
}

function showTable(answer) {
  const { about, settings: set, limits } = answer;
  const seen = `env steps ${set.start} to ${set.start + (about.history - 1) * about.frame_stride}`;
  slide("scene", set.scene, 0, about.scenes - 1, `${set.scene} (episode ${answer.episode})`);
  slide("start", set.start, 0, limits.start, seen);
  slide("horizon", set.horizon, 1, limits.horizon, blocksText(set.horizon));
  chips("bodies", answer.bodies, set.body, (body) => answer.names[body], choose, colorOf);
  chips("ways", about.ways, set.way, (way) => WORDS.ways[way], (way) => ask({ way, x: null, y: null }));
  const hasValue = about.with_value.includes(set.way);
  $("value").hidden = !hasValue;
  $("value-label").textContent = set.way === "set_velocity" ? `Velocity, ${about.unit} per second` : `Place, ${about.unit}`;
  if (hasValue) [$("x").value, $("y").value] = [set.x, set.y];
  $("hint").textContent = WORDS.hints[set.way];
  for (const caption of document.querySelectorAll("figcaption.changed")) {
    caption.textContent = `${answer.names[set.body]} ${WORDS.done[set.way]}`;
  }
  options("by", about.estimates, set.by);
  $("arrows").checked = set.arrows === "on";
  showEffects(answer);
  showInfluence(answer);
}

function named(body) {
  const made = cell("th", shown.names[body], colorOf(body));
  made.scope = "row";
  return made;
}

function showEffects(answer) {
  const columns = ["true_effect", "predicted_effect", "error", "factual_error"];
  const titles = ["", "true effect", "predicted effect", "error, changed", "error, as it was"];
  const rows = answer.effects.map((effect) => {
    const made = row([named(effect.body), ...columns.map((name) => cell("td", text(effect[name])))]);
    if (effect.body === answer.settings.body) made.className = "changed";
    return made;
  });
  table("effects", titles.map((title) => cell("th", title)), rows);
}

function showInfluence(answer) {
  const { bodies, influence, contacts, agreement } = answer;
  $("influence").hidden = influence === null;
  $("agreement").textContent = "";
  if (influence === null) return;
  const most = strongest(answer);
  const rows = bodies.map((target) => row([named(target), ...bodies.map((source) => {
    const value = influence[target][source], hops = contacts[target][source];
    const made = cell("td", target === source ? "" : hops ? String(hops) : "");
    const share = value === null || most <= 0 ? 0 : Math.max(0, value) / most;
    made.style.background = `color-mix(in srgb, var(--accent) ${Math.round(100 * Math.sqrt(share))}%, transparent)`;
    if (value !== null) made.title = value.toPrecision(3);
    if (hops) made.classList.add("contact");
    if (share > 0.3) made.classList.add("strong");
    return made;
  })]));
  table("influence", [cell("th", "on / of"), ...bodies.map((body) => cell("th", answer.names[body], colorOf(body)))], rows);
  $("agreement").textContent = agreement.edges
    ? `Of the ${agreement.edges} strongest influences, ${agreement.hits} are in the contact graph, which has ${agreement.edges}.`
    : "No bodies touch in the predicted blocks: the contact graph is empty.";
}

const strongest = ({ influence }) => Math.max(0, ...influence.flat().filter((value) => value !== null));

// --- Drawing -------------------------------------------------------------------------------------------------------

function paint(pen, who, world) {
  const imagined = who === "model" && block > 0;
  whole(pen, imagined ? shown.empty : frame(world));
  for (const body of shown.bodies) {
    if (block > 0) trail(pen, who, world, body);
  }
  for (const body of imagined ? shown.bodies : []) {
    const at = place("model", world, body), there = place("simulator", world, body);
    if (at && shown.sprites[body]) cutOut(pen, shown.sprites[body], at);
    if (there) truth(pen, at, there, radius(body), "#ffffff");
  }
  if (shown.settings.arrows === "on" && world === "factual" && shown.influence) arrows(pen, who);
  marks(pen, who, world);
}

function frame(world) {
  const { history: seen } = shown.about;
  if (world === "factual" || block < 0 || !shown.changedImages.length) return shown.images[block + seen - 1];
  return shown.changedImages[block];
}

// Place of a body, or null where there is none.
function place(who, world, body, at = block) {
  const { tracks, about } = shown;
  if (at < 0) return known(tracks.seen[at + about.history - 1][body]);
  const names = { simulator: { factual: "true_factual", changed: "true" }, model: { factual: "factual", changed: "predicted" } };
  return known(tracks[names[who][world]][at][body]);
}

const known = (point) => (point && point[0] !== null ? point : null);

function trail(pen, who, world, body) {
  const points = [];
  for (let at = 0; at <= block; at++) points.push(place(who, world, body, at));
  line(pen, points.filter(Boolean), { colour: colorOf(body), width: 2, alpha: 0.75 });
}

// The chosen body, and where it is to go.
function marks(pen, who, world) {
  const { body, way, x, y } = shown.settings, at = place(who, world, body);
  if (at) ring(pen, at, radius(body) + 5 * unit(), { colour: "#ffffff", width: 1.6, dash: [4, 3] });
  if (world !== "changed" || x === null) return;
  const now = place("simulator", "factual", body, 0);
  if (way === "set_velocity" && block <= 0) arrow(pen, now, [now[0] + x * ARROW_SECONDS, now[1] + y * ARROW_SECONDS], "#ffffff", 2);
  if (way === "set_position") line(pen, [now, [x, y]], { colour: "#ffffff", width: 1.4, dash: [3, 3] });
}

// Contact graph over the simulator's pictures, influences over the model's.
function arrows(pen, who) {
  const most = strongest(shown);
  for (const target of shown.bodies) for (const source of shown.bodies) {
    const hops = shown.contacts[target][source], value = shown.influence[target][source];
    const from = place(who, "factual", source), to = place(who, "factual", target);
    if (target === source || !from || !to) continue;
    if (who === "simulator" && hops) bent(pen, source, from, target, to, TRUE_EDGE, hops === 1 ? 2.4 : 1.2, 1);
    const share = who === "model" && most > 0 ? value / most : 0;
    if (share > 0.04) bent(pen, source, from, target, to, hops ? TRUE_EDGE : WRONG_EDGE, 0.8 + 2.4 * share, 0.35 + 0.65 * share);
  }
}

// From rim to rim, a little aside, so that the arrow of the other direction can be told apart.
function bent(pen, source, from, target, to, colour, width, alpha) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]], length = Math.hypot(dx, dy);
  const [ax, ay] = [dx / length, dy / length], aside = 4 * unit();
  const begin = Math.min(radius(source), length / 3), end = Math.min(radius(target) + 2 * unit(), length / 3);
  const shift = (point, along) => [point[0] + ax * along - ay * aside, point[1] + ay * along + ax * aside];
  if (length) arrow(pen, shift(from, begin), shift(to, -end), colour, width, alpha);
}

// --- What the user does --------------------------------------------------------------------------------------------

function choose(body) {
  const value = shown.settings.way === "set_position" || shown.settings.way === "set_velocity";
  ask(value ? { body, x: null, y: null } : { body });
}

function clicked(event, who, world) {
  if (!shown) return;
  const { about, settings: set } = shown, box = event.currentTarget.getBoundingClientRect();
  const at = [event.clientX - box.left, event.clientY - box.top].map((point) => about.low + (point / box.width) * about.side);
  const near = shown.bodies
    .map((body) => ({ body, place: place(who, world, body) }))
    .filter(({ body, place }) => place && Math.hypot(place[0] - at[0], place[1] - at[1]) <= radius(body) * 1.15)
    .map(({ body }) => body);
  if (near.length && !(near.length === 1 && near[0] === set.body && set.x !== null)) return choose(near[0]);
  if (set.way === "set_position") return ask({ x: Math.round(at[0]), y: Math.round(at[1]), body: set.body });
  if (set.way !== "set_velocity") return;
  const now = place("simulator", "factual", set.body, 0);
  const [x, y] = [0, 1].map((axis) => Math.round((at[axis] - now[axis]) / ARROW_SECONDS));
  ask({ x, y, body: set.body });
}

function listen() {
  for (const [who, world] of PANELS) $(`${who}-${world}`).addEventListener("click", (event) => clicked(event, who, world));
  const reset = { start: null, body: null, x: null, y: null };
  $("scene").addEventListener("change", () => ask({ ...reset, scene: $("scene").value }, ["horizon", "block"]));
  $("start").addEventListener("change", () => ask({ start: $("start").value, x: null, y: null }, ["body"]));
  $("horizon").addEventListener("change", () => ask({ horizon: $("horizon").value, block: null }, ["start"]));
  $("by").addEventListener("change", () => ask({ by: $("by").value }));
  $("arrows").addEventListener("change", () => {
    shown.settings.arrows = $("arrows").checked ? "on" : "off";
    write({ arrows: $("arrows").checked ? null : "off" });
    draw();
  });
  for (const id of ["x", "y"]) $(id).addEventListener("change", () => ask({ x: $("x").value, y: $("y").value, body: shown.settings.body }));
}

listen();
const panels = Object.fromEntries(PANELS.map(([who, world]) => [`${who}-${world}`, (pen) => paint(pen, who, world)]));
begin({ about, pictures: loadChanged, show: showTable, panels });
