// The topology as an SVG tree: the GA above, its clusters below, each client in a cell of its own, so that nothing
// collides however many there are. The kernel sends nodes; places, motion, keys and words are made here.

const NS = "http://www.w3.org/2000/svg";
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#A6951C", "#8C8C8C", "#44AA99", "#9F5FB0"];
const ROLES = { ga: "global aggregator", la: "local aggregator", client: "client" };
const MANY = 120; // clients from which on clusters start collapsed
const PILL = 26, TILE = { w: 36, h: 28 }, DROP = 27, NAME = 16, NOTE = 12;
const natural = new Intl.Collator("en", { numeric: true }).compare;

const svg = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS(NS, tag);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  element.append(...children);
  return element;
};
const html = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  element.append(...children);
  return element;
};
// Only what is different is written: every write makes the browser lay out again.
const write = (element, name, value) => {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
};
const number = new Intl.NumberFormat("en").format;
const sum = (values) => values.reduce((a, b) => a + b, 0);
const short = (text, width) => {
  const fits = Math.max(3, Math.floor(width / 6.4));
  return text.length <= fits ? text : text.slice(0, fits - 1) + "…";
};
const isAggregating = (node) => node.role === "ga" || (node.role === "la" && Boolean(node.parent));
const pillWidth = (node) => 38 + Math.min(110, Math.max(20, node.id.length * 7.2));

// Data, in words and as bars.

function dataWords(node, labels) {
  if (!node.data) return node.part ? `part ${node.part} of the data` : "";
  const held = labels.filter((_, i) => node.data[i]);
  const wrong = node.noise ? `, ${Math.round(100 * node.noise)} % of the labels wrong` : "";
  return `${number(sum(node.data))} samples, labels ${held.join(" ")}${wrong}`;
}

function sentence(node, labels) {
  const parts = [node.id, ROLES[node.role]];
  if (node.cost != null && node.parent) parts.push(`link to ${node.parent} costs ${number(node.cost)} per MB`);
  if (node.role === "client") parts.push(dataWords(node, labels));
  if (node.why) parts.push(node.why);
  return parts.filter(Boolean).join(", ");
}

function bars(data, top, box, noise, pattern) {
  const group = svg("g", { class: "bars" });
  const step = (box.w - 6) / Math.max(data.length, 1);
  data.forEach((count, i) => {
    if (!count) return;
    const height = Math.max(2, ((box.h - 7) * count) / top);
    const place = { x: box.x + 3 + i * step, y: box.y + box.h - 3.5 - height, width: Math.max(step - (step > 2 ? 0.7 : 0), 0.6), height };
    group.append(svg("rect", { ...place, rx: Math.min(1, step / 4), fill: COLOURS[i % COLOURS.length] }));
    if (noise) group.append(svg("rect", { ...place, height: height * noise, fill: `url(#${pattern})` }));
  });
  group.append(svg("line", { class: "ground", x1: box.x + 3, x2: box.x + box.w - 3, y1: box.y + box.h - 3.25, y2: box.y + box.h - 3.25 }));
  return group;
}

// The tree and its places.

function grow(nodes) {
  const ga = [...nodes.values()].find((node) => node.role === "ga");
  const byParent = new Map();
  for (const node of nodes.values()) {
    if (node === ga) continue;
    const parent = node.parent && nodes.has(node.parent) ? node.parent : "";
    if (!byParent.has(parent)) byParent.set(parent, []);
    byParent.get(parent).push(node);
  }
  for (const children of byParent.values()) children.sort((a, b) => natural(a.id, b.id));
  const below = (ga && byParent.get(ga.id)) || [];
  const flat = below.filter((node) => node.role === "client");
  const clusters = below.filter((node) => node.role !== "client").map((head) => ({ head, members: byParent.get(head.id) || [] }));
  return { ga, flat, clusters, outside: byParent.get("") || [] };
}

