"use strict";
// Search, one section at a time, and the graph of what is made from what. No library, no network.
(() => {
  const { nodes, edges } = JSON.parse(document.getElementById("lineage").textContent);
  const entries = [...document.querySelectorAll("li.entry")];
  const sections = new Map([...document.querySelectorAll("section.page")].map((each) => [each.id, each]));
  const byNode = new Map([...sections.values()].map((each) => [each.dataset.node, each.id]));
  const NS = "http://www.w3.org/2000/svg", WIDTH = 196, GAP = 44, ROW = 32;

  const search = () => {
    const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const entry of entries) {
      entry.hidden = !words.every((word) => entry.dataset.text.includes(word));
      shown += entry.hidden ? 0 : 1;
    }
    document.getElementById("found").textContent = words.length ? `${shown} of ${entries.length} tables` : "";
  };

  // What can be reached from a node in one direction, that is all it is made from, or all that is made from it.
  const reached = (start, from, to) => {
    const found = new Set([start]), queue = [start];
    while (queue.length) {
      const at = queue.pop();
      for (const edge of edges) {
        if (edge[from] === at && !found.has(edge[to])) { found.add(edge[to]); queue.push(edge[to]); }
      }
    }
    return found;
  };

  // The column of a node is the longest way to it; a cycle, such as a table that its own job reads, ends the count.
  const layers = (chosen, links) => {
    const layer = new Map([...chosen].map((id) => [id, 0]));
    for (let round = 0, moved = true; moved && round < chosen.size; round += 1) {
      moved = false;
      for (const [a, b] of links) {
        if (layer.get(b) <= layer.get(a) && layer.get(a) < chosen.size) { layer.set(b, layer.get(a) + 1); moved = true; }
      }
      if (Math.max(...layer.values()) > 40) break;
    }
    return layer;
  };

  const element = (name, attributes, text) => {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const draw = (place) => {
    if (place.firstChild) return;
    const here = place.dataset.of;
    const linked = new Set(edges.flat());
    const chosen = here ? new Set([...reached(here, 0, 1), ...reached(here, 1, 0)]) : linked;
    const links = edges.filter(([a, b]) => a !== b && chosen.has(a) && chosen.has(b));
    if (!links.length) {
      place.append(Object.assign(document.createElement("p"), { textContent: "No run has told what it reads or makes here." }));
      return;
    }
    const layer = layers(chosen, links), columns = new Map();
    for (const id of [...chosen].sort((a, b) => nodes[a].label.localeCompare(nodes[b].label))) {
      const key = layer.get(id);
      columns.set(key, [...(columns.get(key) ?? []), id]);
    }
    const at = new Map(), used = [...columns.keys()].sort((a, b) => a - b);
    used.forEach((key, index) => {
      const before = (id) => {
        const rows = links.filter(([a, b]) => b === id && at.has(a)).map(([a]) => at.get(a).y);
        return rows.length ? rows.reduce((sum, y) => sum + y, 0) / rows.length : 0;
      };
      const column = columns.get(key).map((id) => [before(id), id]).sort((a, b) => a[0] - b[0]);
      column.forEach(([, id], row) => at.set(id, { x: 10 + index * (WIDTH + GAP), y: 10 + row * ROW }));
    });
    const height = 20 + ROW * Math.max(...[...columns.values()].map((each) => each.length));
    const svg = element("svg", { width: 20 + used.length * (WIDTH + GAP) - GAP, height, role: "img" });
    svg.append(element("title", {}, here ? `Lineage of ${nodes[here].label}` : "Lineage of all tables"));
    for (const [a, b] of links) {
      const from = at.get(a), to = at.get(b), y1 = from.y + 13, y2 = to.y + 13, x1 = from.x + WIDTH, bend = GAP / 2;
      svg.append(element("path", { d: `M${x1},${y1} C${x1 + bend},${y1} ${to.x - bend},${y2} ${to.x},${y2}` }));
    }
    for (const [id, { x, y }] of at) {
      const { kind, label, name, at: time } = nodes[id], target = byNode.get(id);
      const group = element("g", { class: `${kind}${id === here ? " here" : ""}`, "data-node": id });
      const short = label.length > 27 ? `${label.slice(0, 12)}…${label.slice(-14)}` : label;
      group.append(element("title", {}, `${kind}: ${name ?? label}${time ? `, last run ${time}` : ""}`));
      group.append(element("rect", { x, y, width: WIDTH, height: 26, rx: 4 }), element("text", { x: x + 8, y: y + 17 }, short));
      if (target && id !== here) {
        const link = element("a", { href: `#${target}` });
        link.append(group);
        svg.append(link);
      } else svg.append(group);
    }
    place.append(svg);
    if (at.has(here)) place.scrollLeft = at.get(here).x - (place.clientWidth - WIDTH) / 2;
  };

  const show = () => {
    const chosen = sections.has(decodeURIComponent(location.hash.slice(1))) ? decodeURIComponent(location.hash.slice(1)) : "graph";
    for (const [id, section] of sections) section.hidden = id !== chosen;
    for (const link of document.querySelectorAll("nav a")) link.classList.toggle("chosen", link.hash === `#${chosen}`);
    draw(sections.get(chosen).querySelector(".graph"));
    window.scrollTo(0, 0);
  };

  document.getElementById("search").addEventListener("input", search);
  window.addEventListener("hashchange", show);
  show();
})();
