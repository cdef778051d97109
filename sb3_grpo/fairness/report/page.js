// Draws every chart from the numbers beside it. Nothing is fetched.
(() => {
  "use strict";
  const config = { displayModeBar: false, responsive: true, doubleClick: false, showTips: false };
  const charts = [...document.querySelectorAll(".chart")];
  const drawn = charts.map((chart) => {
    const numbers = document.querySelector(`script[data-chart="${chart.id}"]`);
    const { data, layout } = JSON.parse(numbers.textContent);
    return Plotly.newPlot(chart, data, layout, config);
  });
  const resize = () => charts.forEach((chart) => Plotly.Plots.resize(chart));
  Promise.all(drawn).then(() => document.documentElement.setAttribute("data-charts", String(charts.length)));

  // Paper shows what is folded away, and charts as wide as the paper.
  const folded = [];
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details:not([open])").forEach((details) => {
      details.open = true;
      folded.push(details);
    });
    resize();
  });
  window.addEventListener("afterprint", () => {
    folded.splice(0).forEach((details) => { details.open = false; });
    resize();
  });
  // A link to something folded away, or a chart in it, has a size only once it is open.
  document.querySelectorAll("details").forEach((details) => details.addEventListener("toggle", resize));
})();
