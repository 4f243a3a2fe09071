"use strict";
// Draws the charts whose options stand in the page; again when the colours, the width or the medium change.
(() => {
  const options = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let drawn = new Map();
  const short = (value) => Number(value).toLocaleString("en", { maximumSignificantDigits: 3, notation: Math.abs(value) < 1e4 ? "standard" : "compact" });
  const exact = (value) => Number(value).toLocaleString("en", { maximumSignificantDigits: 3 });
  const named = (option) => option.series.filter((series) => series.name);

  // ECharts' own legend can be used by a mouse only: these are buttons.
  function legends() {
    for (const box of document.querySelectorAll(".legend")) {
      for (const series of named(options[box.dataset.chart])) {
        const button = document.createElement("button"), mark = document.createElement("i");
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        mark.style.background = series.itemStyle.color;
        button.append(mark, series.name);
        button.addEventListener("click", () => {
          button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
          drawn.get(box.dataset.chart).dispatchAction({ type: "legendToggleSelect", name: series.name });
        });
        box.append(button);
      }
    }
  }

  function hidden(name) {
    const off = [...document.querySelectorAll(`.legend[data-chart="${name}"] button[aria-pressed="false"]`)];
    return Object.fromEntries(off.map((button) => [button.textContent, false]));
  }

  function draw(asDark) {
    const ink = asDark ? "#ececf1" : "#1b1b1f";
    drawn.forEach((chart) => chart.dispose());
    drawn = new Map(Object.entries(options).map(([name, option]) => {
      const chart = echarts.init(document.getElementById(name), asDark ? "dark" : null, { renderer: "svg" });
      const axis = { axisLabel: { formatter: short, hideOverlap: true, color: ink }, nameTextStyle: { color: ink } };
      const series = option.series.map((one) => ({
        ...one,
        ...(one.label && { label: { ...one.label, color: ink } }),
        ...(one.markLine && { markLine: { ...one.markLine, label: { ...one.markLine.label, color: ink } } }),
      }));
      const legend = { ...option.legend, data: named(option).map((one) => one.name), selected: hidden(name) };
      chart.setOption({ ...option, series, legend, backgroundColor: "transparent" });
      chart.setOption({ xAxis: axis, yAxis: axis, tooltip: { valueFormatter: exact } });
      return [name, chart];
    }));
    document.body.dataset.drawn = String(drawn.size);
  }

  legends();
  draw(dark.matches);
  dark.addEventListener("change", (event) => draw(event.matches));
  addEventListener("resize", () => drawn.forEach((chart) => chart.resize()));
  addEventListener("beforeprint", () => { draw(false); drawn.forEach((chart) => chart.resize()); });
  addEventListener("afterprint", () => draw(dark.matches));
})();
