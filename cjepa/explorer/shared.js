"use strict";
// What both pages share. All settings are in the address: a change writes the address, and the address is what the
// server is asked. A page is what begin() gets:
//   about(about)            writes what is the same in every answer
//   pictures(answer)        loads what the answer has beside its frames, background and sprites
//   show(answer)            writes the answer
//   panels                  of each canvas, by its id, what paints it: paint(pen), in units of the environment

const BLOCKS_PER_SECOND = 8;
const HOLD_TICKS = 8; // how long the last block stays

const $ = (id) => document.getElementById(id);
let page = null;
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
  answer.images = await pictures(answer.frames);
  answer.empty = await picture(answer.background);
  await loadSprites(answer.sprites);
  await page.pictures(answer);
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

const pictures = (addresses) => Promise.all(addresses.map(picture));

async function loadSprites(sprites) {
  for (const sprite of Object.values(sprites)) sprite.picture = await picture(sprite.image);
}

function showAbout(about) {
  document.title = `cjepa explore: ${about.model}`;
  $("model").textContent = about.model;
  for (const unit of document.querySelectorAll(".unit")) unit.textContent = about.unit;
  page.about(about);
}

function show(answer) {
  shown = answer;
  const { about, settings: set } = answer;
  $("error").hidden = true;
  showAbout(about);
  page.show(answer);
  $("block").min = 1 - about.history;
  $("block").max = set.horizon;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  playing = set.block === null && !still;
  block = set.block ?? (still ? set.horizon : Math.min(block, set.horizon));
  $("footer").textContent = `Answered in ${answer.seconds.toFixed(2)} s. The address holds all settings.`;
  document.body.dataset.state = "ready";
  draw();
}

const inSeconds = (blocks) => `${(blocks * shown.about.block_seconds).toFixed(1)} s`;
const blocksText = (blocks) => `${blocks} ${blocks === 1 ? "block" : "blocks"}, ${inSeconds(blocks)}`;

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

const colorOf = (body) => shown.sprites[body]?.colour ?? "#999999";
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

function draw() {
  if (!shown) return;
  $("block").value = block;
  $("block-text").textContent = block > 0 ? `${inSeconds(block)} ahead` : block < 0 ? "history" : "now";
  $("play").textContent = playing ? "Pause" : "Play";
  const { low, side } = shown.about;
  for (const [id, paint] of Object.entries(page.panels)) {
    const canvas = $(id), pixels = Math.round(canvas.clientWidth * Math.min(2, devicePixelRatio || 1));
    if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
    const pen = canvas.getContext("2d");
    pen.setTransform(pixels / side, 0, 0, pixels / side, (-low * pixels) / side, (-low * pixels) / side);
    paint(pen);
  }
}

function whole(pen, image) {
  const { low, side } = shown.about;
  pen.drawImage(image, low, low, side, side);
}

function cutOut(pen, sprite, [x, y], alpha = 1) {
  pen.globalAlpha = alpha;
  pen.drawImage(sprite.picture, x + sprite.left, y + sprite.top, sprite.width, sprite.height);
  pen.globalAlpha = 1;
}

// The true place of a body, with a line to it from where it is predicted.
function truth(pen, predicted, there, radius, colour) {
  if (predicted) line(pen, [predicted, there], { colour, width: 1.2, alpha: 0.8 });
  ring(pen, there, radius, { colour, width: 1.2, alpha: 0.8 });
}

function line(pen, points, { colour, width, alpha = 1, dash = [] }) {
  if (points.length < 2) return;
  pen.save();
  Object.assign(pen, { strokeStyle: colour, lineWidth: width * unit(), globalAlpha: alpha, lineJoin: "round" });
  pen.setLineDash(dash.map((length) => length * unit()));
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

const radius = (body) => {
  const cut = shown.sprites[body];
  return cut ? Math.max(cut.width, cut.height) / 2 : shown.about.side / 20;
};

function arrow(pen, from, to, colour, width, alpha = 1) {
  const turn = Math.atan2(to[1] - from[1], to[0] - from[0]), head = (5 + 1.5 * width) * unit();
  const wing = (side) => [to[0] - head * Math.cos(turn + side * 0.45), to[1] - head * Math.sin(turn + side * 0.45)];
  line(pen, [from, to], { colour, width, alpha });
  line(pen, [wing(1), to, wing(-1)], { colour, width, alpha });
}

function stand(at) {
  [block, playing] = [at, false];
  write({ block });
  draw();
}

function play() {
  playing = true;
  write({ block: null });
  draw();
}

function tick() {
  if (!shown || !playing || document.hidden) return;
  const ended = block >= shown.settings.horizon;
  held = ended ? held + 1 : 0;
  if (ended && held < HOLD_TICKS) return;
  block = ended ? 1 - shown.about.history : block + 1;
  draw();
}

function begin(made) {
  page = made;
  $("block").addEventListener("input", () => stand(Number($("block").value)));
  $("play").addEventListener("click", () => (playing ? stand(block) : play()));
  addEventListener("resize", draw);
  addEventListener("popstate", () => ask());
  ask();
  setInterval(tick, 1000 / BLOCKS_PER_SECOND);
}
