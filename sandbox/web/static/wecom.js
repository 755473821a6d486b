// The relationship manager's WeCom: chats with customers, what he has to confirm, app messages, groups.

import { $, attempt, bubble, button, clock, control, empty, heading, make, mark, memberName, page, replace, say, tabs, told } from "./dom.js";

const mine = (path) => `/members/${encodeURIComponent(page.member)}${path}`;

async function chats(desk) {
  const nodes = [];
  if (page.customer && desk.customers.some((c) => c.id === page.customer)) return talk(desk);
  page.customer = null;
  for (const customer of desk.customers.slice().reverse()) {
    const last = desk.messages.filter((m) => m.sender === customer.external_userid).pop();
    const name = make("p", {}, make("b", {}, customer.name), make("small", {}, customer.remark ? ` 备注 ${customer.remark}` : ""));
    const preview = make("p", { className: "soft" }, last ? last.text : "还没有来信 Has not written yet");
    nodes.push(make("button", { type: "button", className: "chat", onclick: () => attempt(() => { page.customer = customer.id; }) }, name, preview));
  }
  if (!nodes.length) nodes.push(empty("还没有客户。让左边的客户扫码添加。 No customers yet: let the customer scan a code."));
  return nodes;
}

async function talk(desk) {
  const person = await control(`/people/${page.customer}`);
  const theirs = desk.messages.filter((m) => m.sender === person.external_userid).map((m) => [m, false]);
  const own = person.inbox.filter((m) => m.sender === page.member).map((m) => [m, true]);
  const all = [...theirs, ...own].sort((a, b) => a[0].time - b[0].time);
  const top = make("div", { className: "row top" },
    make("button", { type: "button", onclick: () => attempt(() => { page.customer = null; }) }, `‹ ${person.name}`),
    button("删除客户 Delete", async () => told(await control(`/people/${person.id}/deleted-by`, { userid: page.member }), "已删除 Deleted")));
  if (page.config.sidebar_url) {
    const there = new URL(page.config.sidebar_url.replace("{userid}", encodeURIComponent(page.member))
      .replace("{external_userid}", encodeURIComponent(person.external_userid)));
    const href = there.pathname.startsWith("/sidebar/") ? there.pathname + there.search : there.href;
    const member = encodeURIComponent(page.member);
    const onclick = () => {
      document.cookie = `sandbox_member=${member}; path=/open; max-age=60; samesite=lax`;
      document.cookie = `sandbox_client=${member}|${encodeURIComponent(person.external_userid)}; path=/; max-age=86400; samesite=lax`;
    };
    top.append(make("a", { href, target: "_blank", rel: "noopener", onclick }, "侧边栏 Side panel ↗"));
  }
  return [top, ...all.map(([m, me]) => bubble(m, me, `${me ? memberName(page.member) : person.name} · ${clock(m.time)}`))];
}

function taskCard(task) {
  const count = task.receipts.length;
  const sent = task.receipts.filter((r) => r.status === 1).length;
  const state = task.sent_at ? `已发送 ${sent}/${count} sent` : task.cancelled ? "已取消 cancelled" : task.skipped ? "已忽略 skipped" : "";
  const node = make("div", { className: "bubble" }, make("small", {}, `群发 broadcast · ${count} 位 ${state}`), task.text);
  if (!state) {
    node.append(make("div", { className: "row" },
      button("确认发送 Send", async () => { await control(mine(`/tasks/${task.msgid}/confirm`), {}); say("已发送 Sent"); }, true),
      button("忽略 Skip", () => control(mine(`/tasks/${task.msgid}/skip`), {}))));
  }
  return node;
}

async function tasks() {
  const [broadcasts, moments, transfers] = await Promise.all([control(mine("/tasks")), control(mine("/moments")), control("/transfers")]);
  const nodes = broadcasts.tasks.slice(-20).reverse().map(taskCard);
  for (const moment of moments.moments.slice(-10).reverse()) {
    const state = moment.published_at ? "已发表 published" : moment.cancelled ? "已取消 cancelled" : "";
    const node = make("div", { className: "bubble" }, make("small", {}, `朋友圈 moment ${state}`), moment.text);
    if (!state) node.append(button("发表 Publish", () => control(mine(`/moments/${moment.moment_id}/publish`), {}), true));
    nodes.push(node);
  }
  const words = { 1: "已完成 done", 2: "等待中，24 小时内客户可拒绝 waiting", 3: "客户已拒绝 refused", 4: "客户已满 full" };
  for (const t of transfers.transfers.filter((x) => [x.handover_userid, x.takeover_userid].includes(page.member)).slice(-20).reverse()) {
    nodes.push(make("div", { className: "bubble" }, make("small", {}, `客户继承 hand-over · ${words[t.status]}`),
      `${memberName(t.handover_userid)} → ${memberName(t.takeover_userid)}`));
  }
  return nodes.length ? nodes : [empty("没有要确认的群发、朋友圈或客户继承。 Nothing to confirm.")];
}