function arrange(tree, width, collapsed, notes, cell) {
  const places = new Map(), frames = [], lines = [];
  const row = DROP + TILE.h + NAME + (notes ? NOTE : 0) + 6;
  const closedBox = { w: 118, h: PILL / 2 + 76 };
  const inner = 12;
  const isClosed = (cluster) => collapsed.has(cluster.head ? cluster.head.id : "");
  const size = (cluster, columns) => {
    if (isClosed(cluster)) return closedBox;
    const across = Math.min(columns, cluster.members.length);
    return {
      w: Math.max(across * cell + 2 * inner, cluster.head ? pillWidth(cluster.head) + 24 : 150),
      h: PILL / 2 + Math.ceil(cluster.members.length / columns) * row + (notes ? 4 : 10),
    };
  };
  const flow = (clusters, columns) => {
    const rows = [];
    let x = Infinity;
    for (const cluster of clusters) {
      const box = size(cluster, columns);
      if (x + box.w > width - 24) { rows.push([]); x = 24; }
      rows[rows.length - 1].push({ cluster, box, x });
      x += box.w + 14;
    }
    return rows;
  };
  const heightOf = (rows) => sum(rows.map((r) => Math.max(...r.map((p) => p.box.h)) + DROP + PILL));
  const best = (clusters) => {
    const most = Math.max(1, Math.floor((width - 48 - 2 * inner) / cell));
    const wanted = Math.max(1, ...clusters.map((c) => (isClosed(c) ? 1 : c.members.length)));
    let found = null;
    for (let columns = Math.min(most, wanted); columns >= 1; columns--) {
      const rows = flow(clusters, columns);
      const height = heightOf(rows);
      if (!found || height < found.height - 1) found = { columns, rows, height };
    }
    return found || { columns: 1, rows: [], height: 0 };
  };
  const fill = (cluster, x, top, box, columns) => {
    // `top`: the middle of the head's pill, where the frame begins
    const key = cluster.head ? cluster.head.id : "";
    const closed = isClosed(cluster);
    frames.push({ key, x, y: top, w: box.w, h: box.h, closed, cluster, outside: !cluster.head });
    if (closed) return;
    const across = Math.min(columns, cluster.members.length);
    const start = x + (box.w - across * cell) / 2;
    cluster.members.forEach((node, i) => {
      const line = Math.floor(i / columns);
      places.set(node.id, { x: start + (i % columns) * cell + cell / 2, y: top + PILL / 2 + line * row + DROP + TILE.h / 2 + 2, drop: DROP - 9 });
    });
    if (!cluster.head) return;
    const buses = [];
    for (let first = 0; first < cluster.members.length; first += columns) {
      const last = Math.min(first + columns, cluster.members.length) - 1;
      const y = top + PILL / 2 + (first / columns) * row + 9;
      buses.push({ y, from: start + cell / 2, to: start + (last - first) * cell + cell / 2 });
    }
    lines.push({ key, buses, stem: { x: x + box.w / 2, y: top + PILL / 2 }, trunk: x + 5 });
  };

  let y = 22;
  const ga = tree.ga;
  if (ga && tree.flat.length) {
    const { columns, rows } = best([{ head: ga, members: tree.flat }]);
    const { cluster, box } = rows[0][0];
    const x = (width - box.w) / 2;
    places.set(ga.id, { x: x + box.w / 2, y, drop: 0 });
    fill(cluster, x, y, box, columns);
    y += box.h + 22;
  } else if (ga) {
    places.set(ga.id, { x: width / 2, y, drop: 0 });
    const { columns, rows } = best(tree.clusters);
    y += PILL / 2;
    const buses = [];
    const stem = { x: width / 2, y };
    for (const line of rows) {
      const across = sum(line.map((p) => p.box.w)) + 14 * (line.length - 1);
      const shift = (width - across) / 2 - line[0].x;
      const bus = y + 12;
      const top = bus + DROP + PILL / 2 - 4;
      for (const { cluster, box, x } of line) {
        const middle = x + shift + box.w / 2;
        places.set(cluster.head.id, { x: middle, y: top, drop: DROP - 4 });
        fill(cluster, x + shift, top, box, columns);
      }
      const at = (p) => p.x + shift + p.box.w / 2;
      buses.push({ y: bus, from: at(line[0]), to: at(line[line.length - 1]) });
      y = top + Math.max(...line.map((p) => p.box.h)) + 4;
    }
    if (buses.length) lines.push({ key: ga.id + " ", buses, stem, trunk: 10 });
    y += 16;
  }
  if (tree.outside.length) {
    const { columns, rows } = best([{ head: null, members: tree.outside }]);
    const box = rows[0][0].box;
    fill(rows[0][0].cluster, (width - box.w) / 2, y + 4, { ...box, h: box.h - 6 }, columns);
    y += box.h + 14;
  }
  return { places, frames, lines, height: Math.max(y, 80) };
}

