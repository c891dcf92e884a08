
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const MARKS = { pass: "✓", warn: "!", unknown: "?", fail: "✗" };
  const WORDS = { pass: "pass", warn: "warning", unknown: "could not be told", fail: "no dump" };
  const VERDICTS = ["pass", "warn", "unknown", "fail"];
  const STATES = { "ready": ["ready", "pass"], "not-ready": ["not ready", "fail"], "unknown": ["unknown", "unknown"], "unreachable": ["unreachable", "warn"] };
  const BATCH = 200;
  const WORST_FIRST = ["unreachable", "not-ready", "unknown", "ready"];
  data.hosts.sort((a, b) => WORST_FIRST.indexOf(a.state) - WORST_FIRST.indexOf(b.state));
  const wanted = { state: "", check: "", words: [] };
  let matching = data.hosts, drawn = 0;

  const byId = (id) => document.getElementById(id);
  // Everything a host said becomes a text node or an attribute's value, never markup.
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "press") element.addEventListener("click", value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  const finding = (row, number) => {
    const [check, verdict, text, controller] = row.findings[number];
    const [says, remedy] = data.texts[text];
    return { ...data.checks[check], name: check, verdict: VERDICTS[verdict], says, remedy, controller: controller || "" };
  };
  const findings = (row) => row.findings.map((_, number) => finding(row, number));

  function article(found) {
    const title = (found.controller ? found.controller + ": " : "") + found.name;
    const parts = [
      make("h3", {}, make("span", { class: "v " + found.verdict }, MARKS[found.verdict]), " " + title),
      make("p", {}, found.says),
      make("p", {}, make("small", {}, found.why)),
    ];
    if (found.remedy.length) parts.push(make("p", {}, "What to do:"), make("pre", {}, found.remedy.join("\n")));
    parts.push(make("p", {}, make("small", {}, "Source: " + found.source)));
    return make("article", {}, ...parts);
  }

  function open(row, title, chosen) {
    chosen.sort((a, b) => VERDICTS.indexOf(b.verdict) - VERDICTS.indexOf(a.verdict));
    byId("dialog-title").textContent = title;
    const body = byId("dialog-body");
    body.replaceChildren(...chosen.map(article));
    if (row.problem) body.prepend(make("p", {}, row.problem));
    if (!chosen.length) body.append(make("p", {}, row.problem ? "" : "Nothing was found here: the host itself was not looked at."));
    byId("dialog").showModal();
  }

  function cell(row, route, stage, first) {
    const verdict = VERDICTS[row.matrix[data.routes.indexOf(route) * data.stages.length + data.stages.indexOf(stage)]] || "unknown";
    const label = `${row.host}, ${route}, ${stage}: ${WORDS[verdict]}`;
    const press = () => open(row, `${row.host}: ${route}, ${stage}`, findings(row).filter((f) => concerns(row, f, route, stage)));
    return make("td", { "class": first ? "first" : "", "data-route": route, "data-stage": stage },
      make("button", { "class": "v " + verdict, type: "button", "aria-label": label, press }, MARKS[verdict]));
  }
  // What a controller cannot do is not its finding: `routes` of a controller's finding are the row's own.
  const concerns = (row, found, route, stage) => found.stage === stage && (found.controller ? (row.abilities[found.controller] || data.routes) : found.routes).includes(route);

  function drawRow(row) {
    const [word, colour] = STATES[row.state];
    const bad = findings(row).filter((found) => found.verdict === "fail" || found.verdict === "unknown");
    const names = [...new Set(bad.map((found) => found.name))].join(", ") || row.problem;
    const cells = data.routes.flatMap((route) => data.stages.map((stage, number) => cell(row, route, stage, number === 0)));
    return make("tr", {},
      make("th", { scope: "row" }, make("button", { type: "button", press: () => open(row, row.host, findings(row)) }, row.host),
        make("small", {}, [row.os, row.kernel].filter(Boolean).join(", "))),
      make("td", { "class": "state-cell" }, make("span", { "class": "state " + colour }, word)),
      ...cells, make("td", { "class": "fails" }, names));
  }

  function drawMore(count) {
    const part = document.createDocumentFragment();
    for (const row of matching.slice(drawn, drawn + count)) part.append(drawRow(row));
    drawn = Math.min(matching.length, drawn + count);
    byId("body").append(part);
  }

  const searchable = new Map();
  function text(row) {
    if (!searchable.has(row)) {
      const bad = findings(row).filter((found) => found.verdict !== "pass").map((found) => found.name);
      searchable.set(row, [row.host, row.os, row.kernel, STATES[row.state][0], ...bad].join(" ").toLowerCase());
    }
    return searchable.get(row);
  }
  const fails = (row, check) => row.findings.some(([name, verdict]) => name === check && verdict >= 2);

  function show() {
    matching = data.hosts.filter((row) => (!wanted.state || row.state === wanted.state) &&
      (!wanted.check || fails(row, wanted.check)) && wanted.words.every((word) => text(row).includes(word)));
    byId("body").replaceChildren();
    drawn = 0;
    drawMore(BATCH);
    const filter = [wanted.state && STATES[wanted.state][0], wanted.check, wanted.words.join(" ")].filter(Boolean).join(", ");
    byId("shown").textContent = `${matching.length} of ${data.hosts.length} hosts` + (filter ? ` (${filter})` : "");
    byId("clear").hidden = !filter;
    for (const button of document.querySelectorAll("[data-state]")) button.setAttribute("aria-pressed", String(button.dataset.state === wanted.state));
    for (const button of document.querySelectorAll("[data-check]")) button.setAttribute("aria-pressed", String(button.dataset.check === wanted.check));
  }

  function drawHead() {
    const top = make("tr", {}, make("th", { scope: "col", rowspan: "2" }, "Host"), make("th", { scope: "col", rowspan: "2" }, "State"));
    const below = make("tr", {});
    for (const route of data.routes) {
      top.append(make("th", { scope: "colgroup", colspan: String(data.stages.length), "class": "first" }, route));
      data.stages.forEach((stage, number) => below.append(make("th", { scope: "col", "class": number ? "" : "first" }, stage)));
    }
    top.append(make("th", { scope: "col", rowspan: "2" }, "Fails or unknown"));
    byId("head").append(top, below);
  }

  function drawStates() {
    const count = (state) => data.hosts.filter((row) => !state || row.state === state).length;
    for (const state of ["", ...Object.keys(STATES)]) {
      const word = state ? STATES[state][0] : "all";
      byId("states").append(make("button", { type: "button", "data-state": state, "aria-pressed": "false",
        press: () => { wanted.state = state; show(); } }, `${word} ${count(state)}`));
    }
  }

  function drawCauses() {
    const counts = new Map();
    for (const row of data.hosts) {
      const worst = new Map();
      for (const [name, verdict] of row.findings) if (verdict >= 2) worst.set(name, Math.max(verdict, worst.get(name) || 0));
      for (const [name, verdict] of worst) {
        const cause = counts.get(name) || { fail: 0, unknown: 0 };
        cause[VERDICTS[verdict]] += 1;
        counts.set(name, cause);
      }
    }
    const total = (cause) => cause.fail + cause.unknown;
    const causes = [...counts].sort((a, b) => total(b[1]) - total(a[1])).slice(0, 16);
    if (!causes.length) byId("causes").append("No check fails anywhere.");
    for (const [name, cause] of causes) {
      const count = total(cause);
      const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      picture.setAttribute("aria-hidden", "true");
      let left = 0;
      for (const kind of ["fail", "unknown"]) {
        if (!cause[kind]) continue;
        const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const width = Math.max(0.5, 100 * cause[kind] / data.hosts.length);
        bar.setAttribute("class", kind);
        bar.setAttribute("x", `${left}%`);
        bar.setAttribute("width", `${width}%`);
        bar.setAttribute("height", "100%");
        picture.append(bar);
        left += width;
      }
      byId("causes").append(make("button", { "class": "cause", type: "button", "data-check": name, "aria-pressed": "false",
        title: data.checks[name].why, press: () => { wanted.check = wanted.check === name ? "" : name; show(); } },
        make("span", {}, name), picture, make("span", { "class": "number" }, String(count))));
    }
  }

  byId("search").addEventListener("input", (event) => {
    wanted.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    show();
  });
  byId("clear").addEventListener("click", () => {
    Object.assign(wanted, { state: "", check: "", words: [] });
    byId("search").value = "";
    show();
  });
  new IntersectionObserver((seen) => { if (seen.some((entry) => entry.isIntersecting)) drawMore(BATCH); }, { rootMargin: "800px" }).observe(byId("end"));
  window.addEventListener("beforeprint", () => drawMore(matching.length));
  drawHead();
  drawStates();
  drawCauses();
  show();
})();
