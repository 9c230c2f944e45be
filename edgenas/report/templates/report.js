(function () {
  "use strict";
  var plots = JSON.parse(document.getElementById("plots").textContent);
  var dark = JSON.parse(document.getElementById("dark").textContent);
  var night = window.matchMedia("(prefers-color-scheme: dark)");
  var touch = window.matchMedia("(pointer: coarse)").matches;
  var printing = false;

  // Figures carry light colours; at night each is swapped for its dark partner.
  function themed(value, swap) {
    if (typeof value === "string") return swap && dark.hasOwnProperty(value) ? dark[value] : value;
    if (Array.isArray(value)) return value.map(function (v) { return themed(v, swap); });
    if (value && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (k) { copy[k] = themed(value[k], swap); });
      return copy;
    }
    return value;
  }

  function draw() {
    if (typeof Plotly === "undefined") return;
    Object.keys(plots).forEach(function (name) {
      var box = document.getElementById(name);
      if (!box) return;
      var plot = themed(plots[name], night.matches && !printing);
      // Before printing the page still has its width on the screen; this one fits A4 and Letter.
      plot.layout.width = printing ? 640 : Math.floor(box.clientWidth);
      plot.layout.height = printing ? 300 : Math.floor(box.clientHeight);
      plot.layout.font.family = getComputedStyle(document.body).fontFamily;
      plot.layout.dragmode = touch ? false : "zoom";
      Plotly.react(box, plot.data, plot.layout, {
        displaylogo: false, displayModeBar: touch ? false : "hover", showTips: false,
        modeBarButtons: [["toImage", "resetScale2d"]],
        toImageButtonOptions: { format: "svg", filename: "edgenas-" + name }
      });
    });
  }

  var wait = 0, width = window.innerWidth;
  window.addEventListener("resize", function () {
    // Phones report a resize whenever their address bar hides; only a new width matters.
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(wait);
    wait = setTimeout(draw, 120);
  });
  night.addEventListener("change", draw);
  window.addEventListener("beforeprint", function () { printing = true; draw(); });
  window.addEventListener("afterprint", function () { printing = false; draw(); });
  draw();

  function keyOf(cell) {
    var raw = cell.getAttribute("data-v");
    if (raw === null) return cell.textContent.trim().toLowerCase();
    return raw === "" ? null : parseFloat(raw);
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    var body = table.tBodies[0];
    table.querySelectorAll("thead button").forEach(function (button) {
      button.addEventListener("click", function () {
        var head = button.closest("th"), column = head.cellIndex;
        var down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("th[aria-sort]").forEach(function (th) { th.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var rows = Array.prototype.map.call(body.rows, function (row, place) {
          return { row: row, key: keyOf(row.cells[column]), place: place };
        });
        rows.sort(function (a, b) {
          // What has no value stays at the end, whichever way the rest goes.
          if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
          var order = a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
          return (down ? -order : order) || a.place - b.place;
        });
        rows.forEach(function (entry) { body.appendChild(entry.row); });
      });
    });
  });
})();
