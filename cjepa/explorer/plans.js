"use strict";
// The page for an environment with goals: what a planner tries in the model, and what its plan does in the simulator.

const CANDIDATES = ["#1f6fb2", "#d9680f", "#2a9d6f"]; // by body
const PLAN = "#111111";

function about({ held_out, pairs, names, planner }) {
  $("held-out").textContent = `${planner} on pairs of a start and a goal from ${held_out}`;
  $("pair").max = pairs - 1;
  for (const [body, name] of Object.entries(names)) {
    for (const place of document.querySelectorAll(`.name-${body}`)) place.textContent = `the ${name}`;
  }
}

const loadGoal = (answer) => loadSprites(answer.goal.sprites);

function showPlans(answer) {
  const { about, settings: set, limits, candidates, plan, best_cost: best } = answer;
  slide("pair", set.pair, 0, about.pairs - 1, `${set.pair} (episode ${answer.episode})`);
  slide("horizon", set.horizon, 1, limits.horizon, blocksText(set.horizon));
  slide("iteration", set.iteration, 0, limits.iteration, `${set.iteration} of ${limits.iteration}`);
  $("seed").value = set.seed;
  $("success").textContent = answer.reached === null
    ? "In the simulator the plan does not reach the goal at the end of any block."
    : `In the simulator the plan reaches the goal after block ${answer.reached}.`;
  const costs = [
    ["the plan", plan.cost],
    [`best of iteration ${set.iteration}`, best[set.iteration]],
    ["lowest drawn", candidates.cost[0]],
    ["highest drawn", candidates.cost.at(-1)],
    ["candidates drawn", candidates.cost.length],
  ];
  table("search", [cell("th", ""), cell("th", "cost")], costs.map(([name, cost]) => row([rowHead(name), cell("td", text(cost))])));
}

function showErrors() {
  const { error_names: names, tolerances, errors } = shown;
  const rows = names.map((name, term) => row([rowHead(name), cell("td", errors[block][term].toFixed(2)), cell("td", tolerances[term])]));
  table("outcome", ["error now", "in tolerances", "tolerance"].map((head) => cell("th", head)), rows);
}

function rowHead(name) {
  const made = cell("th", name);
  made.scope = "row";
  return made;
}

const path = (blocks, index) => blocks.map((places) => places[index]).filter(([x]) => x !== null);

function goal(pen) {
  for (const [body, sprite] of Object.entries(shown.goal.sprites)) cutOut(pen, sprite, shown.goal.places[body], 0.3);
}

function paintSimulator(pen) {
  showErrors();
  whole(pen, shown.images[block]);
  goal(pen);
  for (const body of shown.bodies) line(pen, path(shown.track.slice(0, block + 1), body), { colour: PLAN, width: 1.6 });
}

function paintModel(pen) {
  whole(pen, shown.empty);
  goal(pen);
  const { paths } = shown.candidates;
  for (let index = paths.length - 1; index >= 0; index--) {
    const dark = 1 - index / paths.length;
    shown.bodies.forEach((body, nth) => {
      line(pen, path(paths[index], nth), { colour: CANDIDATES[body % CANDIDATES.length], width: 0.8 + dark, alpha: 0.12 + 0.6 * dark ** 2 });
    });
  }
  for (const [nth, body] of [...shown.bodies.entries()].reverse()) { // the first body is drawn over the others
    const at = shown.plan.path[block][nth];
    if (shown.sprites[body]) cutOut(pen, shown.sprites[body], at);
    line(pen, path(shown.plan.path.slice(0, block + 1), nth), { colour: PLAN, width: 1.6 });
    const there = shown.track[block][body];
    if (there[0] !== null) truth(pen, at, there, 7 * unit(), PLAN);
  }
}

$("pair").addEventListener("change", () => ask({ pair: $("pair").value, block: null, iteration: null }));
$("horizon").addEventListener("change", () => ask({ horizon: $("horizon").value, block: null }));
for (const id of ["iteration", "seed"]) $(id).addEventListener("change", () => ask({ [id]: $(id).value }));
begin({ about, pictures: loadGoal, show: showPlans, panels: { simulator: paintSimulator, "model-plan": paintModel } });