function busPath({ buses, stem, trunk }) {
  // From the head down to the first row; further rows hang on a trunk at the left, where no node is.
  let path = "";
  buses.forEach(({ y, from, to }, i) => {
    const left = i === 0 ? Math.min(from, stem.x) : trunk, right = i === 0 ? Math.max(to, stem.x) : to;
    path += `M${buses.length > 1 ? trunk : left} ${y}H${right}`;
  });
  if (buses.length > 1) path += `M${trunk} ${buses[0].y}V${buses[buses.length - 1].y}`;
  return `M${stem.x} ${stem.y}V${buses[0].y}` + path;
}

// One view of the graph.

class View {
  constructor(model, root, graph) {
    this.model = model;
    this.graph = graph;
    this.prefix = `aiotwin-${Math.random().toString(36).slice(2)}-`; // of ids, which have to be the page's only ones
    this.items = new Map();
    this.frames = new Map();
    this.buses = new Map();
    this.collapsed = new Set();
    this.focus = "";
    this.zoom = 1;
    this.width = 0;
    this.build(root);
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(root);
    this.onSelected = () => this.mark();
    model.on("change:selected", this.onSelected);
    this.resize();
  }

  close() {
    clearTimeout(this.owning);
    this.watch.disconnect();
    this.model.off("change:selected", this.onSelected);
  }

  build(root) {
    root.classList.add("aiotwin-topology");
    const button = (label, title, action) => {
      const element = html("button", { type: "button", title, "aria-label": title }, label);
      element.addEventListener("click", action);
      return element;
    };
    this.fold = button("Collapse all", "Collapse or expand all clusters", () => this.foldAll());
    this.tools = html("div", { class: "tools", role: "toolbar", "aria-label": "View of the topology" },
      this.fold,
      button("−", "Zoom out", () => this.zoomTo(this.zoom / 1.25)),
      button("Fit", "Fit the width", () => this.zoomTo(1)),
      button("+", "Zoom in", () => this.zoomTo(this.zoom * 1.25)));
    this.svg = svg("svg", { role: "tree", "aria-orientation": "horizontal", "aria-multiselectable": "false" });
    const pattern = svg("pattern", { id: this.prefix + "wrong", width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { width: 4, height: 4, class: "wrong" }), svg("line", { x1: 0, y1: 0, x2: 0, y2: 4, class: "hatch" }));
    this.layers = { frames: svg("g", { "aria-hidden": "true" }), buses: svg("g", { "aria-hidden": "true", class: "buses" }), nodes: svg("g", { role: "none" }) };
    this.stage = svg("g", { role: "none" }, ...Object.values(this.layers));
    this.svg.append(svg("defs", {}, pattern), this.stage);
    this.canvas = html("div", { class: "canvas" }, this.svg);
    this.legend = html("div", { class: "legend" });
    this.table = html("details", { class: "table" }, html("summary", {}, "As a table"));
    this.table.addEventListener("toggle", () => this.fillTable());
    this.live = html("div", { class: "live", "aria-live": "polite", role: "status" });
    root.append(this.tools, this.canvas, this.legend, this.table, this.live);
    // On the canvas: an SVG element that listens to focus can be focused itself.
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.canvas.addEventListener("focusin", (event) => {
      const node = event.target.closest("[data-node]");
      if (node) this.moveTabStop(node.dataset.node);
    });
  }

