"use strict";
// All settings are in the address: a change writes the address, and the address is what the server is asked.

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
const BLOCKS_PER_SECOND = 8;
const HOLD_TICKS = 8; // how long the last block stays
const TRUE_EDGE = "#2fd19b", WRONG_EDGE = "#ff9f43";

const $ = (id) => document.getElementById(id);
let shown = null; // the last answer, with its pictures loaded
let block = 0;
let held = 0;
let playing = true;
let asked = 0;

const settings = () => new URLSearchParams(location.search);

function write(changes) {
  const query = settings();
  for (const [name, value] of Object.entries(changes)) value === null ? query.delete(name) : query.set(name, value);
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

// Ask with changed settings. If they are refused, ask without those named in `loose`, which may no longer fit.
async function ask(changes = {}, loose = []) {
  write(changes);
  const ticket = ++asked;
  document.body.dataset.state = "busy";
  let answer, refused;
  try {
    const response = await fetch(`answer${location.search}`);
    answer = await response.json();
    refused = !response.ok;
  } catch {
    answer = { error: "The server does not answer; look at its terminal, or start it again." };
    refused = true;
  }
  if (ticket !== asked) return;
  if (refused && loose.some((name) => settings().has(name))) {
    return ask(Object.fromEntries(loose.map((name) => [name, null])));
  }
  if (refused) return refuse(answer);
  await loadPictures(answer);
  if (ticket === asked) show(answer);
}

function refuse(answer) {
  $("error").textContent = answer.error;
  $("error").hidden = false;
  if (answer.about) showAbout(answer.about);
  document.body.dataset.state = "refused";
}

const picture = async (address) => {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
};

async function loadPictures(answer) {
  const all = (addresses) => Promise.all(addresses.map(picture));
  answer.images = await all(answer.frames);
  answer.changedImages = await all(answer.counterfactual_frames);
  answer.empty = await picture(answer.background);
  for (const sprite of Object.values(answer.sprites)) sprite.picture = await picture(sprite.image);
}

// --- What the page shows -------------------------------------------------------------------------------------------

function show(answer) {
  shown = answer;
  const { about, settings: set, limits } = answer;
  $("error").hidden = true;
  showAbout(about);
  const seconds = (blocks) => `${(blocks * about.block_seconds).toFixed(1)} s`;
  slide("scene", set.scene, 0, about.scenes - 1, `${set.scene} (episode ${answer.episode})`);
  slide("start", set.start, 0, limits.start, `env steps ${set.start} to ${set.start + (about.history - 1) * about.frame_stride}`);
  slide("horizon", set.horizon, 1, limits.horizon, `${set.horizon} blocks, ${seconds(set.horizon)}`);
  chips("bodies", answer.bodies, set.body, (body) => answer.names[body], (body) => choose(body), color);
  chips("ways", about.ways, set.way, (way) => WORDS.ways[way], (way) => ask({ way, x: null, y: null }));
  const hasValue = about.with_value.includes(set.way);
  $("value").hidden = $("value-label").hidden = !hasValue;
  $("value-label").textContent = set.way === "set_velocity" ? `Velocity, ${about.unit} per second` : `Place, ${about.unit}`;
  if (hasValue) [$("x").value, $("y").value] = [set.x, set.y];
  $("hint").textContent = WORDS.hints[set.way];
  for (const caption of document.querySelectorAll("figcaption.changed")) {
    caption.textContent = `${answer.names[set.body]} ${WORDS.done[set.way]}`;
  }
  options("by", about.estimates, set.by);
  $("arrows").checked = set.arrows === "on";
  $("block").min = 1 - about.history;
  $("block").max = set.horizon;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  playing = set.block === null && !still;
  block = set.block ?? (still ? set.horizon : Math.min(block, set.horizon));
  showEffects(answer);
  showInfluence(answer);
  $("footer").textContent = `Answered in ${answer.seconds.toFixed(2)} s. The address holds all settings.`;
  document.body.dataset.state = "ready";
  draw();
}

function showAbout(about) {
  document.title = `cjepa explore: ${about.model}`;
  $("model").textContent = about.model;
  $("held-out").textContent = `Scenes from ${about.held_out}`;
  $("scene").max = about.scenes - 1;
  for (const unit of document.querySelectorAll(".unit")) unit.textContent = about.unit;
}

function slide(id, value, min, max, text) {
  Object.assign($(id), { min, max, value });
  $(`${id}-text`).textContent = text;
}

function chips(id, values, chosen, name, click, colour) {
  $(id).replaceChildren(...values.map((value) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.value = value;
    button.setAttribute("aria-pressed", value === chosen);
    if (colour) button.append(swatch(colour(value)));
    button.append(name(value));
    button.addEventListener("click", () => click(value));
    return button;
  }));
}

function swatch(colour) {
  const dot = document.createElement("span");
  dot.className = "swatch";
  dot.style.background = colour;
  return dot;
}

function options(id, values, chosen) {
  $(id).replaceChildren(...values.map((value) => new Option(value, value, false, value === chosen)));
}

