// What the two sides said to each other, in plain words.

import { clock, control, make, mark, memberName, page, replace, tabs } from "./dom.js";

const SHOWN = 60;
const EVENTS = {
  add_external_contact: "客户添加了客户经理 customer added", add_half_external_contact: "客户单方添加 half added",
  del_follow_user: "客户删除了客户经理 customer left", del_external_contact: "客户经理删除了客户 member deleted",
  edit_external_contact: "客户经理改了备注 notes edited", transfer_fail: "客户继承失败 hand-over failed",
  msg_audit_approved: "客户同意会话存档 archive agreed", change_external_chat: "客户群变化 group changed",
  change_external_tag: "企业标签变化 tag changed", change_contact: "通讯录变化 staff changed", customer_acquisition: "获客助手 acquisition",
  template_card_event: "点了卡片按钮 card pressed", enter_agent: "打开应用 app opened", click: "点了菜单 menu pressed",
  msgaudit_notify: "有新的存档消息 archive has messages", subscribe_msg_popup_event: "客户回答了订阅 subscription answered",
  subscribe_msg_change_event: "客户改了订阅设置 subscription changed", subscribe_msg_sent_event: "订阅消息送达 subscribe message sent",
  user_enter_tempsession: "进入客服 service entered", wxa_media_check: "图片审核结果 picture verdict", text: "发给客服的话 service message",
};
const CALLS = [
  ["gettoken", "取令牌 get a token"], ["stable_token", "取令牌 get a token"], ["send_welcome_msg", "发欢迎语 send the welcome"],
  ["add_contact_way", "创建活码 make a live code"], ["contact_way", "读写活码 live codes"], ["jscode2session", "小程序登录 mini-program login"],
  ["getuserphonenumber", "取手机号 read the phone number"], ["batch/get_by_user", "批量读客户 read customers"],
  ["mark_tag", "打标签 tag a customer"], ["corp_tag", "企业标签 corp tags"], ["externalcontact/remark", "写备注 write notes"],
  ["add_msg_template", "创建群发 make a broadcast"], ["groupmsg", "查群发 ask about a broadcast"], ["moment", "朋友圈 moments"],
  ["transfer", "客户继承 hand customers over"], ["unassigned", "待继承客户 customers of leavers"], ["message/subscribe/send", "发订阅消息 subscribe message"],
  ["message/custom", "客服消息 service message"], ["update_template_card", "更新卡片 update a card"], ["message/", "发应用消息 app message"],
  ["media/", "素材 media"], ["groupchat", "客户群 customer groups"], ["customer_acquisition", "获客链接 acquisition links"],
  ["auth/", "员工登录 member login"], ["user/", "读员工 read staff"], ["department/", "读部门 read departments"], ["msgaudit", "会话存档 archive"],
  ["intercept", "敏感词 words"], ["wxacode", "小程序码 mini-program code"], ["ticket", "页面签名票据 page ticket"],
  ["externalcontact/list", "列客户 list customers"], ["externalcontact/get", "读客户 read a customer"], ["sec_check", "文本审核 text check"],
];

function outcome(good, text) {
  return make("span", { className: good ? "good" : "bad" }, text);
}

// Where the bank's console shows the event: the one of a delivery, or the latest about whom a call was about.
function eventLink(id) {
  const address = id && page.config.event_url ? page.config.event_url.replace("{event}", encodeURIComponent(id)) : "";
  return address ? make("a", { href: address, target: "_blank", rel: "noopener" }, "后台事件 Event ↗") : "";
}

function eventOf(delivery) {
  return (delivery.attempts.find((one) => one.event) || {}).event || "";
}

function causeOf(call, deliveries) {
  const { welcome_code: code, external_userid: who } = { ...call.query, ...call.body };
  if (!code && !who) return "";
  const about = deliveries.filter(({ time, event: { fields } }) => time <= call.time + 1
    && (code ? fields.WelcomeCode === code : fields.ExternalUserID === who));
  return about.length ? eventOf(about[about.length - 1]) : "";
}

function row(...cells) {
  return make("tr", {}, ...cells.map((c) => make("td", {}, c)));
}

function callRow(c, deliveries) {
  const words = CALLS.find(([part]) => c.path.includes(part));
  const result = c.errcode === null ? outcome(false, c.fault || "HTTP") : outcome(c.errcode === 0, c.errcode === 0 ? "成功 ok" : String(c.errcode));
  const address = make("code", {}, `${c.method} /${c.base}${c.path}`);
  return row(clock(c.time), words ? words[1] : "", address, result, c.errcode !== null && c.fault ? c.fault : "", `${c.ms} ms`, eventLink(causeOf(c, deliveries)));
}

function deliveryRow(d) {
  const { name, change_type: change, fields } = d.event;
  const last = d.attempts[d.attempts.length - 1];
  const moved = d.delivered && last.reply === "transfer_customer_service";
  const result = d.delivered ? outcome(true, moved ? "已转入微信客服工具 in WeChat's customer-service tool" : "已送达 taken") : outcome(false, last ? `${last.status || ""} ${last.problem}` : "未送 not sent");
  const words = EVENTS[change] || `${EVENTS[name] || name} ${change}`;
  const about = [fields.UserID && memberName(fields.UserID), fields.State, fields.EventKey, fields.ChangeDetail || fields.UpdateDetail].filter(Boolean).join(" · ");
  return row(clock(d.time), words, about, `${d.attempts.length} 次`, result, d.fault, eventLink(eventOf(d)));
}

export async function showLog() {
  const calls = page.log === "calls";
  const heads = calls ? ["时间 Time", "做什么 What", "调用 Call", "结果 Result", "故障 Fault", "用时 Took", "后台 Console"] : ["时间 Time", "事件 Event", "关于 About", "次数 Tries", "结果 Result", "故障 Fault", "后台 Console"];
  const { deliveries } = await control(`/deliveries?limit=${calls ? 500 : SHOWN}`);
  const found = calls ? (await control(`/calls?limit=${SHOWN}`)).calls : deliveries;
  const rows = found.reverse().map((one) => (calls ? callRow(one, deliveries) : deliveryRow(one)));
  replace("log-head", [make("tr", {}, ...heads.map((h) => make("th", {}, h)))]);
  replace("log", rows.length ? rows : [row("还没有。 Nothing yet.")]);
}

export function startLog() {
  mark("log", page.log);
  tabs("log", (name) => { page.log = name; });
}