  // Too many clients to see at once: clusters start collapsed, once; from then on people decide.
  collapseMany(tree) {
    if (this.settled || sum(tree.clusters.map((c) => c.members.length)) <= MANY) return;
    this.settled = true;
    this.collapsed = new Set(tree.clusters.map((c) => c.head.id));
  }

  resize() {
    const width = Math.max(480, Math.floor(this.canvas.clientWidth || 860));
    if (Math.abs(width - this.width) < 4) return;
    this.width = width;
    this.svg.classList.toggle("still", true);
    this.update(true);
    requestAnimationFrame(() => this.svg.classList.remove("still"));
  }

  zoomTo(zoom) {
    this.zoom = Math.min(4, Math.max(0.4, zoom));
    write(this.svg, "width", Math.round(this.width * this.zoom));
    write(this.svg, "height", Math.round(this.height * this.scale * this.zoom));
    write(this.stage, "transform", `scale(${this.scale * this.zoom})`);
  }

  foldAll() {
    const heads = grow(this.graph().nodes).clusters.map((c) => c.head.id);
    this.collapsed = this.collapsed.size ? new Set() : new Set(heads);
    this.update(true);
  }

  // Draw what is different. `anew`: places may change although no node did.
  update(anew = false) {
    if (!this.width) return;
    const { nodes, labels } = this.graph();
    let moved = anew;
    if (labels !== this.labels) this.relabel(labels);
    for (const node of nodes.values()) {
      const item = this.items.get(node.id);
      if (item && item.node === node && item.top === this.top) continue;
      moved = this.draw(node, item) || moved;
    }
    for (const id of [...this.items.keys()]) if (!nodes.has(id)) { this.drop(id); moved = true; }
    if (moved) this.place();
    this.announce(anew);
    this.mark();
    if (this.table.open) this.fillTable();
  }

  relabel(labels) {
    this.labels = labels;
    const some = labels.length > 0;
    const chips = labels.length <= 20 ? labels.map((label, i) => {
      const chip = html("span", { class: "chip" }, String(label));
      chip.style.setProperty("--chip", COLOURS[i % COLOURS.length]);
      return chip;
    }) : [html("span", {}, `${labels[0]} … ${labels[labels.length - 1]}`)];
    this.legend.replaceChildren(
      html("span", { class: "word" }, "numbers on links: cost per MB"),
      ...(some ? [html("span", { class: "word" }, "bars: samples per label"), html("span", { class: "chips" }, ...chips)] : []),
    );
  }

  get top() {
    const { nodes } = this.graph();
    if (this.topOf !== nodes || this.topVersion !== nodes.version) {
      this.topOf = nodes;
      this.topVersion = nodes.version;
      this.topValue = Math.max(1, ...[...nodes.values()].filter((n) => n.data).map((n) => Math.max(...n.data)));
    }
    return this.topValue;
  }

  // (Re)draw one node; returns whether its place may have changed.
  draw(node, item) {
    const key = [node.parent || "", node.role, Boolean(node.note), node.id.length].join("|");
    const moved = !item || item.key !== key;
    if (!item) {
      const group = svg("g", { role: "treeitem", tabindex: -1, "data-node": node.id, id: this.prefix + node.id });
      this.layers.nodes.append(group);
      item = { group, fresh: true };
      this.items.set(node.id, item);
    }
    const was = item.node;
    Object.assign(item, { node, key, top: this.top });
    const content = JSON.stringify([node, this.top, this.labels.length]);
    if (content === item.content) return moved;
    item.content = content;
    item.group.setAttribute("class", ["node", node.role, node.standing || "member"].join(" "));
    const words = sentence(node, this.labels);
    item.group.setAttribute("aria-label", words);
    item.group.replaceChildren(svg("title", {}, words), ...(isAggregating(node) ? this.pill(node) : this.tile(node)));
    if (item.at) this.hang(item);
    if (was && was.parent !== node.parent) { item.group.classList.add("moving"); setTimeout(() => item.group.classList.remove("moving"), 900); }
    return moved;
  }

