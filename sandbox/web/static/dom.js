// Small tools that every part of the page uses: elements, the control plane, the notice, what is chosen.

export const page = {
  config: null, person: null, member: null, chat: null, customer: null,
  phone: "chats", desk: "chats", log: "calls", wanted: new URLSearchParams(location.search).get("scan") || new URLSearchParams(location.search).get("join"),
  search: "", shown: 50, out: null,
  refresh: async () => {},
};

const KEPT = "sandbox";
const REMEMBERED = ["person", "member", "chat", "customer", "phone", "desk", "log", "search"];

// What is chosen outlives a reload of this tab.
export function remember() {
  sessionStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(REMEMBERED.map((name) => [name, page[name]]))));
}

export function recall() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "{}");
    for (const name of REMEMBERED) if (kept[name]) page[name] = kept[name];
  } catch {
    forget();
  }
}

export function forget() {
  sessionStorage.removeItem(KEPT);
}

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export async function control(path, body, method) {
  const verb = method || (body === undefined ? "GET" : "POST");
  const answer = await fetch("/control" + path, { method: verb, body: body && JSON.stringify(body) });
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.error.message);
  return result;
}

export function say(text) {
  $("notice").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("notice").textContent = ""; }, 6000);
}

export async function attempt(action) {
  try {
    await action();
    remember();
    await page.refresh();
  } catch (error) {
    say(error.message);
  }
}

let busy = false;

// What somebody does happens once: not again by the second click of a double click, nor while the first is under way.
export async function once(event, action) {
  if (busy || event.detail > 1) return;
  busy = true;
  try {
    await attempt(action);
  } finally {
    busy = false;
  }
}

export function button(label, action, main = false) {
  return make("button", { type: "button", className: main ? "main" : "", onclick: (event) => once(event, action) }, label);
}

export function mark(name, value) {
  for (const tab of document.querySelectorAll(`[data-${name}]`)) tab.setAttribute("aria-pressed", String(tab.dataset[name] === value));
}

export function told(result, done) {
  say(result.delivered === false ? `${done}，但银行没有收下回调 but the bank did not take the callback` : done);
}

export function memberName(userid) {
  const member = page.config.members.find((m) => m.userid === userid);
  if (member) return member.name;
  const mini = page.config.mini_programs.find((m) => m.appid === userid);
  if (mini) return `「${mini.name}」`;
  return userid.startsWith("app:") ? "客户经营助手 app" : userid === "wecom" ? "企业微信 WeCom" : userid;
}

export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("zh-CN", { hour12: false });
}

export function replace(id, nodes) {
  const holder = $(id);
  const text = nodes.map((n) => n.outerHTML).join("");
  if (holder.dataset.shown === text) return false;
  holder.dataset.shown = text;
  holder.replaceChildren(...nodes);
  return true;
}

export function heading(chinese, english) {
  return make("h3", {}, `${chinese} `, make("small", {}, english));
}

export function empty(text) {
  return make("p", { className: "empty" }, text);
}

export function bubble(message, mine, title) {
  const node = make("div", { className: mine ? "bubble mine" : "bubble" }, make("small", {}, title), message.text);
  const content = message.content || {};
  for (const attachment of content.attachments || []) {
    const inside = attachment[attachment.msgtype] || {};
    const label = `[${attachment.msgtype}] ${inside.title || inside.page || ""}`;
    const web = /^https?:\/\//.test(inside.url || "");
    node.append(web ? make("a", { href: inside.url, target: "_blank", rel: "noopener" }, label) : make("small", {}, label));
  }
  if (content.description) node.append(make("p", { className: "soft" }, content.description));
  if (/^https?:\/\//.test(content.url || "")) {
    node.append(make("a", { href: content.url, target: "_blank", rel: "noopener" }, content.btntxt || "打开 Open"));
  }
  return node;
}

export function tabs(name, choose) {
  for (const tab of document.querySelectorAll(`[data-${name}]`)) {
    tab.addEventListener("click", () => {
      choose(tab.dataset[name]);
      mark(name, tab.dataset[name]);
      attempt(async () => {});
    });
  }
}
