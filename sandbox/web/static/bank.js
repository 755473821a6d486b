// The bank's core system by hand: a person, what he has at the bank, buttons, and every request with its answer.

import { $, attempt, button, clock, control, empty, make, once, page, recall, replace, say } from "./dom.js";

const SHOWN = 50;
const BYS = {
  phone: "手机号 Phone", number: "客户号 The bank's number", unionid: "UnionID", openid: "OpenID（第一个小程序 first mini-program）",
  external_userid: "企业微信客户号 external_userid",
};
const STAGES = { lead: "意向 Lead", opened: "已开户 Account opened", active: "活跃 Active", dormant: "沉默 Dormant", closed: "已销户 Account closed" };
const FIELDS = {
  birthday: "生日 Birthday", gender: "性别 Gender", home_branch: "开户网点 Home branch", stage: "客户阶段 Stage",
  balance_band: "资产等级 Balance band", holdings: "持有产品数 Products held",
};
const EVENTS = {
  "app.login": "登录 signed in", "account.opened": "开户 account opened", "payment.made": "付款 paid", "deposit.made": "存款 deposit",
  "card.activated": "激活银行卡 card activated",
};
const STATES = { accepted: "已收下 taken", refused: "被拒绝 refused", unanswered: "没有回答 no answer", "under way": "发送中 under way" };

let bank = { bys: [], stages: [], products: [] };

function yuan(fen) {
  return `¥${(fen / 100).toLocaleString("zh-CN", { minimumFractionDigits: 2 })}`;
}

function fen(id) {
  return Math.round(Number($(id).value) * 100);
}

function pair(term, ...definition) {
  return [make("dt", {}, term), make("dd", {}, ...definition)];
}

// What somebody did, as one sentence about the answers.
function tell({ sent }) {
  if (sent.every((one) => one.state === "answered" && !(one.answer || {}).refused)) return say("已发送，系统收下了 Sent, and taken");
  const first = sent.find((one) => one.state !== "answered" || one.answer.refused);
  return say(first.state === "under way" ? "正在发送，还没有回答 On its way, no answer yet" : `没有收下 Not taken: ${outcome(first)}`);
}

async function act(verb, body = {}) {
  tell(await control(`/people/${page.person}/bank/${verb}`, body));
}

function showPeople(people) {
  const nodes = people.slice().reverse().map((one) => {
    const item = make("button", { type: "button", onclick: () => attempt(() => { page.person = one.id; }) }, make("b", {}, one.name), make("span", {}, one.phone));
    item.setAttribute("aria-pressed", String(one.id === page.person));
    return make("li", {}, item);
  });
  const words = page.search ? "没有找到。 Nobody found." : "还没有人：先在微信沙盒里新建一位。 Nobody yet: create a person in the sandbox first.";
  replace("people", nodes.length ? nodes : [make("li", { className: "empty" }, words)]);
}

function accounts(customer) {
  return customer.accounts.map((one) => make("p", { className: "mini" }, `${one.product} ··${one.card} `, make("b", {}, yuan(one.balance)),
    one.active ? " 卡已激活 card active" : ""));
}

function value(key, held) {
  return key === "stage" ? STAGES[held] || held : held === null ? "–" : String(held);
}

function showCustomer(person, customer) {
  $("who").textContent = person ? `${person.name}在银行` : "银行客户";
  $("become").hidden = !person || customer !== null;
  $("acts").hidden = customer === null;
  if (!person) return replace("customer", [empty("先选一个人。 Pick a person first.")]);
  if (customer === null) return replace("customer", [empty("他还不是银行客户。 He is no customer of the bank yet.")]);
  const facts = Object.entries(customer.fields).flatMap(([key, held]) => pair(FIELDS[key] || key, value(key, held)));
  const latest = customer.events.slice(-5).reverse().map((one) => make("p", { className: "soft" },
    `${EVENTS[one.name] || one.name} · ${STATES[one.state]}${one.code ? ` ${one.code}` : ""}`));
  return replace("customer", [
    make("dl", {}, ...pair("客户号 Number", customer.number), ...pair("称呼 Named by", BYS[customer.by]), ...facts), ...accounts(customer), ...latest,
  ]);
}

function outcome(sent) {
  const answer = sent.answer || {};
  if (answer.error) return answer.error.code;
  if (sent.state === "answered") {
    const codes = answer.items.filter((one) => one.code).map((one) => one.code);
    return codes.length ? codes.join(", ") : `收下 ${answer.accepted} taken`;
  }
  const last = sent.attempts[sent.attempts.length - 1];
  return `${STATES[sent.state] || sent.state} ${last ? last.status || last.problem : ""}`;
}