  pill(node) {
    const w = pillWidth(node), x = -w / 2;
    return [
      svg("g", { class: "link" }),
      svg("rect", { class: "halo", x: x - 3, y: -PILL / 2 - 3, width: w + 6, height: PILL + 6, rx: 16 }),
      svg("rect", { class: "body", x, y: -PILL / 2, width: w, height: PILL, rx: 13 }),
      svg("text", { class: "role", x: x + 18, y: 3.5 }, node.role.toUpperCase()),
      svg("text", { class: "name", x: x + 32 + (w - 38) / 2, y: 4.5 }, short(node.id, 110)),
      ...(node.standing === "failed" ? [this.badge("!", w / 2 - 3, -PILL / 2 + 2)] : []),
    ];
  }

  tile(node) {
    const { w, h } = TILE, box = { x: -w / 2, y: -h / 2, w, h };
    const inside = node.role !== "client" ? [svg("text", { class: "part", y: 4 }, node.role.toUpperCase())]
      : node.data ? [bars(node.data, this.top, box, node.noise, this.prefix + "wrong")]
      : [svg("text", { class: "part", y: 4 }, node.part || "–")];
    return [
      svg("g", { class: "link" }),
      svg("rect", { class: "halo", x: box.x - 3, y: box.y - 3, width: w + 6, height: h + 6, rx: 7 }),
      svg("rect", { class: "body", ...{ x: box.x, y: box.y, width: w, height: h }, rx: 5 }),
      ...inside,
      ...(node.standing === "left" ? [svg("line", { class: "cross", x1: box.x + 4, y1: box.y + h - 4, x2: box.x + w - 4, y2: box.y + 4 })] : []),
      ...(node.standing === "failed" ? [this.badge("!", w / 2 - 1, -h / 2 + 1)] : node.noise ? [this.badge("≠", w / 2 - 1, -h / 2 + 1)] : []),
      svg("text", { class: "name", y: h / 2 + 13.5 }, short(node.id, this.cell || 60)),
      ...(node.note ? [svg("text", { class: "note", y: h / 2 + 13 + NOTE }, node.note)] : []),
    ];
  }

  badge(sign, x, y) {
    return svg("g", { class: "badge", transform: `translate(${x},${y})` }, svg("circle", { r: 6.5 }), svg("text", { y: 3.5 }, sign));
  }

  // The link above a node: a drop from the bus and what it costs.
  hang(item) {
    const link = item.group.querySelector(".link");
    const { node, at } = item;
    if (!link) return;
    if (!at.drop || !node.parent) return link.replaceChildren();
    const edge = node.role === "client" ? TILE.h / 2 : PILL / 2;
    const end = -edge - at.drop;
    link.replaceChildren(
      svg("line", { x1: 0, x2: 0, y1: -edge, y2: end }),
      ...(node.cost == null ? [] : [svg("text", { class: "cost", y: -edge - at.drop / 2 + 2.5 }, number(node.cost))]));
  }

  place() {
    const { nodes } = this.graph();
    const tree = grow(nodes);
    const all = [...nodes.values()];
    const longest = Math.max(2, ...all.filter((n) => n.role === "client" || !n.parent).map((n) => n.id.length));
    const notes = all.some((n) => n.note);
    const cell = Math.min(92, Math.max(46, longest * 6.4 + 10, notes ? 52 : 0));
    if (cell !== this.cell) { // names may be cut elsewhere now
      this.cell = cell;
      for (const item of this.items.values()) { item.content = ""; this.draw(item.node, item); }
    }
    const clients = all.length - tree.clusters.length;
    this.scale = clients <= 14 ? 1.3 : clients <= 32 ? 1.12 : 1; // few nodes are drawn larger
    this.tree = tree;
    this.collapseMany(tree);
    const { places, frames, lines, height } = arrange(tree, this.width / this.scale, this.collapsed, notes, cell);
    for (const [id, item] of this.items) this.put(item, places.get(id));
    this.putFrames(frames);
    this.putBuses(lines);
    this.height = height;
    this.zoomTo(this.zoom);
    const fold = this.collapsed.size ? "Expand all" : "Collapse all";
    if (this.fold.textContent !== fold) this.fold.textContent = fold;
    this.fold.hidden = tree.clusters.length < 2;
    this.order = this.inOrder();
    this.level();
    write(this.svg, "aria-label", `Topology: ${nodes.size} nodes in ${tree.clusters.length} clusters`);
    clearTimeout(this.owning); // the order for screen readers; nobody listens that fast
    this.owning = setTimeout(() => write(this.svg, "aria-owns", this.order.map((id) => this.prefix + id).join(" ")), 100);
    if (!this.order.includes(this.focus)) this.moveTabStop(this.order[0] || "");
  }

