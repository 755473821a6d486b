// The visitor's page: people on the left, a phone, a WeCom window, trouble and the log; all through the control plane.

import { $, attempt, control, forget, make, mark, page, recall, replace, say } from "./dom.js";
import { showLog, startLog } from "./log.js";
import { showPhone, startPhone } from "./phone.js";
import { showSwitches, startSwitches } from "./switches.js";
import { showTrouble, startTrouble } from "./trouble.js";
import { showWecom, startWecom } from "./wecom.js";

const PAGE = 50;

function showPeople(people, count) {
  const nodes = people.slice().reverse().map((p) => {
    const label = [make("b", {}, p.name), make("span", {}, p.phone), make("span", {}, `好友 ${p.friends.length} · 消息 ${p.messages}`)];
    const item = make("button", { type: "button", onclick: () => attempt(() => { page.person = p.id; page.chat = null; }) }, ...label);
    item.setAttribute("aria-pressed", String(p.id === page.person));
    return make("li", {}, item);
  });
  const words = page.search ? "没有找到。 Nobody found." : "还没有人。先新建一位客户。 Nobody yet: create a person first.";
  if (count > people.length) {
    const more = make("button", { type: "button", className: "more", onclick: () => attempt(() => { page.shown += PAGE; }) },
      `再看 ${Math.min(PAGE, count - people.length)} 位，共 ${count} 位 More of ${count}`);
    nodes.push(make("li", {}, more));
  }
  replace("people", nodes.length ? nodes : [make("li", { className: "empty" }, words)]);
}

async function isThere(person) {
  const answer = await fetch(`/control/people/${encodeURIComponent(person)}`);
  return answer.ok;
}

page.refresh = async () => {
  const { people, count } = await control(`/people?limit=${page.shown}&q=${encodeURIComponent(page.search)}`);
  const listed = people.some((p) => p.id === page.person);
  if (!listed && !(page.person && await isThere(page.person))) page.person = people.length ? people[people.length - 1].id : null;
  showPeople(people, count);
  await Promise.all([showPhone(), showWecom(), showTrouble(), showLog(), showSwitches()]);
};

async function keepFresh() {
  try {
    await page.refresh();
  } catch (error) {
    say(`沙盒没有回答 The sandbox does not answer: ${error.message}`);
  }
  setTimeout(keepFresh, 2000);
}

$("create").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const person = await control("/people", { name: $("name").value, phone: $("phone").value });
    page.person = person.id;
    page.chat = null;
    $("create").reset();
  });
});

$("search").addEventListener("input", () => attempt(() => {
  page.search = $("search").value.trim();
  page.shown = PAGE;
}));
$("search-form").addEventListener("submit", (event) => event.preventDefault());

$("restart").addEventListener("click", () => $("restart-sure").showModal());
$("restart-no").addEventListener("click", () => $("restart-sure").close());
$("restart-yes").addEventListener("click", async () => {
  $("restart-sure").close();
  try {
    await control("/reset", {});
    forget();
    location.assign("/");
  } catch (error) {
    say(error.message);
  }
});

recall();
$("search").value = page.search;
control("/config").then(async (config) => {
  page.config = config;
  if (page.wanted) {
    page.phone = "scan";
    mark("phone", "scan");
  }
  startPhone();
  startWecom();
  startLog();
  startSwitches();
  await startTrouble();
  await keepFresh();
}).catch((error) => say(error.message));