function what(sent) {
  const events = (sent.body.events || []).map((one) => EVENTS[one.name] || one.name);
  const several = events.length > 3 ? [`${events.length} 个事件 events`] : events;
  const told = sent.body.fields || ((sent.body.customers || [])[0] || {}).fields;
  const values = told ? [`资料 values: ${Object.keys(told).map((key) => (FIELDS[key] || key)).join("，")}`] : [];
  const how = sent.forged ? ["（伪造签名 forged）"] : sent.again ? [`（重发 again #${sent.again}）`] : [];
  return [...several, ...values, ...how].join(" ");
}

function row(sent) {
  const good = sent.state === "answered" && !(sent.answer || {}).refused;
  const again = sent.state === "under way" ? "" : button("再发一次 Again", async () => tell(await control(`/bank/sent/${sent.id}/again`, {})));
  if (again) again.setAttribute("aria-label", `再发一次 Again #${sent.id}`);
  const cells = [clock(sent.time), what(sent), make("code", {}, `${sent.method} ${sent.path}`), `${sent.attempts.length} 次`,
    make("span", { className: good ? "good" : "bad" }, outcome(sent)), again];
  return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
}

function showSent() {
  $("as").textContent = bank.who ? `${bank.who} · ${bank.algorithm} → ${bank.url} · 银行客户 ${bank.customers} customers` : "这个世界没有核心系统。 This world has no core system.";
  if (document.activeElement !== $("rate")) $("rate").value = bank.rate;
  const heads = ["时间 Time", "内容 What", "请求 Request", "次数 Tries", "回答 Answer", "重发 Repeat"];
  replace("log-head", [make("tr", {}, ...heads.map((one) => make("th", {}, one)))]);
  const rows = bank.sent.slice().reverse().map(row);
  replace("log", rows.length ? rows : [make("tr", {}, make("td", {}, "还没有。 Nothing yet."))]);
}

page.refresh = async () => {
  const { people } = await control(`/people?limit=${SHOWN}&q=${encodeURIComponent(page.search)}`);
  if (!page.person && people.length) page.person = people[people.length - 1].id;
  bank = await control(`/bank?limit=${SHOWN}`);
  showPeople(people);
  showSent();
  const there = page.person ? await fetch(`/control/people/${encodeURIComponent(page.person)}`) : null;
  const person = there && there.ok ? await there.json() : null;
  if (!person) page.person = null;
  showCustomer(person, person ? (await control(`/people/${person.id}/bank`)).customer : null);
};

async function keepFresh() {
  try {
    await page.refresh();
  } catch (error) {
    say(`沙盒没有回答 The sandbox does not answer: ${error.message}`);
  }
  setTimeout(keepFresh, 2000);
}

function onSubmit(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    once(event, action);
  });
}

onSubmit("become", () => act("become", { by: $("by").value }));
onSubmit("open", () => act("open", { product: $("product").value, balance: fen("opening") }));
onSubmit("pay", () => act("pay", { amount: fen("amount") }));
onSubmit("balance", () => act("balance", { amount: fen("total") }));
onSubmit("birthday", () => act("birthday", { date: $("day").value }));
onSubmit("stage", () => act("fields", { fields: { stage: $("stages").value } }));
onSubmit("rate-form", async () => {
  const set = await control("/bank/rate", { per_minute: Number($("rate").value) });
  say(`每分钟 ${set.rate} 个事件 events a minute`);
});
$("buttons").append(
  button("登录手机银行 Sign in", () => act("login"), true), button("激活银行卡 Activate a card", () => act("activate")),
  button("伪造一个事件 Forge an event", () => act("forge")),
);
$("search-form").addEventListener("submit", (event) => event.preventDefault());
$("search").addEventListener("input", () => attempt(() => { page.search = $("search").value.trim(); }));

recall();
$("search").value = page.search;
control("/bank").then(async (found) => {
  bank = found;
  $("by").replaceChildren(...bank.bys.map((one) => make("option", { value: one, selected: one === "phone" }, BYS[one])));
  $("product").replaceChildren(...bank.products.map((one) => make("option", { value: one }, one)));
  $("stages").replaceChildren(...bank.stages.map((one) => make("option", { value: one }, STAGES[one])));
  await keepFresh();
}).catch((error) => say(error.message));
