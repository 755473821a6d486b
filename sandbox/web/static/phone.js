// The customer's phone: chats, scanning, mini-programs, himself.

import { $, attempt, bubble, button, clock, control, empty, heading, make, mark, memberName, page, replace, say, tabs, told } from "./dom.js";

const KINDS = {
  welcome: "欢迎语 welcome", broadcast: "群发 broadcast", moment: "朋友圈 moment", subscribe: "订阅消息 subscribe message",
  service: "客服消息 service", handover: "更换客户经理通知 hand-over", text: "",
};

function openChat(userid) {
  page.chat = userid;
}

function chatRow(person, userid, messages) {
  const last = messages[messages.length - 1];
  const friend = person.friends.find((f) => f.userid === userid);
  const title = make("p", {}, make("b", {}, memberName(userid)), friend ? "" : make("small", {}, " 服务通知 service"));
  for (const name of friend ? friend.tag_names : []) title.append(make("span", { className: "tag" }, name));
  const preview = make("p", { className: "soft" }, last ? last.text || KINDS[last.kind] || "" : "还没有消息 No messages yet");
  return make("button", { type: "button", className: "chat", onclick: () => attempt(() => openChat(userid)) }, title, preview);
}

async function chats(person) {
  if (page.chat) return talk(person, page.chat);
  const senders = [...new Set([...person.friends.map((f) => f.userid), ...person.inbox.map((m) => m.sender)])];
  if (!senders.length) return [empty("还没有好友。到「扫一扫」扫银行的活码。 No friends yet: scan one of the bank's codes.")];
  return senders.map((userid) => chatRow(person, userid, person.inbox.filter((m) => m.sender === userid)));
}

async function talk(person, userid) {
  const isMember = page.config.members.some((m) => m.userid === userid);
  const written = isMember ? (await control(`/members/${encodeURIComponent(userid)}/window?limit=200`)).messages : [];
  const mine = written.filter((m) => m.sender === person.external_userid).map((m) => [m, true]);
  const all = [...person.inbox.filter((m) => m.sender === userid).map((m) => [m, false]), ...mine];
  all.sort((a, b) => a[0].time - b[0].time);
  const bubbles = all.map(([m, own]) => {
    const node = bubble(m, own, `${own ? "我 Me" : memberName(m.sender)} · ${clock(m.time)} ${KINDS[m.kind] || ""}`);
    if (m.kind === "handover") {
      node.append(`客户经理将换为${memberName(m.content.takeover_userid)}，24 小时内可拒绝。`,
        button("拒绝 Refuse", () => control(`/people/${person.id}/transfers/refuse`, {})));
    }
    return node;
  });
  const back = make("button", { type: "button", onclick: () => attempt(() => { page.chat = null; }) }, `‹ ${memberName(userid)}`);
  return [make("div", { className: "row top" }, back), ...(bubbles.length ? bubbles : [empty("还没有消息。 Nothing yet.")])];
}

async function scanWay(person, way) {
  const result = await control(`/people/${person.id}/scan`, { config_id: way.config_id });
  const name = memberName(result.userid);
  page.phone = "chats";
  page.chat = result.userid;
  mark("phone", page.phone);
  if (result.already_friends) say(`已经是${name}的好友 Already friends`);
  else told(result, `已添加${name} Added`);
}

function wayRow(person, way) {
  const title = make("p", {}, make("b", {}, way.state || "（无渠道号 no state）"), " ", make("small", {}, way.remark));
  const members = make("p", { className: "soft" }, way.members.map(memberName).join("、"));
  const qr = make("img", { src: `/qr/${way.config_id}.svg`, alt: `活码 ${way.state}` });
  return make("div", { className: way.config_id === page.wanted ? "way chosen" : "way" }, qr, make("div", {}, title, members),
    button("扫码 Scan", () => scanWay(person, way), true));
}