  put(item, at) {
    const { group } = item;
    if (item.hidden !== !at) {
      item.hidden = !at;
      group.classList.toggle("hidden", !at);
    }
    if (!at) return;
    const same = item.at && item.at.x === at.x && item.at.y === at.y;
    const rehang = !item.at || item.at.drop !== at.drop;
    item.at = at;
    if (rehang) this.hang(item);
    if (!same) group.style.transform = `translate(${at.x}px,${at.y}px)`;
    if (item.fresh) {
      item.fresh = false;
      if (!this.svg.classList.contains("still")) { group.classList.add("enter"); setTimeout(() => group.classList.remove("enter"), 1200); }
    }
  }

  drop(id) {
    const { group } = this.items.get(id);
    this.items.delete(id);
    group.removeAttribute("role");
    group.removeAttribute("id");
    group.classList.add("exit");
    setTimeout(() => group.remove(), 600);
  }

  putFrames(frames) {
    const seen = new Set();
    for (const frame of frames) {
      seen.add(frame.key);
      let group = this.frames.get(frame.key);
      if (!group) {
        group = svg("g", { class: "frame" }, svg("rect", { rx: 10 }), svg("g"));
        this.layers.frames.append(group);
        this.frames.set(frame.key, group);
      }
      group.classList.toggle("outside", frame.outside);
      const [rect, inside] = group.children;
      const { x, y, w, h, closed, cluster } = frame;
      const look = JSON.stringify([x, y, w, h, closed, cluster.members.length > 0, closed && cluster.members, this.labels.length]);
      if (group.look === look) continue;
      group.look = look;
      Object.assign(rect.style, { x: `${x}px`, y: `${y}px`, width: `${w}px`, height: `${h}px` });
      const content = [];
      if (frame.outside) content.push(svg("text", { class: "heading", x: frame.x + frame.w / 2, y: frame.y + 17 }, "outside the pipeline"));
      else if (frame.cluster.members.length) content.push(this.toggle(frame));
      if (frame.closed) content.push(...this.summary(frame));
      inside.replaceChildren(...content);
    }
    for (const [key, group] of this.frames) if (!seen.has(key)) { group.remove(); this.frames.delete(key); }
  }

  toggle(frame) {
    const x = frame.x + frame.w - 13, y = frame.y + 13;
    return svg("g", { class: "toggle", "data-toggle": frame.key, transform: `translate(${x},${y})` },
      svg("title", {}, frame.closed ? "Expand" : "Collapse"), svg("circle", { r: 9 }),
      svg("path", { d: frame.closed ? "M-3.5 -1.5L0 2.5L3.5 -1.5" : "M-3.5 1.5L0 -2.5L3.5 1.5" }));
  }

  summary({ x, y, w, cluster }) {
    const { members } = cluster;
    const data = this.labels.map((_, i) => sum(members.map((m) => (m.data ? m.data[i] : 0))));
    const costs = members.map((m) => m.cost).filter((c) => c != null);
    const middle = x + w / 2, least = Math.min(...costs), most = Math.max(...costs);
    const range = least === most ? number(least) : `${number(least)}–${number(most)}`;
    const box = { x: middle - 44, y: y + PILL / 2 + 8, w: 88, h: 30 };
    return [
      ...(data.some(Boolean) ? [bars(data, Math.max(...data), box)] : []),
      svg("text", { class: "count", x: middle, y: y + PILL / 2 + 53 }, `${members.length} client${members.length === 1 ? "" : "s"}`),
      ...(costs.length ? [svg("text", { class: "range", x: middle, y: y + PILL / 2 + 67 }, `links ${range}`)] : []),
    ];
  }

