"use strict";

const SHOWN_PEOPLE = 50;
const SHOWN_LOG = 60;
const EVENTS = {
  add_external_contact: "加好友 added",
  del_follow_user: "顾客删除客户经理 person left",
  del_external_contact: "客户经理删除顾客 member left",
  edit_external_contact: "客户经理改备注 edited",
};

const page = { config: null, person: null, log: "calls", wanted: new URLSearchParams(location.search).get("scan") };
const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function button(label, action, main = false) {
  return make("button", { type: "button", className: main ? "main" : "", onclick: () => attempt(action) }, label);
}

async function control(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch("/control" + path, options);
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.error.message);
  return result;
}

function say(text) {
  $("notice").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("notice").textContent = ""; }, 5000);
}

async function attempt(action) {
  try {
    await action();
    await refresh();
  } catch (error) {
    say(error.message);
  }
}

function memberName(userid) {
  const member = page.config.members.find((m) => m.userid === userid);
  return member ? member.name : userid;
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("zh-CN", { hour12: false });
}

function replace(id, nodes) {
  const holder = $(id);
  const text = nodes.map((n) => n.outerHTML).join("");
  if (holder.dataset.shown !== text) {
    holder.dataset.shown = text;
    holder.replaceChildren(...nodes);
  }
}

function showPeople(people) {
  const nodes = people.slice(-SHOWN_PEOPLE).reverse().map((p) => {
    const chosen = p.id === page.person;
    const label = [make("b", {}, p.name), make("span", {}, p.phone), make("span", {}, `好友 ${p.friends.length} · 消息 ${p.messages}`)];
    const item = make("button", { type: "button", onclick: () => attempt(() => { page.person = p.id; }) }, ...label);
    item.setAttribute("aria-pressed", String(chosen));
    return make("li", {}, item);
  });
  const none = make("li", { className: "empty" }, "还没有人。先新建一位顾客。 Nobody yet: create a person first.");
  replace("people", nodes.length ? nodes : [none]);
}

async function scan(way) {
  const result = await control(`/people/${page.person}/scan`, { config_id: way.config_id });
  const name = memberName(result.userid);
  if (result.already_friends) say(`已经是${name}的好友 Already friends`);
  else say(result.delivered ? `已添加${name}，回调已送达 Added; the bank was told` : `已添加${name}，但回调没有送达 Added, but the callback was not accepted`);
}

function showWays(ways) {
  const nodes = ways.slice().reverse().map((w) => {
    const title = make("p", {}, make("b", {}, w.state || "（无 state）"), " ", make("small", {}, w.remark));
    const members = make("p", {}, w.members.map(memberName).join("、"));
    const act = button("扫码 Scan", () => scan(w), true);
    act.disabled = !page.person;
    const qr = make("img", { src: `/qr/${w.config_id}.svg`, alt: `活码 ${w.state}` });
    return make("li", { className: w.config_id === page.wanted ? "way chosen" : "way" }, qr, make("div", {}, title, members), act);
  });
  const none = make("li", { className: "empty" }, "银行的系统还没有创建活码（add_contact_way）。 The bank has not made a live code yet.");
  replace("ways", nodes.length ? nodes : [none]);
}

function showFriend(person, friend) {
  const title = make("p", {}, make("b", {}, memberName(friend.userid)), " ", make("small", {}, friend.userid));
  for (const name of friend.tag_names) title.append(make("span", { className: "tag" }, name));
  const actions = make("div", { className: "row" },
    button("发消息 Message", async () => {
      const text = $("say").value.trim() || "您好，我想了解一下活动";
      await control(`/people/${person.id}/message`, { userid: friend.userid, text });
      say(`已发给${memberName(friend.userid)} Sent`);
    }),
    button("删除好友 Delete", () => control(`/people/${person.id}/delete`, { userid: friend.userid })));
  if (page.config.sidebar_url) {
    const href = page.config.sidebar_url.replace("{userid}", encodeURIComponent(friend.userid))
      .replace("{external_userid}", encodeURIComponent(person.external_userid));
    actions.append(make("a", { href, target: "_blank", rel: "noopener" }, "客户经理侧边栏 Side panel"));
  }
  return make("div", { className: "friend" }, title, actions);
}

function showMessage(message) {
  const from = `${memberName(message.sender)} · ${clock(message.time)}${message.kind === "welcome" ? " · 欢迎语 welcome" : ""}`;
  const bubble = make("div", { className: "bubble" }, make("small", {}, from), message.text);
  for (const attachment of message.content.attachments || []) {
    const content = attachment[attachment.msgtype] || {};
    const label = `[${attachment.msgtype}] ${content.title || content.page || ""}`;
    const web = /^https?:\/\//.test(content.url || "");
    bubble.append(web ? make("a", { href: content.url, target: "_blank", rel: "noopener" }, label) : make("small", {}, label));
  }
  return bubble;
}