async function scan(person) {
  const [ways, groups, links] = await Promise.all([control("/ways"), control("/groups"), control("/links")]);
  const nodes = [heading("网点的活码", "Live codes of the branches"),
    ...ways.ways.slice(-30).reverse().map((w) => wayRow(person, w))];
  if (!ways.ways.length) nodes.push(empty("银行的系统还没有创建活码。 The bank has not made a live code yet."));
  if (groups.join_ways.length) nodes.push(heading("进群码", "Codes of customer groups"));
  for (const way of groups.join_ways.slice(-20).reverse()) {
    const qr = make("img", { src: `/qr/${way.config_id}.svg`, alt: `进群码 ${way.state}` });
    nodes.push(make("div", { className: way.config_id === page.wanted ? "way chosen" : "way" }, qr, make("div", {}, make("b", {}, way.state || way.room_base_name || way.config_id.slice(0, 8))),
      button("进群 Join", async () => told(await control(`/people/${person.id}/join`, { config_id: way.config_id }), "已进群 Joined"), true)));
  }
  if (links.links.length) nodes.push(heading("获客链接", "Acquisition links"));
  for (const link of links.links.slice(-20).reverse()) {
    nodes.push(make("div", { className: "way" }, make("div", {}, make("b", {}, link.link_name)),
      button("打开 Open", async () => told(await control(`/people/${person.id}/click`, { link: link.link_id }), "已添加 Added"), true)));
  }
  nodes.push(heading("不扫码，直接添加", "Add somebody without a code"));
  const friends = new Set(person.friends.map((f) => f.userid));
  const strangers = page.config.members.filter((m) => !friends.has(m.userid)).slice(0, 12);
  nodes.push(make("div", { className: "row" }, ...strangers.map((m) => button(`+ ${m.name}`, async () => {
    told(await control(`/people/${person.id}/add`, { userid: m.userid }), `已添加${m.name} Added`);
  }))));
  return nodes;
}

async function openMiniProgram(person, appid, more = {}) {
  const tab = page.config.portal_url ? window.open("about:blank") : null;
  const result = await control(`/people/${person.id}/open`, { appid, ...more });
  if (tab) {
    tab.opener = null;
    tab.location = result.url;
  } else {
    say(`登录码 wx.login → ${result.code}`);
  }
}

function subscribe(person, appid, choice) {
  const template = $("template").value.trim();
  if (!template) throw new Error("先填模板号 Fill in a template id first");
  return control(`/people/${person.id}/subscribe`, { appid, templates: { [template]: choice } });
}

const STATES = { granted: "待使用 ready", active: "待使用 ready", used: "已使用 used", expired: "已过期 expired", recalled: "已收回 recalled", refunded: "已退还 refunded" };
const FRESH = 45000;

// What the bank's mini-program shows: rewards to claim, and vouchers that he holds out to a camera.
async function held(person) {
  if (!page.config.portal_url) return [];
  const { appid } = page.config.mini_programs[0];
  const nodes = [heading("权益和券", "Rewards and vouchers")];
  let wallet;
  try {
    wallet = await control(`/people/${person.id}/wallet?appid=${appid}`);
  } catch (error) {
    return [...nodes, empty(`银行没有回答 ${error.message}`)];
  }
  for (const reward of wallet.rewards.filter((one) => one.state === "claimable")) {
    nodes.push(make("div", { className: "way" }, make("div", {}, make("b", {}, reward.title), make("p", { className: "soft" }, reward.text)),
      button("领取 Claim", async () => { await control(`/people/${person.id}/claim`, { appid, reward: reward.id }); say("已领取 Claimed"); }, true)));
  }
  for (const one of wallet.redemptions) {
    const out = page.out && page.out.person === person.id && page.out.id === one.id;
    const open = one.code && ["granted", "active"].includes(one.state);
    const row = make("div", { className: out ? "way chosen" : "way" }, make("div", {}, make("b", {}, one.title), make("p", { className: "soft" }, `${STATES[one.state] || one.state} ${one.code}`)));
    if (open) row.append(button(out ? "收起 Put away" : "出示 Show", async () => { page.out = out ? null : { person: person.id, id: one.id, at: 0 }; }, !out));
    nodes.push(row);
    if (out && open) nodes.push(await picture(person, appid, one));
  }
  if (nodes.length === 1) nodes.push(empty("还没有权益。 Nothing yet."));
  return nodes;
}