  putBuses(lines) {
    const seen = new Set();
    for (const line of lines) {
      seen.add(line.key);
      let path = this.buses.get(line.key);
      if (!path) { path = svg("path"); this.layers.buses.append(path); this.buses.set(line.key, path); }
      write(path, "d", busPath(line));
    }
    for (const [key, path] of this.buses) if (!seen.has(key)) { path.remove(); this.buses.delete(key); }
  }

  // Selection, focus, keys: a horizontal tree of the ARIA patterns.

  inOrder() {
    const { ga, flat, clusters, outside } = this.tree;
    const ids = ga ? [ga.id] : [];
    this.parents = new Map();
    const add = (members, parent) => members.forEach((node) => { ids.push(node.id); this.parents.set(node.id, parent); });
    if (ga) add(flat, ga.id);
    for (const { head, members } of clusters) {
      add([head], ga.id);
      if (!this.collapsed.has(head.id)) add(members, head.id);
    }
    add(outside, "");
    return ids;
  }

  level() {
    const siblings = new Map();
    for (const id of this.order) {
      const parent = this.parents.get(id) ?? "";
      if (!siblings.has(parent)) siblings.set(parent, []);
      siblings.get(parent).push(id);
    }
    const heads = new Map(this.tree.clusters.map((c) => [c.head.id, c.members.length]));
    for (const list of siblings.values()) list.forEach((id, i) => {
      const { group } = this.items.get(id);
      let depth = 1;
      for (let p = this.parents.get(id); p; p = this.parents.get(p)) depth++;
      const attributes = { "aria-level": depth, "aria-posinset": i + 1, "aria-setsize": list.length };
      for (const key in attributes) write(group, key, attributes[key]);
      if (heads.get(id)) write(group, "aria-expanded", !this.collapsed.has(id));
      else group.removeAttribute("aria-expanded");
    });
  }

  mark() {
    const selected = this.model.get("selected");
    if (selected === this.marked && this.items.get(selected)?.group.getAttribute("aria-selected") === "true") return;
    this.marked = selected;
    for (const [id, { group }] of this.items) {
      write(group, "aria-selected", id === selected);
    }
  }

  select(id) {
    this.model.set("selected", id);
    this.model.save_changes();
    this.mark();
  }

  moveTabStop(id) {
    const old = this.items.get(this.focus), now = this.items.get(id);
    if (old) old.group.setAttribute("tabindex", -1);
    if (now) now.group.setAttribute("tabindex", 0);
    this.focus = id;
  }

  goTo(id) {
    const item = this.items.get(id);
    if (!item) return;
    this.moveTabStop(id);
    item.group.focus({ preventScroll: true });
    item.group.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  setOpen(id, open) {
    if (open) this.collapsed.delete(id); else this.collapsed.add(id);
    this.update(true);
  }

  click(event) {
    const toggle = event.target.closest("[data-toggle]");
    if (toggle) return this.setOpen(toggle.dataset.toggle, this.collapsed.has(toggle.dataset.toggle));
    const node = event.target.closest("[data-node]");
    if (!node) return;
    const id = node.dataset.node;
    this.goTo(id);
    this.select(this.model.get("selected") === id ? "" : id);
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !event.target.closest("[data-node]")) return;
    const id = this.focus, i = this.order.indexOf(id), head = this.items.get(id)?.group.getAttribute("aria-expanded");
    const child = this.order.find((other) => this.parents.get(other) === id);
    const actions = {
      ArrowRight: () => this.goTo(this.order[i + 1]),
      ArrowLeft: () => this.goTo(this.order[i - 1]),
      ArrowDown: () => (head === "false" ? this.setOpen(id, true) : this.goTo(child)),
      ArrowUp: () => (head === "true" && this.collapsible(id) && event.shiftKey ? this.setOpen(id, false) : this.goTo(this.parents.get(id))),
      Home: () => this.goTo(this.order[0]),
      End: () => this.goTo(this.order[this.order.length - 1]),
      Enter: () => this.select(id),
      " ": () => this.select(id),
      Escape: () => this.select(""),
      "-": () => this.collapsible(id) && this.setOpen(id, false),
      "+": () => this.collapsible(id) && this.setOpen(id, true),
    };
    const action = actions[event.key] || (event.key.length === 1 && /\S/.test(event.key) ? () => this.type(event.key) : null);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own meaning for these keys
    action();
  }