const color = (body) => shown.sprites[body]?.colour ?? "#999999";
const text = (value, unit = "") => (value === null ? "–" : `${value}${unit}`);

function cell(tag, content, colour) {
  const made = document.createElement(tag);
  if (tag === "th") made.scope = "col";
  if (colour) made.append(swatch(colour));
  made.append(content);
  return made;
}

function table(id, header, rows) {
  const head = document.createElement("thead"), body = document.createElement("tbody");
  head.append(row(header));
  body.append(...rows);
  $(id).replaceChildren(head, body);
}

function row(cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function named(body) {
  const made = cell("th", shown.names[body], color(body));
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
  table("influence", [cell("th", "on / of"), ...bodies.map((body) => cell("th", answer.names[body], color(body)))], rows);
  $("agreement").textContent = agreement.edges
    ? `Of the ${agreement.edges} strongest influences, ${agreement.hits} are in the contact graph, which has ${agreement.edges}.`
    : "No bodies touch in the predicted blocks: the contact graph is empty.";
}

const strongest = ({ influence }) => Math.max(0, ...influence.flat().filter((value) => value !== null));

// --- Drawing -------------------------------------------------------------------------------------------------------

function draw() {
  if (!shown) return;
  const { about } = shown;
  $("block").value = block;
  $("block-text").textContent = block > 0 ? `${(block * about.block_seconds).toFixed(1)} s ahead` : block < 0 ? "history" : "now";
  $("play").textContent = playing ? "Pause" : "Play";
  for (const [who, world] of PANELS) panel(who, world);
}

function panel(who, world) {
  const canvas = $(`${who}-${world}`), side = Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio || 1));
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d"), { about } = shown;
  pen.setTransform(side / about.side, 0, 0, side / about.side, 0, 0); // units of the environment
  pen.translate(-about.low, -about.low);
  const imagined = who === "model" && block > 0;
  pen.drawImage(imagined ? shown.empty : frame(world), about.low, about.low, about.side, about.side);
  for (const body of shown.bodies) {
    if (block > 0) trail(pen, who, world, body);
  }
  if (imagined) shown.bodies.forEach((body) => sprite(pen, world, body));
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
  line(pen, points.filter(Boolean), { colour: color(body), width: 2, alpha: 0.75 });
}

function line(pen, points, { colour, width, alpha = 1, dash = [] }) {
  if (points.length < 2) return;
  pen.save();
  Object.assign(pen, { strokeStyle: colour, lineWidth: width * unit(pen), globalAlpha: alpha, lineJoin: "round" });
  pen.setLineDash(dash.map((length) => length * unit(pen)));
  pen.beginPath();
  points.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  pen.restore();
}

// One point of a picture 320 points wide, in units of the environment.
const unit = () => shown.about.side / 320;

function ring(pen, [x, y], radius, style) {
  const points = [];
  for (let step = 0; step <= 48; step++) {
    const turn = (step / 48) * 2 * Math.PI;
    points.push([x + radius * Math.cos(turn), y + radius * Math.sin(turn)]);
  }
  line(pen, points, style);
}

function sprite(pen, world, body) {
  const cut = shown.sprites[body], at = place("model", world, body), truth = place("simulator", world, body);
  if (cut && at) pen.drawImage(cut.picture, at[0] + cut.left, at[1] + cut.top, cut.width, cut.height);
  if (!truth) return;
  if (at) line(pen, [at, truth], { colour: "#ffffff", width: 1.2, alpha: 0.8 });
  ring(pen, truth, radius(body), { colour: "#ffffff", width: 1.2, alpha: 0.8 });
}

const radius = (body) => {
  const cut = shown.sprites[body];
  return cut ? Math.max(cut.width, cut.height) / 2 : shown.about.side / 20;
};

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

function arrow(pen, from, to, colour, width, alpha = 1) {
  const turn = Math.atan2(to[1] - from[1], to[0] - from[0]), head = (5 + 1.5 * width) * unit();
  const wing = (side) => [to[0] - head * Math.cos(turn + side * 0.45), to[1] - head * Math.sin(turn + side * 0.45)];
  line(pen, [from, to], { colour, width, alpha });
  line(pen, [wing(1), to, wing(-1)], { colour, width, alpha });
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
  $("block").addEventListener("input", () => stand(Number($("block").value)));
  $("play").addEventListener("click", () => (playing ? stand(block) : play()));
  addEventListener("resize", draw);
  addEventListener("popstate", () => ask());
}

function stand(at) {
  [block, playing] = [at, false];
  write({ block });
  draw();
}

function play() {
  playing = true;
  write({ block: null });
}

function tick() {
  if (!shown || !playing || document.hidden) return;
  const ended = block >= shown.settings.horizon;
  held = ended ? held + 1 : 0;
  if (ended && held < HOLD_TICKS) return;
  block = ended ? 1 - shown.about.history : block + 1;
  draw();
}

listen();
ask();
setInterval(tick, 1000 / BLOCKS_PER_SECOND);
