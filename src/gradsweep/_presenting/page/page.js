// What the libraries are given, and what a link to a place does. The data are of numbers only; names stand in the page.
const data = JSON.parse(document.getElementById("data").textContent);
const config = { responsive: true, displayModeBar: false };
const layout = {
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false,
  margin: { l: 56, r: 12, t: 8, b: 44 }, font: { family: "system-ui, sans-serif", size: 13 },
};

// Beside the scale lie one step for what is below the noise, and one for what is not finite.
const [bottom, top] = [data.low - 1, 1];
const place = (height) => (height - bottom) / (top - bottom);
const colours = [
  [0, "#b4b4b4"], [place(data.low - 0.5), "#b4b4b4"],
  [place(data.low - 0.5), data.colours[0][1]],
  ...data.colours.map(([at, colour]) => [place(data.low * (1 - at)), colour]),
  [place(0.5), data.colours.at(-1)[1]],
  [place(0.5), "#8b2fc9"], [1, "#8b2fc9"],
];

function drawMap(element, map) {
  const rows = map.at.map((line, row) => line.map((index, column) =>
    [index, ...["analytic", "numeric", "difference"].map((name) => map[name][row][column])]));
  const gap = map.x.length * map.y.length < 400 ? 1 : 0;
  const trace = {
    type: "heatmap", x: map.x, y: map.y, z: map.z, customdata: rows, xgap: gap, ygap: gap,
    zmin: bottom, zmax: top, colorscale: colours, showscale: false,
    hovertemplate: "<b>[%{customdata[0]}]</b><br>analytic %{customdata[1]}<br>numeric %{customdata[2]}"
      + "<br>relative difference %{customdata[3]}<extra></extra>",
  };
  const axis = (title, dtick, range) => ({
    title: { text: title }, dtick, tick0: 0, range, showticklabels: Math.abs(range[1] - range[0]) > 1 || map.at.flat().length === 1, fixedrange: true, zeroline: false, showgrid: false,
  });
  return Plotly.newPlot(element, [trace], {
    ...layout,
    xaxis: axis(map.axis[0], map.tick[0], [map.x[0], map.x.at(-1)]),
    yaxis: axis(map.axis[1], map.tick[1], [map.y.at(-1), map.y[0]]),
  }, config);
}

function drawCurve(element, curve) {
  const line = (name, y, dash, mode) => ({
    type: "scatter", mode, name, x: curve.step, y, line: { dash, width: 2 }, hovertemplate: `ε %{x:.1e}<br>${name} %{y:.1e}<extra></extra>`,
  });
  const axis = (title, range) => ({
    title: { text: title }, range, type: "log", exponentformat: "power", fixedrange: true, zeroline: false, dtick: 4,
  });
  return Plotly.newPlot(element, [
    line("relative difference", curve.error, "solid", "lines+markers"),
    line("rounding", curve.rounding, "dash", "lines"),
    line("truncation", curve.truncation, "dash", "lines"),
    line("tolerance", curve.step.map(() => data.tolerance), "dot", "lines"),
  ], { ...layout, xaxis: axis("step ε"), yaxis: axis("", curve.span.map(Math.log10)) }, config);
}

function draw(element) {
  element.drawn ??= element.dataset.map
    ? drawMap(element, data.maps[element.dataset.map])
    : drawCurve(element, data.curves[element.dataset.curve]);
  return element.drawn;
}

async function mark(link) {
  const figure = document.querySelector(link.getAttribute("href"));
  const element = figure.querySelector(".plot");
  const [x0, x1, y0, y1] = JSON.parse(link.dataset.mark);
  await draw(element);
  // An arrow from where there is more room; in a map of few rows there is none.
  const rows = data.maps[element.dataset.map].y.at(-1) + 0.5;
  const above = y0 + y1 > rows;
  await Plotly.relayout(element, {
    shapes: [{ type: "rect", x0, x1, y0, y1, line: { width: 3 } }],
    annotations: rows < 4 ? [] : [{ x: (x0 + x1) / 2, y: above ? y0 : y1, text: "here", ax: 0, ay: above ? -28 : 28 }],
  });
  figure.querySelector(".marked").textContent = `Marked: ${link.textContent}`;
}

for (const table of document.querySelectorAll("table.sortable")) {
  new Tablesort(table);
  // The buttons in its headings are what is reached by the keyboard.
  for (const heading of table.tHead.rows[0].cells) heading.removeAttribute("tabindex");
}
const plots = document.querySelectorAll(".plot");
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, { rootMargin: "600px" });
for (const element of plots) observer.observe(element);
addEventListener("beforeprint", () => plots.forEach(draw));
addEventListener("click", (event) => {
  const link = event.target.closest("a[data-mark]");
  if (link) mark(link);
});
