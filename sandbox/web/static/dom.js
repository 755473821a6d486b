// Small tools that every part of the page uses: elements, the control plane, the notice, what is chosen.

export const page = {
  config: null, person: null, member: null, chat: null, customer: null,
  phone: "chats", desk: "chats", log: "calls", wanted: new URLSearchParams(location.search).get("scan") || new URLSearchParams(location.search).get("join"),
  refresh: async () => {},
};

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
    await page.refresh();
  } catch (error) {
    say(error.message);
  }
}

export function button(label, action, main = false) {
  return make("button", { type: "button", className: main ? "main" : "", onclick: () => attempt(action) }, label);
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
  const all = [...document.querySelectorAll(`[data-${name}]`)];
  for (const tab of all) {
    tab.addEventListener("click", () => {
      choose(tab.dataset[name]);
      for (const other of all) other.setAttribute("aria-pressed", String(other === tab));
      attempt(async () => {});
    });
  }
}
