// The visitor's page: people on the left, a phone, a WeCom window, trouble and the log; all through the control plane.

import { $, attempt, control, make, page, replace, say } from "./dom.js";
import { showLog, startLog } from "./log.js";
import { showPhone, startPhone } from "./phone.js";
import { showTrouble, startTrouble } from "./trouble.js";
import { showWecom, startWecom } from "./wecom.js";

const SHOWN_PEOPLE = 50;

function showPeople(people) {
  const nodes = people.slice().reverse().map((p) => {
    const label = [make("b", {}, p.name), make("span", {}, p.phone), make("span", {}, `好友 ${p.friends.length} · 消息 ${p.messages}`)];
    const item = make("button", { type: "button", onclick: () => attempt(() => { page.person = p.id; page.chat = null; }) }, ...label);
    item.setAttribute("aria-pressed", String(p.id === page.person));
    return make("li", {}, item);
  });
  const none = make("li", { className: "empty" }, "还没有人。先新建一位客户。 Nobody yet: create a person first.");
  replace("people", nodes.length ? nodes : [none]);
}

page.refresh = async () => {
  const { people } = await control(`/people?limit=${SHOWN_PEOPLE}`);
  if (!people.some((p) => p.id === page.person)) page.person = people.length ? people[people.length - 1].id : null;
  showPeople(people);
  await Promise.all([showPhone(), showWecom(), showTrouble(), showLog()]);
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

control("/config").then(async (config) => {
  page.config = config;
  if (page.wanted) {
    document.querySelector("[data-phone=scan]").click();
    page.phone = "scan";
  }
  startPhone();
  startWecom();
  startLog();
  await startTrouble();
  await keepFresh();
}).catch((error) => say(error.message));
