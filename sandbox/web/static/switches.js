// How the bank is set up at WeChat and WeCom, and what public sources disagree about: every switch, to be turned here.

import { $, attempt, button, control, make, page, replace, say } from "./dom.js";

const WORDS = {
  api_changes_emit_events: "接口改动也回调", tag_name_max: "标签名最长字数", broadcast_cap: "群发次数上限", dispatch_seconds: "群发派发秒数",
  groupmsg_task_sent_value: "群发已发送的状态值", image_max_mb: "图片最大兆数", sensitive_member_fields: "返回员工敏感字段",
  jscode_errcode_field: "登录返回 errcode", countryCode_type: "国家码的写法", acquisition_methods: "获客接口的方法",
  moment_result_method: "朋友圈结果的方法", medical: "医疗行业", contact_ways_most: "活码数量上限", temporary_ways_a_day: "每天临时活码上限",
  acquisition_links_most: "获客链接上限", customers_most: "每人客户上限", group_size: "群人数上限",
  system_secret_may_call: "系统密钥可调用（老企业）", app_unused: "应用久未使用被停权 48006", unionid_conversion: "可用 unionid 换客户号",
  expired_token_code: "令牌过期的错误码", getuserid_wrong_percent: "猜手机号的错误上限 %", visit_needed: "需近两小时访问 61010",
  phone_quota: "手机号按钮余量", templates_at_once: "一次订阅的模板数", subscribe_ms: "发订阅消息的毫秒数", link_opens_a_day: "链接每天打开次数",
  marketing_acquisition: "营销获客应用", one_sided: "客户删除后仍在员工列表", group_lag_seconds: "群详情滞后秒数",
  group_transfers_busy: "客户群正在继承 90507", groups_unused: "一年无活跃成员 90510", idle_members: "久未登录的员工",
  archive_days: "存档可拉取天数", archive_answer_bytes: "存档答复最大字节 301058", trusted_ips: "企业可信 IP", ip_whitelist: "小程序 IP 白名单",
};

function choices(schema) {
  const inner = schema.anyOf || [schema];
  return inner.flatMap((one) => one.enum || (one.const === undefined ? [] : [one.const]));
}

function read(text, one) {
  if (Array.isArray(one.start)) return text.split(/[\s,，]+/).filter(Boolean);
  if (text === "" && one.start === null) return null;
  return /^\d+$/.test(text) ? Number(text) : text;
}

async function turn(one, value) {
  await control("/switches", { [one.name]: value });
  say(`已设置 ${WORDS[one.name] || one.name} Set`);
}

function field(one) {
  const shown = Array.isArray(one.value) ? one.value.join(", ") : one.value ?? "";
  const label = `${WORDS[one.name] || one.name} ${one.name}`;
  if (typeof one.start === "boolean") {
    const box = make("input", { type: "checkbox", checked: one.value, onchange: (event) => attempt(() => turn(one, event.target.checked)) });
    box.setAttribute("aria-label", label);
    return box;
  }
  const options = choices(one.schema);
  const known = new Set(options.map(String)).has(String(shown));
  if (options.length && known) {
    const list = make("select", { onchange: (event) => attempt(() => turn(one, read(event.target.value, one))) },
      ...options.map((value) => make("option", { value, selected: String(value) === String(shown) }, String(value))));
    list.setAttribute("aria-label", label);
    return list;
  }
  const change = (event) => {
    event.target.blur();
    return attempt(() => turn(one, read(event.target.value.trim(), one)));
  };
  const input = make("input", { value: shown, onchange: change });
  input.setAttribute("aria-label", label);
  return input;
}

function row(one) {
  const other = JSON.stringify(one.value) !== JSON.stringify(one.start);
  const name = make("p", {}, make("b", {}, WORDS[one.name] || one.name), " ", make("small", {}, one.name));
  const about = make("p", { className: "soft" }, one.schema.description || "");
  const item = make("li", { className: other ? "switch held" : "switch" }, make("div", {}, name, about), field(one));
  item.dataset.value = JSON.stringify(one.value);
  return item;
}

export async function showSwitches() {
  const active = document.activeElement;
  const typing = $("switches").contains(active) && active.matches("input:not([type=checkbox])");
  if (!$("switches-box").open || typing) return;
  const { switches } = await control("/switches/described");
  const shown = JSON.stringify(switches.map((one) => one.value));
  if (page.switches === shown) return;
  page.switches = shown;
  const label = $("switches").contains(active) ? active.getAttribute("aria-label") : "";
  replace("switches", switches.map(row));
  if (label) $("switches").querySelector(`[aria-label="${label}"]`)?.focus();
}

export function startSwitches() {
  $("switches-box").addEventListener("toggle", () => attempt(async () => { page.switches = null; }));
  $("switches-reset").append(button("全部复原 All as at the start", async () => {
    await control("/switches", undefined, "DELETE");
    page.switches = null;
    say("开关已复原 Switches are as at the start");
  }));
}