async function openMiniProgram(person, appid) {
  const tab = page.config.portal_url ? window.open("about:blank") : null;
  const result = await control(`/people/${person.id}/open`, { appid });
  if (tab) {
    tab.opener = null;
    tab.location = result.url;
  } else {
    say(`wx.login → ${result.code}`);
  }
}

function chooser(person) {
  const select = make("select", { id: "stranger" });
  select.setAttribute("aria-label", "客户经理 Member");
  const friends = new Set(person.friends.map((f) => f.userid));
  for (const m of page.config.members.filter((m) => !friends.has(m.userid))) {
    select.append(make("option", { value: m.userid }, `${m.name} · ${m.department}`));
  }
  const act = button("添加 Add", () => control(`/people/${person.id}/add`, { userid: $("stranger").value }));
  act.disabled = !select.options.length;
  return make("div", { className: "row" }, select, act);
}

function showPhone(person) {
  $("who").textContent = person ? `${person.name}的手机` : "手机";
  if (!person) {
    replace("screen", [make("p", { className: "empty" }, "从左边选一位顾客。 Pick a person on the left.")]);
    return;
  }
  const draft = $("say") ? $("say").value : "";
  const stranger = $("stranger") ? $("stranger").value : "";
  const focused = document.activeElement ? document.activeElement.id : "";
  const portals = make("div", { className: "row" }, ...page.config.mini_programs.map((m) =>
    button(`打开「${m.name}」`, () => openMiniProgram(person, m.appid), true)));
  const words = make("input", { id: "say", placeholder: "要说的话 What to say" });
  words.setAttribute("aria-label", "要说的话 What to say");
  const inbox = person.inbox.slice().reverse().map(showMessage);
  replace("screen", [
    make("h3", {}, "小程序 ", make("small", {}, "Mini-programs")), portals,
    make("h3", {}, "好友 ", make("small", {}, "Friends at the bank")), ...person.friends.map((f) => showFriend(person, f)),
    ...(person.friends.length ? [make("div", { className: "row" }, words)] : []), chooser(person),
    make("h3", {}, "收到的消息 ", make("small", {}, "Messages received")),
    ...(inbox.length ? inbox : [make("p", { className: "empty" }, "还没有消息。 Nothing yet.")]),
  ]);
  if ($("say")) $("say").value = draft;
  if (stranger && $("stranger").querySelector(`[value="${CSS.escape(stranger)}"]`)) $("stranger").value = stranger;
  if (["say", "stranger"].includes(focused) && $(focused)) $(focused).focus();
}

function row(...cells) {
  return make("tr", {}, ...cells.map((c) => make("td", {}, c)));
}

function mark(good, text) {
  return make("span", { className: good ? "good" : "bad" }, text);
}

function callRow(c) {
  const result = c.errcode === null ? mark(false, c.fault || "HTTP") : mark(c.errcode === 0, c.errcode === 0 ? "ok" : String(c.errcode));
  return row(clock(c.time), make("code", {}, `${c.method} /${c.base}${c.path}`), result, c.errcode !== null && c.fault ? c.fault : "", `${c.ms} ms`);
}

function deliveryRow(d) {
  const last = d.attempts[d.attempts.length - 1];
  const result = d.delivered ? mark(true, "已送达 taken") : mark(false, last ? `${last.status || ""} ${last.problem}` : "未送 not sent");
  return row(clock(d.time), EVENTS[d.event.change_type] || d.event.change_type, memberName(d.event.userid), d.event.state, `${d.attempts.length} 次`, result, d.fault);
}

async function showLog() {
  const calls = page.log === "calls";
  const heads = calls ? ["时间 Time", "调用 Call", "结果 Result", "故障 Fault", "用时 Took"] : ["时间 Time", "事件 Event", "客户经理 RM", "state", "次数 Tries", "结果 Result", "故障 Fault"];
  const found = calls ? (await control(`/calls?limit=${SHOWN_LOG}`)).calls : (await control(`/deliveries?limit=${SHOWN_LOG}`)).deliveries;
  const rows = found.reverse().map(calls ? callRow : deliveryRow);
  replace("log-head", [make("tr", {}, ...heads.map((h) => make("th", {}, h)))]);
  replace("log", rows.length ? rows : [row("还没有。 Nothing yet.")]);
}

async function refresh() {
  const [people, ways] = await Promise.all([control("/people"), control("/ways")]);
  if (!people.people.some((p) => p.id === page.person)) page.person = people.people.length ? people.people[people.people.length - 1].id : null;
  showPeople(people.people);
  showWays(ways.ways);
  showPhone(page.person ? await control(`/people/${page.person}`) : null);
  await showLog();
}

async function keepFresh() {
  try {
    await refresh();
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
    $("create").reset();
  });
});

for (const tab of document.querySelectorAll("[data-log]")) {
  tab.addEventListener("click", () => {
    page.log = tab.dataset.log;
    for (const other of document.querySelectorAll("[data-log]")) other.setAttribute("aria-pressed", String(other === tab));
    attempt(async () => {});
  });
}

control("/config").then((config) => {
  page.config = config;
  return keepFresh();
}).catch((error) => say(error.message));
