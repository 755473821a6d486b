// What somebody has written outlives a reload: it is kept in the tab from this page to the next one, and nowhere else.
"use strict";
(() => {
  const PLACE = "written";
  const FIELDS = "textarea, select, input[name=base], input:not([type=hidden], [type=password], [type=file])";
  const fields = () => [...document.querySelectorAll("main form:not([role=search])")].flatMap((form) => [...form.querySelectorAll(FIELDS)]);
  const ticks = (field) => field.type === "checkbox" || field.type === "radio";
  const read = (field) => [field.name, ticks(field) ? field.checked : field.value];
  let sent = false;

  const kept = JSON.parse(sessionStorage.getItem(PLACE) || "null");
  sessionStorage.removeItem(PLACE);
  const [arrival] = performance.getEntriesByType("navigation");
  if (kept && kept.page === location.href && arrival && arrival.type === "reload") {
    const here = fields();
    if (here.length === kept.values.length && here.every((field, at) => field.name === kept.values[at][0])) {
      here.forEach((field, at) => { field[ticks(field) ? "checked" : "value"] = kept.values[at][1]; });
    }
  }
  addEventListener("submit", () => { sent = true; });
  addEventListener("pageshow", () => { sent = false; });
  addEventListener("pagehide", () => {
    if (!sent) sessionStorage.setItem(PLACE, JSON.stringify({ page: location.href, values: fields().map(read) }));
  });
})();
