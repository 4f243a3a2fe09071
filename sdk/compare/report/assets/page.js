"use strict";
// Draws the charts whose options stand in the page; again when the colours, the width or the medium change.
(() => {
  const options = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let drawn = [];
  const short = (value) => Number(value).toLocaleString("en", { maximumSignificantDigits: 3 });
  function draw(asDark) {
    drawn.forEach((chart) => chart.dispose());
    drawn = Object.entries(options).map(([name, option]) => {
      const chart = echarts.init(document.getElementById(name), asDark ? "dark" : null, { renderer: "svg" });
      const axis = { axisLabel: { formatter: short, hideOverlap: true } };
      chart.setOption({ ...option, backgroundColor: "transparent" });
      chart.setOption({ xAxis: axis, yAxis: axis, tooltip: { valueFormatter: short } });
      return chart;
    });
    document.body.dataset.drawn = String(drawn.length);
  }
  draw(dark.matches);
  dark.addEventListener("change", (event) => draw(event.matches));
  addEventListener("resize", () => drawn.forEach((chart) => chart.resize()));
  addEventListener("beforeprint", () => { draw(false); drawn.forEach((chart) => chart.resize()); });
  addEventListener("afterprint", () => draw(dark.matches));
})();