function cardNode(card) {
  const content = card.content;
  const title = content.main_title || {};
  const node = make("div", { className: "bubble" }, make("small", {}, `卡片 card · ${clock(card.at)}`),
    make("b", {}, title.title || content.sub_title_text || ""), make("p", {}, title.desc || content.sub_title_text || ""));
  for (const line of content.horizontal_content_list || []) node.append(make("p", { className: "soft" }, `${line.keyname}：${line.value || ""}`));
  const replaced = card.replaced[page.member];
  const row = make("div", { className: "row" });
  for (const key of card.keys) {
    const named = (content.button_list || []).find((b) => b.key === key) || content.submit_button || {};
    const act = button(replaced || named.text || key, async () => told(await control(mine(`/cards/${encodeURIComponent(card.task_id)}/click`), { key }), "已点击 Pressed"), !replaced);
    act.disabled = Boolean(replaced);
    row.append(act);
    if (replaced) break;
  }
  node.append(row);
  return node;
}

async function app(desk) {
  const cards = (await control(mine("/cards"))).cards;
  const interactive = new Set(cards.map((c) => c.task_id));
  const plain = desk.messages.filter((m) => m.sender.startsWith("app:") && !interactive.has((m.content || {}).task_id))
    .map((m) => [m.time, bubble(m, false, `${memberName(m.sender)} · ${clock(m.time)}`)]);
  const all = [...plain, ...cards.map((c) => [c.at, cardNode(c)])].sort((a, b) => b[0] - a[0]).map(([, node]) => node);
  const enter = button("进入应用 Open the app", async () => told(await control(mine("/app"), {}), "已进入 Opened"));
  return [make("div", { className: "row top" }, enter), ...(all.length ? all.slice(0, 50) : [empty("银行的系统还没有给他发消息。 The bank has not written to him yet.")])];
}

async function groups(desk) {
  const found = (await control("/groups")).groups.filter((g) => g.owner === page.member);
  const nodes = found.slice(-20).reverse().map((g) => {
    const names = g.members.map((m) => m.name || memberName(m.userid)).join("、");
    const row = make("div", { className: "row" });
    const customer = desk.customers.find((c) => c.id === page.person);
    if (customer && !g.members.some((m) => m.userid === customer.external_userid)) {
      row.append(button("邀请左边的客户 Invite the customer", async () => told(await control(`/groups/${g.chat_id}/join`, { person: page.person }), "已进群 Joined")));
    }
    row.append(button("解散 Dismiss", async () => told(await control(`/groups/${g.chat_id}`, undefined, "DELETE"), "已解散 Dismissed")));
    return make("div", { className: "bubble" }, make("small", {}, `${g.members.length} 人 people`), make("b", {}, g.name), make("p", { className: "soft" }, names), row);
  });
  return nodes.length ? nodes : [empty("他还没有客户群。 He has no customer groups.")];
}

export async function showWecom() {
  const desk = await control(mine("/window"));
  const talking = page.desk === "chats" && desk.customers.some((c) => c.id === page.customer);
  $("answer").hidden = !talking;
  $("found").hidden = page.desk !== "groups";
  const nodes = [heading(`${desk.count} 位客户`, "customers"), ...await { chats, tasks, app, groups }[page.desk](desk)];
  if (replace("desk", nodes) && talking) $("desk").scrollTop = $("desk").scrollHeight;
}

export function startWecom() {
  mark("wecom", page.desk);
  tabs("wecom", (name) => { page.desk = name; page.customer = null; });
  const branches = new Map();
  for (const m of page.config.members.slice(0, 200)) {
    if (!branches.has(m.department)) branches.set(m.department, make("optgroup", { label: m.department }));
    branches.get(m.department).append(make("option", { value: m.userid }, m.name));
  }
  $("member").append(...branches.values());
  if (page.config.members.some((m) => m.userid === page.member)) $("member").value = page.member;
  page.member = $("member").value;
  $("member").addEventListener("change", () => attempt(() => { page.member = $("member").value; page.customer = null; }));
  $("answer").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const text = $("reply").value.trim();
      if (!text) return;
      const result = await control(mine("/write"), { person: page.customer, text });
      $("reply").value = "";
      if (!result.sent) say(`被敏感词规则「${result.rule}」拦截 Blocked by a rule`);
      else if (result.warning) say(`已发送；触发敏感词提醒「${result.rule}」 Sent, with a warning`);
    });
  });
  $("found").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      told(await control("/groups", { owner: page.member, name: $("group-name").value.trim() || "客户群", people: [], members: [] }), "已建群 Created");
      $("group-name").value = "";
    });
  });
}