  collapsible(id) {
    return this.items.get(id)?.group.hasAttribute("aria-expanded");
  }

  type(letter) {
    const now = performance.now();
    this.typed = now - (this.typedAt || 0) < 800 ? this.typed + letter : letter;
    this.typedAt = now;
    const found = this.order.find((id) => id.toLowerCase().startsWith(this.typed.toLowerCase()));
    if (found) this.goTo(found);
  }

  // In words.

  // Say what has changed since the last time; `quietly`: only remember it.
  announce(quietly) {
    const before = this.told || new Map(), now = new Map(), said = [];
    for (const node of this.graph().nodes.values()) {
      const was = before.get(node.id), standing = node.standing || "member", parent = node.parent || "";
      now.set(node.id, { parent, standing, note: node.note });
      if (!before.size || (was && was.parent === parent && was.standing === standing)) continue;
      if (standing !== "member" && standing !== "trial") said.push(`${node.id}: ${node.why || node.note}`);
      else if (!was || !was.parent) said.push(`${node.id} joins ${parent}`);
      else if (was.parent !== parent) said.push(`${node.id} moves from ${was.parent} to ${parent}`);
      else if (was.standing === "failed") said.push(`${node.id} is back`);
    }
    for (const id of before.keys()) if (!now.has(id)) said.push(`${id} is gone`);
    this.told = now;
    if (said.length && !quietly) this.live.textContent = said.slice(0, 6).join("; ") + (said.length > 6 ? ` and ${said.length - 6} more changes` : "");
  }

  fillTable() {
    if (!this.table.open) return;
    const { nodes, labels } = this.graph();
    const header = html("tr", {}, ...["node", "role", "hangs on", "cost per MB", "data", "state"].map((h) => html("th", { scope: "col" }, h)));
    const rows = [];
    const tree = grow(nodes);
    const all = [tree.ga, ...tree.flat, ...tree.clusters.flatMap((c) => [c.head, ...c.members]), ...tree.outside].filter(Boolean);
    for (const node of all) {
      const cells = [ROLES[node.role], node.parent || "–", node.cost == null ? "–" : number(node.cost), dataWords(node, labels) || "–", node.why || "in the pipeline"];
      rows.push(html("tr", {}, html("th", { scope: "row" }, node.id), ...cells.map((text) => html("td", {}, text))));
    }
    const table = html("table", {}, html("thead", {}, header), html("tbody", {}, ...rows));
    this.table.replaceChildren(this.table.firstChild, html("div", { class: "rows" }, table));
  }
}

// One model: the graph as the kernel told it, and all views of it.

export default () => {
  let graph = { labels: [], nodes: new Map() };
  const views = new Set();
  const whole = ({ labels, nodes }) => { graph = { labels, nodes: new Map(nodes.map((node) => [node.id, node])) }; };
  const patch = ({ nodes, gone }) => {
    gone.forEach((id) => graph.nodes.delete(id));
    nodes.forEach((node) => graph.nodes.set(node.id, node));
    graph.nodes.version = (graph.nodes.version || 0) + 1;
  };
  const receive = (message) => {
    if (message.kind === "graph") whole(message);
    else if (message.kind === "patch") patch(message);
    else return;
    for (const view of views) view.update();
  };
  return {
    initialize({ model }) {
      whole(model.get("graph"));
      model.on("msg:custom", receive);
      return () => model.off("msg:custom", receive);
    },
    render({ model, el }) {
      const view = new View(model, el, () => graph);
      views.add(view);
      return () => { views.delete(view); view.close(); };
    },
  };
};
