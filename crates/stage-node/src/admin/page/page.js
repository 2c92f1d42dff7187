"use strict";
// Asks the node for its state twice a second and shows it. All text goes in as text, never as markup.

const SPAN_MS = 120000;
const STATES = ["joined", "held", "draining", "isolated", "probing"];
const windows = [];
const find = (id) => document.getElementById(id);

async function ask(path) {
  const token = sessionStorage.getItem("token");
  const answer = await fetch(path, token ? { headers: { Authorization: "Bearer " + token } } : {});
  find("ask").hidden = answer.status !== 401;
  if (!answer.ok) throw new Error(answer.status === 401 ? "this node wants its token" : "the node answers " + answer.status);
  return answer.json();
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const ms = (value) => value.toFixed(value < 10 ? 2 : 0) + " ms";
const percent = (value) => (value * 100).toFixed(0) + " %";
const ago = (value) => (value < 1000 ? "now" : value < 120000 ? (value / 1000).toFixed(0) + " s ago" : (value / 60000).toFixed(0) + " min ago");

function table(id, heads, rows) {
  const at = find(id);
  at.closest("section").hidden = rows.length === 0;
  const line = (cells, name) => {
    const row = element("tr");
    cells.forEach((cell, n) => row.append(element(name, cell, typeof rows[0]?.[n] === "number" ? "number" : "")));
    return row;
  };
  at.replaceChildren(line(heads, "th"), ...rows.map((row) => line(row, "td")));
}

function plot() {
  const [left, top, width, height, least] = [70, 8, 920, 220, 0.1];
  const end = windows.length ? windows[windows.length - 1].at_ms : 0;
  // By powers of ten: a delay far past the threshold must not press that to the ground.
  const most = Math.max(10, ...windows.map((window) => Math.max(window.delay_ms, window.threshold_ms)));
  const decades = Math.ceil(Math.log10(most / least));
  const x = (at) => left + width * (1 - (end - at) / SPAN_MS);
  const y = (value) => top + height * (1 - Math.log10(Math.max(value, least) / least) / decades);
  const parts = [];
  for (let n = 0; n < windows.length; ) {
    let last = n;
    while (last + 1 < windows.length && windows[last + 1].state === windows[n].state) last += 1;
    const from = Math.max(left, x(windows[n].at_ms - 100));
    const wide = Math.max(0, x(windows[last].at_ms) - from);
    parts.push(drawn("rect", { x: from, y: top, width: wide, height, class: windows[n].state }));
    n = last + 1;
  }
  for (let n = 0; n <= decades; n += 1) {
    const value = least * 10 ** n;
    parts.push(drawn("path", { d: "M" + left + " " + y(value) + "h" + width, class: "grid" }));
    parts.push(drawn("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, n === 0 ? "0" : +value.toPrecision(1) + " ms"));
  }
  for (let n = 0; n <= 4; n += 1) {
    const seconds = (SPAN_MS / 1000) * (1 - n / 4);
    parts.push(drawn("text", { x: left + (width * n) / 4, y: top + height + 18, "text-anchor": n === 4 ? "end" : "middle" }, n === 4 ? "now" : "-" + seconds + " s"));
  }
  for (const kind of ["threshold", "delay"]) {
    const points = windows.map((window) => x(window.at_ms).toFixed(1) + "," + y(window[kind + "_ms"]).toFixed(1));
    parts.push(drawn("polyline", { points: points.join(" "), class: kind }));
  }
  find("plot").replaceChildren(...parts);
}

function figures(route) {
  const all = [
    ["delay m", ms(route.delay_ms)], ["threshold θ", ms(route.threshold_ms)], ["a message costs", ms(route.baseline_ms)],
    ["slowest queue", route.slowest || "none"], ["busy", percent(route.utilisation)], ["takes of others' work", percent(route.credit)],
    ["has left", route.leaves + " times"], ["not made up for", route.failures],
  ];
  find("figures").replaceChildren(...all.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    return pair;
  }));
}

function show(state) {
  const route = state.route;
  document.title = state.node + ": " + route.state;
  find("node").textContent = state.node;
  find("state").textContent = route.state;
  find("state").className = "state " + route.state;
  find("reason").textContent = route.reason;
  find("bottleneck").textContent = state.bottleneck ? state.bottleneck.advice + (state.bottleneck.work ? " (" + state.bottleneck.work + " wait)" : "") : "";
  figures(route);
  table("changes", ["when", "from", "to", "why"], route.changes.map((change) => [ago(change.ago_ms), change.from, change.to, change.reason]));
  table("peers", ["name", "address", "state", "why", "stages"], state.peers.map((peer) => [peer.name, peer.address, peer.state, peer.why || "", peer.stages.join(" ")]));
  table("queues", ["queue", "waiting", "running", "delay", "busy"], Object.entries(state.queues).map(([name, queue]) => [name, queue.waiting, queue.running, `${queue.delay_ms.toFixed(1)} ms`, percent(queue.utilisation)]));
  table("keys", ["key", "jobs", "first waits", "ended", "they took"], state.keys.map((key) => [key.key, key.jobs, ms(key.waiting_ms), key.ended, ms(key.busy_ms)]));
  table("tickets", ["category", "limit", "held", "waiting", "granted", "refused"], Object.entries(state.tickets).map(([name, ticket]) => [name, ticket.limit, ticket.held, ticket.waiting, ticket.granted, ticket.refused]));
  table("databases", ["database", "connections", "idle", "waiting", "statements", "failed"], Object.entries(state.databases).map(([name, of]) => [name, of.connections, of.idle, of.waiting, of.statements, of.failed]));
  const http = state.http;
  table("requests", ["under way", "limit", "ended", "failed"], http ? [[http.under_way, http.limit, http.ended, Object.entries(http.failed).filter(([, count]) => count > 0).map(([kind, count]) => kind + " " + count).join(", ")]] : []);
  table("counters", ["counter", "value"], Object.entries(state.counters).filter(([, value]) => value > 0));
}

async function look() {
  try {
    const after = windows.length ? Math.floor(windows[windows.length - 1].at_ms) : 0;
    const [state, newer] = await Promise.all([ask("/api/state"), ask("/api/route?after_ms=" + after)]);
    const last = windows.length ? windows[windows.length - 1].at_ms : 0;
    // A node that has started anew counts from the beginning.
    if (newer.length && newer[0].at_ms < last) windows.length = 0;
    windows.push(...newer.filter((window) => !windows.length || window.at_ms > last));
    while (windows.length && windows[0].at_ms < windows[windows.length - 1].at_ms - SPAN_MS) windows.shift();
    show(state);
    plot();
    find("contact").textContent = "";
  } catch (error) {
    windows.length = 0;
    find("contact").textContent = error.message;
  }
  setTimeout(look, 500);
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", find("token").value);
  find("token").value = "";
});
find("legend").append(element("span", "— delay m", "delay"), element("span", "- - threshold θ", "threshold"), ...STATES.map((state) => element("span", state, "state " + state)));
look();