async function picture(person, appid, one) {
  if (Date.now() - page.out.at > FRESH) {
    const shown = await control(`/people/${person.id}/show`, { appid, redemption: one.id });
    page.out = { ...page.out, at: Date.now(), svg: shown.qr ? shown.qr.svg : "" };
  }
  const node = make("div", { className: "held-out", title: "给客户经理的摄像头看 for the camera" });
  if (page.out.svg) node.append(document.importNode(new DOMParser().parseFromString(page.out.svg, "image/svg+xml").documentElement, true));
  node.append(make("p", { className: "soft" }, "企业微信的扫一扫现在能看到它。 The scanner in WeCom sees it now."));
  return node;
}

async function mini(person) {
  const [codes, grants] = await Promise.all([control("/codes"), control(`/people/${person.id}/grants`)]);
  const nodes = page.config.mini_programs.map((m) => make("div", { className: "mini" }, make("p", {}, make("b", {}, m.name)),
    make("div", { className: "row" },
      button("打开 Open", () => openMiniProgram(person, m.appid), true),
      button("手机号授权码 Phone code", async () => say(`手机号授权码 Phone code → ${(await control(`/people/${person.id}/phone`, { appid: m.appid })).code}`)),
      button("问客服 Ask", async () => told(await control(`/people/${person.id}/service-message`, { appid: m.appid, text: "请问怎么领取？" }), "已发送 Sent")),
      button("同意订阅 Accept", async () => told(await subscribe(person, m.appid, "accept"), "已同意一次 Accepted once")),
      button("拒绝订阅 Refuse", async () => told(await subscribe(person, m.appid, "reject"), "已拒绝 Refused")))));
  nodes.push(...await held(person));
  for (const grant of grants.grants) {
    nodes.push(empty(`${memberName(grant.appid)} 模板 ${grant.template_id}：${grant.lasting ? "长期 lasting" : `还可收 ${grant.left} 条 left`}`));
  }
  if (codes.codes.length) nodes.push(heading("小程序码", "Mini-program codes"));
  for (const code of codes.codes.slice(-20).reverse()) {
    const more = Object.fromEntries(Object.entries({ page: code.page, scene: code.scene }).filter(([, v]) => v));
    nodes.push(make("div", { className: "way" }, make("div", {}, make("b", {}, code.page || "首页 home"), make("p", { className: "soft" }, code.scene)),
      button("扫码 Scan", () => openMiniProgram(person, code.appid, more))));
  }
  return nodes;
}

async function me(person) {
  const facts = [["手机号 Phone", person.phone], ["unionid", person.unionid], ["external_userid", person.external_userid]];
  const nodes = [make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, make("code", {}, value))])),
    heading("好友", "Friends at the bank")];
  if (!person.friends.length) nodes.push(empty("还没有好友。 No friends yet."));
  for (const friend of person.friends) {
    const userid = friend.userid;
    const actions = make("div", { className: "row" },
      button("同意会话存档 Agree to archive", async () => told(await control(`/people/${person.id}/agree`, { userid }), "已同意 Agreed")),
      button("删除好友 Delete", async () => told(await control(`/people/${person.id}/delete`, { userid }), "已删除 Deleted")));
    nodes.push(make("div", { className: "mini" }, make("p", {}, make("b", {}, memberName(userid)), " ", make("small", {}, friend.state)), actions));
  }
  return nodes;
}

export async function showPhone() {
  const person = page.person ? await control(`/people/${page.person}`) : null;
  $("who").textContent = person ? `${person.name}的手机` : "手机";
  const friend = person && person.friends.some((f) => f.userid === page.chat);
  $("speak").hidden = !(page.phone === "chats" && friend);
  $("ask").hidden = !(page.phone === "mini" && person);
  const nodes = person ? await { chats, scan, mini, me }[page.phone](person) : [empty("先在左边新建或选择一位客户。 First create or pick a customer.")];
  if (replace("screen", nodes) && page.phone === "chats" && page.chat) $("screen").scrollTop = $("screen").scrollHeight;
}

export function startPhone() {
  mark("phone", page.phone);
  tabs("phone", (name) => { page.phone = name; page.chat = null; });
  $("ask").addEventListener("submit", (event) => event.preventDefault());
  $("speak").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const text = $("say").value.trim();
      if (!text) return;
      await control(`/people/${page.person}/message`, { userid: page.chat, text });
      $("say").value = "";
    });
  });
}
